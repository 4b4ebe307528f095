//! A logger that is open: a file, a descriptor, or whoever takes datagrams. Nothing waits for it: what it does not take at once is
//! lost and counted, and told as soon as it takes lines again.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket},
    os::unix::{fs::OpenOptionsExt, net::UnixDatagram},
    sync::{Arc, OnceLock},
};

use empery_config::{
    loggers::{Datagram, Destination, Logger},
    vassal::Log as Configured,
};
use nix::fcntl::OFlag;

use super::{
    file::{Care, LogFile},
    lines::Shape,
};
use crate::clock;

/// The socket of syslog(3).
const SYSLOG: &str = "/dev/log";

/// Severity of what goes to syslog: informational (RFC 3164, section 4.1.1).
const INFORMATIONAL: u8 = 6;

/// Longest packet of RFC 3164 (section 4.1), in bytes; the rest of a line is cut.
const PACKET_MAX_BYTES: usize = 1024;

/// See the module.
pub(super) struct Outlet {
    pub(super) logger: Logger,
    way: Way,
    lost_lines: u64,
    packets: Packets,
}

/// How lines become packets of `rsyslog`.
#[derive(Debug, Clone, Copy)]
struct Packets {
    max_bytes: usize,
    splits: bool,
}

enum Way {
    /// Where the log goes without loggers.
    Standard,
    File(Box<LogFile>),
    Descriptor(File),
    Unix(UnixDatagram),
    /// The name is looked up beside everything else; until then there is nobody.
    Udp(Arc<OnceLock<UdpSocket>>),
    /// It could not be opened.
    Nothing(io::ErrorKind),
}

/// What became of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It is where it belongs.
    Done,
    /// It is for where the log goes without loggers.
    ForStandard,
    /// It is lost, the first after those that were not.
    FirstLost(String),
    /// It is lost, too.
    Lost,
    /// It is there, and so many before it are not.
    Again(u64),
}

impl Outlet {
    /// Opens a logger. What cannot be opened loses its lines, and says why with the first.
    pub(super) fn open(logger: Logger, config: &Configured) -> Outlet {
        let way = match &logger.to {
            Destination::Standard => Ok(Way::Standard),
            Destination::File { path, .. } => {
                LogFile::open(path.clone(), care(&logger.to, config)).map(|file| Way::File(Box::new(file)))
            }
            Destination::Descriptor(number) => descriptor(*number).map(Way::Descriptor),
            Destination::Syslog { .. } => unix().map(Way::Unix),
            Destination::Socket { to, .. } | Destination::Remote { to, .. } => match to {
                Datagram::Unix(_) => unix().map(Way::Unix),
                Datagram::Udp(address) => Ok(Way::Udp(udp(address.clone()))),
            },
        };
        let way = way.unwrap_or_else(|error| Way::Nothing(error.kind()));
        Outlet { logger, way, lost_lines: 0, packets: Packets::of(config) }
    }

    /// Takes care of its file, if it is one, as a configuration says by now.
    pub(super) fn take_care(&mut self, config: &Configured) {
        self.packets = Packets::of(config);
        if let Way::File(file) = &mut self.way {
            file.set_care(care(&self.logger.to, config));
        }
    }

    /// Its file, if it is one.
    pub(super) fn file(&mut self) -> Option<&mut LogFile> {
        match &mut self.way {
            Way::File(file) => Some(file),
            Way::Standard | Way::Descriptor(_) | Way::Unix(_) | Way::Udp(_) | Way::Nothing(_) => None,
        }
    }

    /// Writes a line, its end included, without waiting.
    pub(super) fn put(&mut self, line: &[u8]) -> Put {
        match &mut self.way {
            Way::Standard => return Put::ForStandard,
            // It tells itself what it lost.
            Way::File(file) => {
                file.append(line, Shape::Plain);
                return Put::Done;
            }
            Way::Descriptor(_) | Way::Unix(_) | Way::Udp(_) | Way::Nothing(_) => {}
        }
        if self.lost_lines > 0 {
            let note = format!("*** {} lines were lost: this logger took none ***\n", self.lost_lines);
            if self.send(note.as_bytes()).is_err() {
                self.lost_lines += 1;
                return Put::Lost;
            }
        }
        match (self.send(line), self.lost_lines) {
            (Ok(()), 0) => Put::Done,
            (Ok(()), lost) => {
                self.lost_lines = 0;
                Put::Again(lost)
            }
            (Err(error), 0) => {
                self.lost_lines = 1;
                Put::FirstLost(error.to_string())
            }
            (Err(_), _) => {
                self.lost_lines += 1;
                Put::Lost
            }
        }
    }

    fn send(&self, line: &[u8]) -> io::Result<()> {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        match (&self.way, &self.logger.to) {
            (Way::Descriptor(file), _) => (&*file).write_all(line),
            (Way::Unix(socket), Destination::Syslog { name, facility }) => {
                let head = format!("<{}>{} {name}: ", facility * 8 + INFORMATIONAL, stamp());
                socket.send_to(&[head.as_bytes(), text].concat(), SYSLOG).map(drop)
            }
            (Way::Unix(socket), Destination::Remote { to: Datagram::Unix(path), name, priority }) => {
                let mut packets = self.packets.packets(name.as_deref(), *priority, text).into_iter();
                packets.try_for_each(|packet| socket.send_to(&packet, path).map(drop))
            }
            (Way::Unix(socket), Destination::Socket { to: Datagram::Unix(path), prefix }) => {
                socket.send_to(&[prefix.as_bytes(), line].concat(), path).map(drop)
            }
            (Way::Udp(socket), Destination::Remote { name, priority, .. }) => {
                let mut packets = self.packets.packets(name.as_deref(), *priority, text).into_iter();
                packets.try_for_each(|packet| known(socket)?.send(&packet).map(drop))
            }
            (Way::Udp(socket), Destination::Socket { prefix, .. }) => {
                known(socket)?.send(&[prefix.as_bytes(), line].concat()).map(drop)
            }
            (Way::Nothing(kind), _) => Err((*kind).into()),
            // A file and the standard log were served before; a socket is of one of the kinds above.
            (Way::Standard | Way::File(_) | Way::Unix(_) | Way::Udp(_), _) => Ok(()),
        }
    }
}

