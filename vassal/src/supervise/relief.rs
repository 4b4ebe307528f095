//! Relieving a worker that was told to drain and is stuck: while its threads are inside the app nobody hears the word, and
//! clients whose connections it holds would wait for it, or be cut when its mercy is over. A signal reaches it then.

use std::time::Duration;

use empery_lifecycle::ids::WorkerRef;

use super::{Supervisor, input::Input, stacks::raise};

/// How long a worker may take to drain before it is disturbed: one that is not stuck has given its idle connections away by
/// then.
const UNDISTURBED: Duration = Duration::from_millis(50);

impl Supervisor {
    /// It was told to drain.
    pub(super) fn relieve_soon(&self, worker: WorkerRef) {
        let inbox = self.inbox.clone();
        tokio::spawn(async move {
            tokio::time::sleep(UNDISTURBED).await;
            inbox.put(Input::DrainsStill(worker));
        });
    }

    /// If it is there still it gives its idle connections away now.
    pub(super) fn relieve(&mut self, worker: WorkerRef) {
        if let Some(handle) = self.worker_mut(worker) {
            raise(handle, handle.signals.relieve);
        }
    }
}
