//! Messages with descriptors over `SOCK_SEQPACKET` unix sockets (unix(7), SCM_RIGHTS): the sockets that every
//! conversation between Empery's processes uses. One word of `empery-control` is one message.
//! Blocking or not is up to the descriptor; for tokio see [`crate::channel`].

use std::{
    io::{self, IoSlice},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    path::Path,
};

use empery_control::framing::{self, FramingError, MAX_MESSAGE_BYTES, MAX_MESSAGE_FDS};
use nix::sys::socket::{self, AddressFamily, Backlog, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sockopt};
use serde::{Serialize, de::DeserializeOwned};

/// SCM_MAX_FD of Linux: no message carries more descriptors.
const KERNEL_MAX_FDS: usize = 253;

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
    /// Whether that is all of it: nothing was longer than allowed, and every descriptor did fit.
    pub is_whole: bool,
    /// The bytes are all there, and descriptors came with them that this process has no place for.
    pub lost_fds: bool,
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

/// A socket connected to the one that listens at `path`; it is non-blocking. Waits for nobody: while the backlog there is
/// full, which whoever may connect can bring about, the answer is `WouldBlock`.
///
/// # Errors
/// connect(2).
pub fn connect(path: &Path) -> io::Result<OwnedFd> {
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
    let raw = loop {
        match socket::accept4(fd.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
            Err(nix::Error::EINTR) => {}
            accepted => break accepted?,
        }
    };
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
/// sendmsg(2): `WouldBlock` on a non-blocking socket that is full, `BrokenPipe` when the other end is gone;
/// `InvalidInput` for an empty message (it could not be told from the end) and for more than [`MAX_MESSAGE_FDS`].
pub fn send(fd: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if bytes.is_empty() || fds.len() > MAX_MESSAGE_FDS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
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

const CUT: &str = "a control message was longer than allowed, or its descriptors did not fit";

/// Receives one message; None when the other end is gone.
///
/// # Errors
/// recvmsg(2). `InvalidData` for a message longer than [`MAX_MESSAGE_BYTES`], or one whose descriptors do not all fit
/// (the limit of this process, or more than the kernel passes): whatever came of it is closed.
pub fn receive(fd: BorrowedFd<'_>) -> io::Result<Option<Received>> {
    match receive_any(fd)? {
        Some(received) if !received.is_whole => Err(cut()),
        received => Ok(received),
    }
}

/// What is said of a message that is not whole.
fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, CUT)
}

/// The same, where a message without its descriptors is still of use: [`Received::lost_fds`].
///
/// # Errors
/// recvmsg(2). `InvalidData` for a message longer than [`MAX_MESSAGE_BYTES`].
pub fn receive_what_fits(fd: BorrowedFd<'_>) -> io::Result<Option<Received>> {
    match receive_any(fd)? {
        Some(mut received) if received.lost_fds => {
            received.fds.clear();
            Ok(Some(received))
        }
        Some(received) if !received.is_whole => Err(cut()),
        received => Ok(received),
    }
}

/// Receives one message, whole or not: for a stranger's, whose descriptors are not closed in passing. None when the other end is
/// gone.
///
/// # Errors
/// recvmsg(2).
pub fn receive_any(fd: BorrowedFd<'_>) -> io::Result<Option<Received>> {
    let mut bytes: Vec<u8> = Vec::with_capacity(MAX_MESSAGE_BYTES);
    let mut control = Control::for_fds(KERNEL_MAX_FDS);
    let mut piece = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: MAX_MESSAGE_BYTES };
    // SAFETY: zeros are a valid msghdr without name, control data and pieces.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(control.0.as_slice()) as _;
    let length = loop {
        // SAFETY: `piece` is MAX_MESSAGE_BYTES of `bytes`, the control data is `control`; both outlive the call, which
        // writes within them.
        let length = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
        if let Ok(length) = usize::try_from(length) {
            break length;
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            // The peer closed while it had not read everything: for us, it is gone.
            Some(libc::ECONNRESET) => return Ok(None),
            _ => return Err(error),
        }
    };
    // SAFETY: recvmsg has written `length` bytes, at most MAX_MESSAGE_BYTES, to the start of `bytes`.
    unsafe { bytes.set_len(length.min(MAX_MESSAGE_BYTES)) };
    let fds = take_fds(&message);
    let cut = message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC);
    let (is_whole, lost_fds) = (cut == 0, cut == libc::MSG_CTRUNC);
    if length == 0 && is_whole {
        return Ok(None);
    }
    bytes.shrink_to_fit();
    Ok(Some(Received { bytes, fds, is_whole, lost_fds }))
}

impl Received {
    /// The word of its bytes.
    ///
    /// # Errors
    /// When it is not whole, or the bytes are not such a word.
    pub fn word<T: DeserializeOwned>(&self) -> Result<T, ChannelError> {
        if !self.is_whole {
            return Err(cut().into());
        }
        Ok(framing::decode(&self.bytes)?)
    }
}

