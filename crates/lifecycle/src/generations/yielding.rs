//! A switch where there is no memory for two generations: the new one serves with the worker that has proved, and the
//! old one's workers go one by one, each making room for the next. So many accept throughout as are wanted, or as
//! many as did before, and never more than one is there beside those.

use super::{
    Generations,
    departures::Process,
    serving::{Serving, Zygote},
    words::Action,
};
use crate::{ids::WorkerRef, moment::Moment};

impl Generations {
    /// The workers of the generation before go one by one; its zygote goes at once, since nothing is forked for it.
    pub(super) fn begin_yielding(&mut self, old: &Serving, now: Moment, out: &mut Vec<Action>) {
        self.draining.insert(old.generation, 0);
        for worker in old.proving() {
            out.push(self.departures.kill(Process::Worker(worker)));
        }
        if old.zygote == Zygote::Alive {
            out.push(self.departures.ask(Process::Zygote(old.generation), now.after(old.plan.mercy)));
        }
        // Those of an earlier switch that is not over are still there, and go first.
        self.yielding.extend(old.accepting().into_iter().map(|worker| (worker, old.plan.mercy)));
    }

    /// Everybody who was to go one by one goes now.
    pub(super) fn end_yielding(&mut self, now: Moment, out: &mut Vec<Action>) {
        for (worker, mercy) in std::mem::take(&mut self.yielding) {
            out.push(self.departures.ask(Process::Worker(worker), now.after(mercy)));
        }
    }

    /// A worker that was to go is gone by itself.
    pub(super) fn yielding_exited(&mut self, worker: WorkerRef) {
        if self.yielding.remove(&worker).is_some() {
            self.count_unfinished(Process::Worker(worker));
        }
    }

    /// The next goes as soon as there are more than are wanted, the next comes as soon as there is room.
    pub(super) fn yield_on(&mut self, now: Moment, out: &mut Vec<Action>) {
        let Some(serving) = &mut self.serving else {
            return;
        };
        let wanted = serving.wanted as usize;
        while serving.accepting().len() + self.yielding.len() > wanted
            && let Some((worker, mercy)) = self.yielding.pop_first()
        {
            out.push(self.departures.ask(Process::Worker(worker), now.after(mercy)));
        }
        while serving.holds()
            && serving.zygote == Zygote::Alive
            && serving.present() + self.yielding.len() + self.departures.workers_besides(serving.generation) <= wanted
        {
            serving.fill_held(&self.departures, now, out);
        }
    }
}
