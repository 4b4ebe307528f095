//! The head of an answer: the lines that the app gave to `start_response`, checked for what would make a client see
//! another answer than the one that is meant, and the lines that frame the body.

/// What a header is to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderKind {
    Date,
    ContentLength,
    TransferEncoding,
    Connection,
    /// The protocol that comes behind 101; the server's in any other answer.
    Upgrade,
    /// About one connection, and so the server's to say.
    OfTheHop,
    /// Nothing: the client's.
    Other,
}

impl HeaderKind {
    /// That of this name.
    pub(super) fn of(name: &[u8]) -> Self {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is(b"date") => Self::Date,
            14 if is(b"content-length") => Self::ContentLength,
            17 if is(b"transfer-encoding") => Self::TransferEncoding,
            10 if is(b"connection") => Self::Connection,
            2 if is(b"te") => Self::OfTheHop,
            7 if is(b"upgrade") => Self::Upgrade,
            7 if is(b"trailer") => Self::OfTheHop,
            8 if is(b"trailers") => Self::OfTheHop,
            10 if is(b"keep-alive") => Self::OfTheHop,
            _ => Self::Other,
        }
    }
}

/// Status line and headers, as far as they are settled.
#[derive(Default)]
pub(super) struct AnswerHead {
    bytes: Vec<u8>,
    headers_number: u32,
    has_date: bool,
    /// What the app said about the length of the body.
    pub(super) content_length: Option<u64>,
    /// The app said `Transfer-Encoding: chunked`.
    is_coded: bool,
    /// The app said `Connection: close`.
    pub(super) closes: bool,
    /// The protocol that the app said.
    upgrade: Vec<u8>,
}

impl AnswerHead {
    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.headers_number = 0;
        self.has_date = false;
        self.content_length = None;
        self.is_coded = false;
        self.closes = false;
        self.upgrade.clear();
    }

    /// Begins with a status such as `200 OK`, behind what a protocol has before it.
    pub(super) fn start(&mut self, before: &[u8], status: &[u8]) {
        self.clear();
        self.bytes.extend_from_slice(before);
        self.bytes.extend_from_slice(status);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Takes a header of the app whose characters are checked. An error is a sentence about the app.
    ///
    /// Hop-by-hop headers are the server's (PEP 3333, "Other HTTP Features"): they are left out, as apps written for other
    /// servers set them, unless they contradict the framing.
    pub(super) fn header(&mut self, kind: HeaderKind, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
        match kind {
            HeaderKind::Date => self.has_date = true,
            HeaderKind::ContentLength => {
                let length = empery_wire::framing::decimal(value).ok_or("Content-Length is not a number")?;
                if self.content_length.replace(length).is_some() {
                    return Err("more than one Content-Length");
                }
                return if self.is_coded { Err(CONTRADICTS) } else { Ok(()) };
            }
            HeaderKind::TransferEncoding => {
                if !value.eq_ignore_ascii_case(b"chunked") || self.is_coded {
                    return Err("a Transfer-Encoding that the server does not apply");
                }
                self.is_coded = true;
                return if self.content_length.is_some() { Err(CONTRADICTS) } else { Ok(()) };
            }
            HeaderKind::Connection => {
                self.closes |=
                    value.split(|byte| *byte == b',').any(|word| word.trim_ascii().eq_ignore_ascii_case(b"close"));
                return Ok(());
            }
            HeaderKind::Upgrade => {
                self.upgrade.clear();
                self.upgrade.extend_from_slice(value);
                return Ok(());
            }
            HeaderKind::OfTheHop => return Ok(()),
            HeaderKind::Other => {}
        }
        self.line(&[name, b": ", value, b"\r\n"]);
        Ok(())
    }

    /// Adds the length of the body.
    pub(super) fn length(&mut self, length: u64) {
        let mut digits = [0_u8; 20];
        let mut at = digits.len();
        let mut left = length;
        loop {
            at -= 1;
            digits[at] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        self.line(&[b"Content-Length: ", &digits[at..], b"\r\n"]);
    }

    /// Whether the app has said which protocol comes next.
    pub(super) fn names_a_protocol(&self) -> bool {
        !self.upgrade.is_empty()
    }

    /// Adds the lines by which the protocol changes (RFC 9110 section 7.8); none of them says how long a body is, for there is
    /// none.
    pub(super) fn change_protocol(&mut self) {
        let upgrade = std::mem::take(&mut self.upgrade);
        self.line(&[b"Upgrade: ", &upgrade, b"\r\n"]);
        self.line(&[b"Connection: Upgrade\r\n"]);
    }

    /// Adds the Date line, unless the app gave one.
    pub(super) fn date(&mut self, line: &[u8]) {
        if !self.has_date {
            self.line(&[line]);
        }
    }

    /// Adds header lines that are whole.
    pub(super) fn lines(&mut self, lines: &[u8]) {
        self.headers_number += u32::try_from(memchr::memchr_iter(b'\n', lines).count()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(lines);
    }

    /// Adds a header line of pieces.
    pub(super) fn line(&mut self, pieces: &[&[u8]]) {
        self.headers_number += 1;
        for piece in pieces {
            self.bytes.extend_from_slice(piece);
        }
    }

    /// Adds the empty line.
    pub(super) fn end(&mut self) {
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// What goes out.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Headers so far.
    pub(super) fn headers_number(&self) -> u32 {
        self.headers_number
    }
}

/// RFC 9112 section 6.2: a sender must not send both.
const CONTRADICTS: &str = "both Content-Length and Transfer-Encoding";
