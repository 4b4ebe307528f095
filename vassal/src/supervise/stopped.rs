//! Workers that stand still: stopped by a signal, or by a debugger that was attached and forgotten. They hold their
//! connections, and the kernel goes on giving them new ones. The kernel tells of the first kind (SIGCHLD); for the other
//! they are looked at from time to time. Whoever is stopped for too long is killed and replaced.

use std::time::Duration;

use empery_lifecycle::{
    ids::{OrphanId, WorkerRef},
    moment::Moment,
};
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

/// How one ended that was killed here.
const KILLED: How = How::Signal(Signal::SIGKILL as i32);

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
        let own = || self.generations.values().flat_map(|generation| generation.workers.values());
        let workers = || own().chain(self.orphans.values().map(|orphan| &orphan.handle));
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
                match look(handle, now) {
                    Found::Nothing => {}
                    Found::Overdue => handle.pid.into_iter().for_each(kill_child),
                    Found::Ended => ended.push(*worker),
                }
            }
        }
        for worker in ended {
            self.worker_exited(worker, KILLED);
        }
        let mut ended: Vec<OrphanId> = Vec::new();
        for (id, orphan) in &mut self.orphans {
            match look(&mut orphan.handle, now) {
                Found::Nothing => {}
                Found::Overdue => orphan.kill(),
                Found::Ended => ended.push(*id),
            }
        }
        for orphan in ended {
            self.orphan_exited(orphan, Some(KILLED));
        }
    }
}

/// What a look at a worker shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// It runs, or may stand still for a while longer.
    Nothing,
    /// It has stood still for too long.
    Overdue,
    /// It has ended, though its parent is not told.
    Ended,
}

fn look(handle: &mut WorkerHandle, now: Moment) -> Found {
    let Some(pid) = handle.pid.filter(|_| handle.exit.is_none()) else { return Found::Nothing };
    match handle.stopped {
        Some(Stopped::Killed(at)) => {
            if at.after(ENDED_WITHIN) > now {
                return Found::Nothing;
            }
            handle.stopped = Some(Stopped::Killed(now));
            if process::has_ended(pid) { Found::Ended } else { Found::Nothing }
        }
        _ if handle.condemned.is_some() => Found::Nothing,
        _ if !process::is_stopped(pid) => {
            handle.stopped = None;
            Found::Nothing
        }
        Some(Stopped::Since(since)) if since.after(STOPPED_MAX) <= now => {
            let seconds = STOPPED_MAX.as_secs();
            handle.condemned = Some(format!("it stood still for {seconds} s (SIGSTOP, or a debugger) and was killed"));
            handle.stopped = Some(Stopped::Killed(now));
            Found::Overdue
        }
        Some(Stopped::Since(_)) => Found::Nothing,
        None => {
            handle.stopped = Some(Stopped::Since(now));
            Found::Nothing
        }
    }
}
