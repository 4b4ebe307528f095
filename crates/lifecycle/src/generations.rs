//! Which generation of one app serves, and what happens to the others. Fed and performed by the vassal's master.
//!
//! There is one path into service: boot beside what serves, prove, switch, drain. A first boot, an edit, a reload and
//! the replacement of a dead zygote all take it; whatever fails before the switch leaves alone what serves.

mod boot;
mod departures;
mod deploys;
mod endings;
mod retrying;
mod serving;
mod switching;
mod words;
mod yielding;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub use words::{Action, Event, Exit, FailureReason, Plan, Policy, RecycleReason, Report, Room, Weighing};

use crate::{
    backoff::Backoff,
    ids::{GenerationId, OperationId, OrphanId, RevisionId, WorkerRef},
    moment::Moment,
};
use boot::{Boot, Progress};
use departures::{Departure, Departures, Process};
use retrying::Retry;
use serving::{Serving, Zygote};
use switching::Switch;

/// The machine. See the module.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Generations {
    policy: Policy,
    next_generation: GenerationId,
    course: Course,
    booting: Option<Boot>,
    serving: Option<Serving>,
    /// That it serves is still to be told.
    switch: Option<Switch>,
    /// Workers of the generation before that accept until there is room for their successors, and the mercy of each.
    yielding: BTreeMap<WorkerRef, Duration>,
    /// Workers of an earlier master that serve until a generation of ours does.
    orphans: BTreeSet<OrphanId>,
    /// What is booted again while only they serve.
    retry: Option<Retry>,
    departures: Departures,
    /// Generations whose end is to be reported, with the number of their workers that did not finish.
    draining: BTreeMap<GenerationId, u32>,
    /// Deaths of zygotes that served, and failures to replace them.
    reboots: Backoff,
}

/// Where the vassal is heading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Course {
    /// Nothing was asked for yet.
    Fresh,
    /// To serve.
    Serve,
    /// To drain everything and leave.
    Stop,
    /// To kill everything and leave.
    StopNow,
    /// It has left.
    Left,
}

