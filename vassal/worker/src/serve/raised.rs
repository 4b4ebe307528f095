//! uWSGI signals in the loop: a function is run between requests, by the thread that leads, as a request would be.

use std::{
    os::fd::RawFd,
    sync::{Mutex, PoisonError, atomic::Ordering},
};

use empery_control::scoreboard::HeadKind;
use pyo3::prelude::*;

use super::{Serving, lead, relay::Role};
use crate::{
    attend,
    epoll::Watch,
    os,
    signals::{self, Received},
};

/// While this lives the loop leaves the letterbox alone.
pub(crate) struct Unwatched {
    serving: &'static Serving,
    raw: RawFd,
}

/// A function that runs, or is to run at once: while this lives a worker that drains is not done.
struct Running(&'static Serving);

impl Running {
    fn of(serving: &'static Serving) -> Self {
        serving.functions_running.fetch_add(1, Ordering::AcqRel);
        Self(serving)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.functions_running.fetch_sub(1, Ordering::AcqRel);
        // There may be nothing to drain any more.
        os::raise(&self.0.wake);
    }
}

/// The function of a signal that was delivered, for a greenlet.
#[pyclass(frozen)]
pub(super) struct Call {
    signal: u8,
    /// Not as long as somebody holds the object: until it was called, or cannot be any more.
    running: Mutex<Option<Running>>,
}

impl Call {
    pub(super) fn new(serving: &'static Serving, signal: u8) -> Self {
        Self { signal, running: Mutex::new(Some(Running::of(serving))) }
    }
}

#[pymethods]
impl Call {
    fn __call__(&self, py: Python<'_>) {
        let _running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        signals::run(py, self.signal);
    }
}

impl Serving {
    /// Signals are delivered here. Whoever opens the letterbox and whoever begins to serve may say so both.
    pub(crate) fn watch_letterbox(&self, raw: RawFd) -> std::io::Result<()> {
        match self.epoll.add(raw, Watch::Level, lead::LETTERBOX) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            watched => watched,
        }
    }

    /// Somebody else takes what is delivered.
    pub(crate) fn unwatch_letterbox(&'static self, raw: RawFd) -> Unwatched {
        let _ = self.epoll.remove(raw);
        Unwatched { serving: self, raw }
    }

    /// A signal that was delivered.
    pub(super) fn take_raised(&self) -> Option<u8> {
        match signals::receive() {
            Received::Signal(signal) => Some(signal),
            Received::Nothing => None,
            Received::End => {
                if let Some(raw) = signals::ready() {
                    let _ = self.epoll.remove(raw);
                }
                None
            }
        }
    }

    /// Runs the function of one signal that was delivered. It is shown in the thread's slot as a request would be, so that
    /// `harakiri` counts and the master gives the next signal to somebody else.
    pub(super) fn raised(&'static self, py: Python<'_>, core: u32) -> Role {
        let Some(signal) = self.take_raised() else { return Role::Leads };
        let _running = Running::of(self);
        self.watch_for_parting();
        let inside = self.relay.enter_app();
        let (slot, now_ns) = (self.worker.slot(core), os::monotonic_ns());
        let shown = format!("SIGNAL {signal} uwsgi\r\n\r\n");
        slot.begin(now_ns, os::realtime_ns() / 1_000_000, HeadKind::Http, shown.as_bytes(), None);
        signals::run(py, signal);
        slot.end();
        attend::spare_the_next(py, self.worker, core);
        let role = self.relay.leave_app(inside);
        self.settle();
        if role == Role::Follows {
            os::raise(&self.wake);
        }
        role
    }
}

impl Drop for Unwatched {
    fn drop(&mut self) {
        let _ = self.serving.watch_letterbox(self.raw);
    }
}
