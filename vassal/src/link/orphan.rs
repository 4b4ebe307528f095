//! A worker that outlived the master that started it.

use std::os::fd::OwnedFd;

use empery_control::{
    link::{WorkerPhase, WorkerView},
    worker::ToWorker,
};
use empery_lifecycle::ids::WorkerRef;
use empery_sys::process::How;

use crate::peer::Peer;

/// See the module.
pub(crate) struct OrphanHandle {
    /// Who it was.
    pub(crate) worker: WorkerRef,
    /// Its pid.
    pub(crate) pid: i32,
    /// What surely means that process: it has another parent, so its pid may be given to a stranger at any time.
    pub(crate) pidfd: OwnedFd,
    /// The connection to it.
    pub(crate) peer: Peer<ToWorker>,
    /// Serves or drains.
    pub(crate) phase: WorkerPhase,
    /// How it ended, when it is a child: this process has replaced itself.
    pub(crate) exit: Option<How>,
    /// The addresses it listens on.
    pub(crate) listeners: Vec<String>,
    /// When it presented itself, unix s.
    pub(crate) since_unix_s: u64,
}

impl OrphanHandle {
    /// It is gone: what there is to say of one that nobody asked to go. How it ended is known of children only.
    pub(crate) fn unasked_end(&self) -> Option<String> {
        let (id, pid) = (self.worker.worker.0, self.pid);
        let how = self.exit.map_or_else(String::new, |how| format!(" ({how})"));
        (self.phase == WorkerPhase::Orphan).then(|| {
            format!("worker {id} (pid: {pid}) of an earlier master has ended{how}, though nobody had asked it to; what it was serving is lost")
        })
    }

    /// As the brain and the dashboard see it.
    pub(crate) fn view(&self) -> WorkerView {
        WorkerView { worker: self.worker, pid: self.pid, phase: self.phase, since_unix_s: self.since_unix_s }
    }
}
