//! What holds for the requests of one HTTP listener (`http-var` and its relatives), and bodies of buffers.
#![allow(clippy::unwrap_used)]

mod driver;

use std::{io::Write, time::Instant};

use driver::{Generation, Listeners, app_of, assert_answer, connect, exchange, get, read_to_end};
use empery_rules::http::HttpRules;

const SHOWN: &str = "
def application(environ, start_response):
    start_response('200 OK', [])
    names = ['SERVER_NAME', 'PATH_INFO', 'HTTP_X_SECRET', 'SITE']
    return ['|'.join(str(environ.get(name)) for name in names).encode()]
";

#[test]
fn what_a_listener_says_of_its_requests_is_not_the_client_s_to_say() {
    let listeners = Listeners::new();
    let _generation = Generation::serving(app_of("http-rules", SHOWN), &listeners, |boot| {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        boot.listeners[0].http = HttpRules {
            vars: vec![pair("HTTP_X_SECRET", "ours"), pair("SITE", "caf\u{e9}")],
            server_name_is_host: true,
            keeps_encoded_slashes: true,
            head_timeout_ms: None,
        };
    });
    let asked = "GET /a%2Fb%20c HTTP/1.1\r\nHost: shop:80\r\nX-Secret: theirs\r\nConnection: close\r\n\r\n";
    assert_answer(&exchange(&listeners, asked.as_bytes()), "rules", &["shop:80|/a%2Fb c|ours|"], &["theirs"]);
    // HTTP/1.0 needs no Host: SERVER_NAME is what it would be.
    let bare = exchange(&listeners, b"GET / HTTP/1.0\r\n\r\n");
    assert_answer(&bare, "no host", &["127.0.0.1|/|ours|"], &[]);
}

#[test]
fn a_head_has_the_time_of_its_listener() {
    let listeners = Listeners::new();
    let mut generation = Generation::serving(app_of("head-time", SHOWN), &listeners, |boot| {
        boot.client_timeout_ms = 60_000;
        boot.listeners[0].http.head_timeout_ms = Some(300);
    });
    let mut slow = connect(&listeners);
    let began = Instant::now();
    slow.write_all(b"GET / HTT").unwrap();
    assert_answer(&read_to_end(slow), "a slow head", &["HTTP/1.1 408 "], &[]);
    // A minute is that of every client.
    assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
    generation.drain();
}

const BUFFERS: &str = "
def application(environ, start_response):
    start_response('200 OK', [])
    body = {'/array': bytearray(b'whole'), '/view': memoryview(b'view'), '/bytes': b'plain'}.get(environ['PATH_INFO'])
    return [bytearray(b'in '), b'a ', memoryview(b'list')] if body is None else body
";

#[test]
fn bodies_are_made_of_buffers_only_where_that_is_asked_for() {
    let listeners = Listeners::new();
    let generation =
        Generation::serving(app_of("buffers", BUFFERS), &listeners, |boot| boot.apps.accept_buffers = true);
    for (path, body) in [("/array", "whole"), ("/view", "view"), ("/bytes", "plain"), ("/list", "in a list")] {
        // HTTP/1.0 has no chunks.
        let answer = exchange(&listeners, format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(body), "{path}: {answer}");
    }
    drop(generation);
    let generation = Generation::serving(app_of("no-buffers", BUFFERS), &listeners, |_| {});
    assert!(get(&listeners, "/bytes").ends_with("plain"));
    assert!(get(&listeners, "/list").starts_with("HTTP/1.1 500"));
    assert!(generation.log().contains("the app must give bytes, not bytearray"), "{}", generation.log());
}
