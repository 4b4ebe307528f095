//! Clients that send ahead of the answers: more than anybody should keep, with the end behind it, or while the worker is busy.
#![allow(clippy::unwrap_used)]

mod driver;

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Instant,
};

use driver::{DEADLINE, Generation, Listeners, app_of, connect, get, pace, read_to_end, until};
use empery_control::boot::Protocol;

const APP: &str = "
import resource
import time

ahead = 0

def application(environ, start_response):
    global ahead
    ahead += environ['REMOTE_ADDR'] == ''
    path = environ['PATH_INFO']
    if path.startswith('/sleep/'):
        time.sleep(float(path[7:]))
    start_response('200 OK', [])
    if path == '/peak':
        return [b'peak %d.' % resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]
    if path == '/ahead':
        return [b'ahead %d.' % ahead]
    if path == '/large':
        return [b'l' * (8 << 20)]
    return [b'ok']
";

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// One request and its answer on a connection that goes on.
fn ask(client: &mut TcpStream, path: &str) -> String {
    client.write_all(request(path).as_bytes()).unwrap();
    let mut buffer = [0; 4096];
    let read = client.read(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..read]).into_owned()
}

fn peak_kib(client: &mut TcpStream) -> u64 {
    let answer = ask(client, "/peak");
    answer.split("peak ").nth(1).unwrap().trim_end_matches('.').parse().unwrap()
}

#[test]
fn h8_a_flood_of_requests_sent_ahead_is_left_to_the_kernel_and_served_as_fast_as_any() {
    const NUMBER: usize = 60_000;
    let listeners = Listeners::new();
    let mut generation = Generation::serving(app_of("flood", APP), &listeners, |_| {});
    let mut client = connect(&listeners);
    let before_kib = peak_kib(&mut client);
    let mut writer = client.try_clone().unwrap();
    let flood = std::thread::spawn(move || {
        let some = request("/").repeat(1000);
        for _ in 0..NUMBER / 1000 {
            writer.write_all(some.as_bytes()).unwrap();
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let answers = read_to_end(client);
    flood.join().unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), NUMBER, "{}", &answers[answers.len().saturating_sub(200)..]);
    let grown_kib = peak_kib(&mut connect(&listeners)).saturating_sub(before_kib);
    assert!(grown_kib < 1024, "the worker grew by {grown_kib} KiB");
    generation.drain();
}

#[test]
fn h1_h8_who_sends_ahead_without_end_keeps_nobody_from_a_deadline() {
    let listeners = Listeners::new();
    let mut generation = Generation::serving(app_of("endless-flood", APP), &listeners, |boot| {
        boot.keepalive_timeout_ms = 1_000;
    });
    let mut idle = connect(&listeners);
    assert!(ask(&mut idle, "/").ends_with("ok"));
    let client = connect(&listeners);
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (mut writer, mut reader) = (client.try_clone().unwrap(), client.try_clone().unwrap());
        let ends = &ends;
        scope.spawn(move || {
            let some = request("/").repeat(1000);
            while !ends.load(Ordering::Relaxed) && writer.write_all(some.as_bytes()).is_ok() {}
        });
        let (tell, told) = mpsc::channel();
        scope.spawn(move || {
            let mut buffer = vec![0; 65_536];
            while matches!(reader.read(&mut buffer), Ok(1..)) {
                let _ = tell.send(());
            }
        });
        let goes_on = || told.try_iter().count() > 0;
        until(goes_on);
        let mut slow = connect(&listeners);
        slow.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nX-Half").unwrap();
        // Not before the deadlines: both ends of the flood are still at it.
        let (slow, idle) = (read_to_end(slow), read_to_end(idle));
        until(goes_on);
        ends.store(true, Ordering::Relaxed);
        client.shutdown(Shutdown::Both).unwrap();
        assert!(slow.starts_with("HTTP/1.1 408 "), "{slow:?}");
        assert_eq!(idle, "");
    });
    generation.drain();
}

