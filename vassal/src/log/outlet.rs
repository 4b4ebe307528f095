//! A logger that is open: a file, a descriptor, or whoever takes datagrams. Nothing waits for it: what it does not take at once is
//! lost and counted, and told as soon as it takes lines again.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket},
    os::{
        fd::{AsFd, AsRawFd},
        unix::{fs::OpenOptionsExt, net::UnixDatagram},
    },
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use empery_config::{
    loggers::{Datagram, Destination, Logger},
    vassal::Log as Configured,
};
use empery_sys::inherited;
use nix::{
    errno::Errno,
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{MsgFlags, send},
};

use super::{
    file::{Care, LogFile},
    lines::{Kind, Shape},
};
use crate::clock;

/// The socket of syslog(3).
const SYSLOG: &str = "/dev/log";

/// Severity of what goes to syslog: informational (RFC 3164, section 4.1.1).
const INFORMATIONAL: u8 = 6;

/// Longest packet of RFC 3164 (section 4.1), in bytes; the rest of a line is cut.
const PACKET_MAX_BYTES: usize = 1024;

/// What a pipe takes in one piece, in bytes (pipe(7)).
const PIPE_BUF: usize = 4096;

/// How long a name that led nowhere is left alone.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(10);

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
    Descriptor(Descriptor),
    Unix(UnixDatagram),
    /// The name is looked up beside everything else; until then there is nobody.
    Udp(Search),
    /// It could not be opened.
    Nothing(io::ErrorKind),
}

/// Whoever a name leads to.
struct Search {
    address: String,
    look_up: fn(&str) -> Option<SocketAddr>,
    found: Arc<OnceLock<UdpSocket>>,
    /// When the name was asked for last; an address is found at once.
    asked: Instant,
}

