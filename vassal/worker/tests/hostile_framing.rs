//! Where a body ends: every form in which it has been lied about, and what the app saw of it. Behind each lie stands a
//! request that must never run.
#![allow(clippy::unwrap_used)]

mod driver;

use driver::{
    attack::{Outcome, To, attack},
    recorder::Recorder,
};

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";

fn refused(status: &'static [u16]) -> impl Fn(&Outcome) {
    move |outcome| {
        assert!(status.contains(&outcome.status), "not one of {status:?}");
        assert!(outcome.seen.is_empty(), "the app saw a request that was refused");
        assert_eq!(outcome.text.matches("HTTP/1.1 ").count(), 1, "more than one answer");
    }
}

#[test]
fn h5_a_transfer_encoding_is_one_exact_token_cve_2024_1135_cve_2024_6827_cve_2019_16786() {
    let recorder = Recorder::new("te", |_| {});
    for taken in ["Transfer-Encoding: chunked", "transfer-ENCODING:CHUNKED", "Transfer-Encoding: \t chunked \t"] {
        let bytes = format!(
            "POST /te HTTP/1.1\r\nHost: h\r\n{taken}\r\n\r\n2\r\nok\r\n0\r\n\r\nGET /next HTTP/1.1\r\nHost: h\r\n\r\n"
        );
        attack(&recorder, To::Http, taken, bytes.as_bytes(), |outcome| {
            assert_eq!(outcome.seen, ["POST /te ok", "GET /next"])
        });
    }
    for spelling in [
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: chunke",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: 'chunked'",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding:",
        "Transfer-Encoding: ",
        "Transfer-Encoding: chunked chunked",
        "Transfer-Encoding: chun ked",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding: \x0cchunked",
        "Transfer-Encoding: chunked\x0b",
        "Transfer-Encoding: chunked\x0c",
        "Transfer-Encoding: \x0b\x0c\x1c\x1d\x1e\x1f\u{85}\u{a0}chunked\x0b\x0c\x1c\x1d\x1e\x1f\u{85}\u{a0}",
        "Transfer-Encoding: chunked\u{85}",
        "Transfer-Encoding: \u{a0}chunked",
        "Transfer-Encoding: chunked\0",
        "Transfer-Encoding: \0chunked",
        "Transfer-Encoding: chu\0nked",
        "Transfer-Encoding: chunked\x7f",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "\tTransfer-Encoding: chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding:\r\n\tchunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r X: y",
        "Transfer-Encoding: chunked\nX: y",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
        "\0Transfer-Encoding: chunked",
        "Transfer-Encoding\0: chunked",
        "Transfer\u{ad}-Encoding: chunked",
    ] {
        // The characters are bytes on the wire.
        let latin1 = |text: String| text.chars().map(|c| c as u8).collect::<Vec<_>>();
        let alone = latin1(format!("POST / HTTP/1.1\r\nHost: h\r\n{spelling}\r\n\r\n0\r\n\r\n{SMUGGLED}"));
        attack(&recorder, To::Http, spelling, &alone, refused(&[400, 501]));
        let with_length =
            latin1(format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n{spelling}\r\n\r\n0\r\n\r\n{SMUGGLED}"));
        attack(&recorder, To::Http, spelling, &with_length, refused(&[400, 501]));
    }
}

#[test]
fn h5_content_length_is_digits_and_said_once_uwsgi_2775_uwsgi_2560_cve_2019_16789() {
    let recorder = Recorder::new("cl", |_| {});
    for value in ["5", "005", " 5 ", "\t5"] {
        let bytes = format!(
            "POST /cl HTTP/1.1\r\nHost: h\r\nContent-Length:{value}\r\n\r\nhelloGET /next HTTP/1.1\r\nHost: h\r\n\r\n"
        );
        attack(&recorder, To::Http, value, bytes.as_bytes(), |outcome| {
            assert_eq!(outcome.seen, ["POST /cl hello", "GET /next"])
        });
    }
    for headers in [
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: -0",
        "Content-Length: 0x5",
        "Content-Length: 5_0",
        "Content-Length: 5.0",
        "Content-Length: 5e0",
        "Content-Length: 5 5",
        "Content-Length: 5,5",
        "Content-Length: 5, 5",
        "Content-Length: 5, 6",
        "Content-Length: 5;",
        "Content-Length: \"5\"",
        "Content-Length: five",
        "Content-Length:",
        "Content-Length: \x0b5",
        "Content-Length: 5\x0c",
        "Content-Length: 18446744073709551616",
        "Content-Length: 18446744073709551621",
        "Content-Length: 99999999999999999999999999999999999999",
        "Content-Length : 5",
        " Content-Length: 5",
        "Content-Length:\r\n 5",
        "Content-Length: 5\r\n 0",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 0",
        "Content-Length: 0\r\ncontent-length: 5",
        "Content-Length: 5\nX: y",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nContent-Length: 0",
    ] {
        let bytes = format!("POST / HTTP/1.1\r\nHost: h\r\n{headers}\r\n\r\nhello{SMUGGLED}");
        attack(&recorder, To::Http, headers, bytes.as_bytes(), refused(&[400, 413]));
    }
    // RFC 9112 section 6.1: a coding in HTTP/1.0 is faulty framing.
    let old = format!("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}");
    attack(&recorder, To::Http, "chunked in HTTP/1.0", old.as_bytes(), refused(&[400]));
    // Names with an underscore are not heard: the body is empty, and what follows is no request.
    let spoofed = format!(
        "POST / HTTP/1.1\r\nHost: h\r\nContent_Length: 5\r\nTransfer_Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}"
    );
    attack(&recorder, To::Http, "underscores", spoofed.as_bytes(), |outcome| assert_eq!(outcome.seen, ["POST /"]));
}

/// The body of a chunked request that is broken reaches the app as an error, or not at all, and is the last of its connection.
fn broken(outcome: &Outcome) {
    assert!(outcome.seen.is_empty() || outcome.seen == ["POST /c <error>"], "{:?}", outcome.seen);
    assert!(outcome.text.matches("HTTP/1.1 ").count() <= 1, "more than one answer");
}

fn chunked(body: &str) -> Vec<u8> {
    format!("POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}").into_bytes()
}

#[test]
fn h6_a_chunk_size_is_hexadecimal_digits_ghsa_4f7p_27jc_3c36() {
    let recorder = Recorder::new("size", |_| {});
    let wrong = [
        "0x5",
        "0X5",
        "+5",
        "-5",
        "-0",
        "5_0",
        " 5",
        "5 ",
        "\t5",
        "5\t",
        "",
        "g",
        "5g",
        "5h",
        "\"5\"",
        "5,5",
        "05 05",
        "0x0",
        "00x0",
        "10000000000000005",
        "fffffffffffffffff",
        "\0",
        "5\0",
        "5\x0b",
        ";",
        ";a",
    ];
    for size in wrong {
        let bytes = chunked(&format!("{size}\r\nhello\r\n0\r\n\r\n{SMUGGLED}"));
        attack(&recorder, To::Http, size, &bytes, broken);
    }
    for size in ["7fffffffffffffff", "8000000000000000", "ffffffffffffffff", "fffffffffffffffb"] {
        attack(&recorder, To::Http, size, &chunked(&format!("{size}\r\nhello\r\n0\r\n\r\n{SMUGGLED}")), broken);
    }
    for size in ["5", "05", "0000000000000005"] {
        let bytes = chunked(&format!("{size}\r\nhello\r\n000\r\n\r\nGET /next HTTP/1.1\r\nHost: h\r\n\r\n"));
        attack(&recorder, To::Http, size, &bytes, |outcome| assert_eq!(outcome.seen, ["POST /c hello", "GET /next"]));
    }
}

#[test]
fn h6_a_chunk_ends_in_crlf_and_nothing_else_cve_2025_43859_cve_2025_55315_cve_2025_22871() {
    let recorder = Recorder::new("crlf", |_| {});
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "6\r\nhello\r\n0\r\n\r\n",
        "5\r\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;a\0b\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nA: b\n\r\n",
        "5\r\nhello\r\n0\r\nA: b\rC: d\r\n\r\n",
        "5\r\nhello\r\n0\r\nA: \0\r\n\r\n",
        "5\r\nhello\r\n0\r\nGET /trailer HTTP/1.1\r\n\r\n",
        "5\r\nhello\r\n0\r\nA: b\r\n c\r\n\r\n",
    ] {
        attack(&recorder, To::Http, body, &chunked(&format!("{body}{SMUGGLED}")), broken);
    }
}

