//! Monotonic time as a number that the caller supplies. Not a wall clock: see [`Moment`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point on the monotonic clock of the process that feeds a machine, in nanoseconds since an origin of its choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Moment(pub u64);

impl Moment {
    /// The origin.
    pub const START: Moment = Moment(0);

    /// The moment `delay` later; saturates at the end of time.
    #[must_use]
    pub fn after(self, delay: Duration) -> Moment {
        Moment(self.0.saturating_add(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long it is from `earlier` to this moment; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}
