//! File locks (flock(2)): they belong to the open file, so a child that inherits the descriptor shares the lock.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// Takes the exclusive lock if nobody has it; whether it was taken.
///
/// # Errors
/// flock(2).
pub fn try_exclusive(fd: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: flock takes a descriptor number and flags; the borrow keeps the descriptor open.
    let result = unsafe { libc::flock(fd.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    if result == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::WouldBlock { Ok(false) } else { Err(error) }
}

/// Takes the exclusive lock as soon as whoever has it gives it up.
///
/// # Errors
/// flock(2).
pub fn wait_exclusive(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: flock takes a descriptor number and flags; the borrow keeps the descriptor open.
    while unsafe { libc::flock(fd.as_raw_fd(), libc::LOCK_EX) } != 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(())
}
