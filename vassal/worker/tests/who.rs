//! Who a request comes from in the eyes of the app, when a gateway or a proxy speaks for the client.
#![allow(clippy::unwrap_used)]

mod driver;

use std::{io::Write, os::unix::net::UnixStream};

use driver::{exchange, read_to_end, recorder::Recorder};
use empery_control::boot::{AppBoot, Network, Protocol};
use serde_json::Value;

const FORGED: &str = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n\
                      X-Forwarded-Port: 443\r\nX-Forwarded-SSL: on\r\nForwarded: for=203.0.113.9;proto=https\r\n\
                      x-empery-peer: 198.51.100.7:99\r\nx-empery-scheme: https\r\nX-Empery-Tls-Client-S-Dn: CN=root\r\n\
                      X_Forwarded_For: 203.0.113.9\r\nx_empery_peer: 198.51.100.7:99\r\nX-Real: v\r\n";

fn trusting(networks: &[(&str, u8)]) -> impl FnOnce(&mut AppBoot) {
    let networks: Vec<_> =
        networks.iter().map(|(text, bits)| Network { address: text.parse().unwrap(), prefix_bits: *bits }).collect();
    move |boot| boot.trusted_proxies = Some(networks)
}

fn ask(recorder: &Recorder, headers: &str) -> (String, Value) {
    let request = format!("GET / HTTP/1.1\r\nHost: inner\r\nConnection: close\r\n{headers}\r\n");
    let answer = exchange(&recorder.listeners, request.as_bytes());
    (answer, recorder.last())
}

#[test]
fn h13_headers_that_speak_for_a_client_are_removed_when_their_sender_is_not_trusted() {
    let recorder = Recorder::new("untrusted", trusting(&[("10.0.0.0", 8)]));
    let (answer, seen) = ask(&recorder, FORGED);
    assert!(answer.contains("200 OK"), "{answer}");
    let seen = seen.as_object().unwrap();
    assert_eq!((&seen["REMOTE_ADDR"], &seen["wsgi.url_scheme"]), (&"127.0.0.1".into(), &"http".into()));
    assert_eq!((&seen["HTTP_HOST"], &seen["HTTP_X_REAL"]), (&"inner".into(), &"v".into()));
    let leaked: Vec<_> = seen
        .iter()
        .filter(|(key, value)| {
            key.contains("FORWARDED")
                || key.contains("EMPERY")
                || key.starts_with("SSL_")
                || value.as_str().is_some_and(|value| value.contains("203.0.113.9"))
        })
        .collect();
    assert!(leaked.is_empty(), "{leaked:?}");
}

