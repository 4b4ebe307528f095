//! A ticket: several processes may hold copies of it, and one alone can claim it (an eventfd(2) with a one in it, which the
//! first who reads takes).

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

/// A new one.
///
/// # Errors
/// eventfd(2).
pub fn issue() -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let raw = unsafe { libc::eventfd(1, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: eventfd has just made it, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Claims it. False when somebody else has.
#[must_use]
pub fn claim(ticket: BorrowedFd<'_>) -> bool {
    let mut number = [0_u8; 8];
    // SAFETY: eight writable bytes. One that was claimed says EAGAIN.
    unsafe { libc::read(ticket.as_raw_fd(), number.as_mut_ptr().cast(), number.len()) > 0 }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn one_alone_of_those_who_hold_it_can_claim_it() {
        let ticket = issue().unwrap();
        let copy = ticket.try_clone().unwrap();
        assert!(claim(copy.as_fd()));
        assert!(!claim(copy.as_fd()) && !claim(ticket.as_fd()));
    }
}
