//! Watches the machine from outside: what it was told, what it asked for, and whether that keeps the invariants of
//! `ARCHITECTURE.md`. Used by the exploration and by the simulation.

use std::collections::{BTreeMap, BTreeSet};

use super::{departures::Process, *};
use crate::ids::WorkerId;

/// How far a process was asked to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Asked {
    No,
    Finish { since: Moment },
    Killed,
}

/// A process whose end the machine was not told yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Known {
    pub(super) asked: Asked,
    /// A zygote that is loaded, a worker that proved.
    pub(super) proved: bool,
    /// A worker that accepts, an orphan.
    pub(super) open: bool,
    pub(super) since: Moment,
}

impl Known {
    pub(super) fn accepts(&self) -> bool {
        self.open && self.asked == Asked::No
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Stopped {
    No,
    Asked,
    AtOnce,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Witness {
    pub(super) policy: Policy,
    pub(super) plan: Plan,
    pub(super) processes: BTreeMap<Process, Known>,
    pub(super) booting: Option<GenerationId>,
    pub(super) serving: Option<GenerationId>,
    /// A switch that was not told yet: of those that were asked to go with it, who may still accept; and since when.
    pub(super) switch: Option<(BTreeSet<Process>, Moment)>,
    /// Deploys that have not ended.
    pub(super) pending: BTreeSet<OperationId>,
    /// What the machine wants to know the weight of.
    pub(super) weighing: Vec<Weighing>,
    /// How many workers are wanted of what serves.
    pub(super) wanted: u32,
    /// What served last was given up, or nothing ever did: the next begins as the first one.
    pub(super) anew: bool,
    /// Somebody gave up the last boot.
    pub(super) given_up: bool,
    /// A worker that was said to have no room beside it for its successor, while that is being acted upon.
    pub(super) yields: Option<WorkerRef>,
    /// What boots was said to have no room, and has not begun again.
    pub(super) clears: bool,
    pub(super) stopped: Stopped,
    /// Whether a deploy was ever asked for.
    pub(super) begun: bool,
    pub(super) left: bool,
}

pub(super) type Verdict = Result<(), String>;

macro_rules! demand {
    ($holds:expr, $($words:tt)*) => {
        if !$holds {
            return Err(format!($($words)*));
        }
    };
}

impl Witness {
    pub(super) fn new(policy: Policy, plan: Plan) -> Self {
        Witness {
            policy,
            plan,
            processes: BTreeMap::new(),
            booting: None,
            serving: None,
            switch: None,
            pending: BTreeSet::new(),
            weighing: Vec::new(),
            wanted: plan.first,
            anew: true,
            given_up: false,
            yields: None,
            clears: false,
            stopped: Stopped::No,
            begun: false,
            left: false,
        }
    }

    /// One step of the machine: it was told `event`, asked for `actions`, and is now `machine`.
    pub(super) fn step(&mut self, event: &Event, actions: &[Action], machine: &Generations, now: Moment) -> Verdict {
        demand!(!self.left || actions.is_empty(), "acts after it has left");
        self.told(event);
        let accepting = self.accepting();
        let yields = matches!(event, Event::Weighed { what: Weighing::Successor(_), room: Room::Short });
        let is_alone = actions.iter().filter(|action| matches!(action, Action::Report(_))).count() == 1;
        let before = self.clone();
        self.switches(machine, now);
        for action in actions {
            if is_alone && matches!(action, Action::Report(Report::Serving { .. })) {
                self.is_told_in_time(machine, now)?;
            }
            self.asks(action, &before, now)?;
        }
        if before.booting.is_some() && self.serving == before.booting {
            self.is_open(&before)?;
        }
        if self.stopped == Stopped::No && self.wanted > 0 && !yields {
            demand!(accepting == 0 || self.accepting() > 0, "nobody accepts any more, by the machine's own doing");
        }
        if self.stopped == Stopped::No && actions.iter().any(|action| self.relieves(action)) {
            demand!(
                self.accepting() >= accepting.min(self.wanted as usize),
                "{} accept, where {accepting} did and {} are wanted",
                self.accepting(),
                self.wanted
            );
        }
        let still_due = machine.deadline().is_some_and(|deadline| deadline <= now);
        let spins = *event == Event::DeadlineReached && still_due && actions.is_empty();
        demand!(!spins, "what is due stays due, and nothing comes of it");
        self.present(machine)
    }

    /// What booted serves from this step on; it is told later.
    fn switches(&mut self, machine: &Generations, now: Moment) {
        let serving = machine.serving().map(|(generation, _)| generation);
        if self.booting.is_some() && serving == self.booting {
            if self.anew {
                self.wanted = self.plan.first;
            }
            self.booting = None;
            self.serving = serving;
            self.switch = Some((BTreeSet::new(), now));
        }
    }

    /// What has come into service in this step accepts, with no more than are wanted.
    fn is_open(&self, before: &Witness) -> Verdict {
        let serving = before.booting;
        let accepts = |(process, known): &(&Process, &Known)| {
            serving.is_some_and(|serving| process.is_of(serving)) && known.accepts()
        };
        let open = self.processes.iter().filter(accepts).count();
        demand!(open <= self.wanted as usize, "{serving:?} serves with {open} workers");
        demand!(open > 0 || self.wanted == 0, "{serving:?} serves with no worker");
        Ok(())
    }

    /// Unless something else is told or what it brought goes, a switch is told when nobody accepts any more who was asked to
    /// go with it, or late.
    fn is_told_in_time(&self, machine: &Generations, now: Moment) -> Verdict {
        let Some((accepting, since)) = &self.switch else {
            return Err("a switch is told that did not happen".to_owned());
        };
        let late = now.since(*since) >= self.policy.told_within;
        let goes = machine.serving().map(|(generation, _)| generation) != self.serving;
        demand!(accepting.is_empty() || late || goes, "a switch is told while {accepting:?} accept");
        Ok(())
    }

    /// Whether it sends a worker of an older generation away.
    fn relieves(&self, action: &Action) -> bool {
        matches!(action, Action::Drain(worker) if self.serving.is_some_and(|serving| serving > worker.generation))
    }

    /// Workers of this generation that were not asked to go.
    fn staying(&self, of: GenerationId) -> usize {
        let staying = self.processes.iter().filter(|(process, known)| match process {
            Process::Worker(worker) => worker.generation == of && known.asked == Asked::No,
            Process::Zygote(_) | Process::Orphan(_) => false,
        });
        staying.count()
    }

    fn accepting(&self) -> usize {
        self.processes.values().filter(|known| known.accepts()).count()
    }

    fn told(&mut self, event: &Event) {
        self.yields = None;
        match event {
            Event::Deploy { operation, .. } => {
                self.begun = true;
                self.pending.insert(*operation);
            }
            Event::Stop => {
                self.stopped = if self.stopped == Stopped::AtOnce { Stopped::AtOnce } else { Stopped::Asked }
            }
            Event::StopNow => self.stopped = Stopped::AtOnce,
            Event::NoRoom { generation } => {
                if self.booting == Some(*generation) {
                    self.processes.remove(&Process::Zygote(*generation));
                    self.clears = true;
                }
            }
            Event::Loaded { generation } => self.proves(Process::Zygote(*generation)),
            Event::Proved { worker } => self.proves(Process::Worker(*worker)),
            Event::ZygoteExited { generation, .. } => self.ends(Process::Zygote(*generation)),
            Event::WorkerExited { worker, .. } => self.ends(Process::Worker(*worker)),
            Event::OrphanExited { orphan } => self.ends(Process::Orphan(*orphan)),
            Event::GateClosed { worker } => self.shuts(Process::Worker(*worker)),
            Event::OrphanGateClosed { orphan } => self.shuts(Process::Orphan(*orphan)),
            Event::OrphanFound { orphan } => {
                let known = Known { asked: Asked::No, proved: true, open: true, since: Moment::START };
                self.processes.entry(Process::Orphan(*orphan)).or_insert(known);
            }
            Event::Resize { workers } => {
                if self.serving.is_some() {
                    self.wanted = (*workers).clamp(self.plan.least, self.plan.workers);
                }
            }
            Event::Weighed { what, room } => {
                self.weighing.retain(|weighing| weighing != what);
                self.yields = match (what, room) {
                    (Weighing::Successor(worker), Room::Short) => Some(*worker),
                    (Weighing::Successor(_) | Weighing::Workers(_), _) => None,
                };
            }
            Event::Cancel { .. } | Event::BootFailed { .. } | Event::RecycleAsked { .. } | Event::DeadlineReached => {}
        }
    }

    fn proves(&mut self, process: Process) {
        if let Some(known) = self.processes.get_mut(&process) {
            known.proved = true;
        }
    }

    fn shuts(&mut self, process: Process) {
        if let Some((accepting, _)) = &mut self.switch {
            accepting.remove(&process);
        }
    }

    fn ends(&mut self, process: Process) {
        self.processes.remove(&process);
        self.shuts(process);
        self.weighing.retain(|what| match what {
            Weighing::Successor(worker) => process != Process::Worker(*worker),
            Weighing::Workers(generation) => process != Process::Zygote(*generation),
        });
    }

    fn begins(&mut self, process: Process, now: Moment) -> Verdict {
        let known = Known { asked: Asked::No, proved: false, open: false, since: now };
        demand!(self.processes.insert(process, known).is_none(), "{process:?} begins twice");
        Ok(())
    }

    fn asks(&mut self, action: &Action, before: &Witness, now: Moment) -> Verdict {
        demand!(!self.left, "{action:?} after Leave");
        match action {
            Action::Boot { generation, .. } => {
                let again = std::mem::take(&mut self.clears) && self.booting == Some(*generation);
                demand!(
                    again || self.booting.is_none(),
                    "generation {generation} boots beside {:?}, which boots",
                    self.booting
                );
                demand!(self.stopped == Stopped::No, "generation {generation} boots after a stop");
                self.booting = Some(*generation);
                self.begins(Process::Zygote(*generation), now)
            }
            Action::Spawn(worker) => {
                let zygote = self.processes.get(&Process::Zygote(worker.generation));
                demand!(
                    zygote.is_some_and(|zygote| zygote.proved && zygote.asked == Asked::No),
                    "nobody can fork {worker}"
                );
                demand!(self.stopped == Stopped::No, "{worker} is forked after a stop");
                self.begins(Process::Worker(*worker), now)
            }
            Action::Weigh(what) => {
                demand!(!self.weighing.contains(what), "{what:?} is weighed twice at once");
                self.weighing.push(*what);
                Ok(())
            }
            Action::OpenGate(worker) => {
                let Some(known) = self.processes.get_mut(&Process::Worker(*worker)) else {
                    return Err(format!("the gate of {worker} opens, which is not there"));
                };
                demand!(known.proved, "the gate of {worker} opens before it has proved");
                demand!(known.asked == Asked::No, "the gate of {worker} opens while it goes");
                demand!(!known.open, "the gate of {worker} opens twice");
                known.open = true;
                Ok(())
            }
            Action::Drain(worker) => self.asked_to_finish(Process::Worker(*worker), before, now),
            Action::RetireZygote(generation) => self.asked_to_finish(Process::Zygote(*generation), before, now),
            Action::DrainOrphan(orphan) => self.asked_to_finish(Process::Orphan(*orphan), before, now),
            Action::Kill(worker) => self.killed(Process::Worker(*worker), now),
            Action::KillZygote(generation) => self.killed(Process::Zygote(*generation), now),
            Action::KillOrphan(orphan) => self.killed(Process::Orphan(*orphan), now),
            Action::Report(report) => self.reports(report),
            Action::Leave => {
                demand!(self.processes.is_empty(), "it leaves {:?} behind", self.processes.keys());
                demand!(self.pending.is_empty(), "it leaves without an end of {:?}", self.pending);
                self.left = true;
                Ok(())
            }
        }
    }

    /// Nothing is drained but what has a successor that serves, or by a stop.
    fn asked_to_finish(&mut self, process: Process, before: &Witness, now: Moment) -> Verdict {
        let succeeded = match process {
            Process::Zygote(generation) => {
                self.serving.is_none_or(|serving| serving > generation || self.clears && serving == generation)
            }
            Process::Orphan(_) => self.serving.is_some(),
            Process::Worker(worker) => {
                let recycled = self.processes.iter().any(|(other, known)| match other {
                    Process::Worker(other) => {
                        (other.generation, other.worker) == (worker.generation, worker.worker)
                            && other.spawn > worker.spawn
                            && known.accepts()
                    }
                    Process::Zygote(_) | Process::Orphan(_) => false,
                });
                let superfluous = self.staying(worker.generation) > self.wanted as usize;
                let yields = self.yields == Some(worker);
                recycled || yields || superfluous || self.serving.is_some_and(|serving| serving > worker.generation)
            }
        };
        let dead = before.serving.is_some() && self.accepting() == 0;
        demand!(succeeded || self.stopped != Stopped::No || dead, "{process:?} is drained without a successor");
        let Some(known) = self.processes.get_mut(&process) else {
            return Err(format!("{process:?} is drained, which is not there"));
        };
        demand!(known.asked == Asked::No, "{process:?} is drained twice");
        known.asked = Asked::Finish { since: now };
        if before.switch.is_none()
            && let Some((accepting, _)) = &mut self.switch
            && !matches!(process, Process::Zygote(_))
        {
            accepting.insert(process);
        }
        Ok(())
    }

    /// Nothing that accepts, or finishes what it has, is killed before its mercy is over, but by a second stop.
    fn killed(&mut self, process: Process, now: Moment) -> Verdict {
        let (mercy, at_once) = (self.plan.mercy, self.stopped == Stopped::AtOnce);
        let stopping = self.stopped != Stopped::No;
        let late = |since: Moment| now.since(since) >= self.plan.boot_deadline;
        let booting = self.booting;
        let shrinks = match process {
            Process::Worker(worker) => self.staying(worker.generation) > self.wanted as usize,
            Process::Zygote(_) | Process::Orphan(_) => false,
        };
        let Some(known) = self.processes.get_mut(&process) else {
            return Err(format!("{process:?} is killed, which is not there"));
        };
        match known.asked {
            Asked::No => match process {
                Process::Worker(worker) => {
                    let retired = stopping || self.serving.is_none_or(|serving| serving > worker.generation);
                    let superfluous = booting.is_some_and(|booting| booting == worker.generation)
                        || retired
                        || shrinks
                        || late(known.since);
                    demand!(at_once || (!known.open && superfluous), "{worker} is killed, which was not asked to go");
                }
                Process::Zygote(generation) => {
                    demand!(
                        at_once || booting == Some(generation),
                        "the zygote of {generation} is killed, which was not asked to go"
                    );
                }
                Process::Orphan(orphan) => demand!(at_once, "orphan {orphan} is killed, which was not asked to go"),
            },
            Asked::Finish { since } => {
                demand!(at_once || now.since(since) >= mercy, "{process:?} is killed within its mercy")
            }
            Asked::Killed => return Err(format!("{process:?} is killed twice")),
        }
        known.asked = Asked::Killed;
        Ok(())
    }

    fn reports(&mut self, report: &Report) -> Verdict {
        match report {
            Report::Booting { generation, .. } => {
                demand!(self.booting == Some(*generation), "{generation} is said to boot");
                self.given_up = false;
            }
            Report::Serving { operation, generation, .. } => {
                demand!(self.switch.take().is_some(), "{generation} serves, which did not boot");
                demand!(
                    self.serving == Some(*generation),
                    "{generation} is said to serve, but {:?} does",
                    self.serving
                );
                return self.operation_ends(*operation);
            }
            Report::Failed { operation, generation, still_serving, reason, .. } => {
                self.given_up = *reason == FailureReason::Cancelled;
                demand!(
                    self.booting.is_none_or(|booting| booting == *generation),
                    "{generation} failed, which did not boot"
                );
                (self.booting, self.clears) = (None, false);
                demand!(
                    !*still_serving || self.accepting() > 0 || self.serving.is_some(),
                    "nothing serves, but is said to"
                );
                let ended = self.accepting() == 0 || self.stopped != Stopped::No;
                demand!(*still_serving || ended, "something serves, but is said not to");
                return self.operation_ends(*operation);
            }
            Report::Drained { generation, .. } => {
                demand!(
                    !self.processes.keys().any(|process| process.is_of(*generation)),
                    "{generation} is not drained"
                );
                if self.serving == Some(*generation) {
                    self.serving = None;
                }
            }
            Report::Stopped => demand!(self.stopped != Stopped::No, "nobody asked for the stop"),
            Report::Loaded { .. } | Report::WorkerDied { .. } | Report::Recycled { .. } => {}
        }
        Ok(())
    }

    fn operation_ends(&mut self, operation: Option<OperationId>) -> Verdict {
        if let Some(operation) = operation {
            demand!(self.pending.remove(&operation), "operation {operation} ends twice");
        }
        Ok(())
    }

    /// What must be so after every step.
    fn present(&mut self, machine: &Generations) -> Verdict {
        if let Some(wanted) = machine.wanted() {
            demand!((self.plan.least..=self.plan.workers).contains(&wanted), "{wanted} workers are wanted");
            self.wanted = wanted;
        }
        self.anew = machine.serving().is_none();
        let deadline = machine.deadline();
        let due_by = |moment: Moment| deadline.is_some_and(|deadline| deadline <= moment);
        demand!(self.pending.len() <= 1, "two deploys are open: {:?}", self.pending);
        demand!(self.booting == machine.booting().map(|(generation, ..)| generation), "what boots?");
        demand!(!self.left || deadline.is_none(), "it waits for something after it has left");
        if let Some((_, since)) = &self.switch {
            demand!(due_by(since.after(self.policy.told_within)), "a switch may stay untold for ever");
        }
        demand!(
            self.left || !self.begun || deadline.is_some() || !self.processes.is_empty(),
            "nothing will ever happen again"
        );
        let mut crowd: BTreeMap<(GenerationId, WorkerId), usize> = BTreeMap::new();
        for (process, known) in &self.processes {
            match known.asked {
                Asked::No => {
                    demand!(self.stopped == Stopped::No, "{process:?} was not asked to go after a stop");
                    demand!(
                        known.proved || due_by(known.since.after(self.plan.boot_deadline)),
                        "{process:?} may boot for ever"
                    );
                }
                Asked::Finish { since } => {
                    demand!(due_by(since.after(self.plan.mercy)), "{process:?} may drain for ever")
                }
                Asked::Killed => {}
            }
            match process {
                Process::Worker(worker) if known.asked != Asked::Killed => {
                    *crowd.entry((worker.generation, worker.worker)).or_default() += 1;
                }
                Process::Worker(_) | Process::Zygote(_) | Process::Orphan(_) => {}
            }
        }
        demand!(crowd.values().all(|processes| *processes <= 2), "a place holds three: {crowd:?}");
        let serving = self.serving;
        let recycled = self.processes.iter().filter(|(process, known)| match process {
            Process::Worker(worker) => Some(worker.generation) == serving && known.asked == Asked::No && !known.open,
            Process::Zygote(_) | Process::Orphan(_) => false,
        });
        let beside = recycled
            .filter(|(process, _)| {
                self.processes.iter().any(|(other, known)| known.accepts() && same_place(process, other))
            })
            .count();
        demand!(beside <= 1, "{beside} workers are recycled at once");
        Ok(())
    }

    /// Whether a machine that nobody disturbs has come to rest in a good state.
    pub(super) fn at_rest(&self) -> Verdict {
        let leftover = self.processes.values().any(|known| known.asked != Asked::No);
        demand!(!leftover, "something that was asked to go is still there");
        if self.left || !self.begun && self.stopped == Stopped::No {
            return Ok(());
        }
        demand!(self.stopped == Stopped::No, "it was stopped and has not left");
        demand!(self.booting.is_none(), "it boots and nothing comes of it");
        match self.serving {
            None => {
                demand!(self.accepting() > 0, "it neither serves nor leaves");
                demand!(self.given_up, "only workers of an earlier master serve, and nothing replaces them");
            }
            Some(serving) => {
                demand!(self.accepting() == self.wanted as usize, "{} of {} serve", self.accepting(), self.wanted);
                demand!(self.processes.keys().all(|process| process.is_of(serving)), "something else is there");
                demand!(self.processes.contains_key(&Process::Zygote(serving)), "there is no zygote");
            }
        }
        Ok(())
    }
}

fn same_place(one: &Process, other: &Process) -> bool {
    match (one, other) {
        (Process::Worker(one), Process::Worker(other)) => {
            one != other && (one.generation, one.worker) == (other.generation, other.worker)
        }
        (Process::Worker(_) | Process::Zygote(_) | Process::Orphan(_), _) => false,
    }
}
