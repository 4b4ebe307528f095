//! Where requests wait whose bodies have not begun in earnest. Each holds memory, and whoever sends bodies a byte at a time could
//! have as many as there are descriptors: when there are too many, the one that has waited for longest has to go. A client that
//! sends at all is past here in a moment, so that the slow ones crowd out each other.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// See the module.
pub(crate) struct Lobby {
    most: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// The number of the next one.
    next: u64,
    /// By number: the one that has waited for longest is the first.
    places: BTreeMap<u64, Arc<Notify>>,
}

/// A place in it, until dropped.
pub(crate) struct Place<'l> {
    lobby: &'l Lobby,
    number: u64,
    leave: Arc<Notify>,
}

impl Lobby {
    /// With room for so many.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, waiting: Mutex::default() }
    }

    /// A place, for which another may have to be left.
    pub(crate) fn enter(&self) -> Place<'_> {
        let leave = Arc::new(Notify::new());
        let mut waiting = self.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.places.insert(number, Arc::clone(&leave));
        if waiting.places.len() > self.most
            && let Some((_, oldest)) = waiting.places.pop_first()
        {
            oldest.notify_one();
        }
        Place { lobby: self, number, leave }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing of ours panics while it is held.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Until it has to be left.
    pub(crate) async fn crowded_out(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.lobby.lock().places.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn the_one_that_has_waited_for_longest_makes_room() {
        let soon = Duration::from_millis(20);
        let lobby = Lobby::new(2);
        let (first, second) = (lobby.enter(), lobby.enter());
        assert!(timeout(soon, first.crowded_out()).await.is_err(), "there is room");
        let third = lobby.enter();
        timeout(soon, first.crowded_out()).await.expect("the first has to go");
        drop(third);
        drop(first);
        let _fourth = lobby.enter();
        assert!(timeout(soon, second.crowded_out()).await.is_err(), "there is room again");
        let _fifth = lobby.enter();
        timeout(soon, second.crowded_out()).await.expect("now it is the second's turn");
    }
}
