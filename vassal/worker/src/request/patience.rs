//! How long a client is waited for while it sends a body or takes an answer: [`Pace`] with a clock. Only waiting counts,
//! not what the app does meanwhile.

use std::{io, os::fd::RawFd};

use empery_control::boot::AppBoot;
use empery_wire::{
    limits::{ANSWER_MIN_BYTES_PER_S, BODY_MIN_BYTES_PER_S},
    pace::Pace,
};
use pyo3::prelude::*;

use crate::{
    gevent,
    os::{self, Ready},
};

/// With one client, in one direction, for one request.
pub(super) struct Patience {
    pace: Pace,
    waited_ns: u64,
    moved_bytes: u64,
}

impl Patience {
    /// With a client that sends a body.
    pub(super) fn for_body(boot: &AppBoot) -> Self {
        Self::new(Pace { grant_ms: boot.body_timeout_ms, min_bytes_per_s: BODY_MIN_BYTES_PER_S })
    }

    /// With a client that takes an answer.
    pub(super) fn for_answer(boot: &AppBoot) -> Self {
        Self::new(Pace { grant_ms: boot.write_timeout_ms, min_bytes_per_s: ANSWER_MIN_BYTES_PER_S })
    }

    /// Where there is nobody to wait for.
    pub(super) const fn none() -> Self {
        Self::new(Pace { grant_ms: 0, min_bytes_per_s: 1 })
    }

    const fn new(pace: Pace) -> Self {
        Self { pace, waited_ns: 0, moved_bytes: 0 }
    }

    /// The client has sent or taken these bytes.
    pub(super) fn moved(&mut self, bytes: usize) {
        self.moved_bytes += bytes as u64;
    }

    /// Waits for the client; false when the time is over.
    pub(super) fn wait(&mut self, fd: RawFd, ready: Ready) -> io::Result<bool> {
        self.wait_by(|wait_ms| os::wait(fd, ready, wait_ms))
    }

    /// As [`Patience::wait`] in a greenlet: the others run meanwhile. The error may be an exception of Python.
    pub(super) fn wait_in_greenlet(&mut self, py: Python<'_>, fd: RawFd, ready: Ready) -> io::Result<bool> {
        self.wait_by(|wait_ms| Ok(gevent::wait(py, fd, ready, Some(wait_ms))?))
    }

    fn wait_by(&mut self, wait: impl FnOnce(u64) -> io::Result<bool>) -> io::Result<bool> {
        let wait_ms = self.pace.next_wait_ms(self.waited_ns / 1_000_000, self.moved_bytes);
        if wait_ms == 0 {
            return Ok(false);
        }
        let began_ns = os::monotonic_ns();
        let result = wait(wait_ms);
        self.waited_ns += os::monotonic_ns() - began_ns;
        result
    }
}
