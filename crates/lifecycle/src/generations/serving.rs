//! The generation that serves: its places, who fills them, and who replaces those that die. Does not decide when it is
//! retired. Used by the machine in the parent module.

mod recycling;
mod sizing;

use std::collections::BTreeMap;

use super::{
    boot::Boot,
    departures::{Departures, Process},
    words::{Action, Plan, Policy, RecycleReason, Report, first_workers},
};
use crate::{
    backoff::Backoff,
    ids::{GenerationId, RevisionId, WorkerId, WorkerRef},
    moment::Moment,
};

/// The generation that serves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Serving {
    /// Its number.
    pub(super) generation: GenerationId,
    /// What it runs.
    pub(super) revision: RevisionId,
    /// Its shape.
    pub(super) plan: Plan,
    /// Since when it serves.
    pub(super) since: Moment,
    /// Whether anything can be forked for it.
    pub(super) zygote: Zygote,
    /// How many workers there shall be.
    pub(super) wanted: u32,
    /// Whose turn it was last to be recycled.
    pub(super) recycled_last: WorkerId,
    /// Its workers.
    pub(super) places: BTreeMap<WorkerId, Place>,
}

/// What forks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Zygote {
    /// It forks.
    Alive,
    /// It is gone; a boot is under way that will replace the generation.
    Gone,
    /// It is gone; a generation that replaces this one is booted then.
    RebootAt(Moment),
}

/// The place of one worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// Who fills it.
    pub(super) seat: Seat,
    /// The highest `spawn` there was.
    pub(super) last_spawn: u32,
    /// Failures of late.
    pub(super) backoff: Backoff,
}

/// Who fills a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Seat {
    /// This process accepts connections.
    Serving {
        /// Which.
        spawn: u32,
        /// Since when.
        since: Moment,
        /// Whether it is to be replaced.
        recycle: Recycle,
    },
    /// One accepts connections, its successor boots.
    Recycling {
        /// Who serves.
        spawn: u32,
        /// Since when.
        since: Moment,
        /// Who boots.
        successor: u32,
        /// Until when the successor may boot.
        prove_by: Moment,
        /// Why.
        why: RecycleReason,
    },
    /// Nobody accepts: this process drains, and there is no room for its successor before it is gone.
    Yielding {
        /// Which.
        spawn: u32,
    },
    /// Nobody accepts; this process boots.
    Proving {
        /// Which.
        spawn: u32,
        /// Until when it may boot.
        prove_by: Moment,
    },
    /// Nobody is there; the next is forked then.
    Waiting {
        /// When.
        until: Moment,
    },
    /// Nobody is there, and there is no room before a worker of the generation before has gone.
    Held,
    /// Nobody is there and nothing can be forked: the generation that replaces this one fills all places.
    Vacant,
    /// Nobody is there and nobody is wanted.
    Resting,
}

/// Whether a worker is to be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Recycle {
    /// No.
    No,
    /// Yes, in its turn.
    Asked(RecycleReason),
    /// It is its turn; whether its successor fits beside it is being found out.
    Weighing(RecycleReason),
    /// Yes, but its successor failed: not before then.
    NotBefore(Moment, RecycleReason),
}

impl Serving {
    /// The generation of a boot in which everybody has proved, with so many workers wanted.
    pub(super) fn from_boot(boot: &Boot, wanted: u32, now: Moment) -> Self {
        let open = boot.forked().min(wanted);
        let seat = |WorkerId(number): WorkerId| {
            if number <= open {
                Seat::Serving { spawn: 0, since: now, recycle: Recycle::No }
            } else if number <= wanted {
                Seat::Held
            } else {
                Seat::Resting
            }
        };
        Serving {
            generation: boot.generation,
            revision: boot.revision,
            plan: boot.plan,
            since: now,
            zygote: Zygote::Alive,
            wanted,
            recycled_last: WorkerId(0),
            places: first_workers(boot.plan.workers)
                .map(|worker| (worker, Place { seat: seat(worker), last_spawn: 0, backoff: Backoff::default() }))
                .collect(),
        }
    }

    /// Whether anybody serves for it, or is going to without a new generation.
    pub(super) fn serves(&self) -> bool {
        self.zygote == Zygote::Alive
            || self.places.values().any(|place| match place.seat {
                Seat::Serving { .. } | Seat::Recycling { .. } | Seat::Proving { .. } => true,
                Seat::Yielding { .. } | Seat::Waiting { .. } | Seat::Held | Seat::Vacant | Seat::Resting => false,
            })
    }

