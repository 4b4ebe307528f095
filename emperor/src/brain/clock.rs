//! The brain's clocks: the monotonic one that feeds the fleet machine, and the wall clock for what people read.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use empery_lifecycle::moment::Moment;

/// Now, on CLOCK_MONOTONIC.
pub(crate) fn now() -> Moment {
    Moment(empery_sys::process::monotonic_ns())
}

/// Now, in ms since 1970.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The instant at which tokio's timer is to wake for this moment.
pub(crate) fn instant_of(moment: Moment) -> tokio::time::Instant {
    // A year from now stands for "never": tokio's Instant cannot hold the end of time.
    const FAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    tokio::time::Instant::now() + moment.since(now()).min(FAR)
}

/// A moment as unix ms, by the distance between both clocks now.
pub(crate) fn unix_ms_of(moment: Moment) -> u64 {
    let ahead = u64::try_from(moment.since(now()).as_millis()).unwrap_or(u64::MAX);
    unix_ms().saturating_add(ahead)
}
