//! What killed masters leave behind when the emperor was told twice to stop: their workers become children of the keeper,
//! which is the nearest subreaper (PR_SET_CHILD_SUBREAPER(2const)), and must not outlive it. Those of masters that an
//! earlier keeper had started are not below this one and end by themselves. Called when everything else has ended.

use std::{os::fd::AsFd, time::Duration};

use empery_sys::process::{self, monotonic_ns};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How long killed processes may take to be gone: one that waits for a dead disk would keep the keeper for ever.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// Kills every child and, as they come to be children by that, what these had started.
pub(super) fn end_all() {
    let deadline_ns = monotonic_ns().saturating_add(u64::try_from(GONE_WITHIN.as_nanos()).unwrap_or(u64::MAX));
    loop {
        let left_ms = deadline_ns.saturating_sub(monotonic_ns()).div_ceil(1_000_000);
        // Nobody but the keeper reaps its children: their pids are theirs.
        let pidfds: Vec<_> = children().into_iter().filter_map(|pid| process::pidfd_open(pid).ok()).collect();
        for pidfd in &pidfds {
            // One that has just ended is reaped below.
            let _ = process::pidfd_kill(pidfd, libc::SIGKILL);
        }
        let Some(pidfd) = pidfds.first().filter(|_| left_ms > 0) else { return };
        let timeout = PollTimeout::try_from(left_ms).unwrap_or(PollTimeout::MAX);
        let gone = poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], timeout);
        if let Err(error) = gone.map_err(std::io::Error::from).and_then(|_| process::reap_any().map(drop)) {
            tracing::warn!(%error, "what killed masters left behind may live on");
            return;
        }
    }
}

/// Living children and those that were not reaped yet (proc_pid_task(5)). The keeper has one thread.
fn children() -> Vec<i32> {
    let text = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}
