//! What an earlier master of this vassal, which died, has left running: its daemons were told to end when it did, and are
//! waited for, so that none runs twice; a scheduled command that is unique finishes what it has begun. They are known by a variable in their environment (proc_pid_environ(5)), which
//! their own children have, too.

use std::{
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
    time::Duration,
};

use empery_sys::{process, readable::Readable};
use nix::{
    sys::signal::Signal,
    unistd::{Pid, getsid},
};
use tokio::time::timeout;

use crate::{
    command::MARK,
    log,
    supervise::input::{Inbox, Input},
};

/// How long they get to end by themselves.
const GENTLE: Duration = Duration::from_secs(3);

/// How long a killed one may take to be gone: no more is tried then.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// Those that carry this mark.
pub(crate) fn find(mark: &Path) -> Vec<OwnedFd> {
    // Opened before it is looked at a second time: the descriptor then means the process that was looked at.
    let opened = |pid: i32| process::pidfd_open(pid).ok().filter(|_| carries(pid, mark));
    pids().filter(|pid| carries(*pid, mark)).filter_map(opened).collect()
}

/// Whether a command that was started with this mark runs still: it leads the session that it was started in. What it has left in
/// the background carries the mark, too, and counts for nothing.
pub(crate) fn runs(mark: &Path) -> bool {
    let leads = |pid: i32| getsid(Some(Pid::from_raw(pid))).is_ok_and(|session| session.as_raw() == pid);
    pids().any(|pid| carries(pid, mark) && leads(pid))
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn carries(pid: i32, mark: &Path) -> bool {
    let wanted = [MARK.as_bytes(), b"=", mark.as_os_str().as_bytes()].concat();
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|entry| entry == wanted)
}

/// Waits until they are gone, in the background, and kills those that take too long. [`Input::RemainsEnded`] follows.
pub(crate) fn outwait(remains: Vec<OwnedFd>, inbox: Inbox) {
    log::say(&format!("*** {} processes of an earlier master's daemons end first ***", remains.len()));
    tokio::spawn(async move {
        // Together: each is waited for from the beginning.
        let waits: Vec<_> = remains.into_iter().map(|pidfd| tokio::spawn(outwait_one(pidfd))).collect();
        for wait in waits {
            let _ = wait.await;
        }
        inbox.put(Input::RemainsEnded);
    });
}

async fn outwait_one(pidfd: OwnedFd) {
    let Ok(copy) = pidfd.try_clone() else { return };
    let Ok(end) = Readable::watch(copy) else { return };
    if timeout(GENTLE, end.ready()).await.is_err() {
        let _ = process::pidfd_kill(&pidfd, Signal::SIGKILL as i32);
        let _ = timeout(GONE_WITHIN, end.ready()).await;
    }
}
