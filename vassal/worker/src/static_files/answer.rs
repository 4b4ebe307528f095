//! The answer for a file that was found: which of the statuses of RFC 9110 it is, its head lines, the parts of the file.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    os::fd::OwnedFd,
};

use super::{
    Asked,
    coding::Coding,
    conditions::{Validators, Verdict, http_date},
    look::Found,
    range::{self, Ranges, Span},
};

/// The statuses there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    Partial,
    NotModified,
    Forbidden,
    PreconditionFailed,
    RangeNotSatisfiable,
    Failed,
}

impl Status {
    /// As a status line has it.
    pub(crate) fn line(self) -> (u16, &'static str) {
        match self {
            Status::Ok => (200, "200 OK"),
            Status::Partial => (206, "206 Partial Content"),
            Status::NotModified => (304, "304 Not Modified"),
            Status::Forbidden => (403, "403 Forbidden"),
            Status::PreconditionFailed => (412, "412 Precondition Failed"),
            Status::RangeNotSatisfiable => (416, "416 Range Not Satisfiable"),
            Status::Failed => (500, "500 Internal Server Error"),
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: Status,
    /// Header lines, but for the length, each with its end.
    pub(crate) lines: Vec<u8>,
    /// Of the body, as Content-Length says it; None where there can be no body.
    pub(crate) length: Option<u64>,
    /// The body when it is of our own making.
    pub(crate) text: &'static str,
    /// The body when it is a file.
    pub(crate) file: Option<File>,
    /// What the log is told.
    pub(crate) why: Option<String>,
}

/// Parts of a file.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) fd: OwnedFd,
    pub(crate) parts: Vec<Part>,
    /// What comes behind the last.
    pub(crate) end: Vec<u8>,
}

/// A part of a file and what comes before it.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) before: Vec<u8>,
    pub(crate) span: Span,
}

/// Which form of a file it is.
pub(crate) struct Variant<'v> {
    /// Content-Type.
    pub(crate) kind: &'v str,
    pub(crate) coding: Option<Coding>,
    /// Whether there may be another form.
    pub(crate) varies: bool,
    /// Whether counted from the last change, and how many seconds.
    pub(crate) expires: Option<(bool, u64)>,
}

impl Answer {
    /// One that says no more than its status.
    pub(crate) fn of_status(status: Status) -> Self {
        let (_, text) = status.line();
        let text = &text[4..];
        let mut answer =
            Self { status, lines: Vec::new(), length: Some(text.len() as u64), text, file: None, why: None };
        answer.line("Content-Type", "text/plain");
        answer
    }

    /// With a reason for the log.
    pub(crate) fn because(self, why: String) -> Self {
        Self { why: Some(why), ..self }
    }

    fn empty(status: Status, length: Option<u64>) -> Self {
        Self { status, lines: Vec::new(), length, text: "", file: None, why: None }
    }

    fn line(&mut self, name: &str, value: &str) {
        for piece in [name, ": ", value, "\r\n"] {
            self.lines.extend_from_slice(piece.as_bytes());
        }
    }

    /// What a cache wants to know; the same for 200, 206 and 304 (RFC 9110 section 15.4.5).
    fn cache_lines(&mut self, asked: &Asked<'_>, validators: &Validators, variant: &Variant<'_>) {
        // Never later than Date (RFC 9110 section 8.8.2.1).
        self.line("Last-Modified", &http_date(validators.modified_unix_s.min(asked.now_unix_s)));
        self.line("ETag", &validators.etag);
        if let Some((from_change, seconds)) = variant.expires {
            let from_unix_s = if from_change { validators.modified_unix_s } else { asked.now_unix_s };
            self.line("Expires", &http_date(from_unix_s.saturating_add(seconds)));
        }
        if variant.varies {
            self.line("Vary", "Accept-Encoding");
        }
    }

    fn variant_lines(&mut self, variant: &Variant<'_>) {
        if let Some(coding) = variant.coding {
            self.line("Content-Encoding", coding.name());
        }
    }
}

