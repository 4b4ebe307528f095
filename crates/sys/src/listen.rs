//! Listening sockets: TCP, unix paths and abstract names, and how full their queues are.
//!
//! A stale unix path is removed only when nobody answers on it; uWSGI removes it from under a running instance.

use std::{
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::{FileTypeExt, PermissionsExt},
    },
    path::Path,
};

use empery_control::keeper::{ListenAddress, ListenSpec};
use nix::{
    fcntl::{AtFlags, OFlag},
    sys::{
        socket::{
            self, AddressFamily, Backlog, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, setsockopt,
            sockopt,
        },
        stat::{Mode, SFlag, fstat},
    },
    unistd::{Gid, Uid},
};

/// Why a socket was not bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody has it.
    #[error("cannot listen on {address}: it is in use by another process")]
    InUse {
        /// The address.
        address: String,
    },
    /// Any other reason.
    #[error("cannot listen on {address}: {source}")]
    Failed {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
}

/// Binds and listens: the socket (non-blocking, close-on-exec) and where it is, with the port that the kernel chose.
/// The queue is cut to net.core.somaxconn by the kernel (listen(2)).
///
/// # Errors
/// When the address is in use, not allowed or not there.
pub fn bind(spec: &ListenSpec) -> Result<(OwnedFd, ListenAddress), BindError> {
    bind_unnamed(spec).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address: spec.key.clone() },
        _ => BindError::Failed { address: spec.key.clone(), source },
    })
}

fn bind_unnamed(spec: &ListenSpec) -> io::Result<(OwnedFd, ListenAddress)> {
    let backlog = Backlog::new(i32::try_from(spec.backlog).unwrap_or(i32::MAX)).unwrap_or(Backlog::MAXCONN);
    match &spec.address {
        ListenAddress::Tcp(address) => {
            let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
            let fd = stream(family)?;
            setsockopt(&fd, sockopt::ReuseAddr, &true)?;
            if address.is_ipv6() {
                // `[::]` takes IPv4 too, whatever net.ipv6.bindv6only says.
                setsockopt(&fd, sockopt::Ipv6V6Only, &false)?;
            }
            if spec.freebind {
                setsockopt(&fd, sockopt::IpFreebind, &true)?;
            }
            if spec.reuse_port {
                setsockopt(&fd, sockopt::ReusePort, &true)?;
            }
            socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(*address))?;
            socket::listen(&fd, backlog)?;
            let bound = bound_tcp(fd.as_fd())?;
            Ok((fd, ListenAddress::Tcp(bound)))
        }
        ListenAddress::Unix(path) => {
            let fd = stream(AddressFamily::Unix)?;
            remove_stale(path)?;
            socket::bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
            give(path, spec)?;
            socket::listen(&fd, backlog)?;
            Ok((fd, spec.address.clone()))
        }
        ListenAddress::Abstract(name) => {
            let fd = stream(AddressFamily::Unix)?;
            let place = match name.as_str() {
                "" => UnixAddr::new_unnamed(),
                name => UnixAddr::new_abstract(name.as_bytes())?,
            };
            socket::bind(fd.as_raw_fd(), &place)?;
            socket::listen(&fd, backlog)?;
            let bound = address(fd.as_fd())?;
            Ok((fd, bound))
        }
    }
}

fn stream(family: AddressFamily) -> io::Result<OwnedFd> {
    Ok(socket::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?)
}

fn bound_tcp(fd: impl AsRawFd) -> io::Result<std::net::SocketAddr> {
    let address: SockaddrStorage = socket::getsockname(fd.as_raw_fd())?;
    if let Some(v4) = address.as_sockaddr_in() {
        return Ok(std::net::SocketAddr::V4((*v4).into()));
    }
    match address.as_sockaddr_in6() {
        Some(v6) => Ok(std::net::SocketAddr::V6((*v6).into())),
        None => Err(io::Error::other(format!("a TCP socket of family {:?}", address.family()))),
    }
}

