//! What is written down about a request that is over: the counters of its slot, and the line in the log.

use std::sync::atomic::Ordering;

use pyo3::{exceptions::PyKeyboardInterrupt, prelude::*};

use super::{
    Tools,
    request_line::{Answered, Spoken},
    routing,
};
use crate::{attend, os, python, stray};

/// When a request began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Began {
    /// On the monotonic clock.
    pub(super) monotonic_ns: u64,
    pub(super) unix_us: u64,
}

impl Began {
    /// At this moment.
    pub(super) fn now() -> Self {
        Self { monotonic_ns: os::monotonic_ns(), unix_us: os::realtime_ns() / 1000 }
    }

    pub(super) fn unix_ms(self) -> u64 {
        self.unix_us / 1000
    }

    pub(super) fn unix_s(self) -> u64 {
        self.unix_us / 1_000_000
    }
}

impl Tools {
    /// Counts a request; how long it took, in microseconds.
    pub(super) fn count(&self, began: Began) -> u64 {
        let took_us = (os::monotonic_ns() - began.monotonic_ns) / 1000;
        let counters = &self.slot.counters;
        counters.requests.fetch_add(1, Ordering::Relaxed);
        counters.running_us.fetch_add(took_us, Ordering::Relaxed);
        self.worker.count_request();
        took_us
    }

    /// Calls what the app has set as `uwsgi.after_req_hook`, when the answer has been given and before the line is written, as uWSGI
    /// does (uwsgi_after_request_wsgi). It is part of its request, and of what `harakiri` limits but with `harakiri-no-arh`.
    pub(super) fn after_request(&self, py: Python<'_>) {
        let Some(hook) = &self.after_request else { return };
        if self.worker.boot.process.hook_is_unlimited {
            self.serving.goes_on_hidden(self.slot.state.started_monotonic_ns.load(Ordering::Relaxed));
            self.slot.end();
            attend::spare_the_next(py, self.worker, self.core);
        }
        let called = hook.call0(py);
        self.serving.goes_on_hidden(0);
        if stray::is_child() {
            stray::leave(py, self.worker, called.as_ref().err());
        }
        if let Err(error) = called {
            self.raised(py, &error);
        }
    }

    /// Writes down what code of the app has raised in a request. It may be a reason for another worker.
    pub(super) fn raised(&self, py: Python<'_>, error: &PyErr) {
        self.slot.counters.exceptions.fetch_add(1, Ordering::Relaxed);
        if let Some(mounts) = self.mounts {
            mounts.count_exception(self.worker, self.answering);
        }
        python::print_exception(py, error);
        self.worker.recycling.after_exception(py, self.worker, error);
        if error.is_instance_of::<PyKeyboardInterrupt>(py) {
            self.serving.leave();
        }
    }

    /// Counts its answer, and writes the line.
    pub(super) fn count_answer(&mut self, spoken: &Spoken<'_>, answered: &Answered, began: Began, took_us: u64) {
        let counters = &self.slot.counters;
        counters.tx_bytes.fetch_add(answered.head_bytes + answered.body_bytes, Ordering::Relaxed);
        if answered.status >= 500 {
            counters.errors_5xx.fetch_add(1, Ordering::Relaxed);
        } else if answered.status >= 400 {
            counters.errors_4xx.fetch_add(1, Ordering::Relaxed);
        }
        let answering = match self.mounts {
            Some(_) => self.answering.take(),
            None => None,
        };
        if let Some(routed) = spoken.vars.routed {
            routing::follow_last(self, spoken, answered, began);
            if routed.said().has_no_line {
                return;
            }
        }
        if self.may_log || answered.is_asked_for {
            self.lines.write(self.worker, (self.core, answering), spoken, answered, began, took_us);
        }
    }
}
