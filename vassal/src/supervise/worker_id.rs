//! A worker by whom it belongs to: a generation of this master, or an earlier one.

use empery_lifecycle::ids::{OrphanId, WorkerRef};

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Of this master.
    Worker(WorkerRef),
    /// Of an earlier one.
    Orphan(OrphanId),
}
