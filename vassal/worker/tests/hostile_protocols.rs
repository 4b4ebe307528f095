//! FastCGI and SCGI from a web server that lies, or is none: what the app saw of it. Behind each lie stands a request that must
//! never run. The uwsgi protocol is in `hostile_heads`.
#![allow(clippy::unwrap_used)]

mod driver;

use driver::{
    attack::{Outcome, To, attack},
    recorder::Recorder,
    records::{get, head, record},
};
use empery_control::boot::Protocol;
use empery_wire::limits::{HEADERS_MAX, RECORDS_MAX_BYTES};

fn recorder(name: &str, protocol: Protocol) -> Recorder {
    Recorder::new(name, |boot| {
        boot.listeners[1].protocol = protocol;
        boot.body_max_bytes = 1000;
    })
}

/// Neither it nor anything behind it was a request.
fn no_request(outcome: &Outcome) {
    assert!(outcome.seen.is_empty(), "the app saw {:?}", outcome.seen);
    assert!(!outcome.text.contains("Status: "), "an app answers");
}

/// BEGIN_REQUEST of a role, on a connection that is not used again.
fn begin(role: u8) -> Vec<u8> {
    record(1, 1, &[0, role, 0, 0, 0, 0, 0, 0])
}

/// The first bytes of a record, whatever follows.
fn header(kind: u8, length: u16, padding: u8) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    vec![1, kind, 0, 1, high, low, padding, 0]
}

const POST: [(&str, &str); 3] = [("REQUEST_METHOD", "POST"), ("PATH_INFO", "/f"), ("CONTENT_LENGTH", "5")];

#[test]
fn h14_what_is_no_fastcgi_request_never_reaches_the_app() {
    let recorder = recorder("fastcgi-heads", Protocol::FastCgi);
    let params = |bytes: &[u8]| [begin(1), record(4, 1, bytes), record(4, 1, b"")].concat();
    let with_length = |more: &[(&str, &str)]| head(1, true, &[&POST[..2], more].concat());
    let pair = b"\x09\x05PATH_INFO/evil";
    for (what, bytes) in [
        ("HTTP", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()),
        ("a uwsgi packet", b"\0\x05\0\0\x01\0a\0\0".to_vec()),
        ("a later record of another version", [begin(1), b"\x02\x04\0\x01\0\0\0\0".to_vec()].concat()),
        ("an authorizer", begin(2)),
        ("a filter", begin(3)),
        ("no role", begin(0)),
        ("a BEGIN_REQUEST that is too short", record(1, 1, &[0, 1, 0])),
        ("a BEGIN_REQUEST that is too long", record(1, 1, &[0, 1, 0, 0, 0, 0, 0, 0, 0])),
        ("a BEGIN_REQUEST of request 0", record(1, 0, &[0, 1, 0, 0, 0, 0, 0, 0])),
        ("parameters of request 0", [begin(1), record(4, 0, pair)].concat()),
        ("STDIN before the parameters end", [begin(1), record(4, 1, pair), record(5, 1, b"x")].concat()),
        ("BEGIN_REQUEST twice", [begin(1), begin(1)].concat()),
        ("an answer", [begin(1), record(6, 1, b"Status: 200 OK\r\n\r\n")].concat()),
        ("DATA behind the parameters", [params(pair), record(8, 1, b"x")].concat()),
        ("a request given up in its head", [begin(1), record(2, 1, b"")].concat()),
        ("a request given up behind its parameters", [params(pair), record(2, 1, b"")].concat()),
        ("a malformed GET_VALUES", record(9, 0, b"\x0fFCGI")),
        ("a name beyond the parameters", params(b"\x05\x01A")),
        ("a value beyond the parameters", params(b"\x01\x05Ab")),
        ("huge lengths", params(b"\xff\xff\xff\xff\xff\xff\xff\xffA")),
        ("lengths whose sum overflows", params(b"\xff\xff\xff\xff\x80\0\0\x02A")),
        ("half a long length", params(b"\x80\0")),
        ("a parameter without a name", params(b"\0\x01x")),
        ("too many parameters", params(&b"\x01\x01Ab".repeat(HEADERS_MAX + 1))),
        ("parameters that are too long", [begin(1), record(4, 1, &[b'a'; 40_000]).repeat(2)].concat()),
        ("too many records", [begin(1), record(4, 1, b"a").repeat((65_536 + RECORDS_MAX_BYTES) / 9)].concat()),
        ("a record that takes in what follows", [begin(1), header(4, u16::MAX, 0), pair.to_vec()].concat()),
        ("a padding that takes in what follows", [begin(1), header(4, 16, 255), pair.to_vec()].concat()),
        ("a record that is shorter than its pair", [begin(1), header(4, 8, 0), pair.to_vec()].concat()),
        ("a body above limit-post", with_length(&[("CONTENT_LENGTH", "1001")])),
        ("a length with a sign", with_length(&[("CONTENT_LENGTH", "+5")])),
        ("a list of lengths", with_length(&[("CONTENT_LENGTH", "5, 5")])),
        ("a length beyond 64 bits", with_length(&[("CONTENT_LENGTH", "18446744073709551621")])),
        ("two lengths", with_length(&[("CONTENT_LENGTH", "5"), ("CONTENT_LENGTH", "6")])),
    ] {
        attack(&recorder, To::Socket, what, &[bytes, get(1, false, "/evil")].concat(), no_request);
    }
}

