//! Connections of one request: accepted when something has come on them, served and closed without epoll, many in a row.
#![allow(clippy::unwrap_used)]

mod driver;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::fd::AsFd,
    path::PathBuf,
    time::{Duration, Instant},
};

use driver::{DEADLINE, Generation, Listeners, app_of, connect, exchange, get, read_to_end};
use empery_control::{
    boot::Protocol,
    worker::{self as words, FromWorker, ToWorker},
};

/// `/hold/PATH` waits until PATH exists, `/fork` leaves a child that lives until `/end`, `/sockets` counts the connections
/// of this process, and each answers with what was asked before.
const APP: &str = "
import os, time

asked, pipe = [], []

def application(environ, start_response):
    path = environ['PATH_INFO']
    body = ','.join(asked)
    asked.append(path)
    if path.startswith('/hold/'):
        open(path[5:] + '.begun', 'w').close()
        while not os.path.exists(path[5:]):
            time.sleep(0.001)
    elif path == '/fork':
        # Not at import: the zygote would hold it open.
        pipe.extend(() if pipe else os.pipe())
        if os.fork() == 0:
            os.close(pipe[1])
            os.read(pipe[0], 1)
            os._exit(0)
    elif path == '/end':
        os.close(pipe[1])
    elif path == '/sockets':
        body = str(sum(is_socket(number) for number in os.listdir('/proc/self/fd')))
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body.encode()]

def is_socket(number):
    try:
        return os.readlink('/proc/self/fd/' + number).startswith('socket:')
    except OSError:
        return False
";

fn sockets(listeners: &Listeners) -> usize {
    get(listeners, "/sockets").rsplit("\r\n").next().unwrap().parse().unwrap()
}

/// What a silent client adds to the sockets of the worker well within a second.
fn sockets_of_a_silent_client(listeners: &Listeners) -> usize {
    let before = sockets(listeners);
    for _ in 0..100 {
        let began = Instant::now();
        let silent = connect(listeners);
        let with_it = sockets(listeners);
        if began.elapsed() < Duration::from_millis(800) {
            return with_it - before;
        }
        drop(silent);
    }
    panic!("the machine is too slow to tell");
}

#[test]
fn who_says_nothing_is_left_to_the_kernel_unless_no_defer_accept_is_said() {
    for (defer_accept, expected) in [(true, 0), (false, 1), (true, 0)] {
        // The same sockets: what another generation has set is set anew.
        let listeners = Listeners::new();
        let mut before = Generation::serving(app_of("one-before", APP), &listeners, |boot| {
            boot.listeners[0].defer_accept = !defer_accept;
        });
        before.drain();
        let mut generation = Generation::serving(app_of("one-silent", APP), &listeners, |boot| {
            boot.listeners[0].defer_accept = defer_accept;
        });
        assert_eq!(sockets_of_a_silent_client(&listeners), expected);
        generation.drain();
    }
}

