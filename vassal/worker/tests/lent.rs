//! Threads of the app's own that are in the middle of a request's body or answer as the app returns: what they do next reaches
//! nobody else's connection.
#![allow(clippy::unwrap_used)]

mod driver;

use std::io::{Read, Write};

use driver::{Generation, Listeners, app_of, connect, get, read_to_end};

const APP: &str = "
import os
import threading

ended = threading.Event()
how = b''

def is_busy(call):
    try:
        call()
    except RuntimeError:
        return True
    return False

def run(what, *arguments):
    global how
    try:
        how = repr(what(*arguments)).encode()
    except OSError as error:
        how = str(error).encode()
    ended.set()

def application(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/read':
        ended.clear()
        read = environ['wsgi.input'].read
        threading.Thread(target=run, args=(read,)).start()
        while not is_busy(lambda: read(0)):
            pass
    if path == '/write':
        ended.clear()
        write = start_response('200 OK', [('Content-Length', str(8 << 20))])
        threading.Thread(target=run, args=(write, b'w' * (8 << 20))).start()
        while not is_busy(lambda: write(b'')):
            pass
        return []
    if path == '/wait':
        ended.wait(10)
    start_response('200 OK', [('Content-Length', '12')])
    if path == '/how':
        return [b'%-12s' % how[:12]]
    if path == '/open':
        return [b'open %07d' % len(os.listdir('/proc/self/fd'))]
    return [b'%-12s' % path.encode()]
";

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// The next answer on a connection that goes on: its body.
fn answer(client: &mut impl Read) -> String {
    let mut said = String::new();
    let mut byte = [0];
    while !said.contains("\r\n\r\n") || said.split_once("\r\n\r\n").unwrap().1.len() < 12 {
        assert_eq!(client.read(&mut byte).unwrap(), 1, "it ended behind {said:?}");
        said.push(char::from(byte[0]));
        assert!(said.len() < 1024, "no answer: {said}");
    }
    assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{said}");
    said.split_once("\r\n\r\n").unwrap().1.trim_end().to_owned()
}

fn open(listeners: &Listeners) -> String {
    get(listeners, "/open").split_once("open ").unwrap().1.to_owned()
}

#[test]
fn a_thread_that_reads_on_behind_its_request_gets_nothing_of_the_next_client() {
    let listeners = Listeners::new();
    let mut generation = Generation::serving(app_of("lent-input", APP), &listeners, |boot| {
        boot.body_timeout_ms = 20_000;
    });
    let before = open(&listeners);
    for _ in 0..3 {
        let mut first = connect(&listeners);
        first.write_all(b"POST /read HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000\r\n\r\n").unwrap();
        // The app is called for a body that is not small when so much of it is here.
        first.write_all(&[b'b'; 64 << 10]).unwrap();
        assert_eq!(answer(&mut first), "/read");
        // The descriptor of the first would be the second's now.
        let mut second = connect(&listeners);
        second.write_all(request("/").as_bytes()).unwrap();
        assert_eq!(answer(&mut second), "/");
        let _ = first.write_all(b"more");
        // The worker is inside the app meanwhile: whoever else has the descriptor is first to receive.
        second.write_all(request("/wait").as_bytes()).unwrap();
        driver::pace(100);
        second.write_all(request("/secret").as_bytes()).unwrap();
        assert_eq!(answer(&mut second), "/wait");
        assert_eq!(answer(&mut second), "/secret");
        second.write_all(request("/how").as_bytes()).unwrap();
        // "the client went away", or a reset when what it sent came too late.
        let how = answer(&mut second);
        assert!(how == "the client w" || how == "error during", "{how}");
        drop(second);
    }
    // Those that were kept are closed.
    assert_eq!(open(&listeners), before);
    generation.drain();
}

#[test]
fn a_thread_that_writes_on_behind_its_request_reaches_nobody() {
    let listeners = Listeners::new();
    let mut generation = Generation::serving(app_of("lent-answer", APP), &listeners, |boot| {
        boot.write_timeout_ms = 20_000;
    });
    let before = open(&listeners);
    for _ in 0..3 {
        let mut first = connect(&listeners);
        first.write_all(request("/write").as_bytes()).unwrap();
        first.read_exact(&mut [0]).unwrap();
        let mut second = connect(&listeners);
        second.write_all(request("/").as_bytes()).unwrap();
        assert_eq!(answer(&mut second), "/");
        // Room for what the thread writes on.
        assert!(read_to_end(first).len() < 8 << 20, "an answer that the app did not wait for");
        second.write_all(request("/wait").as_bytes()).unwrap();
        assert_eq!(answer(&mut second), "/wait");
        second.write_all(request("/how").as_bytes()).unwrap();
        assert_eq!(answer(&mut second), "write error:");
        drop(second);
    }
    assert_eq!(open(&listeners), before);
    generation.drain();
}
