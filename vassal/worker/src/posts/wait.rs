//! Waiting for several descriptors at once, with Python's signal handlers looked after.

use std::{
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use pyo3::prelude::*;

/// Waits until one of them is readable, at most so long. False when the time is over. What a handler raises is the error.
pub(super) fn wait_for(py: Python<'_>, sources: &[BorrowedFd<'static>], longest: Option<Duration>) -> PyResult<bool> {
    let until = longest.map(|longest| Instant::now() + longest);
    let mut polled: Vec<PollFd<'_>> = sources.iter().map(|source| PollFd::new(*source, PollFlags::POLLIN)).collect();
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX)
        });
        match py.detach(|| poll(&mut polled, timeout)) {
            Ok(0) if left.is_some_and(|left| left.is_zero()) => return Ok(false),
            Ok(0) => {}
            Ok(_) => return Ok(true),
            Err(Errno::EINTR) => py.check_signals()?,
            Err(error) => return Err(std::io::Error::from(error).into()),
        }
    }
}
