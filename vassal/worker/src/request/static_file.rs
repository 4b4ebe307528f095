//! Requests that are answered without the app: from what a head says to [`crate::static_files`], and from the answer
//! there to bytes. The loop sends them, so no thread is held by a slow client.

use std::{borrow::Cow, io, os::unix::fs::FileExt, sync::atomic::Ordering};

use empery_wire::{framing::Body, http, target::percent_decode};
use pyo3::prelude::*;

use super::{After, Tools, account::Began, head::AnswerHead, request_line::Answered, wsgi::Request};
use crate::{
    serve::outgoing::{FileSpan, Outgoing, Then},
    static_files::{Answer, Asked, Conditions, Outcome, StaticFiles, Waiting, answer},
};

/// Files up to this size are sent together with their head: one packet, and no descriptor is kept while the client reads.
const TOGETHER_MAX_BYTES: u64 = 16 * 1024;

/// The headers that say how a file is wanted.
#[derive(Default)]
struct Wishes<'r> {
    if_match: Option<Cow<'r, [u8]>>,
    if_none_match: Option<Cow<'r, [u8]>>,
    if_modified_since: Option<Cow<'r, [u8]>>,
    if_unmodified_since: Option<Cow<'r, [u8]>>,
    if_range: Option<Cow<'r, [u8]>>,
    range: Option<Cow<'r, [u8]>>,
    accept_encoding: Option<Cow<'r, [u8]>>,
}

impl<'r> Wishes<'r> {
    /// Takes a header by its name, or by what CGI makes of it. Repeated ones are one list (RFC 9110 section 5.3).
    fn take(&mut self, name: &[u8], value: &'r [u8]) {
        let is = |known: &[u8]| {
            name.iter()
                .zip(known)
                .all(|(byte, known)| byte.eq_ignore_ascii_case(known) || (*byte == b'_' && *known == b'-'))
        };
        let place = match name.len() {
            5 if is(b"range") => &mut self.range,
            8 if is(b"if-match") => &mut self.if_match,
            8 if is(b"if-range") => &mut self.if_range,
            13 if is(b"if-none-match") => &mut self.if_none_match,
            15 if is(b"accept-encoding") => &mut self.accept_encoding,
            17 if is(b"if-modified-since") => &mut self.if_modified_since,
            19 if is(b"if-unmodified-since") => &mut self.if_unmodified_since,
            _ => return,
        };
        *place = Some(match place.take() {
            None => Cow::Borrowed(value),
            Some(before) => Cow::Owned([&before, &b", "[..], value].concat()),
        });
    }
}

/// Answers an HTTP request if it is for a file.
pub(super) fn of_http(
    py: Python<'_>,
    tools: &mut Tools,
    head: &http::Head<'_>,
    request: &Request<'_>,
) -> Option<After> {
    let files = tools.serving.static_files.as_ref()?;
    if !StaticFiles::serves(head.method.as_bytes()) {
        return None;
    }
    let mut wishes = Wishes::default();
    for header in &head.headers {
        wishes.take(header.name.as_bytes(), header.value);
    }
    let mut path_info = std::mem::take(&mut tools.scratch);
    percent_decode(head.target.path, &mut path_info);
    let below = tools.mounts.map_or(&path_info[..], |mounts| mounts.rest(&path_info));
    let after = look(py, tools, files, request, below, b"", &wishes);
    tools.scratch = path_info;
    after
}

/// Answers a request in CGI variables if it is for a file.
pub(super) fn of_vars(
    py: Python<'_>,
    tools: &mut Tools,
    vars: &[(&[u8], &[u8])],
    request: &Request<'_>,
) -> Option<After> {
    let files = tools.serving.static_files.as_ref()?;
    if !StaticFiles::serves(request.spoken.method) {
        return None;
    }
    let (mut path_info, mut document_root, mut wishes) = (&b""[..], &b""[..], Wishes::default());
    for (key, value) in vars {
        match *key {
            b"PATH_INFO" => path_info = value,
            b"DOCUMENT_ROOT" => document_root = value,
            key => {
                if let Some(name) = key.strip_prefix(b"HTTP_") {
                    wishes.take(name, value);
                }
            }
        }
    }
    let below = tools.mounts.map_or(path_info, |mounts| mounts.rest(path_info));
    look(py, tools, files, request, below, document_root, &wishes)
}

