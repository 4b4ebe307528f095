//! A worker that outlived the master that started it: another process, or an earlier image of this one.

use std::os::fd::OwnedFd;

use empery_control::link::{WorkerPhase, WorkerView};
use empery_lifecycle::ids::WorkerRef;
use empery_sys::process;
use nix::sys::signal::Signal;

use crate::supervise::generation::WorkerHandle;

/// See the module.
pub(crate) struct OrphanHandle {
    /// Who it was.
    pub(crate) worker: WorkerRef,
    /// What surely means that process: the pid of one with another parent may be given to a stranger at any time.
    pub(crate) pidfd: OwnedFd,
    /// How its end is seen.
    pub(crate) kin: Kin,
    /// The addresses it listens on.
    pub(crate) listeners: Vec<String>,
    /// The rest of it, as of any worker.
    pub(crate) handle: WorkerHandle,
}

/// What it is to this process.
pub(crate) enum Kin {
    /// A child: this process has replaced itself.
    Child,
    /// Its master has died, and it has another parent.
    Stranger {
        /// Whether its end is told; if not, it is gone when its channel is.
        is_watched: bool,
        /// Its end was told.
        has_ended: bool,
    },
}

impl OrphanHandle {
    /// Whether it is a child of this process.
    pub(crate) fn is_child(&self) -> bool {
        matches!(self.kin, Kin::Child)
    }

    /// Whether its end was seen, as far as that can be.
    pub(crate) fn has_ended(&self) -> bool {
        match self.kin {
            Kin::Child => self.handle.exit.is_some(),
            Kin::Stranger { is_watched, has_ended, .. } => has_ended || !is_watched && self.handle.silent,
        }
    }

    /// Whether it was asked to go.
    pub(crate) fn was_asked(&self) -> bool {
        self.handle.phase == WorkerPhase::Draining
    }

    /// SIGKILL. It may have ended meanwhile.
    pub(crate) fn kill(&self) {
        let _ = process::pidfd_kill(&self.pidfd, Signal::SIGKILL as i32);
    }

    /// It is gone, and how it ended is not known: what there is to say of that.
    pub(crate) fn end_of_stranger(&self) -> Option<String> {
        let (id, pid) = (self.worker.worker.0, self.handle.pid.unwrap_or(0));
        let subject = format!("worker {id} (pid: {pid}) of an earlier master");
        match (&self.handle.condemned, self.handle.killed_for, self.was_asked()) {
            (Some(condemned), ..) => Some(format!("{subject} has ended: {condemned}")),
            (None, Some(_), true) => Some(format!("{subject} did not finish: its mercy was over and it was killed")),
            (None, Some(_), false) => Some(format!("{subject} closed its channel to the master and was killed")),
            (None, None, false) => {
                Some(format!("{subject} has ended, though nobody had asked it to; what it was serving is lost"))
            }
            (None, None, true) => None,
        }
    }

    /// As the brain and the dashboard see it.
    pub(crate) fn view(&self) -> WorkerView {
        self.handle.view(self.worker)
    }
}
