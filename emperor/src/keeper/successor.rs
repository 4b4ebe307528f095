//! The keeper replaced by a new one in place: the same pid executes the binary anew, perhaps a newer one. The successor
//! finds masters by their locks, as after a crash; only the emperor's own lock is handed over, so that no other emperor
//! can slip in between.

use std::{
    convert::Infallible,
    ffi::CString,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::Path,
};

use anyhow::Context;
use empery_sys::{inherited, lock};
use nix::sys::stat::{fstat, stat};

use super::rooms::{self, Rooms};

/// The variable that tells the successor the number of the lock's descriptor.
pub(super) const LOCK_FD: &str = "EMPERY_EMPEROR_LOCK_FD";

/// The variable that hands on what brains of an upgrade tell each other.
pub(super) const NOTE: &str = "EMPERY_UPGRADE_NOTE";

/// What the predecessor in this process was asked to hand on.
pub(super) fn inherited_note() -> Option<String> {
    std::env::var(NOTE).ok()
}

/// Executes the binary with the arguments this keeper was started with. Comes back only when that failed.
pub(super) fn replace_self(program: &Path, rooms: &Rooms, note: Option<&str>) -> anyhow::Error {
    match try_replace(program, rooms, note) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_replace(program: &Path, rooms: &Rooms, note: Option<&str>) -> anyhow::Result<Infallible> {
    let number = rooms::pass_on(rooms.lock()).context("passing the lock on")?;
    let path = CString::new(program.as_os_str().as_bytes())?;
    let args = std::env::args_os().map(|arg| CString::new(arg.into_vec())).collect::<Result<Vec<_>, _>>()?;
    let mut env = std::env::vars_os()
        .filter(|(name, _)| name != LOCK_FD && name != NOTE)
        .map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect::<Result<Vec<_>, _>>()?;
    env.push(CString::new(format!("{LOCK_FD}={number}"))?);
    env.extend(note.map(|note| CString::new(format!("{NOTE}={note}"))).transpose()?);
    tracing::info!("the emperor replaces itself");
    nix::unistd::execve(&path, &args, &env).with_context(|| format!("executing {}", program.display()))
}

/// The lock that a predecessor in this process held, if it is that of this path.
pub(super) fn inherited_lock(path: &Path) -> Option<OwnedFd> {
    let number = std::env::var(LOCK_FD).ok()?.parse().ok()?;
    let fd = inherited::take(number).ok()?;
    let (held, named) = (fstat(&fd).ok()?, stat(path).ok()?);
    let same = (held.st_dev, held.st_ino) == (named.st_dev, named.st_ino);
    (same && lock::try_exclusive(fd.as_fd()).ok()?).then_some(fd)
}
