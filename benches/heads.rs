//! The parsers of request heads alone, for counting their instructions: `heads http|uwsgi TIMES` parses one head so often.
//! The head is what a browser sends through a proxy; nothing is read, written or timed here. `benches/instructions.py`
//! runs it under callgrind.

#![allow(clippy::disallowed_macros)] // a program, not a part of the crate
use std::{hint::black_box, process::ExitCode};

use empery_wire::{Limits, Parsed, http, uwsgi};

const LIMITS: Limits = Limits { head_max_bytes: 65_536, headers_max: 100, body_max_bytes: 0 };

const HTTP: &[u8] = b"GET /shop/article/42?colour=green&size=xl HTTP/1.1\r\n\
    Host: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Accept-Language: en-GB,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://www.example.com/shop/\r\n\
    Cookie: session=3f1c9a4be2d74a0f9b6f0c2d8a71e5c4; theme=dark\r\n\
    Connection: keep-alive\r\n\
    \r\n";

/// The same request as nginx passes it with its `uwsgi_params`.
const VARIABLES: &[(&str, &str)] = &[
    ("QUERY_STRING", "colour=green&size=xl"),
    ("REQUEST_METHOD", "GET"),
    ("CONTENT_TYPE", ""),
    ("CONTENT_LENGTH", ""),
    ("REQUEST_URI", "/shop/article/42?colour=green&size=xl"),
    ("PATH_INFO", "/shop/article/42"),
    ("DOCUMENT_ROOT", "/usr/share/nginx/html"),
    ("SERVER_PROTOCOL", "HTTP/1.1"),
    ("REQUEST_SCHEME", "https"),
    ("REMOTE_ADDR", "192.0.2.7"),
    ("REMOTE_PORT", "51234"),
    ("SERVER_PORT", "443"),
    ("SERVER_NAME", "www.example.com"),
    ("HTTP_HOST", "www.example.com"),
    ("HTTP_USER_AGENT", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("HTTP_ACCEPT", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    ("HTTP_ACCEPT_LANGUAGE", "en-GB,en;q=0.5"),
    ("HTTP_COOKIE", "session=3f1c9a4be2d74a0f9b6f0c2d8a71e5c4; theme=dark"),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let [_, protocol, times] = words.as_slice() else { return usage() };
    let Ok(times) = times.parse() else { return usage() };
    match protocol.as_str() {
        "http" => repeat(times, HTTP, http::parse),
        "uwsgi" => repeat(times, &packet(VARIABLES), uwsgi::parse),
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: heads http|uwsgi TIMES");
    ExitCode::from(2)
}

/// Fails when the head is not understood: a refusal would be cheap, and the count a lie.
fn repeat<'b, H>(times: u32, bytes: &'b [u8], parse: impl Fn(&'b [u8], &Limits) -> Parsed<H>) -> ExitCode {
    for _ in 0..times {
        let parsed = black_box(parse(black_box(bytes), &LIMITS));
        if !matches!(parsed, Parsed::Head { .. }) {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// A uwsgi packet: its head, then names and values, each behind its length.
fn packet(variables: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for text in variables.iter().flat_map(|(name, value)| [name, value]) {
        block.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
        block.extend(text.bytes());
    }
    let [low, high] = u16::try_from(block.len()).unwrap_or(u16::MAX).to_le_bytes();
    [&[0, low, high, 0], block.as_slice()].concat()
}
