//! Who is here: how many connections there are, how many of them have a request in flight, and whether it is closing
//! time. A gateway that is drained leaves when the floor is empty.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use tokio::sync::{Notify, watch};

/// See the module.
pub(crate) struct Floor {
    connections: AtomicUsize,
    busy: AtomicUsize,
    closing: watch::Sender<bool>,
    changed: Notify,
}

/// A connection that is here.
pub(crate) struct Guest(Arc<Floor>);

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
        self.0.tell();
    }
}

impl Floor {
    /// Empty and open.
    pub(crate) fn new() -> Self {
        let (closing, _) = watch::channel(false);
        Self { connections: AtomicUsize::new(0), busy: AtomicUsize::new(0), closing, changed: Notify::new() }
    }

    /// A connection, until what this answers with is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> Guest {
        self.connections.fetch_add(1, Relaxed);
        Guest(Arc::clone(self))
    }

    /// One of them has a request in flight.
    pub(crate) fn busy(&self) {
        self.busy.fetch_add(1, Relaxed);
        self.tell();
    }

    /// One of them has none any more.
    pub(crate) fn rests(&self) {
        self.busy.fetch_sub(1, Relaxed);
        self.tell();
    }

    /// Becomes true at closing time.
    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// It is closing time.
    pub(crate) fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Until every connection that is left has a request in flight.
    pub(crate) async fn quiet(&self) {
        self.until(|connections, busy| connections == busy).await;
    }

    /// Until nobody is left.
    pub(crate) async fn empty(&self) {
        self.until(|connections, _| connections == 0).await;
    }

    async fn until(&self, holds: impl Fn(usize, usize) -> bool) {
        loop {
            let changed = self.changed.notified();
            if holds(self.connections.load(Relaxed), self.busy.load(Relaxed)) {
                return;
            }
            changed.await;
        }
    }

    /// Nobody waits for changes before closing time.
    fn tell(&self) {
        if *self.closing.borrow() {
            self.changed.notify_one();
        }
    }
}
