//! What is written down about a request that is over: the counters of its slot, and the line in the log.

use std::sync::atomic::Ordering;

use super::{
    Tools,
    request_line::{Answered, Spoken},
    routing,
};
use crate::os;

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

    /// Counts its answer, and writes the line.
    pub(super) fn count_answer(&mut self, spoken: &Spoken<'_>, answered: &Answered, began: Began, took_us: u64) {
        let counters = &self.slot.counters;
        counters.tx_bytes.fetch_add(answered.head_bytes + answered.body_bytes, Ordering::Relaxed);
        if answered.status >= 500 {
            counters.errors_5xx.fetch_add(1, Ordering::Relaxed);
        } else if answered.status >= 400 {
            counters.errors_4xx.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(routed) = spoken.vars.routed {
            routing::follow_last(self, spoken, answered, began);
            if routed.said().has_no_line {
                return;
            }
        }
        if self.may_log || answered.is_asked_for {
            self.lines.write(self.worker, self.core, spoken, answered, began, took_us);
        }
    }
}
