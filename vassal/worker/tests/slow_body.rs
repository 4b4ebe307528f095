//! Bodies that come slowly, or never: whom they hold up.
#![allow(clippy::unwrap_used)]

mod driver;

use std::io::Write;

use driver::{Generation, Listeners, app_of, connect, get, read_to_end};

const APP: &str = "
def application(environ, start_response):
    try:
        body = environ['wsgi.input'].read()
    except OSError as error:
        body = str(error).encode()
    start_response('200 OK', [])
    return [b'%d %s' % (len(body), body[:100])]
";

fn serving(listeners: &Listeners) -> Generation {
    Generation::serving(app_of("slow-body", APP), listeners, |boot| {
        boot.client_timeout_ms = 1_000;
        boot.body_timeout_ms = 1_000;
    })
}

const POST: &str = "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n";

#[test]
fn a_body_that_does_not_come_holds_no_thread_and_ends_in_408() {
    let listeners = Listeners::new();
    let mut generation = serving(&listeners);
    let bodies = [
        "Content-Length: 10\r\n\r\n123",
        "Content-Length: 10000000\r\n\r\n123",
        "Transfer-Encoding: chunked\r\n\r\n5\r\n123",
        "Expect: 100-continue\r\nContent-Length: 10\r\n\r\n",
        "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n",
    ];
    let slow: Vec<_> = bodies
        .iter()
        .map(|body| {
            let mut client = connect(&listeners);
            client.write_all(format!("{POST}{body}").as_bytes()).unwrap();
            client
        })
        .collect();
    // All are there before the next is accepted: one worker, one thread, one queue.
    assert!(get(&listeners, "/").ends_with("0 "));
    assert_eq!(generation.scoreboard.totals().requests, 1, "the app was not called for a body that is not there");
    for client in slow {
        let answer = read_to_end(client);
        let answer = answer.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(&answer);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
    }
    generation.drain();
}

#[test]
fn a_body_sent_byte_by_byte_comes_whole() {
    let listeners = Listeners::new();
    let mut generation = serving(&listeners);
    for (body, read) in [
        ("Content-Length: 5\r\n\r\nhello", "5 hello"),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n!\r\n0\r\nT: 1\r\n\r\n", "6 hello!"),
    ] {
        let mut client = connect(&listeners);
        client.set_nodelay(true).unwrap();
        for byte in format!("{POST}{body}").bytes() {
            client.write_all(&[byte]).unwrap();
        }
        let answer = read_to_end(client);
        assert!(answer.ends_with(read), "{answer:?}");
    }
    generation.drain();
}

#[test]
fn the_app_sees_that_a_body_ended_too_early() {
    let listeners = Listeners::new();
    let mut generation = serving(&listeners);
    for body in ["Content-Length: 10\r\n\r\n123", "Transfer-Encoding: chunked\r\n\r\n5\r\n123"] {
        let mut client = connect(&listeners);
        client.write_all(format!("{POST}{body}").as_bytes()).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let answer = read_to_end(client);
        assert!(answer.contains("the client went away"), "{answer:?}");
    }
    generation.drain();
}

#[test]
fn bodies_longer_than_what_is_held_and_the_requests_behind_them_come_whole() {
    let listeners = Listeners::new();
    let mut generation = serving(&listeners);
    for length in [1, 65_535, 65_536, 65_537, 1_000_000] {
        let mut client = connect(&listeners);
        let body = "x".repeat(length);
        let two = format!(
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        );
        client.write_all(two.as_bytes()).unwrap();
        let answer = read_to_end(client);
        assert!(answer.contains(&format!("\r\n\r\n{length} x")) && answer.ends_with("0 "), "{length}: {answer:?}");
    }
    generation.drain();
}