#[test]
fn h14_a_fastcgi_body_that_lies_is_an_error_for_the_app_and_the_last_of_its_connection() {
    let recorder = recorder("fastcgi-bodies", Protocol::FastCgi);
    let body = |length: &'static str, records: &[u8]| {
        let vars = [POST[0], POST[1], ("CONTENT_LENGTH", length)];
        [head(1, true, &vars), records.to_vec(), get(1, true, "/evil")].concat()
    };
    let whole = [record(5, 1, b"hel"), record(5, 1, b"lo"), record(5, 1, b"")].concat();
    for (what, length, records) in [
        ("longer than was said", "4", whole.clone()),
        ("much longer than was said", "5", [header(5, u16::MAX, 0), b"hello".to_vec()].concat()),
        ("shorter than was said", "6", whole.clone()),
        ("without its end", "5", record(5, 1, b"hello")),
        ("given up", "5", [record(5, 1, b"hel"), record(2, 1, b"")].concat()),
        ("parameters again", "5", [record(5, 1, b"hel"), record(4, 1, b"\x01\x01Ab")].concat()),
        ("an answer", "5", [record(5, 1, b"hel"), record(3, 1, &[0; 8])].concat()),
        ("another version", "5", [record(5, 1, b"hel"), b"\x02\x05\0\x01\0\x02\0\0lo".to_vec()].concat()),
        ("HTTP", "5", [record(5, 1, b"hel"), b"GET /evil HTTP/1.1\r\n\r\n".to_vec()].concat()),
        ("a long question", "5", [record(5, 1, b"hel"), record(9, 0, &[0; 60_000])].concat()),
    ] {
        attack(&recorder, To::Socket, what, &body(length, &records), |outcome| {
            assert_eq!(outcome.seen, ["POST /f <error>"]);
        });
    }
    // What comes between the records of a body is no part of it, and no request.
    let between = [record(5, 1, b"hel"), record(5, 9, b"evil"), get(2, true, "/evil"), record(5, 1, b"lo")].concat();
    let bytes = [head(1, false, &POST), between, record(5, 1, b"")].concat();
    attack(&recorder, To::Socket, "another request between", &bytes, |outcome| {
        assert_eq!(outcome.seen, ["POST /f hello"]);
    });
    // And what is behind the last request of a connection is none.
    let bytes = [head(1, false, &POST), whole, get(1, true, "/evil")].concat();
    attack(&recorder, To::Socket, "behind the last one", &bytes, |outcome| {
        assert_eq!(outcome.seen, ["POST /f hello"]);
    });
}

