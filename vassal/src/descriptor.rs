//! The few flags of descriptors that the master sets: fcntl(2).

use std::{io, os::fd::AsFd};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};

/// Reads and writes answer "would block" instead of waiting.
pub(crate) fn set_non_blocking(descriptor: impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(descriptor.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(descriptor.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// The descriptor is closed by exec(2).
pub(crate) fn close_on_exec(descriptor: impl AsFd) -> io::Result<()> {
    fcntl(descriptor.as_fd(), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(())
}

/// The descriptor survives exec(2).
pub(crate) fn keep_over_exec(descriptor: impl AsFd) -> io::Result<()> {
    fcntl(descriptor.as_fd(), FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}
