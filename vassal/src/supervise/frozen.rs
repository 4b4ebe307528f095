//! A frozen vassal: its workers live and accept nothing, clients wait in the queues of its sockets. Whoever comes later, a
//! new generation or a worker of an earlier master, is told before anything else.

use super::{Supervisor, generation::WorkerHandle};
use crate::{log, station::Station};
use empery_control::worker::ToWorker;

impl Supervisor {
    /// Accepts nothing from now on, or accepts again.
    pub(crate) fn set_frozen(&mut self, frozen: bool) {
        if std::mem::replace(&mut self.frozen, frozen) == frozen {
            return;
        }
        if let Station::Governed(governed) = &mut self.station {
            governed.boot.frozen = frozen;
        }
        log::say(if frozen {
            "*** frozen: requests in flight are finished, new ones wait until this vassal is resumed ***"
        } else {
            "*** resumed ***"
        });
        let word = if frozen { ToWorker::Freeze } else { ToWorker::Resume };
        for handle in self.generations.values().flat_map(|generation| generation.workers.values()) {
            handle.peer.say(word.clone(), Vec::new());
        }
        for orphan in self.orphans.values() {
            orphan.handle.peer.say(word.clone(), Vec::new());
        }
    }

    /// SIGTSTP. Under an emperor it would forget: there it is the emperor's to remember.
    pub(super) fn suspend_or_resume(&mut self) {
        match self.station {
            Station::Alone(_) => self.set_frozen(!self.frozen),
            Station::Governed(_) => log::say("*** SIGTSTP is ignored: use `emperor freeze` and `emperor resume` ***"),
        }
    }

    /// A worker was just made, or one of an earlier master found.
    pub(super) fn freeze_newcomer(&self, worker: &WorkerHandle) {
        if self.frozen {
            worker.peer.say(ToWorker::Freeze, Vec::new());
        }
    }
}