/// Removes a socket that nobody listens on. Anything that is no socket is left, and bind(2) will say so.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(facts) if facts.file_type().is_socket() => {}
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    // Non-blocking: a full queue answers EAGAIN at once, where a blocking connect would wait for its owner.
    let caller = stream(AddressFamily::Unix)?;
    match socket::connect(caller.as_raw_fd(), &UnixAddr::new(path)?) {
        Err(nix::Error::ECONNREFUSED) => fs::remove_file(path),
        Err(nix::Error::ENOENT) => Ok(()),
        Err(nix::Error::EACCES) => Err(io::ErrorKind::PermissionDenied.into()),
        // A full queue, or a socket of another type (EPROTOTYPE): somebody is there.
        Ok(()) | Err(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// Mode and owner of a new socket, before anybody can be waiting for it.
fn give(path: &Path, spec: &ListenSpec) -> io::Result<()> {
    if spec.mode.is_none() && spec.owner.is_none() {
        return Ok(());
    }
    let socket = SocketFile::open(path)?;
    if let Some(owner) = spec.owner {
        socket.change_owner(owner)?;
    }
    match spec.mode {
        None => Ok(()),
        Some(mode) => socket.change_mode(mode),
    }
}

/// A unix socket's place in the file system, held by an O_PATH descriptor: what was checked is what is changed, even
/// when somebody with rights in the directory swaps the name for a link meanwhile.
#[derive(Debug)]
pub struct SocketFile(OwnedFd);

impl SocketFile {
    /// Finds it.
    ///
    /// # Errors
    /// When the path is no socket, or has a second name.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let found = Self(nix::fcntl::open(path, flags, Mode::empty())?);
        let facts = fstat(&found.0)?;
        if SFlag::from_bits_truncate(facts.st_mode) & SFlag::S_IFMT != SFlag::S_IFSOCK || facts.st_nlink != 1 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "what was bound there is gone"));
        }
        Ok(found)
    }

    /// Its owner.
    ///
    /// # Errors
    /// fstat(2).
    pub fn owner(&self) -> io::Result<u32> {
        Ok(fstat(&self.0)?.st_uid)
    }

    /// Changes the user, the group, or both.
    ///
    /// # Errors
    /// fchownat(2).
    pub fn change_owner(&self, (uid, gid): (Option<u32>, Option<u32>)) -> io::Result<()> {
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        Ok(nix::unistd::fchownat(&self.0, "", uid, gid, AtFlags::AT_EMPTY_PATH)?)
    }

    /// Changes the permission bits.
    ///
    /// # Errors
    /// chmod(2).
    pub fn change_mode(&self, mode: u32) -> io::Result<()> {
        // fchmod(2) refuses O_PATH descriptors; their link in /proc leads to what they hold and nowhere else.
        let place = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        fs::set_permissions(place, fs::Permissions::from_mode(mode & 0o7777))
    }
}

/// Closes a socket that a stranger has handed over: at once, whatever it was told about lingering (socket(7), SO_LINGER).
/// What was seen to listen may have become a connection since (shutdown(2), connect(2)).
pub fn close(socket: OwnedFd) {
    linger_no_more(socket.as_fd());
}

/// See [`close`].
pub fn linger_no_more(socket: BorrowedFd<'_>) {
    // What is no socket does not linger.
    let _ = setsockopt(&socket, sockopt::Linger, &libc::linger { l_onoff: 0, l_linger: 0 });
}

/// Where a listening socket is bound.
///
/// # Errors
/// `InvalidInput` when it does not listen, or is of another kind than [`ListenAddress`] knows.
pub fn address(fd: BorrowedFd<'_>) -> io::Result<ListenAddress> {
    if !socket::getsockopt(&fd, sockopt::AcceptConn)? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a listening socket"));
    }
    let found: SockaddrStorage = socket::getsockname(fd.as_raw_fd())?;
    if let Some(unix) = found.as_unix_addr() {
        if let Some(path) = unix.path() {
            return Ok(ListenAddress::Unix(path.to_owned()));
        }
        if let Some(name) = unix.as_abstract() {
            return Ok(ListenAddress::Abstract(String::from_utf8_lossy(name).into_owned()));
        }
    }
    bound_tcp(fd).map(ListenAddress::Tcp)
}

