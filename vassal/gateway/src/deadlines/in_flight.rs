//! A request in flight, and how long its answer waits for its client.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::{Activity, Heads, offers::Offer};
use crate::{
    floor::Guest,
    limits::{SEND_BUFFER_BYTES, TAKEN_BACK_MAX},
};

/// A request in flight.
pub(crate) struct InFlight {
    activity: Arc<Activity>,
    number: u64,
    is_answered: bool,
    is_offered: bool,
    /// How much of the answer was given to the client's connection.
    given_bytes: u64,
}

impl InFlight {
    /// One more of a connection.
    pub(super) fn new(activity: Arc<Activity>, number: u64) -> Self {
        Self { activity, number, is_answered: false, is_offered: false, given_bytes: 0 }
    }

    /// There is an answer.
    pub(crate) fn answered(&mut self) {
        self.is_answered = true;
        let less = |count: u32| count.checked_sub(1);
        // At zero it stays: what was answered long ago is no licence.
        let _ = self.activity.taken_back.fetch_update(Relaxed, Relaxed, less);
    }

    /// It outlives its client's connection as HTTP knows it: a guest for as long as it is there.
    pub(crate) fn stays(&self) -> Guest {
        self.activity.floor.enter()
    }

    /// A part of the answer waits for the client, of so many bytes; 0 when it is not here yet.
    pub(crate) fn offered(&mut self, bytes: usize) {
        if !std::mem::replace(&mut self.is_offered, true) {
            let activity = &self.activity;
            let own_bytes = match activity.heads {
                // One answer at a time: whatever is taken is before it.
                Heads::Each => u64::MAX,
                Heads::First => self.given_bytes.min(2 * SEND_BUFFER_BYTES as u64),
            };
            self.given_bytes += bytes as u64;
            activity.offers().add(Offer {
                number: self.number,
                since_ms: activity.now_ms(),
                at_bytes: activity.written_bytes(),
                own_bytes,
            });
        }
    }

    /// The client has room for the next part.
    pub(crate) fn taken(&mut self) {
        if std::mem::replace(&mut self.is_offered, false) {
            self.activity.offers().remove(self.number);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.taken();
        let activity = &self.activity;
        if !self.is_answered && activity.taken_back.fetch_add(1, Relaxed) >= TAKEN_BACK_MAX {
            activity.flooded.notify_one();
        }
        activity.idle_since_ms.store(activity.now_ms(), Relaxed);
        if activity.in_flight.fetch_sub(1, Relaxed) == 1 {
            activity.floor.rests();
        }
    }
}
