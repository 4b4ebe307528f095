//! A vassal that runs alone as a unit of systemd: what it tells of itself (sd_notify(3)), and the sockets that it is passed
//! (sd_listen_fds(3)). Needs the worker extension beside the binary (`cargo build -p empery-worker`).
#![allow(clippy::unwrap_used)]

mod started;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixDatagram,
    path::PathBuf,
    time::Duration,
};

use nix::sys::signal::Signal;
use started::{APP, Vassal};

/// The end of the socket that systemd has.
struct Notified {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Notified {
    fn bind(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("empery-notified-{}-{name}", std::process::id()));
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { socket, path }
    }

    /// The words of the next message.
    fn next(&self) -> Vec<String> {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).unwrap();
        std::str::from_utf8(&message[..length]).unwrap().lines().map(str::to_owned).collect()
    }

    fn says(&self, word: &str) -> Vec<String> {
        let words = self.next();
        assert_eq!(words[0], word, "{words:?}");
        words
    }
}

impl Drop for Notified {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[test]
fn systemd_is_told_when_it_serves_reloads_and_stops_and_the_app_cannot_speak_for_it() {
    let notified = Notified::bind("told");
    let variable = format!("NOTIFY_SOCKET={}", notified.path.display());
    let vassal = Vassal::start("told", "", &["env", &variable]);
    notified.says("READY=1");
    vassal.wait_for("generation 1 serves");

    vassal.signal(Signal::SIGHUP);
    let words = notified.says("RELOADING=1");
    let at_us = words[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse::<u64>().unwrap();
    assert!(at_us > 0);
    let words = notified.says("READY=1");
    assert_eq!(words[1], "STATUS=generation 2 serves");

    fs::write(vassal.directory.join("app.py"), "import os\nraise RuntimeError(os.environ.get('NOTIFY_SOCKET'))\n")
        .unwrap();
    vassal.signal(Signal::SIGHUP);
    notified.says("RELOADING=1");
    let words = notified.says("READY=1");
    assert!(words[1].starts_with("STATUS=generation 3 did not come into service: "), "{words:?}");
    assert!(vassal.wait_for("generation 3 did not come into service").contains("RuntimeError: None"));

    fs::write(vassal.directory.join("app.py"), APP).unwrap();
    let (status, _) = vassal.stop();
    assert!(status.success());
    notified.says("STOPPING=1");
}

#[test]
fn what_never_serves_is_never_ready() {
    let notified = Notified::bind("never");
    let variable = format!("NOTIFY_SOCKET={}", notified.path.display());
    let vassal =
        Vassal::start_bare("never", "http-socket = 127.0.0.1:0\nmodule = nothing_of_that_name\n", &["env", &variable]);
    let (status, log) = vassal.ended();
    assert_eq!(status.code(), Some(22), "{log}");
    notified.socket.set_nonblocking(true).unwrap();
    assert!(notified.socket.recv(&mut [0; 4096]).is_err());
}

/// Binds a TCP socket and executes the rest as systemd does a unit with `Sockets=`, by a copy of the program in this directory;
/// the address is in the file that is named.
const PASSES_ONE: &str = "import os, shutil, socket, sys
bound = socket.create_server(('127.0.0.1', 0))
with open(sys.argv[1] + '.new', 'w') as file:
    file.write('%s:%s' % bound.getsockname())
os.rename(sys.argv[1] + '.new', sys.argv[1])
os.dup2(bound.fileno(), int(sys.argv[2]))
os.set_inheritable(int(sys.argv[2]), True)
if sys.argv[2] == '3':
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='app.socket')
shutil.copy(sys.argv[3], 'vassal')
os.environ['EMPERY_WORKER_EXTENSION'] = os.path.join(os.path.dirname(sys.argv[3]), 'libempery_worker.so')
os.execv('vassal', sys.argv[3:])";

/// Starts a vassal with a listening socket as descriptor `number`, and finds out where that is once it serves.
fn with_socket(name: &str, number: &str, lines: &str) -> (Vassal, SocketAddr) {
    let place = std::env::temp_dir().join(format!("empery-passed-{}-{name}", std::process::id()));
    let launcher = ["python3", "-c", PASSES_ONE, place.to_str().unwrap(), number];
    let vassal = Vassal::start_bare(name, &format!("module = app\n{lines}"), &launcher);
    vassal.wait_for("generation 1 serves");
    let address = fs::read_to_string(&place).unwrap().parse().unwrap();
    fs::remove_file(place).unwrap();
    (vassal, address)
}

fn answer(address: SocketAddr) -> String {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_socket_that_systemd_passes_is_served_without_a_line_over_a_reload_and_by_a_changed_binary() {
    let (vassal, address) = with_socket("passed", "3", "protocol = http\n");
    assert!(answer(address).ends_with("hello"));
    assert!(vassal.log().contains(&format!("http socket 0 inherited TCP address {address}")));
    vassal.signal(Signal::SIGHUP);
    vassal.wait_for("generation 2 serves");
    assert!(answer(address).ends_with("hello"));

    let binary = vassal.directory.join("vassal");
    let changed = vassal.directory.join("vassal.new");
    fs::copy(&binary, &changed).unwrap();
    fs::rename(changed, binary).unwrap();
    vassal.signal(Signal::SIGHUP);
    let log = vassal.wait_for("generation 3 serves");
    assert!(log.contains("has changed"), "{log}");
    assert!(answer(address).ends_with("hello"));
    assert!(vassal.stop().0.success());
}

#[test]
fn a_socket_of_inetd_and_one_that_is_named_by_its_number_are_served() {
    let (inetd, address) = with_socket("inetd", "0", "protocol = http\n");
    assert!(answer(address).ends_with("hello"));
    assert!(inetd.stop().0.success());
    let (circus, address) = with_socket("circus", "9", "http-socket = fd://9\n");
    assert!(answer(address).ends_with("hello"));
    assert!(circus.stop().0.success());
}
