//! When two states of the exploration are one: when they differ in numbering and in the hour only.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    departures::{Departure, Process},
    exploration::{BOOT_DEADLINE, NOW, Node, POLICY},
    serving::{Recycle, Seat},
    witness::{Asked, Known},
    *,
};
use crate::ids::WorkerId;

/// Maps numbers and moments of a state to those of its canonical form.
pub(super) struct Renaming {
    now: Moment,
    /// Those that are there, in order.
    generations: Vec<GenerationId>,
    spawns: BTreeMap<(GenerationId, WorkerId), BTreeSet<u32>>,
}

impl Renaming {
    pub(super) fn of(node: &Node) -> Self {
        let machine = &node.machine;
        let mut generations: BTreeSet<GenerationId> = machine.draining.keys().copied().collect();
        generations.extend(machine.booting.iter().map(|boot| boot.generation));
        generations.extend(machine.serving.iter().map(|serving| serving.generation));
        generations.extend(machine.switch.iter().map(|switch| switch.generation));
        generations.extend(node.witness.serving.iter().chain(&node.witness.booting));
        generations.insert(machine.next_generation);
        let mut spawns: BTreeMap<(GenerationId, WorkerId), BTreeSet<u32>> = BTreeMap::new();
        let mut meet = |generation: GenerationId, worker: WorkerId, spawn: u32| {
            spawns.entry((generation, worker)).or_default().insert(spawn);
        };
        for process in node.witness.processes.keys().chain(machine.departures.going.keys()) {
            match *process {
                Process::Zygote(generation) => drop(generations.insert(generation)),
                Process::Worker(worker) => {
                    generations.insert(worker.generation);
                    meet(worker.generation, worker.worker, worker.spawn);
                }
                Process::Orphan(_) => {}
            }
        }
        if let Some(serving) = &machine.serving {
            for (worker, place) in &serving.places {
                meet(serving.generation, *worker, place.last_spawn);
                match place.seat {
                    Seat::Serving { spawn, .. }
                    | Seat::Yielding { spawn }
                    | Seat::Proving { spawn, .. }
                    | Seat::Recycling { spawn, .. } => meet(serving.generation, *worker, spawn),
                    Seat::Waiting { .. } | Seat::Held | Seat::Vacant | Seat::Resting => {}
                }
            }
        }
        Renaming { now: node.now, generations: generations.into_iter().collect(), spawns }
    }

    fn generation(&self, generation: GenerationId) -> GenerationId {
        let rank = self.generations.binary_search(&generation).expect("every generation was met");
        GenerationId(rank as u64 + 1)
    }

    /// By rank, but odd stays odd and even stays even: that says which half of the scoreboard it is.
    fn spawn(&self, generation: GenerationId, worker: WorkerId, spawn: u32) -> u32 {
        let mut rank = 0;
        for known in self.spawns[&(generation, worker)].range(..=spawn) {
            rank += u32::from(rank % 2 != known % 2);
            if *known < spawn {
                rank += 1;
            }
        }
        rank
    }

    fn process(&self, process: Process) -> Process {
        match process {
            Process::Zygote(generation) => Process::Zygote(self.generation(generation)),
            Process::Worker(worker) => Process::Worker(self.worker(worker)),
            Process::Orphan(orphan) => Process::Orphan(orphan),
        }
    }

