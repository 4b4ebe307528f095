//! Which descriptors survive an exec: fcntl(2).

use std::{io, os::fd::AsFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

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