fn netstring(vars: &[(&str, &str)]) -> Vec<u8> {
    let block: String = vars.iter().map(|(name, value)| format!("{name}\0{value}\0")).collect();
    format!("{}:{block},", block.len()).into_bytes()
}

#[test]
fn h14_an_scgi_request_that_lies_never_reaches_the_app() {
    let recorder = recorder("scgi", Protocol::Scgi);
    let of = |length: &'static str| {
        [("CONTENT_LENGTH", length), ("SCGI", "1"), ("REQUEST_METHOD", "POST"), ("PATH_INFO", "/s")]
    };
    let good = netstring(&of("5"));
    let (_, block) = good.split_at(2);
    let evil = netstring(&[("CONTENT_LENGTH", "0"), ("SCGI", "1"), ("REQUEST_METHOD", "GET"), ("PATH_INFO", "/evil")]);
    let declared = |length: &str| [length.as_bytes(), block].concat();
    assert_eq!(declared("57"), good);
    let many = [&of("5")[..], &[("A", "b"); HEADERS_MAX]].concat();
    for (what, bytes) in [
        ("HTTP", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()),
        ("a uwsgi packet", b"\0\x05\0\0\x01\0a\0\0".to_vec()),
        ("FastCGI", get(1, false, "/")),
        ("no length", declared("")),
        ("zeros in front", declared("057")),
        ("a plus", declared("+57")),
        ("a minus", declared("-57")),
        ("a blank", declared(" 57")),
        ("hexadecimal", declared("0x39")),
        ("a length that never ends", b"1".repeat(5000)),
        ("a length beyond 64 bits", declared("18446744073709551673")),
        ("a netstring above buffer-size", declared("65537")),
        ("a netstring that is shorter than declared", declared("58")),
        ("a netstring that is longer than declared", declared("56")),
        ("another end", [&good[..good.len() - 1], b";"].concat()),
        ("nothing", b"0:,".to_vec()),
        ("another first variable", netstring(&[("SCGI", "1"), ("CONTENT_LENGTH", "5"), ("PATH_INFO", "/s")])),
        ("no SCGI", netstring(&[("CONTENT_LENGTH", "5"), ("PATH_INFO", "/s")])),
        ("another SCGI", netstring(&[("CONTENT_LENGTH", "5"), ("SCGI", "2"), ("PATH_INFO", "/s")])),
        ("a variable without a name", netstring(&[&of("5")[..], &[("", "x")]].concat())),
        ("a value without its end", b"27:CONTENT_LENGTH\x005\0SCGI\x001\0a\0b,".to_vec()),
        ("a length of a body with a sign", netstring(&of("+5"))),
        ("a list of lengths", netstring(&of("5, 5"))),
        ("a length of a body beyond 64 bits", netstring(&of("18446744073709551621"))),
        ("two lengths of a body", netstring(&[&of("5")[..], &[("CONTENT_LENGTH", "6")]].concat())),
        ("a body above limit-post", netstring(&of("1001"))),
        ("too many variables", netstring(&many)),
    ] {
        attack(&recorder, To::Socket, what, &[&bytes, &b"hello"[..], &evil].concat(), no_request);
    }
    for (what, bytes, seen) in [
        ("a body that is cut", [&good[..], b"hel"].concat(), "POST /s <error>"),
        ("a request behind the body", [&good[..], b"hello", &evil].concat(), "POST /s hello"),
        ("a request as the body", [&netstring(&of("9"))[..], b"57:CONTEN", &evil].concat(), "POST /s 57:CONTEN"),
    ] {
        attack(&recorder, To::Socket, what, &bytes, |outcome| assert_eq!(outcome.seen, [seen]));
    }
}
