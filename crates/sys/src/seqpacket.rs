//! Messages with descriptors over `SOCK_SEQPACKET` unix sockets (unix(7), SCM_RIGHTS): the sockets that every
//! conversation between Empery's processes uses. One word of `empery-control` is one message.
//! Blocking or not is up to the descriptor; for tokio see [`crate::channel`].

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    path::Path,
};

use empery_control::framing::{self, FramingError, MAX_MESSAGE_BYTES, MAX_MESSAGE_FDS};
use nix::sys::socket::{
    self, AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, sockopt,
};
use serde::{Serialize, de::DeserializeOwned};

/// Why a word was not sent or received.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The socket failed.
    #[error("the control socket failed")]
    Socket(#[from] io::Error),
    /// The bytes and the word do not fit.
    #[error(transparent)]
    Framing(#[from] FramingError),
}

/// A message as it came.
#[derive(Debug)]
pub struct Received {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its descriptors, close-on-exec.
    pub fds: Vec<OwnedFd>,
}

/// Who is at the other end, at the time it connected (SO_PEERCRED).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Process.
    pub pid: i32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Two connected sockets.
///
/// # Errors
/// socketpair(2).
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socket::socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// A socket that listens at `path`, which must not exist.
///
/// # Errors
/// bind(2), listen(2); a path longer than 107 bytes.
pub fn listen(path: &Path, backlog: i32) -> io::Result<OwnedFd> {
    let fd = unconnected()?;
    socket::bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    socket::listen(&fd, Backlog::new(backlog).unwrap_or(Backlog::MAXCONN))?;
    Ok(fd)
}

/// A socket connected to the one that listens at `path`. Blocks while the backlog there is full.
///
/// # Errors
/// connect(2).
pub fn connect(path: &Path) -> io::Result<OwnedFd> {
    let fd = unconnected()?;
    socket::connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(fd)
}

/// As [`connect`], but answers `WouldBlock` instead of waiting while the backlog is full. The socket is non-blocking.
///
/// # Errors
/// connect(2).
pub fn try_connect(path: &Path) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket::socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    socket::connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(fd)
}

/// The next connection of a listening socket.
///
/// # Errors
/// accept4(2).
pub fn accept(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let raw = socket::accept4(fd.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: accept4 has just returned this descriptor, so it is open and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Who connected.
///
/// # Errors
/// getsockopt(2).
pub fn peer(fd: BorrowedFd<'_>) -> io::Result<Peer> {
    let credentials = socket::getsockopt(&fd, sockopt::PeerCredentials)?;
    Ok(Peer { pid: credentials.pid(), uid: credentials.uid(), gid: credentials.gid() })
}

/// Sends one message.
///
/// # Errors
/// sendmsg(2): `WouldBlock` on a non-blocking socket that is full, `BrokenPipe` when the other end is gone.
pub fn send(fd: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    loop {
        match socket::sendmsg::<()>(fd.as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None) {
            Ok(_) => return Ok(()),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives one message; None when the other end is gone.
///
/// # Errors
/// recvmsg(2); a message longer than [`MAX_MESSAGE_BYTES`] or with more descriptors than [`MAX_MESSAGE_FDS`] is `InvalidData`.
pub fn receive(fd: BorrowedFd<'_>) -> io::Result<Option<Received>> {
    let mut bytes = vec![0; MAX_MESSAGE_BYTES];
    let mut control = nix::cmsg_space!([RawFd; MAX_MESSAGE_FDS]);
    let (length, fds, flags) = loop {
        let mut vectors = [IoSliceMut::new(&mut bytes)];
        match socket::recvmsg::<()>(fd.as_raw_fd(), &mut vectors, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC) {
            Ok(message) => break (message.bytes, descriptors(&message)?, message.flags),
            Err(nix::Error::EINTR) => {}
            Err(error) if error == nix::Error::ECONNRESET => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    };
    if flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a control message was longer than allowed"));
    }
    if length == 0 && fds.is_empty() {
        return Ok(None);
    }
    bytes.truncate(length);
    Ok(Some(Received { bytes, fds }))
}

/// Sends one word.
///
/// # Errors
/// As [`send`], and when the word is too long.
pub fn send_word<T: Serialize>(fd: BorrowedFd<'_>, word: &T, fds: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
    Ok(send(fd, &framing::encode(word)?, fds)?)
}

/// Receives one word; None when the other end is gone.
///
/// # Errors
/// As [`receive`], and when the bytes are not such a word.
pub fn receive_word<T: DeserializeOwned>(fd: BorrowedFd<'_>) -> Result<Option<(T, Vec<OwnedFd>)>, ChannelError> {
    match receive(fd)? {
        Some(received) => Ok(Some((framing::decode(&received.bytes)?, received.fds))),
        None => Ok(None),
    }
}

fn unconnected() -> io::Result<OwnedFd> {
    Ok(socket::socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?)
}

fn descriptors(message: &socket::RecvMsg<'_, '_, ()>) -> io::Result<Vec<OwnedFd>> {
    let mut fds = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = part {
            // SAFETY: the kernel has just installed these descriptors for this message, so each is open and nobody owns it.
            fds.extend(raw.into_iter().map(|raw| unsafe { OwnedFd::from_raw_fd(raw) }));
        }
    }
    Ok(fds)
}
