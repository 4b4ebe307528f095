//! The one path into service: boot, prove, switch; and what follows when that fails.

use super::{
    Course, Generations,
    boot::{Beside, Boot, Progress},
    departures::Process,
    serving::{Serving, Zygote},
    switching::Switch,
    words::{Action, FailureReason, Plan, Report, Room, Weighing},
};
use crate::{
    ids::{GenerationId, OperationId, RevisionId, WorkerRef},
    moment::Moment,
};

impl Generations {
    pub(super) fn deploy(
        &mut self,
        operation: OperationId,
        revision: RevisionId,
        plan: Plan,
        now: Moment,
        out: &mut Vec<Action>,
    ) {
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

    pub(super) fn boot(
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
        let start = self.size_of_next(plan);
        let progress = Progress::Importing;
        self.booting = Some(Boot { generation, operation, revision, plan, deadline, start, progress });
        out.push(Action::Boot { generation, revision });
        out.push(Action::Report(Report::Booting { operation, generation, revision }));
    }

    /// There is no room for the import beside the zygote that serves: that one goes first. Its workers serve on, and nobody
    /// takes the place of one that ends meanwhile.
    pub(super) fn no_room(&mut self, generation: GenerationId, now: Moment, out: &mut Vec<Action>) {
        let importing = |boot: &&mut Boot| boot.generation == generation && boot.progress == Progress::Importing;
        let Some(boot) = self.booting.as_mut().filter(importing) else {
            return;
        };
        boot.progress = Progress::Clearing;
        if let Some(serving) = self.serving.as_mut().filter(|serving| serving.zygote == Zygote::Alive) {
            serving.zygote = Zygote::Gone;
            out.push(self.departures.ask(Process::Zygote(serving.generation), now.after(serving.plan.mercy)));
        }
    }

    /// The zygote that was in the way is gone.
    pub(super) fn boot_when_clear(&mut self, out: &mut Vec<Action>) {
        let zygote = self.serving.as_ref().map(|serving| Process::Zygote(serving.generation));
        if zygote.is_some_and(|zygote| self.departures.is_leaving(zygote)) {
            return;
        }
        if let Some(boot) = self.booting.as_mut().filter(|boot| boot.progress == Progress::Clearing) {
            boot.progress = Progress::Importing;
            out.push(Action::Boot { generation: boot.generation, revision: boot.revision });
        }
    }

    /// How many workers the next generation has: where both adapt, as many as what serves now has come to need.
    fn size_of_next(&self, plan: Plan) -> u32 {
        match &self.serving {
            Some(serving) if serving.plan.adapts() && plan.adapts() => serving.wanted.clamp(plan.least, plan.workers),
            Some(_) | None => plan.first.min(plan.workers),
        }
    }

    fn take_generation(&mut self) -> GenerationId {
        let generation = self.next_generation;
        self.next_generation = generation.next();
        generation
    }

    pub(super) fn cancel(&mut self, operation: OperationId, now: Moment, out: &mut Vec<Action>) {
        if self.booting.as_ref().is_some_and(|boot| boot.operation == Some(operation)) {
            self.boot_failed(FailureReason::Cancelled, None, now, out);
        }
    }

    pub(super) fn loaded(&mut self, generation: GenerationId, now: Moment, out: &mut Vec<Action>) {
        let somebody = self.serving.as_ref().is_some_and(|serving| !serving.accepting().is_empty());
        let beside = if somebody { Beside::Others } else { Beside::Nobody };
        if let Some(boot) = self.booting.as_mut().filter(|boot| boot.generation == generation) {
            let next = boot.loaded(beside);
            if !next.is_empty() {
                out.push(Action::Report(Report::Loaded { generation }));
                out.extend(next);
            }
            self.switch_if_proved(now, out);
        }
    }

    pub(super) fn weighed(&mut self, what: Weighing, room: Room, now: Moment, out: &mut Vec<Action>) {
        match what {
            Weighing::Workers(generation) => {
                if let Some(boot) = self.booting.as_mut().filter(|boot| boot.generation == generation) {
                    out.extend(boot.weighed(room));
                }
            }
            Weighing::Successor(worker) => {
                if let Some(serving) = self.serving.as_mut().filter(|serving| serving.generation == worker.generation) {
                    serving.weighed(worker, room, &mut self.departures, now, out);
                }
            }
        }
    }

    pub(super) fn proved(&mut self, worker: WorkerRef, now: Moment, out: &mut Vec<Action>) {
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
        let wanted = self.size_of_next(boot.plan);
        let new = Serving::from_boot(&boot, wanted, now);
        // Started for the proof only, or before fewer were wanted.
        for worker in boot.workers().filter(|worker| worker.worker.0 > wanted) {
            out.push(self.departures.kill(Process::Worker(worker)));
        }
        out.extend(new.accepting().into_iter().map(Action::OpenGate));
        let holds = new.holds();
        let Boot { operation, generation, revision, .. } = boot;
        let report = Report::Serving { operation, generation, revision };
        let old = self.serving.replace(new);
        if holds {
            // Workers of both accept until there is room for more of the new ones.
            out.push(Action::Report(report));
            if let Some(old) = old {
                self.begin_yielding(&old, now, out);
            }
            return;
        }
        self.switch = Some(Switch::now(generation, report, now, self.policy.told_within));
        self.end_yielding(now, out);
        if let Some(old) = old {
            self.retire(&old, now, out);
        }
    }

    /// The boot came to nothing. What serves serves on; a zygote that is missing there is tried for again.
    pub(super) fn boot_failed(
        &mut self,
        reason: FailureReason,
        gone: Option<Process>,
        now: Moment,
        out: &mut Vec<Action>,
    ) {
        let tried = self.booting.as_ref().map(|boot| (boot.revision, boot.plan));
        let kept = self.abandon_boot(reason.clone(), gone, out);
        if kept {
            self.reboot_if_zygote_gone(now, out);
        } else if let Some(dead) = self.serving.take() {
            self.retire(&dead, now, out);
        }
        if let Some((revision, plan)) = tried {
            self.retry_later(revision, plan, &reason, now);
        }
    }

    /// Kills what boots and reports it as failed; `gone` is the process that was seen to be gone already. Answers
    /// whether an older generation, or workers of an earlier master, are kept.
    pub(super) fn abandon_boot(&mut self, reason: FailureReason, gone: Option<Process>, out: &mut Vec<Action>) -> bool {
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
        let still_serving = kept || !self.yielding.is_empty() || !self.orphans.is_empty();
        let Boot { operation, generation, revision, .. } = boot;
        out.push(Action::Report(Report::Failed { operation, generation, revision, reason, still_serving }));
        still_serving
    }

    pub(super) fn reboot_if_zygote_gone(&mut self, now: Moment, out: &mut Vec<Action>) {
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

    pub(super) fn reboot(&mut self, now: Moment, out: &mut Vec<Action>) {
        if let Some((revision, plan)) = self.serving.as_ref().map(|serving| (serving.revision, serving.plan)) {
            self.boot(None, revision, plan, now, out);
        }
    }
}