/// A descriptor that this process was given.
enum Descriptor {
    /// Another opening of it, so that not waiting is nobody else's matter.
    Reopened(File),
    /// It itself, which others may hold, too: whether it takes a line is asked before each.
    Shared(File),
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
            Destination::Descriptor(number) => Descriptor::open(*number).map(Way::Descriptor),
            Destination::Syslog { .. } => unix().map(Way::Unix),
            Destination::Socket { to, .. } | Destination::Remote { to, .. } => match to {
                Datagram::Unix(_) => unix().map(Way::Unix),
                Datagram::Udp(address) => Ok(Way::Udp(Search::begin(address.clone(), by_name))),
            },
        };
        let way = way.unwrap_or_else(|error| Way::Nothing(error.kind()));
        Outlet { logger, way, lost_lines: 0, packets: Packets::of(config) }
    }

    /// Whether it is of no use to whoever wants the same logger: opened anew it may take lines.
    pub(super) fn is_lost(&self) -> bool {
        match &self.way {
            Way::Udp(search) => search.found.get().is_none(),
            Way::Nothing(_) => true,
            Way::Standard | Way::File(_) | Way::Descriptor(_) | Way::Unix(_) => false,
        }
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

    /// Writes a line, its end included, without waiting; what is told of lines that were lost has this shape.
    pub(super) fn put(&mut self, line: &[u8], shape: Shape) -> Put {
        match &mut self.way {
            Way::Standard => return Put::ForStandard,
            // It tells itself what it lost.
            Way::File(file) => {
                file.append(line, shape);
                return Put::Done;
            }
            Way::Descriptor(_) | Way::Unix(_) | Way::Udp(_) | Way::Nothing(_) => {}
        }
        if self.lost_lines > 0 {
            let mut note = Vec::new();
            let text = format!("*** {} lines were lost: this logger took none ***", self.lost_lines);
            shape.line(Kind::Vassal, text.as_bytes(), &mut note);
            if self.send(&note).is_err() {
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

    fn send(&mut self, line: &[u8]) -> io::Result<()> {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        match (&mut self.way, &self.logger.to) {
            (Way::Descriptor(descriptor), _) => descriptor.write(line),
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
            (Way::Udp(search), Destination::Remote { name, priority, .. }) => {
                let mut packets = self.packets.packets(name.as_deref(), *priority, text).into_iter();
                packets.try_for_each(|packet| search.peer()?.send(&packet).map(drop))
            }
            (Way::Udp(search), Destination::Socket { prefix, .. }) => {
                search.peer()?.send(&[prefix.as_bytes(), line].concat()).map(drop)
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

impl Search {
    fn begin(address: String, look_up: fn(&str) -> Option<SocketAddr>) -> Search {
        let search = Search { address, look_up, found: Arc::default(), asked: Instant::now() };
        match search.address.parse() {
            Ok(peer) => drop(connected(peer).map(|socket| search.found.set(socket))),
            Err(_) => search.ask(),
        }
        search
    }

    /// Looking a name up may take as long as it likes.
    fn ask(&self) {
        let (address, look_up, found) = (self.address.clone(), self.look_up, Arc::clone(&self.found));
        drop(std::thread::spawn(move || {
            if let Some(socket) = look_up(&address).and_then(|peer| connected(peer).ok()) {
                // Of two who ask the first one counts.
                drop(found.set(socket));
            }
        }));
    }

    /// Whom it has led to. Who is not found is looked for again, as long as there are lines for him.
    fn peer(&mut self) -> io::Result<&UdpSocket> {
        if self.found.get().is_none() && self.asked.elapsed() >= ASKED_AGAIN_AFTER {
            self.asked = Instant::now();
            self.ask();
        }
        self.found.get().ok_or_else(|| io::Error::other("its name has no address"))
    }
}

fn by_name(address: &str) -> Option<SocketAddr> {
    address.to_socket_addrs().ok()?.next()
}

fn connected(peer: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_nonblocking(true)?;
    socket.connect(peer)?;
    Ok(socket)
}

/// Without waiting, though whoever opened it may wait for it.
fn write_at_once(file: &File, line: &[u8]) -> io::Result<()> {
    match send(file.as_raw_fd(), line, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
        Ok(sent) if sent == line.len() => return Ok(()),
        Ok(_) => return Err(io::ErrorKind::WouldBlock.into()),
        Err(Errno::ENOTSOCK) => {}
        Err(error) => return Err(error.into()),
    }
    // What says that it takes some takes so much at once (pipe(7)).
    for piece in line.chunks(PIPE_BUF) {
        let mut asked = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
        if poll(&mut asked, PollTimeout::ZERO)? == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        (&*file).write_all(piece)?;
    }
    Ok(())
}

impl Descriptor {
    /// A socket cannot be opened again (ENXIO, open(2)), nor what only a user may that is no longer ours (proc_pid_fd(5)).
    fn open(number: i32) -> io::Result<Descriptor> {
        let flags = OFlag::O_NONBLOCK.bits();
        match OpenOptions::new().append(true).custom_flags(flags).open(format!("/proc/self/fd/{number}")) {
            Ok(file) => Ok(Descriptor::Reopened(file)),
            Err(_) => inherited::copy(number).map(|fd| Descriptor::Shared(fd.into())),
        }
    }

    fn write(&self, line: &[u8]) -> io::Result<()> {
        match self {
            Descriptor::Reopened(file) => (&*file).write_all(line),
            Descriptor::Shared(file) => write_at_once(file, line),
        }
    }
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
    use std::{
        io::Read,
        os::unix::net::UnixStream,
        sync::atomic::{AtomicBool, Ordering},
    };

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

    #[test]
    fn a_name_that_led_nowhere_is_looked_up_again() {
        static IS_KNOWN: AtomicBool = AtomicBool::new(false);
        fn look_up(_: &str) -> Option<SocketAddr> {
            IS_KNOWN.load(Ordering::Relaxed).then(|| (Ipv4Addr::LOCALHOST, 514).into())
        }
        let mut search = Search::begin("log.example:514".to_owned(), look_up);
        assert!(search.peer().is_err());
        IS_KNOWN.store(true, Ordering::Relaxed);
        search.asked = Instant::now().checked_sub(ASKED_AGAIN_AFTER).unwrap();
        let patience = Instant::now() + Duration::from_secs(30);
        while search.peer().is_err() {
            assert!(Instant::now() < patience);
            std::thread::yield_now();
        }
        assert!(Search::begin("127.0.0.1:514".to_owned(), |_| None).peer().is_ok());
    }

    #[test]
    fn a_socket_that_was_given_takes_lines_and_holds_nobody_up() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let descriptor = Descriptor::open(ours.as_raw_fd()).unwrap();
        descriptor.write(b"a line\n").unwrap();
        let mut taken = [0; 7];
        (&theirs).read_exact(&mut taken).unwrap();
        assert_eq!(&taken, b"a line\n");
        let line = [b'x'; 1000];
        let full = (0..100_000).find_map(|_| descriptor.write(&line).err()).unwrap();
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        drop(theirs);
        assert_eq!(descriptor.write(&line).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_pipe_that_others_hold_holds_nobody_up() {
        let (read, write) = io::pipe().unwrap();
        let write = File::from(std::os::fd::OwnedFd::from(write));
        write_at_once(&write, b"a line\n").unwrap();
        let mut taken = [0; 7];
        (&read).read_exact(&mut taken).unwrap();
        assert_eq!(&taken, b"a line\n");
        let full = (0..100_000).find_map(|_| write_at_once(&write, &[b'x'; 10_000]).err()).unwrap();
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    }
}
