//! Waiting for a condition with a deadline. The only place of the tests where time passes without work; what it waits
//! for is always a fact that can be seen, never "long enough".

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use nix::poll::{PollFd, PollTimeout, poll};

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Looks until `probe` answers, or fails naming `what` after `within`.
///
/// # Errors
/// When the deadline passes.
pub fn until<T>(what: &str, within: Duration, mut probe: impl FnMut() -> Option<T>) -> Result<T> {
    let began = Instant::now();
    loop {
        if let Some(seen) = probe() {
            return Ok(seen);
        }
        if began.elapsed() >= within {
            return Err(anyhow!("waited {within:?} in vain for {what}"));
        }
        pause(LOOK_EVERY);
    }
}

/// Tries until `attempt` succeeds, or fails with `what` and its last error after `within`.
///
/// # Errors
/// When the deadline passes.
pub fn until_ok<T>(what: &str, within: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let mut last = None;
    let seen = until(what, within, || match attempt() {
        Ok(seen) => Some(seen),
        Err(error) => {
            last = Some(error);
            None
        }
    });
    seen.map_err(|timeout| match last {
        Some(error) => error.context(timeout.to_string()),
        None => timeout,
    })
}

/// Looks for the whole of `length` that `probe` stays true: for what must not happen.
///
/// # Errors
/// As soon as it does happen.
pub fn throughout(what: &str, length: Duration, mut probe: impl FnMut() -> bool) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < length {
        if !probe() {
            return Err(anyhow!("{what} no longer held after {:?}", began.elapsed()));
        }
        pause(LOOK_EVERY);
    }
    Ok(())
}

/// Lets a moment pass: the pace of a load, the spacing of touches.
pub fn pause(length: Duration) {
    let none: &mut [PollFd<'_>] = &mut [];
    // An interrupted poll(2) only makes the moment shorter.
    let _ = poll(none, PollTimeout::try_from(length).unwrap_or(PollTimeout::MAX));
}
