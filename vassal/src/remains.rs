//! What an earlier master of this vassal, which died, has left running: its daemons were told to end when it did, and are
//! waited for, so that none runs twice. They are known by a variable in their environment (proc_pid_environ(5)), which
//! their own children have, too.

use std::{
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
    time::Duration,
};

use empery_sys::{process, readable::Readable};
use nix::sys::signal::Signal;
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
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let wanted = [MARK.as_bytes(), b"=", mark.as_os_str().as_bytes()].concat();
    let is_one = |pid: &i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == wanted)
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    // Opened before it is looked at a second time: the descriptor then means the process that was looked at.
    pids.filter(is_one).filter_map(|pid| process::pidfd_open(pid).ok().filter(|_| is_one(&pid))).collect()
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
