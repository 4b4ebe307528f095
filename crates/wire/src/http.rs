//! Heads of HTTP/1.0 and HTTP/1.1 requests (RFC 9112), on httparse. Stricter than httparse: every line ends in CRLF,
//! lines are not folded, there is one Host, and the framing is beyond doubt. Names with an underscore are dropped
//! (`X_Forwarded_For` and `X-Forwarded-For` are one CGI variable, so a client could speak for the proxy).

use crate::{
    Bad, Limits, Parsed,
    framing::{Body, Seen},
    limits::{GATEWAY_HEADERS_MAX, HEADERS_MAX, LEADING_EMPTY_LINES_MAX},
    target::Target,
};

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head<'b> {
    /// The method, a token.
    pub method: &'b str,
    /// The request target.
    pub target: Target<'b>,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub minor_version: u8,
    /// The headers in their order, without those whose name has an underscore.
    pub headers: Vec<Header<'b>>,
    /// How the end of the body is found.
    pub body: Body,
    /// Whether the client will use the connection again.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
}

/// A header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'b> {
    /// Its name as sent, a token.
    pub name: &'b str,
    /// Its value without the blanks around it; no control characters but tabs.
    pub value: &'b [u8],
}

/// What the bytes received so far are.
#[must_use]
pub fn parse<'b>(bytes: &'b [u8], limits: &Limits) -> Parsed<Head<'b>> {
    let start = leading_empty_lines(bytes);
    let bytes_of_head = &bytes[start..];
    if let Some(bad) = another_protocol(bytes_of_head) {
        return Parsed::Bad(bad);
    }
    let end = match end_of_head(bytes_of_head, limits.head_max_bytes) {
        Ok(Some(end)) => end,
        Ok(None) => return Parsed::NeedMore,
        Err(bad) => return Parsed::Bad(bad),
    };
    match whole(&bytes_of_head[..end], limits) {
        Ok(head) => Parsed::Head { head, consumed: start + end },
        Err(bad) => Parsed::Bad(bad),
    }
}

/// What is told by its first byte, and would otherwise be waited for until the client gives up.
fn another_protocol(bytes: &[u8]) -> Option<Bad> {
    match bytes.first()? {
        // modifier1 of a request to Python.
        0 => Some(Bad::new(400, "a uwsgi packet, but this address speaks HTTP: proxy_pass goes here, uwsgi_pass not")),
        // The handshake record of TLS (RFC 8446 section 5.1).
        0x16 => Some(Bad::new(400, "TLS, but this address speaks plain HTTP")),
        _ => None,
    }
}

fn leading_empty_lines(bytes: &[u8]) -> usize {
    (0..LEADING_EMPTY_LINES_MAX).take_while(|line| bytes[line * 2..].starts_with(b"\r\n")).count() * 2
}

/// Where the empty line ends; None when it has not come yet.
fn end_of_head(bytes: &[u8], head_max_bytes: usize) -> Result<Option<usize>, Bad> {
    let mut line_start = 0;
    for at in memchr::memchr_iter(b'\n', bytes) {
        if at >= head_max_bytes {
            return Err(too_long(line_start));
        }
        if at == 0 || bytes[at - 1] != b'\r' {
            return Err(Bad::new(400, "a line ends without CR"));
        }
        if at == line_start + 1 {
            if line_start == 0 {
                return Err(Bad::new(400, "empty lines instead of a request"));
            }
            return Ok(Some(at + 1));
        }
        line_start = at + 1;
    }
    if bytes.len() >= head_max_bytes {
        return Err(too_long(line_start));
    }
    Ok(None)
}

fn too_long(line_start: usize) -> Bad {
    if line_start == 0 {
        Bad::new(414, "the request line is longer than buffer-size allows")
    } else {
        Bad::new(431, "the request head is longer than buffer-size allows")
    }
}

fn whole<'b>(bytes: &'b [u8], limits: &Limits) -> Result<Head<'b>, Bad> {
    let mut space = [std::mem::MaybeUninit::uninit(); HEADERS_MAX + GATEWAY_HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let headers_max = limits.headers_max.min(space.len());
    match request.parse_with_uninit_headers(bytes, &mut space[..headers_max]) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Ok(_) => return Err(Bad::new(400, "the head ends elsewhere than it seems to")),
        Err(error) => return Err(refusal(error, bytes)),
    }
    let (Some(method), Some(path), Some(minor_version)) = (request.method, request.path, request.version) else {
        return Err(Bad::new(400, "no request line"));
    };
    let target = Target::parse(method, path.as_bytes())?;
    let mut seen = Seen::default();
    let mut headers = Vec::with_capacity(request.headers.len());
    for header in request.headers.iter() {
        if memchr::memchr(b'_', header.name.as_bytes()).is_none() {
            seen.header(header.name, header.value, limits.body_max_bytes)?;
            headers.push(Header { name: header.name, value: header.value });
        }
    }
    let settled = seen.settle(minor_version)?;
    Ok(Head {
        method,
        target,
        minor_version,
        headers,
        body: settled.body,
        keep_alive: settled.keep_alive,
        expect_continue: settled.expect_continue,
    })
}

fn refusal(error: httparse::Error, bytes: &[u8]) -> Bad {
    match error {
        httparse::Error::TooManyHeaders => Bad::new(431, "too many headers"),
        httparse::Error::Version if speaks_another_http(bytes) => Bad::new(505, "neither HTTP/1.0 nor HTTP/1.1"),
        httparse::Error::Version | httparse::Error::Token => Bad::new(400, "the request line is malformed"),
        httparse::Error::HeaderName => Bad::new(400, "a header's name is malformed"),
        httparse::Error::HeaderValue => Bad::new(400, "a header's value is malformed"),
        httparse::Error::NewLine | httparse::Error::Status => Bad::new(400, "the request head is malformed"),
    }
}

/// Whether the request line has three words, the last of them `HTTP/d.d`.
fn speaks_another_http(bytes: &[u8]) -> bool {
    let line = &bytes[..memchr::memchr(b'\r', bytes).unwrap_or(bytes.len())];
    let mut words = line.split(|byte| *byte == b' ');
    let (_, _, Some(version), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return false;
    };
    matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit())
}
