//! The ways out of service: a successor serves, a stop, a second stop.

use super::{
    Course, Generations,
    departures::{Departures, Process},
    serving::{Serving, Zygote},
    words::{Action, FailureReason},
};
use crate::{ids::OrphanId, moment::Moment};

impl Generations {
    pub(super) fn retire(&mut self, old: &Serving, now: Moment, out: &mut Vec<Action>) {
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

    pub(super) fn drain_orphans(&mut self, now: Moment, out: &mut Vec<Action>) {
        let kill_at = now.after(self.policy.mercy);
        for orphan in std::mem::take(&mut self.orphans) {
            out.push(self.departures.ask(Process::Orphan(orphan), kill_at));
        }
    }

    pub(super) fn orphan_found(&mut self, orphan: OrphanId, now: Moment, out: &mut Vec<Action>) {
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

    pub(super) fn stop(&mut self, now: Moment, out: &mut Vec<Action>) {
        match self.course {
            Course::Fresh | Course::Serve => {
                self.course = Course::Stop;
                self.abandon_boot(FailureReason::Cancelled, None, out);
                if let Some(serving) = self.serving.take() {
                    self.retire(&serving, now, out);
                }
                self.end_yielding(now, out);
                self.drain_orphans(now, out);
            }
            Course::Stop | Course::StopNow | Course::Left => {}
        }
    }

    pub(super) fn stop_now(&mut self, now: Moment, out: &mut Vec<Action>) {
        self.stop(now, out);
        self.course = Course::StopNow;
        self.kill_departures(out);
    }

    fn kill_departures(&mut self, out: &mut Vec<Action>) {
        let killed = self.departures.kill_all();
        self.note_killed(killed, out);
    }

    pub(super) fn note_killed(&mut self, killed: Vec<Process>, out: &mut Vec<Action>) {
        for process in &killed {
            self.count_unfinished(*process);
        }
        out.extend(Departures::killing(killed));
    }

    pub(super) fn count_unfinished(&mut self, process: Process) {
        match process {
            Process::Worker(worker) => {
                if let Some(unfinished) = self.draining.get_mut(&worker.generation) {
                    *unfinished += 1;
                }
            }
            Process::Zygote(_) | Process::Orphan(_) => {}
        }
    }
}
