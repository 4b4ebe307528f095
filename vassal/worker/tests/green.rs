//! Greenlets: a worker that is full takes no more and hears its master all the same, and no function of a signal is lost.
#![allow(clippy::unwrap_used)]

mod driver;

use std::{io::Write, os::fd::AsFd, path::PathBuf};

use driver::{Generation, Listeners, app_of, connect, read_to_end};
use empery_control::{
    boot::{Engine, MonkeyPatch},
    signals::SignalWord,
    worker::{FromWorker, ToWorker},
};
use empery_sys::seqpacket;

/// `/hold/PATH` answers when PATH exists; signal 7 takes a moment, and makes the file that `GREEN` names.
const APP: &str = "
import os, gevent, uwsgi

def function(number):
    gevent.sleep(0.2)
    open(os.environ['GREEN'], 'w').close()

uwsgi.register_signal(7, '', function)

def application(environ, start_response):
    path = environ['PATH_INFO']
    while path.startswith('/hold/') and not os.path.exists(path[5:]):
        gevent.sleep(0.002)
    start_response('200 OK', [('Content-Length', '2')])
    return [b'ok']
";

fn file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("empery-worker-{}-green-{name}", std::process::id()))
}

/// A worker with so many greenlets whose gate is open, and the master's end of its letterbox.
fn serving(name: &str, greenlets: u32, listeners: &Listeners) -> (Generation, std::os::fd::OwnedFd) {
    let text = APP.replace("os.environ['GREEN']", &format!("{:?}", file(name).display().to_string()));
    let mut generation = Generation::boot(1, app_of(&format!("green-{name}"), &text), listeners, |boot| {
        boot.engine = Engine::Gevent { patch: MonkeyPatch::Never };
        boot.threads = greenlets;
    });
    generation.fork(1);
    let letterbox = loop {
        let (word, fds) = generation.line().hear::<FromWorker>().unwrap();
        if let FromWorker::Signals { word: SignalWord::Letterbox } = word {
            break fds.into_iter().next().unwrap();
        }
    };
    generation.open();
    (generation, letterbox)
}

#[test]
fn a_function_that_was_to_run_does_though_the_worker_is_to_leave() {
    let listeners = Listeners::new();
    let (mut generation, letterbox) = serving("signal", 2, &listeners);
    seqpacket::send(letterbox.as_fd(), &[7], &[]).unwrap();
    generation.drain();
    assert!(file("signal").exists(), "{}", generation.log());
    std::fs::remove_file(file("signal")).unwrap();
}

#[test]
fn a_full_worker_hears_its_master_and_serves_everybody_in_turn() {
    let listeners = Listeners::new();
    let (mut generation, _letterbox) = serving("full", 1, &listeners);
    let gate = file("gate");
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut kept = connect(&listeners);
    kept.write_all(request("/").as_bytes()).unwrap();
    driver::until(|| kept.peek(&mut [0; 1024]).unwrap() > 0);
    let mut holding = connect(&listeners);
    holding.write_all(request(&format!("/hold{}", gate.display())).as_bytes()).unwrap();
    let slot = generation.scoreboard.slot(0);
    driver::until(|| slot.in_flight().is_some_and(|request| request.head.starts_with(b"GET /hold")));
    let mut fresh = connect(&listeners);
    kept.write_all(request("/second").as_bytes()).unwrap();
    fresh.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    driver::pace(100);
    generation.line().say(&ToWorker::Ping { token: 5 }, &[]);
    assert_eq!(generation.line().hear::<FromWorker>().unwrap().0, FromWorker::Pong { token: 5 });
    std::fs::write(&gate, "").unwrap();
    assert!(read_to_end(fresh).ends_with("\r\n\r\nok"));
    // It may wait for its third request until it is told that there is none.
    kept.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_to_end(kept).matches("\r\n\r\nok").count(), 2);
    holding.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_to_end(holding).matches("\r\n\r\nok").count(), 1);
    std::fs::remove_file(gate).unwrap();
    generation.drain();
    assert!(!generation.log().contains("panicked"), "{}", generation.log());
}

#[test]
fn a_full_worker_that_is_to_leave_gives_away_who_waits() {
    let listeners = Listeners::new();
    let (mut generation, _letterbox) = serving("leaves", 1, &listeners);
    let gate = file("leaves-gate");
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut kept = connect(&listeners);
    kept.write_all(request("/").as_bytes()).unwrap();
    driver::until(|| kept.peek(&mut [0; 1024]).unwrap() > 0);
    let mut holding = connect(&listeners);
    let target = format!("/hold{}", gate.display());
    holding.write_all(format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let slot = generation.scoreboard.slot(0);
    driver::until(|| slot.in_flight().is_some_and(|request| request.head.starts_with(b"GET /hold")));
    kept.write_all(request("/second").as_bytes()).unwrap();
    driver::pace(100);
    generation.line().say(&ToWorker::Drain, &[]);
    let words = std::iter::from_fn(|| generation.line().hear::<FromWorker>());
    let given = { words }.find_map(|(word, fds)| match word {
        FromWorker::Handover { token, .. } => Some((token, fds)),
        _ => None,
    });
    let (token, fds) = given.unwrap();
    let theirs: std::net::TcpStream = fds.into_iter().next().unwrap().into();
    assert_eq!(theirs.peer_addr().unwrap(), kept.local_addr().unwrap());
    generation.line().say(&ToWorker::Adopted { token }, &[]);
    std::fs::write(&gate, "").unwrap();
    assert!(read_to_end(holding).ends_with("ok"));
    std::fs::remove_file(gate).unwrap();
    generation.drain();
}
