//! Heads as attackers and sloppy clients send them: what is refused with which status, and that the app saw nothing of it.
#![allow(clippy::unwrap_used)]

mod driver;

use std::io::{Read, Write};

use driver::{
    attack::{To, attack},
    exchange,
    recorder::Recorder,
};

/// Refused with a status, before the app saw anything; nothing behind it runs.
fn refused(recorder: &Recorder, what: &str, head: &[u8], status: u16) {
    let bytes = [head, b"GET /behind HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
    attack(recorder, To::Http, what, &bytes, |outcome| {
        assert_eq!(outcome.status, status);
        assert!(outcome.seen.is_empty());
        assert_eq!(outcome.text.matches("HTTP/1.1 ").count(), 1);
    });
}

#[test]
fn h4_request_lines_and_headers_of_any_length_are_served_or_refused_with_414_and_431() {
    let recorder = Recorder::new("long", |_| {});
    let line = |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(bytes));
    let header = |bytes: usize| format!("GET /h HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(bytes));
    let many = |number: usize| format!("GET /h HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(number));
    attack(&recorder, To::Http, "a line of 8 KB", line(8_000).as_bytes(), |outcome| {
        assert_eq!((outcome.status, outcome.seen.len()), (200, 1))
    });
    attack(&recorder, To::Http, "a header of 60 KB", header(60_000).as_bytes(), |outcome| {
        assert_eq!((outcome.status, outcome.seen.len()), (200, 1))
    });
    attack(&recorder, To::Http, "100 headers", many(100).as_bytes(), |outcome| {
        assert_eq!((outcome.status, outcome.seen.len()), (200, 1))
    });
    refused(&recorder, "a line of 64 KB", line(65_536).as_bytes(), 414);
    refused(&recorder, "a line of 1 MB", line(1_000_000).as_bytes(), 414);
    refused(&recorder, "a header of 1 MB", header(1_000_000).as_bytes(), 431);
    refused(&recorder, "129 headers", many(128).as_bytes(), 431);
    refused(&recorder, "10,000 headers", many(10_000).as_bytes(), 431);
}

#[test]
fn h5_lines_end_in_crlf_and_are_not_folded_cve_2019_16785() {
    let recorder = Recorder::new("lines", |_| {});
    for head in [
        "GET / HTTP/1.1\nHost: h\n\n",
        "GET / HTTP/1.1\r\nHost: h\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX: y\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n\tb\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX : b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX Y: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX\r\n\r\n",
        "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
    ] {
        refused(&recorder, head, head.as_bytes(), 400);
    }
}

#[test]
fn h8_a_thousand_requests_sent_ahead_are_answered_in_order() {
    let recorder = Recorder::new("ahead", |_| {});
    let bytes: String = (0..1000).map(|number| format!("GET /{number} HTTP/1.1\r\nHost: h\r\n\r\n")).collect();
    let mut stream = driver::connect(&recorder.listeners);
    let mut reader = stream.try_clone().unwrap();
    let answers = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text)
    });
    stream.write_all(bytes.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let text = answers.join().unwrap().unwrap();
    let numbers: Vec<_> =
        text.split("request ").skip(1).map(|rest| rest.split('H').next().unwrap().to_owned()).collect();
    assert_eq!(numbers, (1..=1000).map(|number: u32| number.to_string()).collect::<Vec<_>>());
    let paths: Vec<_> = recorder.seen().iter().map(|seen| seen["PATH_INFO"].as_str().unwrap().to_owned()).collect();
    assert_eq!(paths, (0..1000).map(|number| format!("/{number}")).collect::<Vec<_>>());
}

#[test]
fn h8_nothing_that_was_sent_ahead_runs_after_an_error_ghsa_9298_4cf8_g4wj() {
    let recorder = Recorder::new("error-ahead", |_| {});
    for bad in [
        "GET /bad HTTP/1.1\r\n\r\n",
        "BAD\r\n\r\n",
        "POST /bad HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET /bad HTTP/3.0\r\nHost: h\r\n\r\n",
    ] {
        let bytes = format!("GET /1 HTTP/1.1\r\nHost: h\r\n\r\n{bad}GET /3 HTTP/1.1\r\nHost: h\r\n\r\n");
        attack(&recorder, To::Http, bad, bytes.as_bytes(), |outcome| {
            assert_eq!(outcome.seen, ["GET /1"]);
            assert_eq!(outcome.text.matches("HTTP/1.1 ").count(), 2);
        });
    }
    // Whoever says that it is the last request has sent the last one.
    let closing = b"GET /1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n";
    attack(&recorder, To::Http, "close", closing, |outcome| assert_eq!(outcome.seen, ["GET /1"]));
}

