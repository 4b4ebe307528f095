//! A vassal that runs alone as a unit of systemd: what it tells of itself (sd_notify(3)). Needs the worker extension beside
//! the binary (`cargo build -p empery-worker`).
#![allow(clippy::unwrap_used)]

mod started;

use std::{fs, os::unix::net::UnixDatagram, path::PathBuf, time::Duration};

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
