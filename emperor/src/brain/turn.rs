//! How much of what a master says may wait to be heard, or to be acted upon by the keeper: as long as so much of it waits, its
//! link is not read. A vassal that says more than the brain can hear fills its own socket and nobody's memory.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Words of one master.
const WAITING_MAX: usize = 256;

/// The places for words of one master.
#[derive(Debug, Clone)]
pub(super) struct Turns(Arc<Semaphore>);

/// The place of a word: free again when the last clone is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Turn(#[expect(dead_code, reason = "it is held")] Option<Arc<OwnedSemaphorePermit>>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(WAITING_MAX)))
    }
}

impl Turns {
    /// A place, as soon as there is one.
    pub(super) async fn next(&self) -> Turn {
        // Nobody closes the semaphore.
        Turn(Arc::clone(&self.0).acquire_owned().await.ok().map(Arc::new))
    }
}
