//! Heads: what is served, what is refused and with which status, and that the way the bytes arrive changes nothing.

use empery_wire::{Limits, Parsed, framing::Body, http, uwsgi};
use proptest::prelude::*;

const LIMITS: Limits = Limits { head_max_bytes: 512, headers_max: 16, body_max_bytes: 1000 };

fn status(head: &[u8]) -> u16 {
    match http::parse(head, &LIMITS) {
        Parsed::NeedMore => 0,
        Parsed::Head { .. } => 200,
        Parsed::Bad(bad) => bad.status,
    }
}

#[test]
fn a_plain_request_is_understood() {
    let bytes =
        b"POST /a%20b?c=d HTTP/1.1\r\nHost: example\r\nContent-Length: 3\r\nX_Spoof: 1\r\nX-Real:  v \r\n\r\nabcGET";
    let Parsed::Head { head, consumed } = http::parse(bytes, &LIMITS) else { panic!("no head") };
    assert_eq!((head.method, head.target.path, head.target.query), ("POST", &b"/a%20b"[..], &b"c=d"[..]));
    assert_eq!(
        (head.body, head.keep_alive, head.expect_continue, head.minor_version),
        (Body::Length(3), true, false, 1)
    );
    assert_eq!(&bytes[consumed..], b"abcGET");
    let names: Vec<_> = head.headers.iter().map(|header| header.name).collect();
    assert_eq!(names, ["Host", "Content-Length", "X-Real"], "a name with an underscore is dropped");
    assert_eq!(head.headers[2].value, b"v");
}

