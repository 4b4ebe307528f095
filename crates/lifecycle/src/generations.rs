//! Which generation of one app serves, and what happens to the others. Fed and performed by the vassal's master.
//!
//! There is one path into service: boot beside what serves, prove, switch, drain. A first boot, an edit, a reload and
//! the replacement of a dead zygote all take it; whatever fails before the switch leaves alone what serves.

mod boot;
mod departures;
mod serving;
mod words;

use std::collections::{BTreeMap, BTreeSet};

pub use words::{Action, Event, Exit, FailureReason, Plan, Policy, Report};

use crate::{
    backoff::Backoff,
    ids::{GenerationId, OperationId, OrphanId, RevisionId, WorkerRef},
    moment::Moment,
};
use boot::{Boot, Progress};
use departures::{Departure, Departures, Process};
use serving::{Serving, Zygote};

/// The machine. See the module.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Generations {
    policy: Policy,
    next_generation: GenerationId,
    course: Course,
    booting: Option<Boot>,
    serving: Option<Serving>,
    /// Workers of an earlier master that serve until a generation of ours does.
    orphans: BTreeSet<OrphanId>,
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
            orphans: BTreeSet::new(),
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
        match event {
            Event::Deploy { operation, revision, plan } => self.deploy(operation, revision, plan, now, &mut out),
            Event::Cancel { operation } => self.cancel(operation, now, &mut out),
            Event::Stop => self.stop(now, &mut out),
            Event::StopNow => self.stop_now(now, &mut out),
            Event::Loaded { generation } => self.loaded(generation, now, &mut out),
            Event::BootFailed { generation, reason } => {
                if self.is_booting(generation) {
                    self.boot_failed(reason, None, now, &mut out);
                }
            }
            Event::ZygoteExited { generation, how } => self.zygote_exited(generation, how, now, &mut out),
            Event::Proved { worker } => self.proved(worker, now, &mut out),
            Event::RecycleAsked { worker } => {
                if let Some(serving) = self.serving.as_mut().filter(|serving| serving.generation == worker.generation) {
                    serving.recycle_asked(worker);
                }
            }
            Event::WorkerExited { worker, exit, how } => self.worker_exited(worker, exit, how, now, &mut out),
            Event::OrphanFound { orphan } => self.orphan_found(orphan, now, &mut out),
            Event::OrphanExited { orphan } => {
                self.orphans.remove(&orphan);
                self.departures.gone(Process::Orphan(orphan));
            }
            Event::DeadlineReached => self.deadline_reached(now, &mut out),
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
        [boot, serving, self.departures.deadline()].into_iter().flatten().min()
    }

    /// What serves.
    #[must_use]
    pub fn serving(&self) -> Option<(GenerationId, RevisionId)> {
        self.serving.as_ref().map(|serving| (serving.generation, serving.revision))
    }

    /// What boots, and which operation asked for it.
    #[must_use]
    pub fn booting(&self) -> Option<(GenerationId, RevisionId, Option<OperationId>)> {
        self.booting.as_ref().map(|boot| (boot.generation, boot.revision, boot.operation))
    }

    fn deploy(&mut self, operation: OperationId, revision: RevisionId, plan: Plan, now: Moment, out: &mut Vec<Action>) {
        match self.course {
            Course::Fresh | Course::Serve => {
                self.course = Course::Serve;
                self.abandon_boot(FailureReason::Superseded, None, out);
                self.boot(Some(operation), revision, plan, now, out);
            }
            Course::Stop | Course::StopNow | Course::Left => {
                let generation = self.take_generation();
                let (reason, still_serving) = (FailureReason::Cancelled, false);
                out.push(Action::Report(Report::Failed {
                    operation: Some(operation),
                    generation,
                    revision,
                    reason,
                    still_serving,
                }));
            }
        }
    }

    fn boot(
        &mut self,
        operation: Option<OperationId>,
        revision: RevisionId,
        plan: Plan,
        now: Moment,
        out: &mut Vec<Action>,
    ) {
        let generation = self.take_generation();
        if let Some(serving) = &mut self.serving {
            match serving.zygote {
                Zygote::RebootAt(_) => serving.zygote = Zygote::Gone,
                Zygote::Alive | Zygote::Gone => {}
            }
        }
        let deadline = now.after(plan.boot_deadline);
        self.booting = Some(Boot { generation, operation, revision, plan, deadline, progress: Progress::Importing });
        out.push(Action::Boot { generation, revision });
        out.push(Action::Report(Report::Booting { operation, generation, revision }));
    }

    fn take_generation(&mut self) -> GenerationId {
        let generation = self.next_generation;
        self.next_generation = generation.next();
        generation
    }

    fn cancel(&mut self, operation: OperationId, now: Moment, out: &mut Vec<Action>) {
        if self.booting.as_ref().is_some_and(|boot| boot.operation == Some(operation)) {
            self.boot_failed(FailureReason::Cancelled, None, now, out);
        }
    }

    fn loaded(&mut self, generation: GenerationId, now: Moment, out: &mut Vec<Action>) {
        if let Some(boot) = self.booting.as_mut().filter(|boot| boot.generation == generation) {
            let spawns = boot.loaded();
            if !spawns.is_empty() {
                out.push(Action::Report(Report::Loaded { generation }));
                out.extend(spawns);
            }
            self.switch_if_proved(now, out);
        }
    }

    fn proved(&mut self, worker: WorkerRef, now: Moment, out: &mut Vec<Action>) {
        if self.is_booting(worker.generation) {
            if let Some(boot) = &mut self.booting {
                boot.proved(worker);
            }
            self.switch_if_proved(now, out);
        } else if let Some(serving) = self.serving.as_mut().filter(|serving| serving.generation == worker.generation) {
            serving.proved(worker, &mut self.departures, now, out);
        }
    }

    /// The only way into service, and the only way out of it besides a stop.
    fn switch_if_proved(&mut self, now: Moment, out: &mut Vec<Action>) {
        let Some(boot) = self.booting.take_if(|boot| boot.is_proved()) else {
            return;
        };
        if boot.operation.is_some() {
            self.reboots.forget();
        }
        let new = Serving::from_boot(&boot, now);
        out.extend(new.accepting().into_iter().map(Action::OpenGate));
        out.push(Action::Report(Report::Serving {
            operation: boot.operation,
            generation: boot.generation,
            revision: boot.revision,
        }));
        if let Some(old) = self.serving.replace(new) {
            self.retire(&old, now, out);
        }
    }

    fn retire(&mut self, old: &Serving, now: Moment, out: &mut Vec<Action>) {
        let kill_at = now.after(old.plan.mercy);
        self.draining.insert(old.generation, 0);
        for worker in old.accepting() {
            out.push(self.departures.ask(Process::Worker(worker), kill_at));
        }
        for worker in old.proving() {
            // It never accepted anything, and it may hang in an import.
            out.push(self.departures.kill(Process::Worker(worker)));
        }
        if old.zygote == Zygote::Alive {
            out.push(self.departures.ask(Process::Zygote(old.generation), kill_at));
        }
    }

    fn drain_orphans(&mut self, now: Moment, out: &mut Vec<Action>) {
        let kill_at = now.after(self.policy.mercy);
        for orphan in std::mem::take(&mut self.orphans) {
            out.push(self.departures.ask(Process::Orphan(orphan), kill_at));
        }
    }

    /// The boot came to nothing. What serves serves on; a zygote that is missing there is tried for again.
    fn boot_failed(&mut self, reason: FailureReason, gone: Option<Process>, now: Moment, out: &mut Vec<Action>) {
        let kept = self.abandon_boot(reason, gone, out);
        if kept {
            self.reboot_if_zygote_gone(now, out);
        } else if let Some(dead) = self.serving.take() {
            self.retire(&dead, now, out);
        }
    }

    /// Kills what boots and reports it as failed; `gone` is the process that was seen to be gone already. Answers
    /// whether an older generation, or workers of an earlier master, are kept.
    fn abandon_boot(&mut self, reason: FailureReason, gone: Option<Process>, out: &mut Vec<Action>) -> bool {
        let Some(boot) = self.booting.take() else {
            return true;
        };
        for process in boot.processes() {
            if Some(process) != gone {
                out.push(self.departures.kill(process));
            }
        }
        // A generation without zygote and workers is worth another boot of its own after a deploy failed, but when
        // that boot fails as well, nothing is left.
        let kept = self.serving.as_ref().is_some_and(|serving| serving.serves() || boot.operation.is_some());
        let still_serving = kept || !self.orphans.is_empty();
        let Boot { operation, generation, revision, .. } = boot;
        out.push(Action::Report(Report::Failed { operation, generation, revision, reason, still_serving }));
        still_serving
    }

    fn reboot_if_zygote_gone(&mut self, now: Moment, out: &mut Vec<Action>) {
        let Some(serving) = &mut self.serving else {
            return;
        };
        if self.booting.is_some() || serving.zygote == Zygote::Alive {
            return;
        }
        let wait = self.reboots.fail(self.policy.respawn_delay_first, self.policy.respawn_delay_longest);
        serving.zygote = Zygote::RebootAt(now.after(wait));
        if wait.is_zero() {
            self.reboot(now, out);
        }
    }

    fn reboot(&mut self, now: Moment, out: &mut Vec<Action>) {
        if let Some((revision, plan)) = self.serving.as_ref().map(|serving| (serving.revision, serving.plan)) {
            self.boot(None, revision, plan, now, out);
        }
    }

    fn zygote_exited(&mut self, generation: GenerationId, how: String, now: Moment, out: &mut Vec<Action>) {
        let zygote = Process::Zygote(generation);
        self.departures.gone(zygote);
        if self.is_booting(generation) {
            self.boot_failed(FailureReason::Died { how }, Some(zygote), now, out);
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
        match self.departures.gone(process) {
            Some(Departure::Asked { .. }) => match exit {
                Exit::Clean => {}
                Exit::Died => self.count_unfinished(process),
            },
            Some(Departure::Killed) => {}
            None => {
                if self.booting.as_ref().is_some_and(|boot| boot.has(worker)) {
                    self.boot_failed(FailureReason::Died { how }, Some(process), now, out);
                } else if let Some(serving) =
                    self.serving.as_mut().filter(|serving| serving.generation == worker.generation)
                {
                    serving.worker_exited(worker, how, &self.policy, now, out);
                }
            }
        }
    }

    fn count_unfinished(&mut self, process: Process) {
        match process {
            Process::Worker(worker) => {
                if let Some(unfinished) = self.draining.get_mut(&worker.generation) {
                    *unfinished += 1;
                }
            }
            Process::Zygote(_) | Process::Orphan(_) => {}
        }
    }

    fn orphan_found(&mut self, orphan: OrphanId, now: Moment, out: &mut Vec<Action>) {
        let process = Process::Orphan(orphan);
        if self.departures.is_leaving(process) {
            return;
        }
        match self.course {
            Course::Fresh | Course::Serve => {
                self.orphans.insert(orphan);
            }
            Course::Stop => out.push(self.departures.ask(process, now.after(self.policy.mercy))),
            Course::StopNow | Course::Left => out.push(self.departures.kill(process)),
        }
    }

    fn stop(&mut self, now: Moment, out: &mut Vec<Action>) {
        match self.course {
            Course::Fresh | Course::Serve => {
                self.course = Course::Stop;
                self.abandon_boot(FailureReason::Cancelled, None, out);
                if let Some(serving) = self.serving.take() {
                    self.retire(&serving, now, out);
                }
                self.drain_orphans(now, out);
            }
            Course::Stop | Course::StopNow | Course::Left => {}
        }
    }

    fn stop_now(&mut self, now: Moment, out: &mut Vec<Action>) {
        self.stop(now, out);
        self.course = Course::StopNow;
        self.kill_departures(out);
    }

    fn kill_departures(&mut self, out: &mut Vec<Action>) {
        let killed = self.departures.kill_all();
        self.note_killed(killed, out);
    }

    fn note_killed(&mut self, killed: Vec<Process>, out: &mut Vec<Action>) {
        for process in &killed {
            self.count_unfinished(*process);
        }
        out.extend(Departures::killing(killed));
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
    }

    /// What follows from the present state, whatever event led to it.
    fn settle(&mut self, now: Moment, out: &mut Vec<Action>) {
        if let Some(serving) = &mut self.serving {
            serving.recycle_one(&self.departures, now, out);
        }
        if self.serving.as_ref().is_some_and(Serving::accepts) {
            self.drain_orphans(now, out);
        }
        let departures = &self.departures;
        for (generation, killed) in self.draining.extract_if(.., |generation, _| departures.none_of(*generation)) {
            out.push(Action::Report(Report::Drained { generation, killed }));
        }
        let nothing =
            self.booting.is_none() && self.serving.is_none() && self.orphans.is_empty() && self.departures.is_empty();
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

    fn is_booting(&self, generation: GenerationId) -> bool {
        self.booting.as_ref().is_some_and(|boot| boot.generation == generation)
    }
}

#[cfg(test)]
mod exploration;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod witness;