/// The answer whose body the worker sends.
pub(super) fn of_file(asked: &Asked<'_>, file: Found, variant: &Variant<'_>) -> Answer {
    let size = size_of(&file);
    let validators = validators(&file);
    if let Some(answer) = judge(asked, &validators, variant) {
        return answer;
    }
    // Range is for GET alone (RFC 9110 section 14.2).
    let is_get = asked.method == b"GET";
    let ranges = match asked.range {
        Some(value) if is_get && asked.conditions.allow_range(&validators, asked.now_unix_s) => {
            range::parse(value, size)
        }
        _ => Ranges::Whole,
    };
    let (status, span) = match ranges {
        Ranges::Whole => (Status::Ok, Span { offset: 0, length: size }),
        Ranges::Spans(spans) => match spans.as_slice() {
            [only] => (Status::Partial, *only),
            several => return multipart(asked, file, variant, &validators, several),
        },
        Ranges::None => {
            let mut answer = Answer::of_status(Status::RangeNotSatisfiable);
            answer.line("Content-Range", &format!("bytes */{size}"));
            return answer;
        }
    };
    let mut answer = Answer::empty(status, Some(span.length));
    answer.line("Content-Type", variant.kind);
    answer.variant_lines(variant);
    if status == Status::Partial {
        answer.line("Content-Range", &format!("bytes {}", span.content_range(size)));
    }
    answer.line("Accept-Ranges", "bytes");
    answer.cache_lines(asked, &validators, variant);
    let parts = vec![Part { before: Vec::new(), span }];
    answer.file = is_get.then_some(File { fd: file.fd, parts, end: Vec::new() });
    answer
}

/// Several ranges as one body (RFC 9110 section 14.6).
fn multipart(asked: &Asked<'_>, file: Found, variant: &Variant<'_>, validators: &Validators, spans: &[Span]) -> Answer {
    let size = size_of(&file);
    // A boundary must not stand in the file; its writer cannot know it beforehand.
    let boundary = format!("{:016x}{:016x}", RandomState::new().build_hasher().finish(), size);
    let kind = variant.kind;
    let parts: Vec<Part> = spans
        .iter()
        .map(|span| Part {
            before: format!(
                "\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: bytes {}\r\n\r\n",
                span.content_range(size)
            )
            .into_bytes(),
            span: *span,
        })
        .collect();
    let end = format!("\r\n--{boundary}--\r\n").into_bytes();
    let length = parts.iter().map(|part| part.before.len() as u64 + part.span.length).sum::<u64>() + end.len() as u64;
    let mut answer = Answer::empty(Status::Partial, Some(length));
    answer.line("Content-Type", &format!("multipart/byteranges; boundary={boundary}"));
    answer.variant_lines(variant);
    answer.line("Accept-Ranges", "bytes");
    answer.cache_lines(asked, validators, variant);
    answer.file = Some(File { fd: file.fd, parts, end });
    answer
}

/// The answer whose body the web server in front sends: it is told the path, and ranges are its own affair.
pub(super) fn by_server(header: &str, asked: &Asked<'_>, file: &Found, variant: &Variant<'_>) -> Answer {
    let validators = validators(file);
    if let Some(answer) = judge(asked, &validators, variant) {
        return answer;
    }
    let mut answer = Answer::empty(Status::Ok, Some(0));
    answer.line("Content-Type", variant.kind);
    answer.variant_lines(variant);
    answer.line(header, &percent_encoded(&file.real_path()));
    answer.cache_lines(asked, &validators, variant);
    answer
}

/// The answer when the conditions settle it.
fn judge(asked: &Asked<'_>, validators: &Validators, variant: &Variant<'_>) -> Option<Answer> {
    match asked.conditions.judge(validators) {
        Verdict::Send => None,
        Verdict::Failed => Some(Answer::of_status(Status::PreconditionFailed)),
        Verdict::NotModified => {
            let mut answer = Answer::empty(Status::NotModified, None);
            answer.cache_lines(asked, validators, variant);
            Some(answer)
        }
    }
}

/// Inode, size and time of the last change: what is written anew has another one of them.
fn validators(file: &Found) -> Validators {
    let stat = &file.stat;
    Validators {
        etag: format!("\"{:x}-{:x}-{:x}.{:x}\"", stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec),
        modified_unix_s: u64::try_from(stat.st_mtime).unwrap_or(0),
    }
}

fn size_of(file: &Found) -> u64 {
    u64::try_from(file.stat.st_size).unwrap_or(0)
}

/// A path as it may stand in a header; nginx and Apache decode it.
fn percent_encoded(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}
