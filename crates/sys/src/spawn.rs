//! Fork and exec with exactly the descriptors, signals, directory and identity that were named.
//!
//! The child starts with every signal at its default action and none blocked, whatever the parent inherited
//! (a shell's background job has SIGINT ignored, and Python would then never install its handler).

use std::{
    ffi::OsString,
    io,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    path::PathBuf,
    process::{Command, Stdio},
};

pub use crate::identity::DropTo;
use crate::{identity, process};

/// What to start, and how.
#[derive(Debug)]
pub struct Spawn {
    /// The file to exec; without a slash it is looked up on PATH.
    pub program: PathBuf,
    /// The arguments, argv[0] included.
    pub args: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory.
    pub directory: Option<PathBuf>,
    /// Descriptors 0, 1 and 2; None is /dev/null for 0 and the parent's for 1 and 2.
    pub stdio: [Option<OwnedFd>; 3],
    /// Descriptors (above 2) that the child keeps, under the same numbers. All others are closed.
    pub inherit: Vec<RawFd>,
    /// Who the child is to be; None is who the parent is.
    pub identity: Option<DropTo>,
    /// Whether it starts a session of its own (setsid(2)).
    pub new_session: bool,
}

/// A child that runs. Not waited for: see [`process::reap_any`].
#[derive(Debug)]
pub struct Child {
    /// Its pid.
    pub pid: i32,
    /// Readable when it has ended.
    pub pidfd: OwnedFd,
}

/// Starts it. A failure of the exec itself is reported here too.
///
/// # Errors
/// fork(2), the drop of privileges, chdir(2), execve(2).
pub fn spawn(what: Spawn) -> io::Result<Child> {
    let mut args = what.args.into_iter();
    let mut command = Command::new(&what.program);
    if let Some(name) = args.next() {
        command.arg0(name);
    }
    command.args(args).env_clear().envs(what.env);
    if let Some(directory) = &what.directory {
        command.current_dir(directory);
    }
    let [stdin, stdout, stderr] = what.stdio;
    command.stdin(stdin.map_or_else(Stdio::null, Stdio::from));
    command.stdout(stdout.map_or_else(Stdio::inherit, Stdio::from));
    command.stderr(stderr.map_or_else(Stdio::inherit, Stdio::from));
    let (inherit, identity, new_session) = (what.inherit, what.identity, what.new_session);
    let prepare = move || prepare(&inherit, identity.as_ref(), new_session);
    // SAFETY: the closure runs in the child between fork and exec. It calls only async-signal-safe system calls, except
    // for initgroups(3), which reads the group database: the processes that drop privileges (keeper, standalone master
    // before its runtime starts) are single-threaded at that moment, so no lock can be held by another thread.
    unsafe { command.pre_exec(prepare) };
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    Ok(Child { pid, pidfd: process::pidfd_open(pid)? })
}

/// In the child, before the exec. Descriptors are made close-on-exec instead of being closed, because std's own
/// pipe to the parent, which reports a failed exec, is among them.
fn prepare(inherit: &[RawFd], identity: Option<&DropTo>, new_session: bool) -> io::Result<()> {
    reset_signals()?;
    if new_session {
        nix::unistd::setsid()?;
    }
    if let Some(identity) = identity {
        identity::drop_to(identity)?;
    }
    // SAFETY: close_range takes three numbers; with CLOEXEC it closes nothing now.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    for fd in inherit {
        // SAFETY: F_SETFD on a descriptor number; a closed one is reported as EBADF.
        if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Every signal to its default action, none blocked.
///
/// # Errors
/// sigprocmask(2).
pub fn reset_signals() -> io::Result<()> {
    const LAST_SIGNAL: i32 = 64;
    for number in 1..=LAST_SIGNAL {
        // SAFETY: SIG_DFL is a valid action; the call fails harmlessly for SIGKILL, SIGSTOP and libc's own real-time signals.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    let none = nix::sys::signal::SigSet::empty();
    nix::sys::signal::sigprocmask(nix::sys::signal::SigmaskHow::SIG_SETMASK, Some(&none), None)?;
    Ok(())
}