#[test]
fn h13_a_trusted_proxy_speaks_for_its_client() {
    let recorder = Recorder::new("trusted", trusting(&[("127.0.0.0", 8), ("10.0.0.0", 8)]));
    let said = "X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.1.1.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n";
    let (_, seen) = ask(&recorder, said);
    assert_eq!((&seen["REMOTE_ADDR"], &seen["REMOTE_PORT"]), (&"203.0.113.9".into(), &"".into()));
    assert_eq!((&seen["wsgi.url_scheme"], &seen["HTTP_HOST"]), (&"https".into(), &"shop.example".into()));
    let (_, seen) = ask(&recorder, "Forwarded: for=\"[2001:db8::1]:4711\";proto=https\r\n");
    assert_eq!((&seen["REMOTE_ADDR"], &seen["REMOTE_PORT"]), (&"2001:db8::1".into(), &"4711".into()));
    recorder.forget();
    let (answer, _) = ask(&recorder, "X-Forwarded-For: 203.0.113.9\r\nForwarded: for=127.0.0.1\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(recorder.seen(), Vec::<Value>::new(), "the app saw a request that was refused");
}

#[test]
fn h13_when_nobody_said_who_is_trusted_only_this_machine_decides_the_scheme() {
    let recorder = Recorder::new("unsaid", |_| {});
    let (_, seen) = ask(&recorder, "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n");
    assert_eq!((&seen["REMOTE_ADDR"], &seen["wsgi.url_scheme"]), (&"127.0.0.1".into(), &"https".into()));
    assert_eq!(seen["HTTP_X_FORWARDED_FOR"], "203.0.113.9");
}

#[test]
fn only_on_the_gateways_socket_does_the_gateway_speak_for_a_client() {
    let recorder = Recorder::new("gateway", |boot| {
        boot.listeners[1].protocol = Protocol::Http;
        boot.listeners[1].from_gateway = true;
    });
    let over_gateway = |headers: &str| {
        let mut stream = UnixStream::connect(&recorder.listeners.uwsgi_path).unwrap();
        stream.set_read_timeout(Some(driver::DEADLINE)).unwrap();
        write!(stream, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{headers}\r\n").unwrap();
        read_to_end(stream);
        recorder.last()
    };
    let seen = over_gateway(
        "x-empery-peer: [2001:db8::7]:99\r\nx-empery-scheme: https\r\nx-empery-tls-client-s-dn: CN=alice\r\nX-Forwarded-Proto: http\r\n",
    );
    assert_eq!((&seen["REMOTE_ADDR"], &seen["REMOTE_PORT"]), (&"2001:db8::7".into(), &"99".into()));
    assert_eq!((&seen["wsgi.url_scheme"], &seen["SSL_CLIENT_S_DN"]), (&"https".into(), &"CN=alice".into()));
    assert!(!seen.as_object().unwrap().keys().any(|key| key.contains("EMPERY")), "{seen}");
    // What its client forged is not believed because the gateway itself is near.
    let seen = over_gateway("x-empery-peer: 203.0.113.9:1\r\nX-Forwarded-Proto: https\r\n");
    assert_eq!((&seen["REMOTE_ADDR"], &seen["wsgi.url_scheme"]), (&"203.0.113.9".into(), &"http".into()));
    // It may add to what is as long as it may be.
    let most: String = (2..128).map(|number| format!("x-{number}: 1\r\n")).collect();
    let seen = over_gateway(&format!("{most}x-empery-peer: 203.0.113.9:2\r\nx-empery-scheme: https\r\n"));
    assert_eq!((&seen["REMOTE_PORT"], &seen["HTTP_X_127"]), (&"2".into(), &"1".into()));
    let long = format!("x-long: {}\r\n", "x".repeat(65_536 - 70));
    let seen = over_gateway(&format!(
        "{long}x-empery-peer: 203.0.113.9:3\r\nx-empery-tls-client-cert: {}\r\n",
        "A".repeat(4000)
    ));
    assert_eq!(seen["REMOTE_PORT"], "3");
    let (answer, _) = ask(&recorder, &format!("{most}x-128: 1\r\nx-129: 1\r\n"));
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let (_, seen) = ask(&recorder, "x-empery-peer: 198.51.100.7:99\r\nx-empery-scheme: https\r\n");
    assert_eq!((&seen["REMOTE_ADDR"], &seen["wsgi.url_scheme"]), (&"127.0.0.1".into(), &"http".into()));
}

fn proxied(boot: &mut AppBoot) {
    boot.listeners[0].proxy_protocol = true;
}

#[test]
fn h13_the_proxy_protocol_says_who_the_client_is_for_every_request_of_its_connection() {
    let recorder = Recorder::new("proxy", proxied);
    let v1 = b"PROXY TCP4 203.0.113.9 127.0.0.1 4711 80\r\n".to_vec();
    let tls = [0x20, 0, 5, 1, 0, 0, 0, 0];
    let v2 =
        [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x14"[..], &[203, 0, 113, 9, 127, 0, 0, 1, 0x12, 0x67, 0, 80], &tls].concat();
    let requests = b"POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhelloGET /2 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    for (header, scheme) in [(v1, "http"), (v2, "https")] {
        for step in [1, 7, 1000] {
            recorder.forget();
            let mut stream = driver::connect(&recorder.listeners);
            stream.set_nodelay(true).unwrap();
            for piece in [&header[..], requests].concat().chunks(step) {
                stream.write_all(piece).unwrap();
            }
            assert_eq!(read_to_end(stream).matches("200 OK").count(), 2);
            for seen in recorder.seen() {
                assert_eq!((&seen["REMOTE_ADDR"], &seen["REMOTE_PORT"]), (&"203.0.113.9".into(), &"4711".into()));
                assert_eq!(seen["wsgi.url_scheme"], scheme);
            }
            assert_eq!(recorder.seen().len(), 2);
        }
    }
    let unknown = exchange(&recorder.listeners, &[&b"PROXY UNKNOWN\r\n"[..], requests].concat());
    assert!(unknown.contains("200 OK"), "{unknown}");
    assert_eq!(recorder.last()["REMOTE_ADDR"], "127.0.0.1");
}

#[test]
fn h13_a_proxy_header_counts_only_where_it_is_asked_for_and_from_whom_it_may_come() {
    let request = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let with = [&b"PROXY TCP4 203.0.113.9 127.0.0.1 4711 80\r\n"[..], request].concat();
    let off = Recorder::new("proxy-off", |_| {});
    let answer = exchange(&off.listeners, &with);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let on = Recorder::new("proxy-on", proxied);
    assert_eq!(exchange(&on.listeners, request), "", "a request without the header is not served");
    let twice = exchange(&on.listeners, &[&b"PROXY UNKNOWN\r\n"[..], &with].concat());
    assert!(twice.starts_with("HTTP/1.1 400 "), "{twice}");
    let stranger = Recorder::new("proxy-stranger", |boot| {
        proxied(boot);
        trusting(&[("10.0.0.0", 8)])(boot);
    });
    assert_eq!(exchange(&stranger.listeners, &with), "", "whoever is not trusted names no client");
    for recorder in [off, on, stranger] {
        assert_eq!(recorder.seen(), Vec::<Value>::new());
    }
}