/// Owns every descriptor of a received message, also of one that was cut: nobody else would close them.
fn take_fds(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: `message` was filled by recvmsg and its control buffer still lives; the CMSG macros walk the headers
    // within msg_controllen, and each descriptor there is new, ours, and taken once (the payload may be unaligned).
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            if ((*header).cmsg_level, (*header).cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                let payload = libc::CMSG_DATA(header).cast::<RawFd>();
                let payload_bytes = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                for index in 0..payload_bytes / size_of::<RawFd>() {
                    fds.push(OwnedFd::from_raw_fd(payload.add(index).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    fds
}

/// Room for the control data of a message, aligned for its header.
struct Control(Vec<u64>);

impl Control {
    fn for_fds(count: usize) -> Self {
        let payload_bytes = count * size_of::<RawFd>();
        // SAFETY: CMSG_SPACE only computes.
        let space = unsafe { libc::CMSG_SPACE(payload_bytes as u32) } as usize;
        Self(vec![0; space.div_ceil(size_of::<u64>())])
    }
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

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read, Write},
        os::fd::AsFd,
    };

    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    use super::*;

    #[test]
    fn a_message_keeps_its_borders_and_its_descriptors_work_on_the_other_side() {
        let (here, there) = pair().unwrap();
        let (read, write) = crate::pipe::cloexec_pipe().unwrap();
        send(here.as_fd(), b"one", &[write.as_fd()]).unwrap();
        send(here.as_fd(), b"two", &[]).unwrap();
        drop(write);
        let mut first = receive(there.as_fd()).unwrap().unwrap();
        assert_eq!((first.bytes.as_slice(), first.fds.len()), (b"one".as_slice(), 1));
        File::from(first.fds.remove(0)).write_all(b"through").unwrap();
        let mut text = String::new();
        File::from(read).read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        let second = receive(there.as_fd()).unwrap().unwrap();
        assert_eq!((second.bytes.as_slice(), second.fds.len()), (b"two".as_slice(), 0));
        drop(here);
        assert!(receive(there.as_fd()).unwrap().is_none());
    }

    #[test]
    fn a_message_that_is_too_long_is_refused_its_descriptors_closed_and_the_next_one_heard() {
        let (here, there) = pair().unwrap();
        let (read, write) = crate::pipe::cloexec_pipe().unwrap();
        send(here.as_fd(), &vec![b'x'; MAX_MESSAGE_BYTES + 1], &[write.as_fd()]).unwrap();
        send(here.as_fd(), b"next", &[]).unwrap();
        drop(write);
        assert_eq!(receive(there.as_fd()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        // End of file: the descriptor that came with the refused message is closed.
        assert_eq!(File::from(read).read(&mut [0]).unwrap(), 0);
        assert_eq!(receive(there.as_fd()).unwrap().unwrap().bytes, b"next");
    }

    #[test]
    fn a_message_whose_descriptors_do_not_fit_comes_without_them_to_whoever_wants_it_so() {
        // In a process of its own: the limit holds for all tests of this one.
        const ALONE: &str = "EMPERY_TEST_ALONE";
        if std::env::var_os(ALONE).is_none() {
            let name =
                "seqpacket::tests::a_message_whose_descriptors_do_not_fit_comes_without_them_to_whoever_wants_it_so";
            let mut again = std::process::Command::new(std::env::current_exe().unwrap());
            again.args(["--exact", name, "--test-threads", "1"]).env(ALONE, "1");
            assert!(again.status().unwrap().success());
            return;
        }
        let (here, there) = pair().unwrap();
        send(here.as_fd(), b"first", &[here.as_fd()]).unwrap();
        send(here.as_fd(), b"second", &[here.as_fd()]).unwrap();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
        let first = receive_what_fits(there.as_fd());
        let second = receive(there.as_fd());
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        let first = first.unwrap().unwrap();
        assert_eq!((first.bytes.as_slice(), first.fds.len(), first.lost_fds), (b"first".as_slice(), 0, true));
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn most_descriptors_of_one_message_arrive_and_one_more_is_not_sent() {
        let (here, there) = pair().unwrap();
        let many = vec![here.as_fd(); MAX_MESSAGE_FDS + 1];
        send(here.as_fd(), b"many", &many[1..]).unwrap();
        assert_eq!(receive(there.as_fd()).unwrap().unwrap().fds.len(), MAX_MESSAGE_FDS);
        assert_eq!(send(here.as_fd(), b"more", &many).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(send(here.as_fd(), b"", &[]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn what_is_no_such_word_is_an_error_and_a_gone_peer_is_no_signal() {
        let (here, there) = pair().unwrap();
        send(here.as_fd(), b"{", &[]).unwrap();
        assert!(matches!(receive_word::<String>(there.as_fd()), Err(ChannelError::Framing(_))));
        drop(there);
        assert_eq!(send(here.as_fd(), b"x", &[]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn whoever_connects_to_a_path_is_known_by_its_credentials() {
        let path = std::env::temp_dir().join(format!("empery-seqpacket-{}", std::process::id()));
        let listener = listen(&path, 4).unwrap();
        let _caller = connect(&path).unwrap();
        let accepted = accept(listener.as_fd()).unwrap();
        let found = peer(accepted.as_fd()).unwrap();
        assert_eq!((found.pid, found.uid), (std::process::id().cast_signed(), nix::unistd::getuid().as_raw()));
        std::fs::remove_file(path).unwrap();
    }
}
