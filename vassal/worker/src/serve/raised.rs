//! uWSGI signals in the loop: a function is run between requests, by the thread that leads, as a request would be.

use std::os::fd::RawFd;

use empery_control::scoreboard::HeadKind;
use pyo3::Python;

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

impl Serving {
    /// Signals are delivered here.
    pub(crate) fn watch_letterbox(&self, raw: RawFd) -> std::io::Result<()> {
        self.epoll.add(raw, Watch::Level, lead::LETTERBOX)
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
    pub(super) fn raised(&self, py: Python<'_>, core: u32) -> Role {
        let Some(signal) = self.take_raised() else { return Role::Leads };
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