#[test]
fn h6_extensions_and_trailers_are_bounded_and_small_chunks_are_not_refused_ghsa_c2f4_cvqm_65w2() {
    let recorder = Recorder::new("flood", |boot| boot.body_max_bytes = 50_000);
    let long = |bytes: usize| format!("5;{}\r\nhello\r\n0\r\n\r\n{SMUGGLED}", "e".repeat(bytes));
    attack(&recorder, To::Http, "an extension of 257 bytes", &chunked(&long(257)), broken);
    attack(&recorder, To::Http, "an extension of 1 MB", &chunked(&long(1_000_000)), broken);
    let many = format!("{}0\r\n\r\n{SMUGGLED}", format!("1;{}\r\nx\r\n", "e".repeat(200)).repeat(100));
    attack(&recorder, To::Http, "many extensions", &chunked(&many), broken);
    let trailers = format!("1\r\nx\r\n0\r\n{}\r\n{SMUGGLED}", "A: b\r\n".repeat(2000));
    attack(&recorder, To::Http, "a flood of trailers", &chunked(&trailers), broken);
    let too_long = format!("{}0\r\n\r\n{SMUGGLED}", "1\r\nx\r\n".repeat(50_001));
    attack(&recorder, To::Http, "a body longer than limit-post", &chunked(&too_long), broken);
    let small = format!("{}0\r\nTrailer: dropped\r\n\r\n", "1\r\nx\r\n".repeat(20_000));
    attack(&recorder, To::Http, "20,000 chunks of one byte", &chunked(&small), |outcome| {
        assert_eq!(outcome.seen, [format!("POST /c {}", "x".repeat(20_000))]);
    });
}