#[test]
fn framing_that_can_be_read_in_two_ways_is_refused() {
    for (headers, expected) in [
        ("Content-Length: 5", 200),
        ("Content-Length: 005", 200),
        ("Content-Length: +5", 400),
        ("Content-Length: -5", 400),
        ("Content-Length: 5,5", 400),
        ("Content-Length: 5, 6", 400),
        ("Content-Length: 0x5", 400),
        ("Content-Length: 5_0", 400),
        ("Content-Length: 5 5", 400),
        ("Content-Length:", 400),
        ("Content-Length: 9223372036854775808", 413),
        ("Content-Length: 18446744073709551621", 400),
        ("Content-Length: 1001", 413),
        ("Content-Length: 5\r\nContent-Length: 5", 400),
        ("Content-Length: 5\r\ncontent-length: 6", 400),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", 400),
        ("Transfer-Encoding: chunked", 200),
        ("transfer-encoding: CHUNKED", 200),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding: chunked, identity", 501),
        ("Transfer-Encoding: identity", 501),
        ("Transfer-Encoding: xchunked", 501),
        ("Transfer-Encoding: \"chunked\"", 501),
        ("Transfer-Encoding: chunked;q=1", 501),
        ("Transfer-Encoding:", 501),
        ("Transfer-Encoding: \x0bchunked", 400),
        ("Transfer-Encoding: chunked\x0c", 400),
        ("Transfer-Encoding : chunked", 400),
        ("Transfer-Encoding:\r\n chunked", 400),
        ("Transfer-Encoding: chunked\r\n\tx", 400),
        ("Transfer-Encoding: chu\0nked", 400),
        ("Transfer-Encoding: chunked\rX: y", 400),
        (" Content-Length: 5", 400),
        ("Transfer_Encoding: chunked\r\nContent_Length: 9", 200),
    ] {
        let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{headers}\r\n\r\n");
        assert_eq!(status(head.as_bytes()), expected, "{headers:?}");
    }
    assert_eq!(status(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
}

#[test]
fn malformed_heads_get_the_status_that_says_why() {
    let long_target = format!("GET /{} HTTP/1.1\r\n", "a".repeat(600));
    let long_header = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}", "a".repeat(600));
    let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(16));
    for (head, expected) in [
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", 200),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 200),
        ("\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 200),
        ("GET / HTTP/1.1\nHost: h\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
        ("GET / HTTP/1.2\r\nHost: h\r\n\r\n", 505),
        ("GET / HTTP/11\r\nHost: h\r\n\r\n", 400),
        ("GET /\r\nHost: h\r\n\r\n", 400),
        ("GET / x HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("G T / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nX Y: z\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\n: z\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nExpect: 200-ok\r\n\r\n", 417),
        ("GET / HTTP/1.1\r\nHost: h\r\nX: y", 0),
        (long_target.as_str(), 414),
        (long_header.as_str(), 431),
        (many.as_str(), 431),
        ("\x16\x03\x01\x02\0\x01\0\x01\n\r\n", 400),
    ] {
        assert_eq!(status(head.as_bytes()), expected, "{head:?}");
    }
}

#[test]
fn the_connection_goes_on_only_when_both_sides_would_say_so() {
    for (head, expected) in [
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: h\r\nConnection: x, CLOSE\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: h\r\nConnection: closed\r\n\r\n", true),
        ("GET / HTTP/1.0\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
    ] {
        let Parsed::Head { head: parsed, .. } = http::parse(head.as_bytes(), &LIMITS) else { panic!("{head}") };
        assert_eq!(parsed.keep_alive, expected, "{head:?}");
    }
}

fn packet(modifier1: u8, pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for text in pairs.iter().flat_map(|(key, value)| [key, value]) {
        block.extend_from_slice(&(text.len() as u16).to_le_bytes());
        block.extend_from_slice(text);
    }
    let mut packet = vec![modifier1];
    packet.extend_from_slice(&(block.len() as u16).to_le_bytes());
    packet.push(0);
    packet.extend(block);
    packet
}

fn uwsgi_status(bytes: &[u8]) -> u16 {
    match uwsgi::parse(bytes, &LIMITS) {
        Parsed::NeedMore => 0,
        Parsed::Head { .. } => 200,
        Parsed::Bad(bad) => bad.status,
    }
}

#[test]
fn a_packet_is_understood_and_every_lie_about_a_length_is_refused() {
    let good = packet(0, &[(b"REQUEST_METHOD", b"POST"), (b"CONTENT_LENGTH", b"12"), (b"EMPTY", b"")]);
    let Parsed::Head { head, consumed } = uwsgi::parse(&good, &LIMITS) else { panic!("no head") };
    assert_eq!((head.body, consumed, head.vars.len()), (Body::Length(12), good.len(), 3));
    for (bytes, expected) in [
        (packet(0, &[]), 400),
        (packet(0, &[(b"", b"v")]), 400),
        (packet(0, &[(b"CONTENT_LENGTH", b"")]), 200),
        (packet(0, &[(b"CONTENT_LENGTH", b"+1")]), 400),
        (packet(0, &[(b"CONTENT_LENGTH", b"1"), (b"CONTENT_LENGTH", b"2")]), 400),
        (packet(0, &[(b"CONTENT_LENGTH", b"1001")]), 413),
        (packet(0, &[(&b"K"[..], &b"v"[..]); 17]), 431),
        (packet(0, &[(b"K", &[b'v'; 600])]), 431),
        (b"\0\x05\0\0\x09\0abc".to_vec(), 400),
        (b"\0\x03\0\0\x01\0a".to_vec(), 400),
        (b"\0\x01\0\0a".to_vec(), 400),
        (b"\0\xff\xff\0".to_vec(), 431),
        (packet(100, &[]), 200),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), 400),
    ] {
        assert_eq!(uwsgi_status(&bytes), expected, "{bytes:?}");
    }
}

/// What whole, byte-by-byte and cut input have to agree on.
fn outcome<'b>(parsed: &Parsed<http::Head<'b>>) -> Option<Result<(http::Head<'b>, usize), u16>> {
    match parsed {
        Parsed::NeedMore => None,
        Parsed::Head { head, consumed } => Some(Ok((head.clone(), *consumed))),
        Parsed::Bad(bad) => Some(Err(bad.status)),
    }
}

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "GET ",
        "POST ",
        "/",
        "/a?b",
        "*",
        " HTTP/1.1",
        " HTTP/1.0",
        "\r\n",
        "\r\n",
        "\r\n",
        "\r\n\r\n",
        "\n",
        "\r",
        " ",
        "\t",
        "Host: h",
        "Content-Length: ",
        "5",
        "Transfer-Encoding: ",
        "chunked",
        "gzip",
        ":",
        "X-Y: z",
        "_",
        "Expect: 100-continue",
        "Connection: close",
        "\0",
        "é",
        "%00",
        "http://h/",
    ]);
    prop_oneof![
        prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..64),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_http_head_means_the_same_however_it_arrives(bytes in pieces()) {
        let limits = Limits { head_max_bytes: 64, headers_max: 4, body_max_bytes: 0 };
        // The first answer that is not "more" stands: later bytes cannot change a head.
        let whole = outcome(&http::parse(&bytes, &limits));
        let first = (0..=bytes.len()).find_map(|end| outcome(&http::parse(&bytes[..end], &limits)));
        match (&whole, &first) {
            (Some(Ok(one)), Some(Ok(other))) => prop_assert_eq!(one, other),
            (Some(Err(_)), Some(Err(_))) | (None, None) => {}
            _ => prop_assert!(false, "{:?} against {:?}", whole, first),
        }
    }

    #[test]
    fn a_uwsgi_packet_means_the_same_however_it_arrives(head in any::<[u8; 4]>(), block in prop::collection::vec(0_u8..6, 0..80)) {
        let limits = Limits { head_max_bytes: 64, headers_max: 8, body_max_bytes: 0 };
        let bytes = [&[head[0], head[1] % 70, head[2] % 2, head[3]][..], &block].concat();
        let whole = uwsgi::parse(&bytes, &limits);
        let first = (0..=bytes.len()).map(|end| uwsgi::parse(&bytes[..end], &limits)).find(|parsed| *parsed != Parsed::NeedMore).unwrap_or(Parsed::NeedMore);
        prop_assert_eq!(whole, first);
    }
}

#[test]
fn another_protocol_is_told_by_its_beginning_and_not_waited_for() {
    for (bytes, expected) in [(&b"\0\x10\0\0"[..], "a uwsgi packet"), (b"\x16\x03\x01\x02\0", "TLS")] {
        let Parsed::Bad(bad) = http::parse(bytes, &LIMITS) else { panic!("{bytes:?} is waited for") };
        assert!(bad.reason.starts_with(expected), "{bad:?}");
    }
    let wide = Limits { head_max_bytes: 65_536, ..LIMITS };
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"POST /a", b"HEAD"] {
        let Parsed::Bad(bad) = uwsgi::parse(bytes, &wide) else { panic!("{bytes:?} is waited for") };
        assert!(bad.reason.starts_with("HTTP"), "{bad:?}");
    }
}
