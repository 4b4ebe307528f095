//! `wait-for-…`: what the app needs is waited for before anything of it is loaded, and before the master is told anything. Called by
//! the zygote; the master, which serves on meanwhile, gives the boot as much more time.

use std::{
    os::fd::{AsRawFd, BorrowedFd},
    time::{Duration, Instant},
};

use empery_control::process::{Awaited, Wait};
use empery_sys::awaited::is_there;
use pyo3::prelude::*;

use crate::{
    os::{self, Ready},
    python,
};

/// How often there is a look: as often as in uWSGI.
const LOOK_EVERY_MS: u64 = 1000;

/// How a wait ended.
pub(crate) enum Waited {
    /// All of it is there.
    Found,
    /// The master wants something else, or is gone.
    CalledOff,
    /// One was not there in its time: a sentence.
    InVain(String),
}

/// Waits for one after the other.
pub(crate) fn all(py: Python<'_>, waits: &[Wait], channel: BorrowedFd<'_>) -> Waited {
    for wait in waits {
        match one(py, wait, channel) {
            Waited::Found => {}
            ended => return ended,
        }
    }
    Waited::Found
}

fn one(py: Python<'_>, wait: &Wait, channel: BorrowedFd<'_>) -> Waited {
    let (option, name) = names(&wait.awaited);
    let say = |line: String| os::write_stderr(format!("{line}\n").as_bytes());
    say(format!("waiting for {name} (max {} seconds) ...", wait.within_s));
    let began = Instant::now();
    loop {
        if py.detach(|| is_there(&wait.awaited)) {
            say(format!("{name} found after {} seconds", began.elapsed().as_secs()));
            return Waited::Found;
        }
        if began.elapsed() >= Duration::from_secs(wait.within_s) {
            let seconds = wait.within_s;
            return Waited::InVain(format!("{name} is not there after {seconds} s, and `{option}` waits for it"));
        }
        // Nobody tells when it comes; who tells is the master, when there is no need to wait any longer.
        match py.detach(|| os::wait(channel.as_raw_fd(), Ready::Read, LOOK_EVERY_MS)) {
            Ok(true) => return Waited::CalledOff,
            Ok(false) => {}
            Err(_) => {
                if let Err(error) = py.check_signals() {
                    python::print_exception(py, &error);
                }
            }
        }
    }
}

/// The option and what it names.
fn names(awaited: &Awaited) -> (&'static str, String) {
    match awaited {
        Awaited::Interface(name) => ("wait-for-interface", format!("interface {name}")),
        Awaited::Path(path) => ("wait-for-fs", path.display().to_string()),
        Awaited::MountPoint(path) => ("wait-for-mountpoint", format!("mount point {}", path.display())),
        Awaited::Socket(name) => ("wait-for-socket", format!("socket {name}")),
    }
}
