//! A vassal on demand (uWSGI `emperor-on-demand-*`): nothing of it runs until a client connects to one of its sockets, which
//! the keeper holds meanwhile, and again once its master has left because it was idle.

use super::{Course, Desk, Listeners, Vassal};
use crate::{
    fleet::{
        agenda::Urgency,
        words::{Action, Cause, Verb},
    },
    generations::FailureReason,
};

impl Vassal {
    /// Lies down, if it is on demand and nothing of it runs or waits to; said again, it waits where its file says now.
    /// While sockets are still to be closed it cannot: it is started then, and rests when it is idle.
    pub(super) fn falls_asleep(&mut self, desk: &mut Desk<'_>) -> bool {
        let idle = match self.course {
            Course::Resting | Course::Cursed { .. } | Course::Asleep => self.leaving.is_empty(),
            Course::Queued { .. }
            | Course::Starting { .. }
            | Course::Loyal { .. }
            | Course::Waiting { .. }
            | Course::Reloading { .. }
            | Course::Moving { .. } => false,
        };
        if !idle || !self.on_demand || self.listeners == Listeners::Closing {
            return false;
        }
        let Some(target) = self.target() else { return false };
        if self.listeners == Listeners::None {
            self.listeners = Listeners::Bound;
        }
        self.course = Course::Asleep;
        desk.out.push(Action::Await { name: self.name.clone(), revision: target.revision });
        true
    }

    /// A client waits in one of its queues. While it is frozen, clients are to wait.
    pub(in crate::fleet) fn knocked(&mut self, desk: &mut Desk<'_>) {
        if self.course == Course::Asleep && !self.frozen {
            let operation = desk.begin(&self.name, Verb::Start, Cause::Client);
            self.course = Course::Queued { operation, urgency: Urgency::Ordinary };
        }
    }

    /// Its sockets cannot be held: that is tried again later.
    pub(in crate::fleet) fn await_failed(&mut self, reason: FailureReason, desk: &mut Desk<'_>) {
        if self.course != Course::Asleep {
            return;
        }
        self.close_listeners(desk);
        self.course = self.start_failed(None, reason, desk);
    }

    /// Its master has left by itself.
    pub(super) fn rests_or_crashed(&mut self, reason: FailureReason, desk: &mut Desk<'_>) -> Course {
        if self.falls_asleep(desk) { Course::Asleep } else { self.crashed(reason, desk) }
    }
}