    /// Whether anybody accepts connections, or would if somebody connected.
    pub(super) fn is_in_service(&self) -> bool {
        self.wanted == 0 || !self.accepting().is_empty()
    }

    /// The workers whose gate is open.
    pub(super) fn accepting(&self) -> Vec<WorkerRef> {
        self.refs(|seat| match seat {
            Seat::Serving { spawn, .. } | Seat::Recycling { spawn, .. } => Some(spawn),
            Seat::Yielding { .. }
            | Seat::Proving { .. }
            | Seat::Waiting { .. }
            | Seat::Held
            | Seat::Vacant
            | Seat::Resting => None,
        })
    }

    /// The workers that boot behind a closed gate.
    pub(super) fn proving(&self) -> Vec<WorkerRef> {
        self.refs(|seat| match seat {
            Seat::Recycling { successor: spawn, .. } | Seat::Proving { spawn, .. } => Some(spawn),
            Seat::Serving { .. }
            | Seat::Yielding { .. }
            | Seat::Waiting { .. }
            | Seat::Held
            | Seat::Vacant
            | Seat::Resting => None,
        })
    }

    fn refs(&self, chosen: impl Fn(Seat) -> Option<u32>) -> Vec<WorkerRef> {
        let generation = self.generation;
        self.places
            .iter()
            .filter_map(|(worker, place)| Some(WorkerRef { generation, worker: *worker, spawn: chosen(place.seat)? }))
            .collect()
    }

    /// A worker proved: if it was waited for it accepts now, and a predecessor drains.
    pub(super) fn proved(
        &mut self,
        worker: WorkerRef,
        departures: &mut Departures,
        now: Moment,
        out: &mut Vec<Action>,
    ) {
        let Some(place) = self.places.get_mut(&worker.worker) else {
            return;
        };
        match place.seat {
            Seat::Proving { spawn, .. } if spawn == worker.spawn => out.push(Action::OpenGate(worker)),
            Seat::Recycling { spawn, successor, why, .. } if successor == worker.spawn => {
                let predecessor = WorkerRef { spawn, ..worker };
                out.push(Action::OpenGate(worker));
                out.push(departures.ask(Process::Worker(predecessor), now.after(self.plan.mercy)));
                out.push(Action::Report(Report::Recycled { worker, why }));
            }
            Seat::Serving { .. }
            | Seat::Recycling { .. }
            | Seat::Yielding { .. }
            | Seat::Proving { .. }
            | Seat::Waiting { .. }
            | Seat::Held
            | Seat::Vacant
            | Seat::Resting => return,
        }
        place.seat = Seat::Serving { spawn: worker.spawn, since: now, recycle: Recycle::No };
    }

    /// A worker is gone that nobody had asked to go.
    pub(super) fn worker_exited(
        &mut self,
        worker: WorkerRef,
        how: String,
        policy: &Policy,
        departures: &Departures,
        now: Moment,
        out: &mut Vec<Action>,
    ) {
        let Some(place) = self.places.get_mut(&worker.worker) else {
            return;
        };
        match place.seat {
            Seat::Serving { spawn, since, .. } if spawn == worker.spawn => {
                if now.since(since) >= policy.respawn_delay_longest {
                    place.backoff.forget();
                }
                self.vacated(worker, how, policy, departures, now, out);
            }
            Seat::Recycling { spawn, successor, prove_by, .. } if spawn == worker.spawn => {
                // Its successor is on the way already.
                place.seat = Seat::Proving { spawn: successor, prove_by };
                out.push(Action::Report(Report::WorkerDied { worker, how, retry_in: std::time::Duration::ZERO }));
            }
            Seat::Recycling { spawn, since, successor, why, .. } if successor == worker.spawn => {
                let retry_in = place.backoff.fail(policy.respawn_delay_first, policy.respawn_delay_longest);
                place.seat = Seat::Serving { spawn, since, recycle: Recycle::NotBefore(now.after(retry_in), why) };
                out.push(Action::Report(Report::WorkerDied { worker, how, retry_in }));
            }
            Seat::Proving { spawn, .. } if spawn == worker.spawn => {
                self.vacated(worker, how, policy, departures, now, out);
            }
            Seat::Serving { .. }
            | Seat::Recycling { .. }
            | Seat::Yielding { .. }
            | Seat::Proving { .. }
            | Seat::Waiting { .. }
            | Seat::Held
            | Seat::Vacant
            | Seat::Resting => {}
        }
    }

