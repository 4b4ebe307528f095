//! Descriptors that a process was started with, by number. Which numbers these are is told by whoever started it.

use std::{
    io,
    os::fd::{FromRawFd, OwnedFd, RawFd},
};

/// Takes an inherited descriptor, and has it closed at the next exec. Each number is to be taken once, before
/// anything else of the process may have opened a descriptor of its own under it.
///
/// # Errors
/// `EBADF` when it is not open, `InvalidInput` for the three standard ones, which have owners.
pub fn take(number: RawFd) -> io::Result<OwnedFd> {
    if number <= libc::STDERR_FILENO {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: F_SETFD takes a number and a flag; on a number that is not open it fails without an effect.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, as the call above has shown, and by this function's contract nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd;

    #[test]
    fn a_descriptor_is_taken_by_its_number_and_a_closed_one_is_refused() {
        let (read, _write) = crate::pipe::cloexec_pipe().unwrap();
        let number = read.into_raw_fd();
        drop(take(number).unwrap());
        assert_eq!(take(1_000_000).unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert_eq!(take(2).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
