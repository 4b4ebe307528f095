//! epoll(7) as the loop uses it. A token is 64 bits that come back with the event.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
};

/// What was said about a descriptor.
pub(crate) struct Epoll {
    fd: OwnedFd,
}

/// How a descriptor is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    /// As long as it is readable.
    Level,
    /// As long as it is writable, whatever the peer sends meanwhile.
    Writable,
    /// As long as it is readable, but not everybody who watches it is woken.
    Exclusive,
}

impl Watch {
    fn flags(self) -> u32 {
        (match self {
            Watch::Level => libc::EPOLLIN | libc::EPOLLRDHUP,
            Watch::Writable => libc::EPOLLOUT,
            Watch::Exclusive => libc::EPOLLIN | libc::EPOLLEXCLUSIVE,
        }) as u32
    }
}

/// Room for events.
pub(crate) type Events = [libc::epoll_event; 64];

/// No event yet.
pub(crate) const NO_EVENTS: Events = [libc::epoll_event { events: 0, u64: 0 }; 64];

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: no memory is passed.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: epoll_create1 has just made it, nobody else owns it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Readable while there are events (epoll(7)).
    pub(crate) fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    pub(crate) fn add(&self, fd: RawFd, watch: Watch, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, watch.flags(), token)
    }

    pub(crate) fn arm(&self, fd: RawFd, watch: Watch, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, watch.flags(), token)
    }

    pub(crate) fn remove(&self, fd: RawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, 0)
    }

    fn control(&self, operation: libc::c_int, fd: RawFd, events: u32, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: token };
        // SAFETY: a valid event; the kernel checks the descriptors.
        if unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), operation, fd, &mut event) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Waits; None waits for ever. The tokens of what is readable are handed to `each`. Says how many there were: as many as
    /// `events` has room for may not be all.
    pub(crate) fn wait(
        &self,
        events: &mut Events,
        timeout_ms: Option<u64>,
        mut each: impl FnMut(u64),
    ) -> io::Result<usize> {
        let timeout = timeout_ms.map_or(-1, |ms| libc::c_int::try_from(ms).unwrap_or(libc::c_int::MAX));
        // SAFETY: `events` has room for as many events as are asked for.
        let number =
            unsafe { libc::epoll_wait(self.fd.as_raw_fd(), events.as_mut_ptr(), events.len() as libc::c_int, timeout) };
        let number = usize::try_from(number).map_err(|_| io::Error::last_os_error())?;
        for event in &events[..number] {
            each(event.u64);
        }
        Ok(number)
    }
}