#[test]
fn h7_b52_a_body_longer_than_limit_post_is_refused_before_the_app_is_called() {
    let recorder = Recorder::new("limit", |boot| boot.body_max_bytes = 10);
    for length in ["11", "9223372036854775808", "18446744073709551615"] {
        let bytes = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}");
        attack(&recorder, To::Http, length, bytes.as_bytes(), refused(&[413]));
    }
    let exact = b"POST /c HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n0123456789";
    attack(&recorder, To::Http, "as long as allowed", exact, |outcome| {
        assert_eq!(outcome.seen, ["POST /c 0123456789"])
    });
    // RFC 9112 section 6.3: a request that says nothing about a body has none.
    let none = b"POST /c HTTP/1.1\r\nHost: h\r\n\r\n";
    attack(&recorder, To::Http, "no length", none, |outcome| assert_eq!(outcome.seen, ["POST /c"]));
}

#[test]
fn h7_a_body_that_ends_early_is_an_error_and_never_a_short_body() {
    let recorder = Recorder::new("early", |_| {});
    for (what, bytes) in [
        ("length", b"POST /c HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello".to_vec()),
        ("no byte of it", b"POST /c HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n".to_vec()),
        ("in a chunk", chunked("5\r\nhel")),
        ("between chunks", chunked("5\r\nhello\r\n")),
        ("before the last line", chunked("5\r\nhello\r\n0\r\n")),
        ("in the last line", chunked("5\r\nhello\r\n0\r\n\r")),
    ] {
        attack(&recorder, To::Http, what, &bytes, broken);
    }
}