fn look(
    py: Python<'_>,
    tools: &mut Tools,
    files: &StaticFiles,
    request: &Request<'_>,
    path_info: &[u8],
    document_root: &[u8],
    wishes: &Wishes<'_>,
) -> Option<After> {
    let began = Began::now();
    let asked = Asked {
        method: request.spoken.method,
        path_info,
        uri: request.spoken.uri,
        document_root,
        conditions: Conditions {
            if_match: wishes.if_match.as_deref(),
            if_none_match: wishes.if_none_match.as_deref(),
            if_modified_since: wishes.if_modified_since.as_deref(),
            if_unmodified_since: wishes.if_unmodified_since.as_deref(),
            if_range: wishes.if_range.as_deref(),
        },
        range: wishes.range.as_deref(),
        accept_encoding: wishes.accept_encoding.as_deref(),
        now_unix_s: began.unix_s(),
    };
    // The kernel has most paths at hand; only for the others is Python's lock given away, and the wait shown.
    let outcome = match files.answer(&asked, Waiting::Never) {
        Outcome::WouldWait => {
            let slot = tools.worker.slot(tools.core);
            slot.begin(began.monotonic_ns, began.unix_ms, request.kind, request.head, request.peer);
            let outcome = py.detach(|| files.answer(&asked, Waiting::Allowed));
            slot.end();
            outcome
        }
        outcome => outcome,
    };
    match outcome {
        Outcome::Answer(answer) => Some(send(tools, request, answer, began)),
        Outcome::ForTheApp | Outcome::WouldWait => None,
    }
}

/// Hands the answer to the loop, and writes down that it was given.
fn send(tools: &mut Tools, request: &Request<'_>, answer: Answer, began: Began) -> After {
    if let Some(why) = &answer.why {
        tools.worker.log(why);
    }
    let asked = request.asked;
    let has_body = request.body != Body::Length(0);
    let keeps = (asked.is_http || asked.records.is_some())
        && asked.client_keeps
        && !has_body
        && tools.serving.keeps_connections();
    let (status, line) = answer.status.line();
    let mut head = AnswerHead::default();
    head.start(asked.before_status(), line.as_bytes());
    head.lines(&answer.lines, answer.lines_number);
    if let Some(length) = answer.length {
        head.length(length);
    }
    if asked.is_http {
        head.date(tools.dates.line(began.unix_s()));
        if !keeps {
            head.line(&[b"Connection: close\r\n"]);
        } else if asked.minor_version == 0 {
            head.line(&[b"Connection: keep-alive\r\n"]);
        }
    }
    head.end();

    let mut bytes = head.bytes().to_vec();
    let head_bytes = bytes.len() as u64;
    if !asked.is_head {
        bytes.extend_from_slice(answer.text.as_bytes());
    }
    let then = if keeps {
        Then::Keep { leftover: request.behind.to_vec() }
    } else if has_body || !request.behind.is_empty() {
        // Closing with unread bytes would reset the connection before the client has read its answer.
        Then::Rest
    } else {
        Then::Close
    };
    let outgoing = outgoing(bytes, answer.file, then);
    let answered = Answered {
        status,
        headers_number: head.headers_number(),
        head_bytes,
        body_bytes: if asked.is_head { 0 } else { answer.length.unwrap_or(0) },
        used_sendfile: outgoing.as_ref().is_ok_and(|outgoing| outgoing.file.is_some()),
    };
    let took_us = tools.count(began);
    tools.worker.slot(tools.core).counters.static_requests.fetch_add(1, Ordering::Relaxed);
    tools.count_answer(&request.spoken, &answered, began, took_us);
    match outgoing {
        Ok(outgoing) => After::Send(outgoing),
        Err(error) => {
            tools.worker.log(&format!("a static file cannot be sent: {error}"));
            After::Reset
        }
    }
}

/// The head, then each part of the file behind the bytes that belong before it.
fn outgoing(mut bytes: Vec<u8>, file: Option<answer::File>, mut then: Then) -> io::Result<Outgoing> {
    let Some(answer::File { fd, parts, end }) = file else { return Ok(Outgoing { bytes, file: None, then }) };
    if let [only] = parts.as_slice()
        && only.span.length <= TOGETHER_MAX_BYTES
    {
        let head_bytes = bytes.len();
        bytes.resize(head_bytes + only.span.length as usize, 0);
        std::fs::File::from(fd).read_exact_at(&mut bytes[head_bytes..], only.span.offset)?;
        return Ok(Outgoing { bytes, file: None, then });
    }
    if !end.is_empty() {
        then = Then::Send(Box::new(Outgoing { bytes: end, file: None, then }));
    }
    let mut parts = parts.into_iter();
    let first = parts.next();
    for part in parts.rev() {
        let file = Some(FileSpan { fd: fd.try_clone()?, offset: part.span.offset, left: part.span.length });
        then = Then::Send(Box::new(Outgoing { bytes: part.before, file, then }));
    }
    let file = first.map(|part| {
        bytes.extend_from_slice(&part.before);
        FileSpan { fd, offset: part.span.offset, left: part.span.length }
    });
    Ok(Outgoing { bytes, file, then })
}
