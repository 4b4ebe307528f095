//! The living masters: those this keeper started and those it found by their locks. Watched by pidfd.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    time::Duration,
};

use empery_control::keeper::LivingMaster;
use empery_failpoint::point;
use empery_lifecycle::{
    fleet::{Berth, Identity, MasterKey},
    ids::VassalName,
};
use empery_sys::{
    oom::KillCounts,
    process::{self, How},
};

use super::locks;

/// How an end is told that nobody could see: only a parent learns of it (waitid(2)).
const UNSEEN: &str = "unknown (it outlived an earlier keeper)";

/// A master that runs.
#[derive(Debug)]
pub(super) struct Master {
    /// Its pid.
    pub(super) pid: i32,
    /// Its pidfd.
    pub(super) pidfd: OwnedFd,
    /// Who it is.
    pub(super) identity: Identity,
    /// Whose leftovers it takes over besides.
    pub(super) former_uids: Vec<u32>,
    /// Kills for memory before it was there.
    kill_counts: KillCounts,
}

impl Master {
    /// One that runs.
    pub(super) fn new(pid: i32, pidfd: OwnedFd, identity: Identity, former_uids: Vec<u32>) -> Self {
        Self { pid, pidfd, identity, former_uids, kill_counts: KillCounts::of(pid) }
    }

    /// How it has ended, in words.
    fn ended(&self, how: How) -> String {
        told(how, self.kill_counts.evidence())
    }
}

/// Nobody knows here whom the kernel has killed for memory: that it has killed somebody since is told of one that was killed.
fn told(how: How, kills: Option<String>) -> String {
    match kills.filter(|_| how == How::Signal(libc::SIGKILL)) {
        Some(kills) => format!("{how}, perhaps for want of memory ({kills})"),
        None => how.to_string(),
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Masters(BTreeMap<MasterKey, Master>);

impl Masters {
    /// Those that hold their locks.
    ///
    /// # Errors
    /// When they cannot be looked for. Whoever went on would take every vassal for dead and never get its sockets.
    pub(super) fn adopt(runtime: &Path) -> io::Result<Self> {
        let held = point!("keeper.adopt").and_then(|()| locks::held(runtime))?;
        let living = held.into_iter().map(|lock| {
            tracing::info!(vassal = %lock.text.master.vassal, pid = lock.text.pid, "found a living master");
            (lock.text.master, Master::new(lock.text.pid, lock.pidfd, lock.text.identity, Vec::new()))
        });
        Ok(Self(living.collect()))
    }

    /// Takes note of a started one.
    pub(super) fn add(&mut self, key: MasterKey, master: Master) {
        self.0.insert(key, master);
    }

    /// Whether one lives in that berth.
    pub(super) fn lives_in(&self, vassal: &VassalName, berth: Berth) -> bool {
        self.0.keys().any(|key| key.vassal == *vassal && key.berth == berth)
    }

    /// The one that lives in that berth.
    pub(super) fn in_berth(&self, vassal: &VassalName, berth: Berth) -> Option<&Master> {
        self.0.iter().find(|(key, _)| key.vassal == *vassal && key.berth == berth).map(|(_, master)| master)
    }

    /// The one of this key.
    pub(super) fn get(&self, key: &MasterKey) -> Option<&Master> {
        self.0.get(key)
    }

    /// As the brain is told.
    pub(super) fn living(&self) -> Vec<LivingMaster> {
        let told = |(key, master): (&MasterKey, &Master)| LivingMaster {
            master: key.clone(),
            pid: master.pid,
            identity: master.identity,
        };
        self.0.iter().map(told).collect()
    }

    /// What to watch.
    pub(super) fn pidfds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.values().map(|master| master.pidfd.as_fd())
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes note that a child was reaped; its key when it was a master, and how it ended in words.
    pub(super) fn ended(&mut self, pid: i32, how: How) -> Option<(MasterKey, String)> {
        let key = self.0.iter().find(|(_, master)| master.pid == pid).map(|(key, _)| key.clone())?;
        let master = self.0.remove(&key)?;
        Some((key, master.ended(how)))
    }

    /// Those that have ended and that nobody reaped: found masters are no children of ours, unless an earlier keeper of
    /// this very process started them.
    pub(super) fn lost(&mut self) -> Vec<(MasterKey, String)> {
        let mut lost = Vec::new();
        self.0.retain(|key, master| {
            let lives = !process::pidfd_wait(master.pidfd.as_fd(), Duration::ZERO).unwrap_or(false);
            if !lives {
                let how = process::reap(master.pidfd.as_fd()).ok().flatten();
                lost.push((key.clone(), how.map_or_else(|| UNSEEN.to_owned(), |how| master.ended(how))));
            }
            lives
        });
        lost
    }

    /// Sends a signal to every master.
    pub(super) fn signal_all(&self, signal: i32) {
        for (key, master) in &self.0 {
            if let Err(error) = send(master, signal) {
                tracing::warn!(vassal = %key.vassal, pid = master.pid, "signal {signal} was not delivered: {error}");
            }
        }
    }

    /// Kills every master with its children.
    pub(super) fn kill_all_with_children(&self) {
        for (key, master) in &self.0 {
            let children = children(master);
            if let Err(error) = send(master, libc::SIGKILL) {
                tracing::warn!(vassal = %key.vassal, pid = master.pid, "it was not killed: {error}");
            }
            for pidfd in &children {
                // It may have ended since: that is what is wanted.
                let _ = process::pidfd_kill(pidfd, libc::SIGKILL);
            }
        }
    }
}

/// Sends a signal to exactly this master. One that has ended already is as good as reached: its end is told anyway.
pub(super) fn send(master: &Master, signal: i32) -> io::Result<()> {
    match process::pidfd_kill(&master.pidfd, signal) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        sent => sent,
    }
}

/// What is a child of this master: zygotes, workers, gateways. To be asked before it is killed, for a found master's children
/// do not come to this keeper then. It goes on no more: stopped, it starts and reaps none while they are looked for.
pub(super) fn children(master: &Master) -> Vec<OwnedFd> {
    // One that has ended has no children any more.
    let _ = send(master, libc::SIGSTOP);
    let children = || process::children_of(master.pid).unwrap_or_default();
    let opened: Vec<_> = children().into_iter().filter_map(|pid| Some((pid, process::pidfd_open(pid).ok()?))).collect();
    // One that is its child still is what was opened: nobody else had its number meanwhile.
    let still = children();
    opened.into_iter().filter(|(pid, _)| still.contains(pid)).map(|(_, pidfd)| pidfd).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_that_was_killed_is_told_of_with_the_kernels_kills_for_memory() {
        let kills = || Some("kills for memory since it was forked: 1 on the machine".to_owned());
        let sentence = told(How::Signal(libc::SIGKILL), kills());
        assert!(sentence.starts_with("signal 9 (SIGKILL), perhaps for want of memory (kills for memory"), "{sentence}");
        assert_eq!(told(How::Signal(libc::SIGKILL), None), "signal 9 (SIGKILL)");
        assert_eq!(told(How::Code(22), kills()), "exit code 22");
    }
}
