//! Answers of our own making, to a head that is refused. And the Date header.

use empery_wire::Bad;

use crate::os;

/// The Date header's line, made once a second (RFC 9110 section 6.6.1).
#[derive(Default)]
pub(super) struct Dates {
    at_unix_s: u64,
    line: Vec<u8>,
}

impl Dates {
    pub(super) fn line(&mut self, unix_s: u64) -> &[u8] {
        if self.at_unix_s != unix_s || self.line.is_empty() {
            self.at_unix_s = unix_s;
            self.line = format!("Date: {}\r\n", os::http_date(unix_s)).into_bytes();
        }
        &self.line
    }
}

/// The reason phrase of a status we send ourselves.
fn phrase(status: u16) -> &'static str {
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

/// A whole answer after which the connection is closed.
pub(super) fn refusal(bad: Bad, date: &[u8]) -> Vec<u8> {
    let Bad { status, reason } = bad;
    let mut answer = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n",
        phrase(status),
        reason.len() + 1
    )
    .into_bytes();
    answer.extend_from_slice(date);
    answer.extend_from_slice(b"\r\n");
    answer.extend_from_slice(reason.as_bytes());
    answer.push(b'\n');
    answer
}
