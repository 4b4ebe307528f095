//! Where a request's body ends (RFC 9112 section 6) and whether the connection goes on after it (section 9.3).
//!
//! Two answers to "where does it end" are refused, never reconciled: that is how requests are smuggled past a proxy.

use crate::Bad;

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// After so many bytes; 0 when there is none.
    Length(u64),
    /// By the chunked coding.
    Chunked,
    /// By FastCGI's records.
    Records {
        /// The request's number.
        request_id: u16,
        /// What CONTENT_LENGTH says.
        length: Option<u64>,
    },
}

/// What the headers seen so far say about framing and connection.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    content_length: Option<u64>,
    chunked: bool,
    hosts: u32,
    close: bool,
    keep_alive: bool,
    expect_continue: bool,
}

/// What the headers said in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) body: Body,
    pub(crate) keep_alive: bool,
    pub(crate) expect_continue: bool,
}

impl Seen {
    /// Takes a header that matters here; all others pass.
    pub(crate) fn header(&mut self, name: &str, value: &[u8], body_max_bytes: u64) -> Result<(), Bad> {
        // The lengths keep the comparisons off most headers.
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") => self.host(value),
            6 if name.eq_ignore_ascii_case("expect") => self.expect(value),
            10 if name.eq_ignore_ascii_case("connection") => {
                self.connection(value);
                Ok(())
            }
            14 if name.eq_ignore_ascii_case("content-length") => self.content_length(value, body_max_bytes),
            17 if name.eq_ignore_ascii_case("transfer-encoding") => self.transfer_encoding(value),
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &[u8]) -> Result<(), Bad> {
        self.hosts += 1;
        if self.hosts > 1 {
            return Err(Bad::new(400, "more than one Host header"));
        }
        if value.iter().all(|byte| is_authority_byte(*byte)) {
            Ok(())
        } else {
            Err(Bad::new(400, "the Host header is no host"))
        }
    }

    fn expect(&mut self, value: &[u8]) -> Result<(), Bad> {
        if value.eq_ignore_ascii_case(b"100-continue") {
            self.expect_continue = true;
            return Ok(());
        }
        Err(Bad::new(417, "unknown expectation"))
    }

    fn connection(&mut self, value: &[u8]) {
        for word in value.split(|byte| *byte == b',') {
            let word = word.trim_ascii();
            self.close |= word.eq_ignore_ascii_case(b"close");
            self.keep_alive |= word.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    fn content_length(&mut self, value: &[u8], body_max_bytes: u64) -> Result<(), Bad> {
        if self.content_length.is_some() {
            return Err(Bad::new(400, "more than one Content-Length header"));
        }
        let length = decimal(value).ok_or(Bad::new(400, "Content-Length is not a number"))?;
        if body_max_bytes != 0 && length > body_max_bytes {
            return Err(Bad::new(413, "the body is longer than limit-post allows"));
        }
        self.content_length = Some(length);
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Bad> {
        if self.chunked {
            return Err(Bad::new(400, "more than one Transfer-Encoding header"));
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Bad::new(501, "Transfer-Encoding is not chunked"));
        }
        self.chunked = true;
        Ok(())
    }

    /// The sum of all headers.
    pub(crate) fn settle(self, minor_version: u8) -> Result<Settled, Bad> {
        if minor_version == 1 && self.hosts == 0 {
            return Err(Bad::new(400, "no Host header"));
        }
        if self.chunked && self.content_length.is_some() {
            return Err(Bad::new(400, "both Content-Length and Transfer-Encoding"));
        }
        if self.chunked && minor_version == 0 {
            // RFC 9112 section 6.1: such a message has faulty framing.
            return Err(Bad::new(400, "Transfer-Encoding in an HTTP/1.0 request"));
        }
        Ok(Settled {
            body: if self.chunked { Body::Chunked } else { Body::Length(self.content_length.unwrap_or(0)) },
            keep_alive: !self.close && (minor_version == 1 || self.keep_alive),
            // RFC 9110 section 10.1.1: ignored in an HTTP/1.0 request.
            expect_continue: self.expect_continue && minor_version == 1,
        })
    }
}

/// Digits and nothing else (`str::parse` would take a sign); None when it is no such number or does not fit.
#[must_use]
pub fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// RFC 3986 section 3.2 without user information: reg-name, IP-literal, port.
pub(crate) fn is_authority_byte(byte: u8) -> bool {
    AUTHORITY[usize::from(byte)]
}

/// A table, since every request has a Host.
const AUTHORITY: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b".-_:[]~%!$&\'()*+,;=";
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};
