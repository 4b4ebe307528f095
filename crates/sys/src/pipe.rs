//! Pipes (pipe(7)) whose ends do not leak into children.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// A pipe: the read end and the write end, both close-on-exec.
///
/// # Errors
/// pipe2(2).
pub fn cloexec_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(OFlag::O_CLOEXEC)?)
}

/// Whether these are the read end of a pipe and the write end of one. Asks nothing that a file system would answer: somebody may
/// have handed them over.
#[must_use]
pub fn are_ends(read: BorrowedFd<'_>, write: BorrowedFd<'_>) -> bool {
    let is = |fd: BorrowedFd<'_>, wanted: OFlag| {
        let flags = fcntl(fd, FcntlArg::F_GETFL).map(OFlag::from_bits_retain);
        fcntl(fd, FcntlArg::F_GETPIPE_SZ).is_ok() && flags.is_ok_and(|flags| flags & OFlag::O_ACCMODE == wanted)
    };
    is(read, OFlag::O_RDONLY) && is(write, OFlag::O_WRONLY)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn only_ends_of_pipes_are_ends_of_pipes() {
        let (read, write) = cloexec_pipe().unwrap();
        assert!(are_ends(read.as_fd(), write.as_fd()));
        assert!(!are_ends(write.as_fd(), read.as_fd()));
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert!(!are_ends(file.as_fd(), write.as_fd()));
        let (socket, _other) = crate::seqpacket::pair().unwrap();
        assert!(!are_ends(read.as_fd(), socket.as_fd()));
    }
}