    fn accepting<'a>(&self, accepting: impl Iterator<Item = &'a Process>) -> BTreeSet<Process> {
        accepting.map(|process| self.process(*process)).collect()
    }

    fn worker(&self, WorkerRef { generation, worker, spawn }: WorkerRef) -> WorkerRef {
        WorkerRef { generation: self.generation(generation), worker, spawn: self.spawn(generation, worker, spawn) }
    }

    /// A moment that is waited for: past ones are all alike.
    fn ahead(&self, moment: Moment) -> Moment {
        NOW.after(moment.since(self.now))
    }

    /// A moment that is remembered, for at most so long.
    fn behind(&self, moment: Moment, memory: Duration) -> Moment {
        Moment(NOW.0 - self.now.since(moment).min(memory).as_nanos() as u64)
    }

    pub(super) fn apply(&self, node: &mut Node) {
        let machine = &mut node.machine;
        machine.next_generation = self.generation(machine.next_generation);
        machine.draining = machine.draining.keys().map(|generation| (self.generation(*generation), 0)).collect();
        machine.yielding = machine.yielding.iter().map(|(worker, mercy)| (self.worker(*worker), *mercy)).collect();
        machine.departures.going = machine
            .departures
            .going
            .iter()
            .map(|(process, departure)| {
                let departure = match *departure {
                    Departure::Asked { kill_at } => Departure::Asked { kill_at: self.ahead(kill_at) },
                    Departure::Killed => Departure::Killed,
                };
                (self.process(*process), departure)
            })
            .collect();
        if let Some(switch) = &mut machine.switch {
            switch.generation = self.generation(switch.generation);
            if let Report::Serving { operation, generation, .. } = &mut switch.report {
                *operation = operation.map(|_| OperationId(0));
                *generation = self.generation(*generation);
            }
            switch.accepting = self.accepting(switch.accepting.iter().flatten()).into();
            switch.until = self.ahead(switch.until);
        }
        if let Some(retry) = &mut machine.retry {
            retry.at = self.ahead(retry.at);
        }
        if let Some(boot) = &mut machine.booting {
            boot.generation = self.generation(boot.generation);
            boot.operation = boot.operation.map(|_| OperationId(0));
            boot.deadline = self.ahead(boot.deadline);
        }
        if let Some(serving) = &mut machine.serving {
            self.apply_to_serving(serving);
        }
        let witness = &mut node.witness;
        witness.pending = witness.pending.iter().map(|_| OperationId(0)).collect();
        witness.yields = None;
        witness.switch = witness
            .switch
            .take()
            .map(|(accepting, since)| (self.accepting(accepting.iter()), self.behind(since, POLICY.told_within)));
        for what in &mut witness.weighing {
            *what = match *what {
                Weighing::Successor(worker) => Weighing::Successor(self.worker(worker)),
                Weighing::Workers(generation) => Weighing::Workers(self.generation(generation)),
            };
        }
        witness.booting = witness.booting.map(|generation| self.generation(generation));
        witness.serving = witness.serving.map(|generation| self.generation(generation));
        witness.processes = witness
            .processes
            .iter()
            .map(|(process, known)| {
                let mut known = *known;
                known.since = if known.proved { NOW } else { self.behind(known.since, BOOT_DEADLINE) };
                known.asked = match known.asked {
                    Asked::Finish { since } => Asked::Finish { since: self.behind(since, POLICY.mercy) },
                    Asked::No => Asked::No,
                    Asked::Killed => Asked::Killed,
                };
                if known.asked == Asked::Killed {
                    known = Known { asked: Asked::Killed, proved: true, open: false, since: NOW };
                }
                (self.process(*process), known)
            })
            .collect();
    }

    fn apply_to_serving(&self, serving: &mut Serving) {
        let generation = serving.generation;
        let remembered = |since| self.behind(since, POLICY.respawn_delay_longest);
        serving.generation = self.generation(generation);
        serving.since = remembered(serving.since);
        serving.zygote = match serving.zygote {
            Zygote::RebootAt(at) => Zygote::RebootAt(self.ahead(at)),
            Zygote::Alive => Zygote::Alive,
            Zygote::Gone => Zygote::Gone,
        };
        for (worker, place) in &mut serving.places {
            let renamed = |spawn| self.spawn(generation, *worker, spawn);
            place.last_spawn = renamed(place.last_spawn);
            place.seat = match place.seat {
                Seat::Serving { spawn, since, recycle } => {
                    let recycle = match recycle {
                        Recycle::NotBefore(at, why) => Recycle::NotBefore(self.ahead(at), why),
                        Recycle::No | Recycle::Asked(_) | Recycle::Weighing(_) => recycle,
                    };
                    Seat::Serving { spawn: renamed(spawn), since: remembered(since), recycle }
                }
                Seat::Yielding { spawn } => Seat::Yielding { spawn: renamed(spawn) },
                Seat::Recycling { spawn, since, successor, prove_by, why } => Seat::Recycling {
                    why,
                    spawn: renamed(spawn),
                    since: remembered(since),
                    successor: renamed(successor),
                    prove_by: self.ahead(prove_by),
                },
                Seat::Proving { spawn, prove_by } => {
                    Seat::Proving { spawn: renamed(spawn), prove_by: self.ahead(prove_by) }
                }
                Seat::Waiting { until } => Seat::Waiting { until: self.ahead(until) },
                Seat::Held | Seat::Vacant | Seat::Resting => place.seat,
            };
        }
    }
}
