//! A frozen worker begins no request, whatever of it has come already: one that was sent ahead of an answer waits, and one of
//! which a part had come.
#![allow(clippy::unwrap_used)]

mod driver;

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
};

use driver::{DEADLINE, Generation, Listeners, app_of, connect, pace, read_to_end};
use empery_control::worker::{FromWorker, ToWorker};

/// `/hold/PATH` waits until PATH exists.
const APP: &str = "
import os, time

def application(environ, start_response):
    path = environ['PATH_INFO']
    if path.startswith('/hold/'):
        open(path[5:] + '.begun', 'w').close()
        while not os.path.exists(path[5:]):
            time.sleep(0.001)
    start_response('200 OK', [('Content-Length', '2')])
    return [b'ok']
";

/// How long a thing that must not happen is waited for, in ms.
const QUIET_MS: u16 = 300;

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// What has come by now.
fn come(client: &mut TcpStream) -> String {
    client.set_nonblocking(true).unwrap();
    let mut bytes = Vec::new();
    // It ends with "nothing more now".
    let _ = client.read_to_end(&mut bytes);
    client.set_nonblocking(false).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Tells the worker, and waits until it has heard it.
fn say(generation: &Generation, word: &ToWorker) {
    generation.line().say(word, &[]);
    generation.line().say(&ToWorker::Ping { token: 1 }, &[]);
    assert_eq!(generation.line().hear::<FromWorker>().unwrap().0, FromWorker::Pong { token: 1 });
}

#[test]
fn what_was_sent_ahead_or_in_part_waits_until_it_is_resumed() {
    let listeners = Listeners::new();
    // Two threads: one hears the master while the other is inside the app.
    let mut generation = Generation::serving(app_of("frozen", APP), &listeners, |boot| {
        boot.threads = 2;
        boot.client_timeout_ms = 20_000;
    });
    let gate: PathBuf = std::env::temp_dir().join(format!("empery-worker-{}-frozen-gate", std::process::id()));
    let begun = gate.with_added_extension("begun");
    let mut ahead = connect(&listeners);
    ahead
        .write_all([request(&format!("/hold{}", gate.display())), request("/").repeat(3)].concat().as_bytes())
        .unwrap();
    driver::until(|| begun.exists());
    let mut half = connect(&listeners);
    half.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n").unwrap();
    say(&generation, &ToWorker::Freeze);

    std::fs::write(&gate, "").unwrap();
    half.write_all(b"Connection: close\r\n\r\n").unwrap();
    let mut answers = String::new();
    driver::until(|| {
        answers.push_str(&come(&mut ahead));
        !answers.is_empty()
    });
    pace(QUIET_MS);
    answers.push_str(&come(&mut ahead));
    assert_eq!(
        answers.matches("HTTP/1.1 200").count(),
        1,
        "what is in flight is finished, and nothing begun: {answers}"
    );
    assert_eq!(come(&mut half), "");

    say(&generation, &ToWorker::Resume);
    ahead.set_read_timeout(Some(DEADLINE)).unwrap();
    while answers.matches("HTTP/1.1 200").count() < 4 || !answers.ends_with("ok") {
        let mut buffer = [0; 4096];
        let read = ahead.read(&mut buffer).unwrap();
        assert!(read > 0, "{answers}");
        answers.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    assert!(read_to_end(half).starts_with("HTTP/1.1 200"));
    drop(ahead);
    let _ = (std::fs::remove_file(&gate), std::fs::remove_file(&begun));
    generation.drain();
}

#[test]
fn a_frozen_worker_that_is_to_leave_does_and_what_waited_is_served() {
    let listeners = Listeners::new();
    let mut generation = Generation::serving(app_of("frozen-leaves", APP), &listeners, |boot| {
        boot.client_timeout_ms = 20_000;
    });
    let (mut idle, mut half) = (connect(&listeners), connect(&listeners));
    half.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n").unwrap();
    idle.write_all(request("/").as_bytes()).unwrap();
    let mut answer = String::new();
    driver::until(|| {
        answer.push_str(&come(&mut idle));
        answer.ends_with("ok")
    });
    say(&generation, &ToWorker::Freeze);
    idle.write_all(request("/").as_bytes()).unwrap();
    half.write_all(b"Connection: close\r\n\r\n").unwrap();
    pace(QUIET_MS);
    assert_eq!((come(&mut idle), come(&mut half)), (String::new(), String::new()));

    // It ends, though nobody has resumed it and nobody takes what it has.
    generation.drain();
    for client in [idle, half] {
        let answer = read_to_end(client);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"), "{answer}");
    }
}
