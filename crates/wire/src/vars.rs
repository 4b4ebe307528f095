//! The head of a request in flight as CGI variables, `KEY=value`, for the `stats` socket. The scoreboard keeps only
//! the beginning of a head, so both forms may be cut anywhere: what is whole is shown. Credentials are masked.

use crate::{target::percent_decode, uwsgi::Pairs};

/// What stands for a value that must not be seen.
pub const MASK: &str = "***";

/// The variables of the beginning of an HTTP head.
#[must_use]
pub fn of_http(head: &[u8]) -> Vec<String> {
    let mut vars = Vec::new();
    let mut lines =
        head.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")).map(<[u8]>::trim_ascii_end);
    let Some(first) = lines.find(|line| !line.is_empty()) else {
        return vars;
    };
    let mut words = first.split(|byte| *byte == b' ');
    let (method, target, protocol) =
        (words.next().unwrap_or(b""), words.next().unwrap_or(b""), words.next().unwrap_or(b""));
    let (path, query) = match memchr::memchr(b'?', target) {
        Some(at) => (&target[..at], &target[at + 1..]),
        None => (target, &b""[..]),
    };
    let mut decoded = Vec::new();
    percent_decode(path, &mut decoded);
    push(&mut vars, b"REQUEST_METHOD", method);
    push(&mut vars, b"REQUEST_URI", target);
    push(&mut vars, b"PATH_INFO", &decoded);
    push(&mut vars, b"QUERY_STRING", query);
    push(&mut vars, b"SERVER_PROTOCOL", protocol);
    for line in lines.take_while(|line| !line.is_empty()) {
        let Some(colon) = memchr::memchr(b':', line) else {
            continue;
        };
        if memchr::memchr(b'_', &line[..colon]).is_none() {
            push(&mut vars, &cgi_name(&line[..colon]), line[colon + 1..].trim_ascii());
        }
    }
    vars
}

/// The variables of the beginning of a uwsgi packet's block.
#[must_use]
pub fn of_uwsgi(block: &[u8]) -> Vec<String> {
    let mut vars = Vec::new();
    let mut pairs = Pairs { rest: block };
    while let Some((key, value)) = pairs.pair() {
        push(&mut vars, key, value);
    }
    vars
}

/// The CGI variable of a header (RFC 3875 section 4.1.18): `HTTP_` and the name in capitals, except for the two of the body.
#[must_use]
pub fn cgi_name(name: &[u8]) -> Vec<u8> {
    let mut cgi = b"HTTP_".to_vec();
    cgi.extend(name.iter().map(|byte| if *byte == b'-' { b'_' } else { byte.to_ascii_uppercase() }));
    if matches!(cgi.as_slice(), b"HTTP_CONTENT_TYPE" | b"HTTP_CONTENT_LENGTH") {
        cgi.drain(..5);
    }
    cgi
}

fn push(vars: &mut Vec<String>, key: &[u8], value: &[u8]) {
    let secret = matches!(key, b"HTTP_COOKIE" | b"HTTP_AUTHORIZATION" | b"HTTP_PROXY_AUTHORIZATION");
    let value = if secret { MASK.into() } else { String::from_utf8_lossy(value) };
    vars.push(format!("{}={value}", String::from_utf8_lossy(key)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_masked_and_a_cut_line_is_left_out() {
        let head = b"GET /a%20b?c HTTP/1.1\r\nHost: h\r\nCookie: secret\r\nauthorization: secret\r\nX_Y: z\r\nContent-Type: t\r\nX-Cut: va";
        assert_eq!(
            of_http(head),
            [
                "REQUEST_METHOD=GET",
                "REQUEST_URI=/a%20b?c",
                "PATH_INFO=/a b",
                "QUERY_STRING=c",
                "SERVER_PROTOCOL=HTTP/1.1",
                "HTTP_HOST=h",
                "HTTP_COOKIE=***",
                "HTTP_AUTHORIZATION=***",
                "CONTENT_TYPE=t"
            ]
        );
        for cut in 0..head.len() {
            assert!(!of_http(&head[..cut]).join("\n").contains("secret"));
        }
    }

    #[test]
    fn a_cut_block_shows_its_whole_pairs() {
        let block = b"\x01\0A\x01\x00\x31\x0b\x00HTTP_COOKIE\x06\0secret\x01\0B\x09\0x";
        assert_eq!(of_uwsgi(block), ["A=1", "HTTP_COOKIE=***"]);
        for cut in 0..block.len() {
            assert!(!of_uwsgi(&block[..cut]).join("\n").contains("secret"));
        }
    }
}
