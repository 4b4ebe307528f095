//! Whether something that an app waits for is there (uWSGI: core/utils.c, `uwsgi_wait_for_fs` and its relatives). One look;
//! who looks again, and for how long, is the caller's business.

use std::{
    io,
    net::{Ipv4Addr, TcpStream, ToSocketAddrs},
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::MetadataExt,
            net::{SocketAddr, UnixStream},
        },
    },
    path::Path,
    time::Duration,
};

use empery_control::process::Awaited;

/// How long a socket may take to take a connection.
const CONNECTS_WITHIN: Duration = Duration::from_secs(1);

/// Looks once. May take a second for a socket.
#[must_use]
pub fn is_there(awaited: &Awaited) -> bool {
    match awaited {
        Awaited::Interface(name) => nix::net::if_::if_nametoindex(name.as_str()).is_ok(),
        Awaited::Path(path) => path.exists(),
        Awaited::MountPoint(path) => is_mount_point(path).unwrap_or(false),
        Awaited::Socket(name) => takes_connections(name).is_ok(),
    }
}

fn is_mount_point(path: &Path) -> io::Result<bool> {
    let (below, above) = (std::fs::metadata(path)?, std::fs::metadata(path.join(".."))?);
    Ok(below.is_dir() && below.dev() != above.dev())
}

fn takes_connections(name: &str) -> io::Result<()> {
    if let Some(name) = name.strip_prefix('@') {
        return UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?).map(drop);
    }
    let Some((host, port)) = name.rsplit_once(':') else { return UnixStream::connect(name).map(drop) };
    let port: u16 = port.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let connect = |address| TcpStream::connect_timeout(&address, CONNECTS_WITHIN).map(drop);
    if host.is_empty() {
        return connect((Ipv4Addr::LOCALHOST, port).into());
    }
    let mut last = Err(io::ErrorKind::NotFound.into());
    for address in (host, port).to_socket_addrs()? {
        last = connect(address);
        if last.is_ok() {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn};
    use std::{
        net::TcpListener,
        os::{fd::AsRawFd, unix::net::UnixListener},
    };

    #[test]
    fn what_is_there_is_told_from_what_is_not() {
        let place = std::env::temp_dir().join(format!("empery-awaited-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        let path = place.join("socket");
        let named = |path: &Path| Awaited::Socket(path.display().to_string());
        assert!(!is_there(&named(&path)));
        let _listener = UnixListener::bind(&path).unwrap();
        assert!(is_there(&named(&path)));
        assert!(is_there(&Awaited::Path(path)));
        assert!(!is_there(&Awaited::Path(place.join("nothing"))));
        assert!(!is_there(&named(&place.join("nothing"))));
        assert!(is_there(&Awaited::MountPoint("/proc".into())));
        assert!(!is_there(&Awaited::MountPoint(place.clone())));
        std::fs::remove_dir_all(place).unwrap();

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost", ""] {
            assert!(is_there(&Awaited::Socket(format!("{host}:{port}"))), "{host}");
        }
        // Bound and not listening: nobody else gets the port meanwhile, and no child of another test keeps it open.
        let bound = socket::socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        socket::bind(bound.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
        let port = socket::getsockname::<SockaddrIn>(bound.as_raw_fd()).unwrap().port();
        assert!(!is_there(&Awaited::Socket(format!("127.0.0.1:{port}"))));

        assert!(is_there(&Awaited::Interface("lo".into())));
        assert!(!is_there(&Awaited::Interface("no-such-one".into())));
    }
}