#[test]
fn h8_h9_the_end_behind_requests_sent_ahead_cuts_no_answer() {
    for threads in [1, 3] {
        let listeners = Listeners::new();
        let mut generation = Generation::serving(app_of("end-ahead", APP), &listeners, |boot| {
            boot.threads = threads;
            boot.write_timeout_ms = 20_000;
        });
        let mut client = connect(&listeners);
        assert!(ask(&mut client, "/").ends_with("ok"));
        let ahead = [request("/"), request("/"), request("/large")].concat();
        client.write_all(ahead.as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        // Others have their turn while this one does not read.
        for _ in 0..10 {
            assert!(ask(&mut connect(&listeners), "/").ends_with("ok"));
        }
        let answers = read_to_end(client);
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3);
        assert!(answers.ends_with(&"l".repeat(8 << 20)), "{} bytes came", answers.len());
        generation.drain();
    }
}

#[test]
fn whoever_spoke_in_time_while_the_worker_was_inside_the_app_is_not_late() {
    let listeners = Listeners::new();
    let mut generation = Generation::serving(app_of("busy", APP), &listeners, |boot| {
        boot.client_timeout_ms = 3_000;
        boot.keepalive_timeout_ms = 3_000;
    });
    // More than epoll tells at once.
    let mut idle: Vec<TcpStream> = (0..150).map(|_| connect(&listeners)).collect();
    for client in &mut idle {
        assert!(ask(client, "/").ends_with("ok"));
    }
    let mut half = connect(&listeners);
    half.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let mut silent = connect(&listeners);
    silent.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    let mut busy = connect(&listeners);
    busy.write_all(request("/sleep/5").as_bytes()).unwrap();
    pace(100);
    half.write_all(b"Host: h\r\nConnection: close\r\n\r\n").unwrap();
    for client in &mut idle {
        client.write_all(request("/").as_bytes()).unwrap();
    }
    let began = Instant::now();
    for client in &mut idle {
        let mut buffer = [0; 1024];
        let read = client.read(&mut buffer).unwrap();
        assert!(buffer[..read].starts_with(b"HTTP/1.1 200 OK"), "{:?}", String::from_utf8_lossy(&buffer[..read]));
    }
    assert!(read_to_end(half).starts_with("HTTP/1.1 200 OK"));
    assert!(read_to_end(silent).starts_with("HTTP/1.1 408"), "whoever said nothing more is late");
    assert!(began.elapsed() < DEADLINE);
    drop((busy, idle));
    generation.drain();
}

#[test]
fn h8_a_refusal_that_its_client_does_not_take_holds_nobody_up() {
    let listeners = Listeners::new();
    let mut generation = Generation::serving(app_of("refusal-ahead", APP), &listeners, |boot| {
        boot.listeners[1].protocol = Protocol::Http;
        boot.write_timeout_ms = 60_000;
    });
    // Over a unix socket each answer takes its own room: for one of these the refusal is the first that finds none.
    let clients: Vec<UnixStream> = (260..300)
        .map(|number| {
            let mut client = UnixStream::connect(&listeners.uwsgi_path).unwrap();
            client.set_read_timeout(Some(DEADLINE)).unwrap();
            let ahead = format!("{}NONSENSE\r\n\r\n", request("/").repeat(number));
            client.write_all(ahead.as_bytes()).unwrap();
            client
        })
        .collect();
    // Until nothing goes on there any more.
    let mut before = String::new();
    loop {
        let now = get(&listeners, "/ahead");
        assert!(now.ends_with('.'), "others are served, not {now:?}");
        if now.lines().last() == before.lines().last() {
            break;
        }
        before = now;
        pace(200);
    }
    for (number, client) in (260..).zip(clients) {
        let answers = read_to_end(client);
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), number);
        assert_eq!(answers.matches("HTTP/1.1 400 Bad Request").count(), 1, "and the refusal comes when there is room");
    }
    generation.drain();
}
