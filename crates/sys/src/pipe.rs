//! Pipes (pipe(7)) whose ends do not leak into children.

use std::{io, os::fd::OwnedFd};

use nix::fcntl::OFlag;

/// A pipe: the read end and the write end, both close-on-exec.
///
/// # Errors
/// pipe2(2).
pub fn cloexec_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(OFlag::O_CLOEXEC)?)
}
