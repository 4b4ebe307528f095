//! The Date header of answers.

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