    fn vacated(
        &mut self,
        worker: WorkerRef,
        how: String,
        policy: &Policy,
        departures: &Departures,
        now: Moment,
        out: &mut Vec<Action>,
    ) {
        let Some(place) = self.places.get_mut(&worker.worker) else {
            return;
        };
        let retry_in = place.backoff.fail(policy.respawn_delay_first, policy.respawn_delay_longest);
        out.push(Action::Report(Report::WorkerDied { worker, how, retry_in }));
        place.seat = Seat::Waiting { until: now.after(retry_in) };
        if retry_in.is_zero() {
            self.refill(worker.worker, departures, now, out);
        }
    }

    /// Forks into a place in which nobody is.
    fn refill(&mut self, worker: WorkerId, departures: &Departures, now: Moment, out: &mut Vec<Action>) {
        let generation = self.generation;
        let Some(place) = self.places.get_mut(&worker) else {
            return;
        };
        match self.zygote {
            Zygote::Alive => {
                let spawn = place.next_spawn(departures.in_place(generation, worker));
                place.seat = Seat::Proving { spawn, prove_by: now.after(self.plan.boot_deadline) };
                out.push(Action::Spawn(WorkerRef { generation, worker, spawn }));
            }
            Zygote::Gone | Zygote::RebootAt(_) => place.seat = Seat::Vacant,
        }
    }

    /// Does what is due in its places.
    pub(super) fn deadline_reached(
        &mut self,
        departures: &mut Departures,
        policy: &Policy,
        now: Moment,
        out: &mut Vec<Action>,
    ) {
        let due: Vec<WorkerId> = self
            .places
            .iter()
            .filter(|(_, place)| place.deadline().is_some_and(|at| at <= now))
            .map(|(worker, _)| *worker)
            .collect();
        for worker in due {
            let Some(place) = self.places.get_mut(&worker) else {
                continue;
            };
            match place.seat {
                Seat::Proving { spawn, .. } | Seat::Recycling { successor: spawn, .. } => {
                    let late = WorkerRef { generation: self.generation, worker, spawn };
                    out.push(departures.kill(Process::Worker(late)));
                    let how = format!("no answer within {} s of its fork", self.plan.boot_deadline.as_secs());
                    self.worker_exited(late, how, policy, departures, now, out);
                }
                Seat::Waiting { .. } => self.refill(worker, departures, now, out),
                Seat::Serving { spawn, since, recycle: Recycle::NotBefore(_, why) } => {
                    place.seat = Seat::Serving { spawn, since, recycle: Recycle::Asked(why) }
                }
                Seat::Serving { .. } | Seat::Yielding { .. } | Seat::Held | Seat::Vacant | Seat::Resting => {}
            }
        }
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let reboot = match self.zygote {
            Zygote::RebootAt(at) => Some(at),
            Zygote::Alive | Zygote::Gone => None,
        };
        self.places.values().filter_map(Place::deadline).chain(reboot).min()
    }
}

impl Place {
    /// The number of the next process: its half of the scoreboard must not be one that a process which is still
    /// there writes to.
    fn next_spawn(&mut self, mut leaving: impl Iterator<Item = u32>) -> u32 {
        self.last_spawn += 1;
        let next = self.last_spawn;
        if leaving.any(|spawn| spawn % 2 == next % 2) {
            self.last_spawn += 1;
        }
        self.last_spawn
    }

    fn deadline(&self) -> Option<Moment> {
        match self.seat {
            Seat::Serving { recycle: Recycle::NotBefore(at, _), .. } => Some(at),
            Seat::Recycling { prove_by, .. } | Seat::Proving { prove_by, .. } => Some(prove_by),
            Seat::Waiting { until } => Some(until),
            Seat::Serving { recycle: Recycle::No | Recycle::Asked(_) | Recycle::Weighing(_), .. }
            | Seat::Yielding { .. }
            | Seat::Held
            | Seat::Vacant
            | Seat::Resting => None,
        }
    }
}