impl std::fmt::Display for Outlet {
    /// As the configuration names it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let to = |to: &Datagram| match to {
            Datagram::Unix(path) => path.display().to_string(),
            Datagram::Udp(address) => address.clone(),
        };
        match &self.logger.to {
            Destination::Standard => write!(f, "stdio"),
            Destination::File { path, .. } => write!(f, "file:{}", path.display()),
            Destination::Descriptor(number) => write!(f, "fd:{number}"),
            Destination::Socket { to: address, .. } => write!(f, "socket:{}", to(address)),
            Destination::Syslog { name, .. } => write!(f, "syslog:{name}"),
            Destination::Remote { to: address, .. } => write!(f, "rsyslog:{}", to(address)),
        }
    }
}

/// What becomes of a logger's file: what it says itself, else what the configuration says of the log.
fn care(to: &Destination, config: &Configured) -> Care {
    let mut config = config.clone();
    if let Destination::File { max_bytes, backup_name, .. } = to {
        config.max_bytes = max_bytes.unwrap_or(config.max_bytes);
        if backup_name.is_some() {
            (config.backup_name, config.keep) = (backup_name.clone(), None);
        } else if max_bytes.is_some() {
            config.backup_name = None;
        }
    }
    Care::of(&config, Care::none())
}

fn unix() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Looking a name up may take as long as it likes; an address is known at once.
fn udp(address: String) -> Arc<OnceLock<UdpSocket>> {
    let found = Arc::new(OnceLock::new());
    let place = Arc::clone(&found);
    let connect = move |peer: Option<SocketAddr>| {
        if let Some(socket) = peer.and_then(|peer| connected(peer).ok()) {
            place.get_or_init(|| socket);
        }
    };
    match address.parse() {
        Ok(peer) => connect(Some(peer)),
        Err(_) => {
            drop(std::thread::spawn(move || connect(address.to_socket_addrs().ok().and_then(|mut all| all.next()))))
        }
    }
    found
}

fn connected(peer: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_nonblocking(true)?;
    socket.connect(peer)?;
    Ok(socket)
}

fn known(socket: &OnceLock<UdpSocket>) -> io::Result<&UdpSocket> {
    socket.get().ok_or_else(|| io::Error::other("its name has no address"))
}

/// Another opening of what this process was given (proc_pid_fd(5)), so that not waiting is nobody else's matter.
fn descriptor(number: i32) -> io::Result<File> {
    let flags = OFlag::O_NONBLOCK.bits();
    OpenOptions::new().append(true).custom_flags(flags).open(format!("/proc/self/fd/{number}"))
}

/// `Nov 22 12:09:41` (RFC 3164, section 4.1.2).
fn stamp() -> String {
    clock::local_time("%b %e %H:%M:%S")
}

impl Packets {
    fn of(config: &Configured) -> Packets {
        let max_bytes = match config.rsyslog_packet_bytes {
            0 => PACKET_MAX_BYTES,
            bytes => usize::try_from(bytes).unwrap_or(PACKET_MAX_BYTES),
        };
        Packets { max_bytes, splits: config.rsyslog_splits }
    }

    /// A line as one packet, cut where it is too long, or as several with the same head.
    fn packets(self, name: Option<&str>, priority: u8, text: &[u8]) -> Vec<Vec<u8>> {
        let name = name.map_or_else(|| format!("{} uwsgi", hostname()), str::to_owned);
        let mut head = format!("<{priority}>{} {name}: ", stamp()).into_bytes();
        head.truncate(self.max_bytes - 1);
        let room = self.max_bytes - head.len();
        let most = if self.splits { usize::MAX } else { 1 };
        let empty: &[u8] = &[];
        let parts = if text.is_empty() { vec![empty] } else { text.chunks(room).take(most).collect() };
        parts.into_iter().map(|part| [&head[..], part].concat()).collect()
    }
}

fn hostname() -> String {
    nix::unistd::gethostname().map_or_else(|_| "localhost".to_owned(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_or_goes_into_more_packets_with_the_same_head() {
        let text: Vec<u8> = (0..300).map(|number: u32| b'a' + u8::try_from(number % 26).unwrap()).collect();
        let packets = |splits| Packets { max_bytes: 128, splits }.packets(Some("host app"), 29, &text);
        let body = |packet: &Vec<u8>| {
            assert!(packet.len() <= 128 && packet.starts_with(b"<29>"), "{packet:?}");
            let at = packet.windows(10).position(|window| window == b"host app: ").unwrap();
            packet[at + 10..].to_vec()
        };
        let (cut, split) = (packets(false), packets(true));
        assert_eq!((cut.len(), cut[0].len()), (1, 128));
        assert_eq!(split.iter().flat_map(body).collect::<Vec<_>>(), text);
        assert!(split.len() > 2 && split[0] == cut[0]);
        assert_eq!(Packets { max_bytes: 128, splits: true }.packets(Some("x"), 29, b"").len(), 1);
    }
}
