//! Workers that stand still: stopped by a signal, or by a debugger that was attached and forgotten. They hold their
//! connections, and the kernel goes on giving them new ones. The kernel tells of the first kind (SIGCHLD); for the other
//! they are looked at from time to time. Whoever is stopped for too long is killed and replaced.

use std::time::Duration;

use empery_lifecycle::{ids::WorkerRef, moment::Moment};
use empery_sys::process::{self, How};
use nix::sys::signal::Signal;

use super::{Supervisor, generation::WorkerHandle, perform::kill_child};
use crate::{clock, station::Station};

/// How long a worker may stand still.
const STOPPED_MAX: Duration = Duration::from_secs(10);

/// How often it is looked for those that nobody tells of: a stat of /proc for each worker. A master among many wakes
/// seldom, since fifty that wake four times a minute cost more than all else that an idle fleet does.
const LOOK_EVERY_ALONE: Duration = Duration::from_secs(15);
const LOOK_EVERY_GOVERNED: Duration = Duration::from_secs(240);

/// A debugger is told first that its process has ended, and its parent only when it has taken notice (ptrace(2)): one that
/// was forgotten never does. So long the kernel may take to end a process that was killed.
const ENDED_WITHIN: Duration = Duration::from_secs(1);

/// A worker that stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// Since then.
    Since(Moment),
    /// It was killed for it then.
    Killed(Moment),
}

impl Stopped {
    fn due(self) -> Moment {
        match self {
            Stopped::Since(since) => since.after(STOPPED_MAX),
            Stopped::Killed(at) => at.after(ENDED_WITHIN),
        }
    }
}

impl Supervisor {
    /// When to look again.
    pub(super) fn stopped_deadline(&self) -> Option<Moment> {
        let workers = || self.generations.values().flat_map(|generation| generation.workers.values());
        workers().next()?;
        let first_due = workers().filter_map(|handle| Some(handle.stopped?.due())).min();
        let every = match self.station {
            Station::Alone(_) => LOOK_EVERY_ALONE,
            Station::Governed(_) => LOOK_EVERY_GOVERNED,
        };
        let regular = self.looked_for_stopped.after(every);
        Some(first_due.map_or(regular, |due| due.min(regular)))
    }

    /// Looks at every worker: after SIGCHLD, and when it is time.
    pub(super) fn look_for_stopped(&mut self) {
        let now = clock::now();
        self.looked_for_stopped = now;
        let mut ended: Vec<WorkerRef> = Vec::new();
        for generation in self.generations.values_mut() {
            for (worker, handle) in &mut generation.workers {
                if look(handle, now) {
                    ended.push(*worker);
                }
            }
        }
        for worker in ended {
            self.worker_exited(worker, How::Signal(Signal::SIGKILL as i32));
        }
    }
}

/// Whether it has ended, though its parent is not told.
fn look(handle: &mut WorkerHandle, now: Moment) -> bool {
    let Some(pid) = handle.pid.filter(|_| handle.exit.is_none()) else { return false };
    match handle.stopped {
        Some(Stopped::Killed(at)) => {
            if at.after(ENDED_WITHIN) > now {
                return false;
            }
            handle.stopped = Some(Stopped::Killed(now));
            process::has_ended(pid)
        }
        _ if handle.condemned.is_some() => false,
        _ if !process::is_stopped(pid) => {
            handle.stopped = None;
            false
        }
        Some(Stopped::Since(since)) if since.after(STOPPED_MAX) <= now => {
            let seconds = STOPPED_MAX.as_secs();
            handle.condemned = Some(format!("it stood still for {seconds} s (SIGSTOP, or a debugger) and was killed"));
            handle.stopped = Some(Stopped::Killed(now));
            kill_child(pid);
            false
        }
        Some(Stopped::Since(_)) => false,
        None => {
            handle.stopped = Some(Stopped::Since(now));
            false
        }
    }
}