impl Generations {
    /// A vassal without any generation yet. The first [`Event::Deploy`] boots it.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Generations {
            policy,
            next_generation: policy.first_generation,
            course: Course::Fresh,
            booting: None,
            serving: None,
            switch: None,
            yielding: BTreeMap::new(),
            orphans: BTreeSet::new(),
            retry: None,
            departures: Departures::default(),
            draining: BTreeMap::new(),
            reboots: Backoff::default(),
        }
    }

    /// Takes one event at `now` and answers with what is to be done, in order. What does not belong to a process or
    /// an operation of the present is ignored: events may come late, twice or not at all.
    pub fn handle(&mut self, event: Event, now: Moment) -> Vec<Action> {
        let mut out = Vec::new();
        if self.course == Course::Left {
            return out;
        }
        let is_to_be_told = self.switch.is_some();
        match event {
            Event::Deploy { operation, revision, plan } => self.deploy(operation, revision, plan, now, &mut out),
            Event::Cancel { operation } => self.cancel(operation, now, &mut out),
            Event::Stop => self.stop(now, &mut out),
            Event::StopNow => self.stop_now(now, &mut out),
            Event::NoRoom { generation } => self.no_room(generation, now, &mut out),
            Event::Loaded { generation } => self.loaded(generation, now, &mut out),
            Event::BootFailed { generation, reason } => {
                if self.is_booting(generation) {
                    self.boot_failed(reason, None, now, &mut out);
                }
            }
            Event::ZygoteExited { generation, how } => self.zygote_exited(generation, how, now, &mut out),
            Event::Proved { worker } => self.proved(worker, now, &mut out),
            Event::RecycleAsked { worker, why } => {
                if let Some(serving) = self.serving_of(worker) {
                    serving.recycle_asked(worker, why);
                }
            }
            Event::Weighed { what, room } => self.weighed(what, room, now, &mut out),
            Event::Resize { workers } => {
                if let Some(serving) = &mut self.serving {
                    serving.want(workers);
                }
            }
            Event::WorkerExited { worker, exit, how } => self.worker_exited(worker, exit, how, now, &mut out),
            Event::GateClosed { worker } => self.gate_closed(Process::Worker(worker)),
            Event::OrphanGateClosed { orphan } => self.gate_closed(Process::Orphan(orphan)),
            Event::OrphanFound { orphan } => self.orphan_found(orphan, now, &mut out),
            Event::OrphanExited { orphan } => {
                self.orphans.remove(&orphan);
                self.departures.gone(Process::Orphan(orphan));
                self.gate_closed(Process::Orphan(orphan));
            }
            Event::DeadlineReached => self.deadline_reached(now, &mut out),
        }
        if is_to_be_told {
            self.tell_switch(now, 0, &mut out);
        }
        self.settle(now, &mut out);
        out
    }

    /// When [`Event::DeadlineReached`] is due, if anything is being waited for. Feed the events that are already
    /// there first: a process that slept must not take its own absence for the failure of others.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        let boot = self.booting.as_ref().map(|boot| boot.deadline);
        let serving = self.serving.as_ref().and_then(Serving::deadline);
        let switch = self.switch.as_ref().map(|switch| switch.until);
        let retry = self.retry.filter(|_| !self.orphans.is_empty()).map(|retry| retry.at);
        [boot, serving, switch, retry, self.departures.deadline()].into_iter().flatten().min()
    }

    /// What serves.
    #[must_use]
    pub fn serving(&self) -> Option<(GenerationId, RevisionId)> {
        self.serving.as_ref().map(|serving| (serving.generation, serving.revision))
    }

    /// How many workers of what serves are wanted.
    #[must_use]
    pub fn wanted(&self) -> Option<u32> {
        self.serving.as_ref().map(|serving| serving.wanted)
    }

    /// What boots, and which operation asked for it.
    #[must_use]
    pub fn booting(&self) -> Option<(GenerationId, RevisionId, Option<OperationId>)> {
        self.booting.as_ref().map(|boot| (boot.generation, boot.revision, boot.operation))
    }

    fn zygote_exited(&mut self, generation: GenerationId, how: String, now: Moment, out: &mut Vec<Action>) {
        let zygote = Process::Zygote(generation);
        self.departures.gone(zygote);
        if let Some(boot) = self.booting.as_ref().filter(|boot| boot.generation == generation) {
            // While there is no room for it, it is not there.
            if boot.progress != Progress::Clearing {
                self.boot_failed(FailureReason::Died { how }, Some(zygote), now, out);
            }
        } else if let Some(serving) = self.serving.as_mut().filter(|serving| serving.generation == generation) {
            match serving.zygote {
                Zygote::Alive => {
                    serving.zygote = Zygote::Gone;
                    if now.since(serving.since) >= self.policy.respawn_delay_longest {
                        self.reboots.forget();
                    }
                    self.reboot_if_zygote_gone(now, out);
                }
                Zygote::Gone | Zygote::RebootAt(_) => {}
            }
        }
    }

    fn worker_exited(&mut self, worker: WorkerRef, exit: Exit, how: String, now: Moment, out: &mut Vec<Action>) {
        let process = Process::Worker(worker);
        self.gate_closed(process);
        match self.departures.gone(process) {
            Some(departure) => {
                match (departure, exit) {
                    (Departure::Asked { .. }, Exit::Died) => self.count_unfinished(process),
                    (Departure::Asked { .. }, Exit::Clean) | (Departure::Killed, _) => {}
                }
                if let Some(serving) = self.serving.as_mut().filter(|serving| serving.generation == worker.generation) {
                    serving.departed(worker, &self.departures, now, out);
                }
            }
            None => {
                self.yielding_exited(worker);
                if self.booting.as_ref().is_some_and(|boot| boot.has(worker)) {
                    self.boot_failed(FailureReason::Died { how }, Some(process), now, out);
                } else if let Some(serving) =
                    self.serving.as_mut().filter(|serving| serving.generation == worker.generation)
                {
                    serving.worker_exited(worker, how, &self.policy, &self.departures, now, out);
                }
            }
        }
    }

    fn deadline_reached(&mut self, now: Moment, out: &mut Vec<Action>) {
        let killed = self.departures.kill_due(now);
        self.note_killed(killed, out);
        if let Some(boot) = self.booting.as_ref().filter(|boot| boot.deadline <= now) {
            let after_s = boot.plan.boot_deadline.as_secs();
            self.boot_failed(FailureReason::BootDeadline { after_s }, None, now, out);
        }
        if let Some(serving) = &mut self.serving {
            serving.deadline_reached(&mut self.departures, &self.policy, now, out);
            match serving.zygote {
                Zygote::RebootAt(at) if at <= now => self.reboot(now, out),
                Zygote::RebootAt(_) | Zygote::Alive | Zygote::Gone => {}
            }
        }
        self.retry_if_due(now, out);
    }

    /// What follows from the present state, whatever event led to it.
    fn settle(&mut self, now: Moment, out: &mut Vec<Action>) {
        self.boot_when_clear(out);
        if let Some(serving) = &mut self.serving {
            serving.size(&mut self.departures, now, out);
        }
        self.yield_on(now, out);
        if let Some(serving) = &mut self.serving {
            serving.recycle_one(&self.departures, out);
        }
        if self.serving.as_ref().is_some_and(Serving::is_in_service) {
            self.drain_orphans(now, out);
        }
        self.forget_retry_if_moot();
        self.await_gates();
        self.tell_switch(now, out.len(), out);
        let (departures, yielding) = (&self.departures, &self.yielding);
        let over = |of: GenerationId| departures.none_of(of) && yielding.keys().all(|worker| worker.generation != of);
        for (generation, killed) in self.draining.extract_if(.., |generation, _| over(*generation)) {
            out.push(Action::Report(Report::Drained { generation, killed }));
        }
        let nothing = self.booting.is_none()
            && self.serving.is_none()
            && self.yielding.is_empty()
            && self.orphans.is_empty()
            && self.departures.is_empty();
        match self.course {
            Course::Stop | Course::StopNow if nothing => {
                out.push(Action::Report(Report::Stopped));
                out.push(Action::Leave);
                self.course = Course::Left;
            }
            Course::Serve if nothing => {
                out.push(Action::Leave);
                self.course = Course::Left;
            }
            Course::Fresh | Course::Serve | Course::Stop | Course::StopNow | Course::Left => {}
        }
    }

    fn serving_of(&mut self, worker: WorkerRef) -> Option<&mut Serving> {
        self.serving.as_mut().filter(|serving| serving.generation == worker.generation)
    }

    fn is_booting(&self, generation: GenerationId) -> bool {
        self.booting.as_ref().is_some_and(|boot| boot.generation == generation)
    }
}

#[cfg(test)]
mod canonical;
#[cfg(test)]
mod exploration;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod witness;
