//! The board on which the brain hangs every operation, and before which pipelines wait. In memory; the database keeps
//! what has left it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use empery_control::fleet::OperationView;
use empery_lifecycle::ids::OperationId;
use tokio::sync::watch;

/// Operations on the board; beyond it the oldest that ended are taken down. With boot outputs of 16 KiB: 16 MiB.
const BOARD_MAX: usize = 1_000;

/// Operations of this emperor's life. Clones share one board.
#[derive(Debug, Clone, Default)]
pub struct OperationBoard {
    notes: Arc<Mutex<BTreeMap<OperationId, watch::Sender<OperationView>>>>,
}

impl OperationBoard {
    /// Hangs up an operation, or replaces what is said of it, and wakes whoever waits.
    pub fn record(&self, view: OperationView) {
        let mut notes = self.notes();
        if let Some(note) = notes.get(&view.id) {
            note.send_replace(view);
            return;
        }
        notes.insert(view.id, watch::Sender::new(view));
        while notes.len() > BOARD_MAX {
            let Some(oldest) = notes.iter().find(|(_, note)| note.borrow().end.is_some()).map(|(id, _)| *id) else {
                return;
            };
            notes.remove(&oldest);
        }
    }

    /// The operation as it is now.
    #[must_use]
    pub fn get(&self, id: OperationId) -> Option<OperationView> {
        self.notes().get(&id).map(|note| note.borrow().clone())
    }

    /// Waits until it has ended, at most so long; what is known then.
    pub async fn wait(&self, id: OperationId, at_most: Duration) -> Option<OperationView> {
        let mut note = self.notes().get(&id)?.subscribe();
        // Not ended in time, or taken down meanwhile: what is known is the answer either way.
        let _ = tokio::time::timeout(at_most, note.wait_for(|view| view.end.is_some())).await;
        let view = note.borrow().clone();
        Some(view)
    }

    fn notes(&self) -> MutexGuard<'_, BTreeMap<OperationId, watch::Sender<OperationView>>> {
        // A panic elsewhere cannot leave the map half written: every change of it is one call.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
