//! A vassal that an operator froze: its masters run and accept nothing, clients wait in the queues of its sockets. It says
//! nothing about what runs: a frozen vassal is reloaded, restarted and stopped like any other.

use super::{Course, Desk, Master, Vassal};
use crate::{
    fleet::words::{Action, OperationEnd},
    ids::OperationId,
};

impl Vassal {
    /// Accepts nothing from now on.
    pub(super) fn freeze(&mut self, operation: OperationId, desk: &mut Desk<'_>) {
        self.set_frozen(true, desk);
        self.tell_gates(desk);
        desk.end(Some(operation), OperationEnd::Succeeded);
    }

    /// Accepts again; the clients that came to one asleep wake it.
    pub(super) fn resume(&mut self, operation: OperationId, desk: &mut Desk<'_>) {
        self.set_frozen(false, desk);
        self.tell_gates(desk);
        if self.course == Course::Asleep {
            self.falls_asleep(desk);
        }
        desk.end(Some(operation), OperationEnd::Succeeded);
    }

    fn set_frozen(&mut self, frozen: bool, desk: &mut Desk<'_>) {
        if self.frozen != frozen {
            self.frozen = frozen;
            desk.out.push(Action::Freeze { name: self.name.clone(), frozen });
        }
    }

    /// A master was found that accepts nothing: somebody told it so, and that is not on record here.
    pub(super) fn believes_frozen(&mut self, found: &Master, desk: &mut Desk<'_>) {
        if found.frozen {
            self.set_frozen(true, desk);
        }
    }

    /// Tells its masters what they have not been told.
    pub(in crate::fleet) fn tell_gates(&mut self, desk: &mut Desk<'_>) {
        let frozen = self.frozen;
        for master in self.course.masters_mut().filter(|master| master.started && master.frozen != frozen) {
            master.frozen = frozen;
            desk.out.push(Action::Gate { master: master.key.clone(), frozen });
        }
    }

    /// Has the doubt about its removal, or the end of that, written down.
    pub(in crate::fleet) fn record_doubt(&mut self, desk: &mut Desk<'_>) {
        if self.doubt_recorded != self.missing {
            self.doubt_recorded = self.missing;
            desk.out.push(Action::Doubt { name: self.name.clone(), doubted: self.missing });
        }
    }
}

impl Course {
    fn masters_mut(&mut self) -> impl Iterator<Item = &mut Master> {
        let (first, second) = match self {
            Course::Resting | Course::Queued { .. } | Course::Cursed { .. } | Course::Asleep => (None, None),
            Course::Starting { master, .. }
            | Course::Loyal { master }
            | Course::Waiting { master, .. }
            | Course::Reloading { master, .. } => (Some(master), None),
            Course::Moving { old, new, .. } => (Some(old), Some(new)),
        };
        first.into_iter().chain(second)
    }
}
