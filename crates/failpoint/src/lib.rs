//! Failpoints: named places where a test can make a process die, fail, wait or panic. They exist in builds with the
//! feature `failpoints` of `emperor`, `vassal` and the worker only; in every other build [`point!`] is an empty result.
//!
//! A failpoint is armed by a file: `EMPERY_FAILPOINTS` names a directory, the file in it is called as the failpoint and
//! holds what is to happen there: `kill`, `error`, `delay MS` or `panic`. Whoever comes there first takes the file away
//! (`NAME.hit` stays), so that each is met once, by one process. All are listed in `points.tsv`.
#![forbid(unsafe_code)]

#[cfg(feature = "armed")]
mod armed;

#[cfg(feature = "armed")]
pub use armed::{LIST, is_passed_on, reached, reached_in_child};

/// Reaches the failpoint of this name: an `io::Result<()>`, which the place makes its own error of.
#[cfg(feature = "armed")]
#[macro_export]
macro_rules! point {
    ($name:literal) => {
        $crate::reached($name)
    };
}

/// Reaches the failpoint of this name: an `io::Result<()>`, which the place makes its own error of.
#[cfg(not(feature = "armed"))]
#[macro_export]
macro_rules! point {
    ($name:literal) => {
        ::std::io::Result::<()>::Ok(())
    };
}

/// Reaches it at a step that cannot fail: armed with `error`, it does nothing.
#[macro_export]
macro_rules! step {
    ($name:literal) => {
        drop($crate::point!($name))
    };
}

/// The same in a child between fork and exec; whether it may go on. A panic there ends the child.
#[cfg(feature = "armed")]
#[macro_export]
macro_rules! point_in_child {
    ($name:literal) => {
        $crate::reached_in_child($name)
    };
}

/// The same in a child between fork and exec; whether it may go on. A panic there ends the child.
#[cfg(not(feature = "armed"))]
#[macro_export]
macro_rules! point_in_child {
    ($name:literal) => {
        true
    };
}

/// Whether an environment variable must reach processes that get no others of ours.
#[cfg(not(feature = "armed"))]
#[must_use]
pub const fn is_passed_on(_variable: &str) -> bool {
    false
}
