//! A worker that outlived the master that started it.

use std::os::fd::OwnedFd;

use empery_control::{
    link::{WorkerPhase, WorkerView},
    worker::ToWorker,
};
use empery_lifecycle::ids::WorkerRef;

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
    /// The addresses it listens on.
    pub(crate) listeners: Vec<String>,
    /// When it presented itself, unix s.
    pub(crate) since_unix_s: u64,
}

impl OrphanHandle {
    /// As the brain and the dashboard see it.
    pub(crate) fn view(&self) -> WorkerView {
        WorkerView { worker: self.worker, pid: self.pid, phase: self.phase, since_unix_s: self.since_unix_s }
    }
}
