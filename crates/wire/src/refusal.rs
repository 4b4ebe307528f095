//! The answer to a request that is refused before anybody has served it: the same words whoever refuses, a worker or the
//! gateway.

use crate::Bad;

/// The reason phrase of a status we send ourselves (RFC 9110, section 15).
const fn phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        505 => "HTTP Version Not Supported",
        _ => "Internal Server Error",
    }
}

/// A whole answer after which the connection is closed; `lines` are more header lines, each with its end.
#[must_use]
pub fn refusal(bad: Bad, lines: &[u8]) -> Vec<u8> {
    let Bad { status, reason } = bad;
    let mut answer = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n",
        phrase(status),
        reason.len() + 1
    )
    .into_bytes();
    answer.extend_from_slice(lines);
    answer.extend_from_slice(b"\r\n");
    answer.extend_from_slice(reason.as_bytes());
    answer.push(b'\n');
    answer
}
