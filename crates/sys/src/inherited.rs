//! Descriptors that a process was started with, by number. Which numbers these are is told by whoever started it.

use std::{
    io,
    os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use empery_control::keeper::ListenAddress;
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::socket::{SockType, getsockopt, sockopt},
};

use crate::listen;

/// A listening stream socket that this process was started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// Its descriptor.
    pub number: RawFd,
    /// Where it is bound.
    pub address: ListenAddress,
    /// An IPv6 socket that takes IPv4, too (ipv6(7), IPV6_V6ONLY).
    pub takes_ipv4: bool,
}

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

/// Every listening stream socket among the open descriptors, in the order of their numbers; they stay as they are. To be
/// called before this process opens any of its own.
///
/// # Errors
/// When /proc cannot be read.
pub fn listening() -> io::Result<Vec<Listening>> {
    let names = std::fs::read_dir("/proc/self/fd")?.flatten().map(|entry| entry.file_name());
    let mut numbers: Vec<RawFd> = names.filter_map(|name| name.to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    // The directory that was just read is among them, and closed.
    Ok(numbers.into_iter().filter_map(look_at).collect())
}

fn look_at(number: RawFd) -> Option<Listening> {
    // SAFETY: the borrow ends with this function, and what is called with it answers for a number that is not open.
    let socket = unsafe { BorrowedFd::borrow_raw(number) };
    let address = listen::address(socket).ok()?;
    let is_stream = getsockopt(&socket, sockopt::SockType) == Ok(SockType::Stream);
    let takes_ipv4 = matches!(address, ListenAddress::Tcp(address) if address.is_ipv6())
        && getsockopt(&socket, sockopt::Ipv6V6Only) == Ok(false);
    is_stream.then_some(Listening { number, address, takes_ipv4 })
}

/// Takes a listening socket that [`listening`] has found, non-blocking from now on. The first descriptor becomes /dev/null in
/// its place, as in uWSGI whenever it is no socket.
///
/// # Errors
/// See [`take`]; when /dev/null cannot be opened.
pub fn take_listening(number: RawFd) -> io::Result<OwnedFd> {
    let socket = if number == libc::STDIN_FILENO { take_stdin()? } else { take(number)? };
    let flags = OFlag::from_bits_retain(fcntl(&socket, FcntlArg::F_GETFL)?);
    fcntl(&socket, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(socket)
}

fn take_stdin() -> io::Result<OwnedFd> {
    let null = std::fs::File::open("/dev/null")?;
    let number = fcntl(std::io::stdin(), FcntlArg::F_DUPFD_CLOEXEC(libc::STDERR_FILENO + 1))?;
    // SAFETY: the call above has just opened it for this function alone.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    nix::unistd::dup2_stdin(null)?;
    Ok(socket)
}

/// Another descriptor of the same opening, closed at the next exec; the number stays with whoever has it.
///
/// # Errors
/// `EBADF` when it is not open, `EMFILE` when there is no room.
pub fn copy(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes a number and the least for the new one; on a number that is not open it fails without an
    // effect.
    let copied = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, libc::STDERR_FILENO + 1) };
    if copied < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above has just made it, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copied) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsRawFd, IntoRawFd};

    #[test]
    fn listening_sockets_are_found_among_all_descriptors_and_taken_non_blocking() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = ListenAddress::Tcp(tcp.local_addr().unwrap());
        let number = tcp.as_raw_fd();
        let client = std::net::TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        let found = listening().unwrap();
        assert!(found.contains(&Listening { number, address, takes_ipv4: false }), "{found:?}");
        assert!(found.iter().all(|socket| socket.number != client.as_raw_fd()), "it does not listen");
        let taken = std::net::TcpListener::from(take_listening(tcp.into_raw_fd()).unwrap());
        taken.accept().unwrap();
        assert_eq!(taken.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_copy_is_another_number() {
        let (read, write) = crate::pipe::cloexec_pipe().unwrap();
        let copied = copy(write.as_raw_fd()).unwrap();
        drop(write);
        io::Write::write_all(&mut std::fs::File::from(copied), b"x").unwrap();
        assert_eq!(io::read_to_string(std::fs::File::from(read)).unwrap(), "x");
        assert_eq!(copy(1_000_000).unwrap_err().raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn a_descriptor_is_taken_by_its_number_and_a_closed_one_is_refused() {
        let (read, _write) = crate::pipe::cloexec_pipe().unwrap();
        let number = read.into_raw_fd();
        drop(take(number).unwrap());
        assert_eq!(take(1_000_000).unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert_eq!(take(2).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
