//! What a story must not leave behind: processes, zombies of its servers, descriptors of its own.

use std::time::Duration;

use anyhow::{Result, bail};
use nix::{
    sys::{
        signal::Signal,
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::Pid,
};

use crate::{procfs, wait};

/// How long what was told to stop may take to be gone after the story's end.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// The descriptors of this process, taken before and compared after a story.
#[derive(Debug)]
pub struct Baseline(Vec<String>);

impl Baseline {
    /// As it is now.
    #[must_use]
    pub fn take() -> Baseline {
        Baseline(own_descriptors())
    }

    /// Waits for every descendant to be gone, then checks.
    ///
    /// # Errors
    /// Names what is left over. Whatever is left is killed either way.
    pub fn check(self) -> Result<()> {
        let me = own_pid();
        let clean = wait::until("every process of the story to be gone", GONE_WITHIN, || {
            reap_orphans();
            procfs::descendants(me).is_empty().then_some(())
        });
        if clean.is_err() {
            let left: Vec<_> = procfs::descendants(me).into_iter().map(describe).collect();
            sweep(&[]);
            bail!("left over after the story:\n  {}", left.join("\n  "));
        }
        let now = own_descriptors();
        if now.len() > self.0.len() {
            bail!("descriptors left open by the story:\n  before {:?}\n  after  {now:?}", self.0);
        }
        Ok(())
    }
}

/// Kills and reaps every descendant of this process, except those below the processes named.
pub fn sweep(spared: &[i32]) {
    let me = own_pid();
    let swept = wait::until("killed processes to be gone", GONE_WITHIN, || {
        let roots: Vec<_> = procfs::children(me).into_iter().filter(|pid| !spared.contains(pid)).collect();
        for root in &roots {
            for pid in procfs::descendants(*root) {
                procfs::signal(pid, Signal::SIGKILL);
            }
            procfs::signal(*root, Signal::SIGKILL);
            reap(*root);
        }
        roots.is_empty().then_some(())
    });
    if let Err(error) = swept {
        eprintln!("{error}");
    }
}

/// Reaps children of this process that are zombies and that nobody waits for: orphans it adopted.
pub fn reap_orphans() {
    let me = own_pid();
    for pid in procfs::children(me) {
        if procfs::state(pid) == Some('Z') {
            reap(pid);
        }
    }
}

fn reap(pid: i32) {
    match waitid(Id::Pid(Pid::from_raw(pid)), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
        Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(_) | Ok(_) => {}
    }
}

fn describe(pid: i32) -> String {
    let state = procfs::state(pid).unwrap_or('?');
    let parent = procfs::parent(pid).unwrap_or(0);
    format!("pid {pid} (state {state}, parent {parent}): {}", procfs::command_line(pid))
}

fn own_pid() -> i32 {
    Pid::this().as_raw()
}

/// Reading `/proc/self/fd` needs a descriptor of its own, which is left out.
fn own_descriptors() -> Vec<String> {
    procfs::descriptor_targets(own_pid()).into_iter().filter(|target| !target.starts_with("/proc/")).collect()
}
