//! The keeper replaced by a new one in place: the same pid executes the binary anew, perhaps a newer one. The successor
//! finds masters by their locks, as after a crash. Handed over are the emperor's own lock, so that no other emperor can slip in
//! between, and what is kept for vassals: nobody else has the sockets of one that sleeps, or whose master has just died.

use std::{
    convert::Infallible,
    ffi::CString,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::Path,
};

use anyhow::Context;
use empery_sys::{inherited, lock};
use nix::sys::stat::{fstat, stat};

use super::{
    desk::Desk,
    fd_store::FdStore,
    rooms::{self, Rooms},
};

/// The variable that tells the successor the number of the lock's descriptor.
pub(super) const LOCK_FD: &str = "EMPERY_EMPEROR_LOCK_FD";

/// The variable that hands on what brains of an upgrade tell each other.
pub(super) const NOTE: &str = "EMPERY_UPGRADE_NOTE";

/// The variable that tells the successor the number of the table of what is kept.
pub(super) const STORE_FD: &str = "EMPERY_KEEPER_STORE_FD";

/// What the predecessor in this process was asked to hand on.
pub(super) fn inherited_note() -> Option<String> {
    std::env::var(NOTE).ok()
}

/// Executes the binary with the arguments this keeper was started with. Comes back only when that failed.
pub(super) fn replace_self(program: &Path, rooms: &Rooms, desk: &Desk) -> anyhow::Error {
    match try_replace(program, rooms, desk) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_replace(program: &Path, rooms: &Rooms, desk: &Desk) -> anyhow::Result<Infallible> {
    let number = rooms::pass_on(rooms.lock()).context("passing the lock on")?;
    let store = desk.store.leave().context("passing on what is kept")?;
    let path = CString::new(program.as_os_str().as_bytes())?;
    let args = std::env::args_os().map(|arg| CString::new(arg.into_vec())).collect::<Result<Vec<_>, _>>()?;
    let mut env = std::env::vars_os()
        .filter(|(name, _)| name != LOCK_FD && name != STORE_FD && name != NOTE)
        .map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect::<Result<Vec<_>, _>>()?;
    env.push(CString::new(format!("{LOCK_FD}={number}"))?);
    env.push(CString::new(format!("{STORE_FD}={}", store.as_raw_fd()))?);
    env.extend(desk.note.as_ref().map(|note| CString::new(format!("{NOTE}={note}"))).transpose()?);
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

/// What a predecessor in this process kept; nothing, when there is none.
pub(super) fn inherited_store() -> FdStore {
    let Some(number) = std::env::var(STORE_FD).ok().and_then(|number| number.parse().ok()) else {
        return FdStore::default();
    };
    FdStore::take_over(number).unwrap_or_else(|error| {
        tracing::error!("what the keeper before had kept is lost: {error}");
        FdStore::default()
    })
}
