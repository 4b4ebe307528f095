//! The two clocks: the monotonic one that deadlines are counted on, and the wall clock for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use empery_lifecycle::moment::Moment;

/// Now on CLOCK_MONOTONIC, as the machine counts it.
pub(crate) fn now() -> Moment {
    Moment(empery_sys::process::monotonic_ns())
}

/// Unix time, in milliseconds.
pub(crate) fn unix_ms() -> u64 {
    u64::try_from(since_epoch().as_millis()).unwrap_or(u64::MAX)
}

/// Unix time, in seconds.
pub(crate) fn unix_s() -> u64 {
    since_epoch().as_secs()
}

/// Unix time, in microseconds.
pub(crate) fn unix_us() -> u64 {
    u64::try_from(since_epoch().as_micros()).unwrap_or(u64::MAX)
}

/// Local time as ctime(3) writes it and uWSGI logs it.
pub(crate) fn ctime() -> String {
    local_time("%a %b %e %H:%M:%S %Y")
}

/// Local time in a format of strftime(3). What is none of its conversions stays as it is.
pub(crate) fn local_time(format: &str) -> String {
    let lenient = jiff::fmt::strtime::Config::new().lenient(true);
    let now = jiff::fmt::strtime::BrokenDownTime::from(&jiff::Zoned::now());
    now.to_string_with_config(&lenient, format).unwrap_or_default()
}

fn since_epoch() -> Duration {
    // A clock before 1970 is a clock nobody has set.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
