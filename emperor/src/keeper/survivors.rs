//! Children of a master that was told to leave and had to be killed: its workers may never have heard that they are to go. They
//! do when their link is taken away, and then finish what they have. What still runs after that, stuck in a request, is killed:
//! it would have the vassal's addresses for ever.

use std::{os::fd::OwnedFd, time::Duration};

use empery_sys::process::{self, monotonic_ns};

/// What they get: uWSGI's `worker-reload-mercy` of 60 s, and the time until they miss the link.
const MERCY: Duration = Duration::from_secs(70);

/// Pidfds, by when their processes are killed, CLOCK_MONOTONIC.
#[derive(Debug, Default)]
pub(super) struct Survivors(Vec<(u64, Vec<OwnedFd>)>);

impl Survivors {
    /// These are left from now on.
    pub(super) fn add(&mut self, children: Vec<OwnedFd>) {
        let mercy_ns = u64::try_from(MERCY.as_nanos()).unwrap_or(u64::MAX);
        self.0.push((monotonic_ns().saturating_add(mercy_ns), children));
    }

    /// When the next are killed.
    pub(super) fn deadline_ns(&self) -> Option<u64> {
        self.0.iter().map(|(at_ns, _)| *at_ns).min()
    }

    /// Kills those whose time is over by then.
    pub(super) fn end_due(&mut self, now_ns: u64) {
        for (_, children) in self.0.extract_if(.., |(at_ns, _)| *at_ns <= now_ns) {
            for pidfd in children {
                // Most have ended long ago.
                if process::pidfd_kill(&pidfd, libc::SIGKILL).is_ok() {
                    tracing::warn!("a worker of a stopped vassal did not finish in time and was killed");
                }
            }
        }
    }
}
