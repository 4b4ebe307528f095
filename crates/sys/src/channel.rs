//! A conversation over a `SOCK_SEQPACKET` socket for tokio: [`crate::seqpacket`] behind an [`AsyncFd`].

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{Interest, unix::AsyncFd};

use crate::seqpacket::{self, ChannelError, Received};

/// One end of a conversation.
#[derive(Debug)]
pub struct Channel {
    fd: AsyncFd<OwnedFd>,
}

impl Channel {
    /// Takes a connected socket and makes it non-blocking.
    ///
    /// # Errors
    /// fcntl(2), or no tokio reactor.
    pub fn new(fd: OwnedFd) -> std::io::Result<Self> {
        set_nonblocking(fd.as_fd())?;
        // SAFETY: an OwnedFd answers as_raw_fd with one open descriptor for as long as it lives, and gives it to nobody else.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE | Interest::WRITABLE)? };
        Ok(Self { fd })
    }

    /// Sends one word; waits while the socket is full.
    ///
    /// # Errors
    /// As [`seqpacket::send_word`].
    pub async fn send<T: Serialize>(&self, word: &T, fds: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        let bytes = empery_control::framing::encode(word)?;
        let sent = self.fd.async_io(Interest::WRITABLE, |fd| seqpacket::send(fd.as_fd(), &bytes, fds));
        Ok(sent.await?)
    }

    /// Sends one word if there is room for it now.
    ///
    /// # Errors
    /// As [`seqpacket::send_word`]; `WouldBlock` when the socket is full.
    pub fn try_send<T: Serialize>(&self, word: &T, fds: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        seqpacket::send_word(self.fd.as_fd(), word, fds)
    }

    /// Receives one word with its descriptors; None when the other end is gone. Where this process had no place for them the word
    /// comes without: None in their place.
    ///
    /// # Errors
    /// As [`seqpacket::receive_what_fits`], and when the bytes are not such a word.
    pub async fn receive_what_fits<T: DeserializeOwned>(
        &self,
    ) -> Result<Option<(T, Option<Vec<OwnedFd>>)>, ChannelError> {
        let received = self.fd.async_io(Interest::READABLE, |fd| seqpacket::receive_what_fits(fd.as_fd())).await?;
        let Some(received) = received else { return Ok(None) };
        let fds = (!received.lost_fds).then_some(received.fds);
        Ok(Some((empery_control::framing::decode(&received.bytes)?, fds)))
    }

    /// Receives one word; None when the other end is gone.
    ///
    /// # Errors
    /// As [`seqpacket::receive_word`].
    pub async fn receive<T: DeserializeOwned>(&self) -> Result<Option<(T, Vec<OwnedFd>)>, ChannelError> {
        let received = self.fd.async_io(Interest::READABLE, |fd| seqpacket::receive(fd.as_fd())).await?;
        match received {
            Some(received) => Ok(Some((empery_control::framing::decode(&received.bytes)?, received.fds))),
            None => Ok(None),
        }
    }

    /// As [`seqpacket::receive_any`].
    ///
    /// # Errors
    /// recvmsg(2).
    pub async fn receive_any(&self) -> std::io::Result<Option<Received>> {
        self.fd.async_io(Interest::READABLE, |fd| seqpacket::receive_any(fd.as_fd())).await
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A listening `SOCK_SEQPACKET` socket.
#[derive(Debug)]
pub struct Listener {
    fd: AsyncFd<OwnedFd>,
}

impl Listener {
    /// Takes a listening socket and makes it non-blocking.
    ///
    /// # Errors
    /// fcntl(2), or no tokio reactor.
    pub fn new(fd: OwnedFd) -> std::io::Result<Self> {
        set_nonblocking(fd.as_fd())?;
        // SAFETY: as in Channel::new.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE)? };
        Ok(Self { fd })
    }

    /// The next connection, close-on-exec.
    ///
    /// # Errors
    /// accept(2).
    pub async fn accept(&self) -> std::io::Result<OwnedFd> {
        self.fd.async_io(Interest::READABLE, |fd| seqpacket::accept(fd.as_fd())).await
    }
}

/// Makes a descriptor non-blocking.
///
/// # Errors
/// fcntl(2).
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> std::io::Result<()> {
    let flags = OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}