#[test]
fn h10_the_client_is_told_to_go_on_before_the_app_is_called() {
    let recorder = Recorder::new("expect", |_| {});
    let ask = |path: &str, expect: &str, version: &str| {
        let mut stream = driver::connect(&recorder.listeners);
        let head = format!(
            "POST {path} HTTP/{version}\r\nHost: h\r\nConnection: close\r\nContent-Length: 5\r\nExpect: {expect}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut first = [0; 25];
        stream.read_exact(&mut first).unwrap();
        let first = String::from_utf8_lossy(&first).into_owned();
        if first.starts_with("HTTP/1.1 100") {
            stream.write_all(b"hello").unwrap();
        }
        first + &driver::read_to_end(stream)
    };
    let answer = ask("/", "100-Continue", "1.1");
    assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"), "{answer}");
    assert_eq!(recorder.last()["body"], "hello");
    let answer = ask("/unread", "100-continue", "1.1");
    assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"), "the app need not read: {answer}");
    recorder.forget();
    for unknown in ["200-ok", "100-continue, x", "", "100"] {
        let answer = ask("/", unknown, "1.1");
        assert!(answer.starts_with("HTTP/1.1 417"), "{unknown:?}: {answer}");
    }
    assert!(recorder.seen().is_empty());
}

#[test]
fn h11_methods_and_targets_are_those_of_the_rfcs_and_reach_the_app_as_sent() {
    let recorder = Recorder::new("targets", |_| {});
    let utf8 = "/\u{e4}".to_owned();
    for (line, path, query, uri, host) in [
        ("GET /a/b?c=d?e", "/a/b", "c=d?e", "/a/b?c=d?e", "h"),
        ("GET //a//", "//a//", "", "//a//", "h"),
        ("GET /../a/./%2e%2e/b", "/../a/./../b", "", "/../a/./%2e%2e/b", "h"),
        ("GET /a%2fb%20c%3F?x=%20", "/a/b c?", "x=%20", "/a%2fb%20c%3F?x=%20", "h"),
        ("GET /%zz%4", "/%zz%4", "", "/%zz%4", "h"),
        ("GET /%C3%A4", "/\u{c3}\u{a4}", "", "/%C3%A4", "h"),
        ("GET http://other:81/p?q", "/p", "q", "http://other:81/p?q", "other:81"),
        ("GET https://other", "/", "", "https://other", "other"),
        ("OPTIONS *", "*", "", "*", "h"),
        ("M-SEARCH /x", "/x", "", "/x", "h"),
    ] {
        let bytes = format!("{line} HTTP/1.1\r\nHost: h\r\n\r\n");
        attack(&recorder, To::Http, line, bytes.as_bytes(), |outcome| {
            assert_eq!((outcome.status, outcome.seen.len()), (200, 1));
            let seen = recorder.last();
            assert_eq!((&seen["PATH_INFO"], &seen["QUERY_STRING"]), (&path.into(), &query.into()));
            assert_eq!((&seen["REQUEST_URI"], &seen["HTTP_HOST"]), (&uri.into(), &host.into()));
            assert_eq!(seen["REQUEST_METHOD"], line.split(' ').next().unwrap());
        });
    }
    for (line, status) in [
        ("GET *", 400),
        ("GET a", 400),
        ("GET example.com:80", 400),
        ("GET ftp://h/", 400),
        ("GET http://", 400),
        ("GET http://user@h/", 400),
        ("GET /a#b", 400),
        ("GET /a%00b", 400),
        ("GET /a\0b", 400),
        ("GET /a b", 400),
        ("GET  /a", 400),
        ("GET\t/a", 400),
        (" GET /a", 400),
        ("G@T /a", 400),
        ("GE\x7fT /a", 400),
        ("CONNECT h:443", 501),
    ] {
        refused(&recorder, line, format!("{line} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes(), status);
    }
    for (version, status) in [
        ("HTTP/2.0", 505),
        ("HTTP/1.2", 505),
        ("HTTP/0.9", 505),
        ("HTTP/1", 400),
        ("http/1.1", 400),
        ("HTTP/1.1 ", 400),
    ] {
        refused(&recorder, version, format!("GET / {version}\r\nHost: h\r\n\r\n").as_bytes(), status);
    }
    refused(&recorder, "PRI of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
    refused(&recorder, "bytes above ASCII", format!("GET {utf8}\u{ff} HTTP/1.1\r\n\r\n").as_bytes(), 400);
}

#[test]
fn h12_there_is_one_host_and_it_is_one() {
    let recorder = Recorder::new("host", |_| {});
    for hosts in [
        "",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nhost: b\r\n",
        "Host: a b\r\n",
        "Host: a, b\r\nHost: a\r\n",
        "Host: a/b\r\n",
        "Host: a?b\r\n",
        "Host: a#b\r\n",
        "Host: u@a\r\n",
        "Host: a\\b\r\n",
        "Host: <a>\r\n",
        "Host: a\x0b\r\n",
        "Host : a\r\n",
        "X: y\r\n Host: a\r\n",
    ] {
        refused(&recorder, hosts, format!("GET / HTTP/1.1\r\n{hosts}\r\n").as_bytes(), 400);
    }
    for host in ["a", "a:80", "[::1]:80", "xn--a.example"] {
        let bytes = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        attack(&recorder, To::Http, host, bytes.as_bytes(), |_| assert_eq!(recorder.last()["HTTP_HOST"], host));
    }
}

#[test]
fn h13_b47_a_name_with_an_underscore_never_stands_for_one_with_a_hyphen_cve_2024_45614() {
    let recorder = Recorder::new("underscore", |_| {});
    let bytes = b"GET / HTTP/1.1\r\nHost: h\r\nX-Real-User: alice\r\nX_Real_User: root\r\nX-Real_User: root\r\nX_Forwarded_For: 6.6.6.6\r\nContent_Type: evil\r\n\r\n";
    attack(&recorder, To::Http, "underscores", bytes, |_| {
        let seen = recorder.last();
        assert_eq!(seen["HTTP_X_REAL_USER"], "alice");
        assert!(seen["HTTP_X_FORWARDED_FOR"].is_null() && seen["CONTENT_TYPE"].as_str().unwrap_or_default().is_empty());
    });
}

/// A packet whose declared length is what is said.
fn packet(declared: usize, block: &[u8], behind: &[u8]) -> Vec<u8> {
    let [low, high] = u16::try_from(declared).unwrap().to_le_bytes();
    [&[0, low, high, 0], block, behind].concat()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<u8> {
    let sized = |text: &str| [&u16::try_from(text.len()).unwrap().to_le_bytes()[..], text.as_bytes()].concat();
    pairs.iter().flat_map(|(key, value)| [sized(key), sized(value)].concat()).collect()
}

#[test]
fn h14_a_uwsgi_packet_that_lies_about_a_length_is_dropped_cve_2020_11984_uwsgi_2336() {
    let recorder = Recorder::new("uwsgi", |boot| boot.body_max_bytes = 1000);
    let vars = pairs(&[("REQUEST_METHOD", "POST"), ("PATH_INFO", "/u"), ("CONTENT_LENGTH", "5")]);
    let evil = packet(pairs(&[("PATH_INFO", "/evil")]).len(), &pairs(&[("PATH_INFO", "/evil")]), b"");
    let with = |more: &[(&str, &str)]| {
        let block = [pairs(&[("PATH_INFO", "/u")]), pairs(more)].concat();
        packet(block.len(), &block, b"hello")
    };
    for (what, bytes) in [
        ("a block that is shorter than declared", packet(vars.len() + 1, &vars, b"")),
        ("the longest block there is, cut", packet(65_535, &vars, b"hello")),
        ("a block that is longer than declared", packet(vars.len() - 1, &vars, b"hello")),
        ("no block", packet(0, b"", b"hello")),
        ("a key beyond the block", packet(4, b"\xff\xffab", b"")),
        ("a value beyond the block", packet(7, b"\x01\0a\xff\xffbc", b"")),
        ("half a length", packet(1, b"\x01", b"")),
        ("an empty key", with(&[("", "x")])),
        ("two lengths", with(&[("CONTENT_LENGTH", "5"), ("CONTENT_LENGTH", "6")])),
        ("a length with a sign", with(&[("CONTENT_LENGTH", "+5")])),
        ("a length beyond 64 bits", with(&[("CONTENT_LENGTH", "18446744073709551621")])),
        ("a length above limit-post", with(&[("CONTENT_LENGTH", "1001")])),
        ("another modifier", [&[100], &packet(vars.len(), &vars, b"hello")[1..]].concat()),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()),
    ] {
        attack(&recorder, To::Socket, what, &bytes, |outcome| {
            assert!(outcome.seen.is_empty());
            assert_eq!(outcome.text.replace("<reset>", ""), "");
        });
    }
    attack(
        &recorder,
        To::Socket,
        "a body shorter than CONTENT_LENGTH",
        &packet(vars.len(), &vars, b"hel"),
        |outcome| {
            assert_eq!(outcome.seen, ["POST /u <error>"]);
        },
    );
    // What follows the body is no packet, whatever it looks like.
    attack(
        &recorder,
        To::Socket,
        "a packet behind the body",
        &packet(vars.len(), &vars, &[b"hello", &evil[..]].concat()),
        |outcome| {
            assert_eq!(outcome.seen, ["POST /u hello"]);
        },
    );
}

#[test]
fn a_header_that_repeats_in_another_spelling_is_joined_when_no_spelling_can_be_remembered_any_more() {
    let recorder = Recorder::new("spellings", |_| {});
    let ask = |headers: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{headers}\r\n");
        assert!(exchange(&recorder.listeners, request.as_bytes()).starts_with("HTTP/1.1 200"), "{headers}");
    };
    ask("X-Known: 0\r\n");
    // More than a worker remembers.
    for request in 0..10 {
        ask(&(0..60).map(|number| format!("X-Filler-{request}-{number}: 0\r\n")).collect::<String>());
    }
    ask("x-kNOWN: a\r\nX-Known: b\r\n");
    let value = recorder.last()["HTTP_X_KNOWN"].as_str().unwrap().to_owned();
    assert!(value.contains('a') && value.contains('b'), "one of two is lost: {value}");
}