/// Connections that wait in the queue of a listening TCP socket, and how many it takes (tcp_info's tcpi_unacked and
/// tcpi_sacked mean that for a listening socket, tcp(7)). None for unix sockets, whose queues the kernel does not tell.
#[must_use]
pub fn queue_length(fd: BorrowedFd<'_>) -> Option<(u64, u64)> {
    let mut answer = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).ok()?;
    // SAFETY: the pointers are to a tcp_info of ours and its length; the borrow keeps the descriptor open.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, answer.as_mut_ptr().cast(), &raw mut length)
    };
    if result != 0 {
        return None;
    }
    // SAFETY: tcp_info holds only integers, for which zeroed memory is valid; the kernel has written a prefix of it.
    let answer = unsafe { answer.assume_init() };
    Some((u64::from(answer.tcpi_unacked), u64::from(answer.tcpi_sacked)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(address: ListenAddress, key: &str) -> ListenSpec {
        ListenSpec {
            key: key.to_owned(),
            address,
            backlog: 10,
            mode: Some(0o600),
            owner: None,
            reuse_port: false,
            freebind: false,
        }
    }

    fn room() -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!(
            "empery-listen-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn a_port_in_use_is_named() {
        let any = ListenAddress::Tcp("127.0.0.1:0".parse().unwrap());
        let (_kept, bound) = bind(&spec(any, "127.0.0.1:0")).unwrap();
        let ListenAddress::Tcp(address) = &bound else { panic!("a TCP address was asked for") };
        let error = bind(&spec(bound.clone(), &address.to_string())).unwrap_err();
        assert!(matches!(error, BindError::InUse { .. }));
        assert!(error.to_string().contains(&address.to_string()));
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_and_a_living_one_is_not() {
        let path = room().join("s.sock");
        let wanted = spec(ListenAddress::Unix(path.clone()), "s.sock");
        let (first, _) = bind(&wanted).unwrap();
        assert!(matches!(bind(&wanted), Err(BindError::InUse { .. })));
        drop(first);
        // A child that another test is forking has a copy of the first until it executes its program.
        let began = std::time::Instant::now();
        let _second = loop {
            match bind(&wanted) {
                Err(BindError::InUse { .. }) if began.elapsed().as_secs() < 10 => std::thread::yield_now(),
                bound => break bound.unwrap(),
            }
        };
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_is_never_removed() {
        let path = room().join("precious");
        fs::write(&path, "kept").unwrap();
        assert!(bind(&spec(ListenAddress::Unix(path.clone()), "precious")).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "kept");
    }

    #[test]
    fn a_listening_socket_says_where_it_is_and_anything_else_is_refused() {
        let name = format!("empery-listen-{}", std::process::id());
        for address in [ListenAddress::Abstract(name), ListenAddress::Unix(room().join("where.sock"))] {
            let (socket, _) = bind(&spec(address.clone(), "here")).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(super::address(socket.as_fd()).unwrap(), address);
        }
        let (socket, bound) = bind(&spec(ListenAddress::Tcp("[::1]:0".parse().unwrap()), "here")).unwrap();
        assert_eq!(super::address(socket.as_fd()).unwrap(), bound);
        let (pipe, _write) = crate::pipe::cloexec_pipe().unwrap();
        assert!(super::address(pipe.as_fd()).is_err());
    }

    #[test]
    fn a_nameless_abstract_socket_gets_a_name_of_its_own_from_the_kernel() {
        let nameless =
            || bind(&spec(ListenAddress::Abstract(String::new()), "@")).unwrap_or_else(|error| panic!("{error}"));
        let ((_first, one), (_second, other)) = (nameless(), nameless());
        assert_ne!(one, other);
        assert!(matches!(one, ListenAddress::Abstract(name) if !name.is_empty()));
    }

    #[test]
    fn a_queue_longer_than_the_system_allows_is_cut_and_its_fill_is_told() {
        let any = ListenAddress::Tcp("127.0.0.1:0".parse().unwrap());
        let (socket, bound) = bind(&ListenSpec { backlog: u32::MAX, ..spec(any, "any") }).unwrap();
        let ListenAddress::Tcp(address) = bound else { panic!("a TCP address was asked for") };
        let somaxconn = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap().trim().parse().unwrap();
        assert_eq!(queue_length(socket.as_fd()), Some((0, somaxconn)));
        let _waiting = std::net::TcpStream::connect(address).unwrap();
        assert_eq!(queue_length(socket.as_fd()), Some((1, somaxconn)));
    }

    #[test]
    fn a_socket_that_was_swapped_for_a_link_is_not_given_away() {
        let directory = room();
        let (target, link) = (directory.join("target"), directory.join("link.sock"));
        fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(SocketFile::open(&link).is_err());
        fs::remove_file(link).unwrap();
    }
}