#[test]
fn who_says_nothing_for_long_is_closed_and_who_speaks_late_is_served() {
    let listeners = Listeners::new();
    let mut generation = Generation::serving(app_of("one-late", APP), &listeners, |boot| {
        boot.client_timeout_ms = 4_000;
    });
    let silent = connect(&listeners);
    let mut late = connect(&listeners);
    let before = sockets(&listeners);
    // Accepted although nothing has come.
    let began = Instant::now();
    while sockets(&listeners) < before + 2 && began.elapsed() < DEADLINE {
        driver::pace(20);
    }
    late.write_all(b"GET /late HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    assert!(read_to_end(late).starts_with("HTTP/1.1 200"));
    assert_eq!(read_to_end(silent), "", "closed without a word");
    generation.drain();
}

#[test]
fn a_child_that_the_app_has_forked_keeps_no_answer_from_ending() {
    for threads in [1, 2] {
        let listeners = Listeners::new();
        let mut generation = Generation::serving(app_of("one-fork", APP), &listeners, |boot| boot.threads = threads);
        // Each waits for the end of the connection, while a child has a copy of it, and of those before.
        for path in ["/fork", "/", "/fork", "/"] {
            assert!(get(&listeners, path).starts_with("HTTP/1.1 200"), "{path}");
        }
        let mut kept = connect(&listeners);
        kept.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        let mut buffer = [0; 1024];
        assert!(kept.read(&mut buffer).unwrap() > 0);
        get(&listeners, "/fork");
        kept.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
        assert!(read_to_end(kept).contains("Connection: close"));
        get(&listeners, "/end");
        generation.drain();
    }
}

#[test]
fn a_connection_from_another_worker_ends_although_that_one_has_it_still() {
    let listeners = Listeners::new();
    let mut generation = Generation::serving(app_of("one-adopted", APP), &listeners, |_| {});
    let own = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(own.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    let (copy, _) = own.accept().unwrap();
    copy.set_nonblocking(true).unwrap();
    let connection = words::Connection {
        token: 5,
        listener: "http".to_owned(),
        requests: 1,
        protocol: Some(Protocol::Http),
        proxied: None,
        has_no_proxy_header: false,
    };
    generation.line().say(&ToWorker::Adopt(connection), &[copy.as_fd()]);
    assert_eq!(generation.line().hear::<FromWorker>().unwrap().0, FromWorker::AdoptedHere { token: 5 });
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    assert!(read_to_end(client).starts_with("HTTP/1.1 200"));
    // What the copy gets to hear now wakes nobody over there: the worker serves on, and uses no time.
    assert!(get(&listeners, "/").starts_with("HTTP/1.1 200"));
    drop(copy);
    generation.drain();
}

#[test]
fn a_connection_from_before_the_proxy_protocol_was_asked_for_goes_on_without_it() {
    let listeners = Listeners::new();
    let old = Generation::serving(app_of("one-before", APP), &listeners, |_| {});
    let mut kept = connect(&listeners);
    kept.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let mut buffer = [0; 1024];
    assert!(kept.read(&mut buffer).unwrap() > 0);
    let mut new = Generation::boot(2, app_of("one-since", APP), &listeners, |boot| {
        boot.listeners[0].proxy_protocol = true;
    });
    new.fork(2);
    new.open();
    old.line().say(&ToWorker::Drain, &[]);
    let (word, fds) = old.line().hear::<FromWorker>().unwrap();
    let FromWorker::Handover { token, connection } = word else { panic!("{word:?}") };
    new.line().say(&ToWorker::Adopt(connection), &[fds[0].as_fd()]);
    assert_eq!(new.line().hear::<FromWorker>().unwrap().0, FromWorker::AdoptedHere { token });
    old.line().say(&ToWorker::Adopted { token }, &[]);
    kept.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    drop(fds);
    assert!(read_to_end(kept).starts_with("HTTP/1.1 200"));
    // Whoever comes since then begins with it.
    let proxied = "PROXY TCP4 192.0.2.7 192.0.2.1 1 80\r\nGET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    assert!(exchange(&listeners, proxied.as_bytes()).starts_with("HTTP/1.1 200"));
    assert!(!get(&listeners, "/").contains("HTTP/1.1"), "without it there is no answer");
    new.drain();
}

/// Where requests hold until the file is there.
struct Gate(PathBuf);

impl Gate {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("empery-worker-{}-{name}", std::process::id())))
    }

    fn begun(&self) -> PathBuf {
        self.0.with_added_extension("begun")
    }

    fn hold(&self, listeners: &Listeners) -> TcpStream {
        ask(listeners, &format!("/hold{}", self.0.display()))
    }

    fn until_begun(&self) {
        let began = Instant::now();
        while !self.begun().exists() {
            assert!(began.elapsed() < DEADLINE, "nobody has come to {}", self.0.display());
            driver::pace(5);
        }
    }

    fn open(&self) {
        fs::write(&self.0, "").unwrap();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
        let _ = fs::remove_file(self.begun());
    }
}

fn ask(listeners: &Listeners, path: &str) -> TcpStream {
    let mut client = connect(listeners);
    write!(client, "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    client
}

#[test]
fn a_full_queue_keeps_nobody_waiting_whose_connection_is_there_already() {
    const QUEUED: usize = 100;
    let listeners = Listeners::new();
    let mut generation = Generation::serving(app_of("one-queue", APP), &listeners, |_| {});
    let mut kept = connect(&listeners);
    kept.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let mut buffer = [0; 4096];
    assert!(kept.read(&mut buffer).unwrap() > 0);
    let (first, second) = (Gate::new("first"), Gate::new("second"));
    let mut clients = vec![first.hold(&listeners)];
    first.until_begun();
    // The third of those that queue up is held, and meanwhile something comes on the old connection.
    clients.extend([ask(&listeners, "/a"), ask(&listeners, "/b"), second.hold(&listeners)]);
    clients.extend((0..QUEUED).map(|_| ask(&listeners, "/queued")));
    first.open();
    second.until_begun();
    kept.write_all(b"GET /kept HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    second.open();
    let read = kept.read(&mut buffer).unwrap();
    let answer = String::from_utf8_lossy(&buffer[..read]).into_owned();
    let before = answer.matches("/queued").count();
    assert!(before < 16, "{before} of {QUEUED} went before it: {answer}");
    for client in clients {
        assert!(read_to_end(client).starts_with("HTTP/1.1 200"));
    }
    drop(kept);
    generation.drain();
}
