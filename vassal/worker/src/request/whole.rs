//! Answers that are known whole before anything of them is sent, and that no app gives: handed to the loop, which sends them, so
//! no thread is held by a slow client; and written down.

use std::{io, os::unix::fs::FileExt};

use empery_wire::framing::Body;
use pyo3::prelude::*;

use super::{After, Tools, account::Began, head::AnswerHead, request_line::Answered, rules::Changes, wsgi::Request};
use crate::{
    serve::outgoing::{FileSpan, Outgoing, Then},
    static_files::answer::File,
};

/// Files up to this size are sent together with their head: one packet, and no descriptor is kept while the client reads.
const TOGETHER_MAX_BYTES: u64 = 16 * 1024;

/// Such an answer.
pub(super) struct WholeAnswer<'a> {
    pub(super) status: u16,
    /// Behind the protocol: `200 OK`.
    pub(super) status_line: &'a [u8],
    /// Head lines, but for the length, each with its end.
    pub(super) lines: &'a [u8],
    /// Of the body, as Content-Length says it; None where there can be no body.
    pub(super) length: Option<u64>,
    /// The body when it is a text.
    pub(super) text: &'a [u8],
    /// The body when it is a file.
    pub(super) file: Option<File>,
    /// Whether the connection ends with it.
    pub(super) closes: bool,
}

/// Hands the answer to the loop, and writes down that it was given.
pub(super) fn send(
    py: Python<'_>,
    tools: &mut Tools,
    request: &Request<'_>,
    answer: WholeAnswer<'_>,
    began: Began,
) -> After {
    let asked = request.asked;
    if let Some(routed) = request.spoken.vars.routed {
        routed.begin(began.monotonic_ns);
    }
    let has_body = request.body != Body::Length(0);
    let keeps = (asked.is_http || asked.records.is_some())
        && asked.client_keeps
        && !answer.closes
        && !has_body
        && tools.serving.keeps_connections();
    let mut head = AnswerHead::default();
    head.start(asked.before_status(), answer.status_line);
    match tools.serving.rules.as_ref() {
        None => head.lines(answer.lines),
        Some(rules) => Changes::of(rules, request.spoken.vars.routed).apply(&mut head, answer.lines),
    }
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
        bytes.extend_from_slice(answer.text);
    }
    let then = if keeps {
        Then::Keep { leftover: request.behind.to_vec() }
    } else if has_body || !request.behind.is_empty() {
        // Closing with unread bytes would reset the connection before the client has read its answer.
        Then::Rest
    } else {
        Then::Close
    };
    let outgoing = outgoing(bytes, answer.file.filter(|_| !asked.is_head), then);
    let answered = Answered {
        status: answer.status,
        headers_number: head.headers_number(),
        head_bytes,
        body_bytes: if asked.is_head { 0 } else { answer.length.unwrap_or(0) },
        used_sendfile: outgoing.as_ref().is_ok_and(|outgoing| outgoing.file.is_some()),
        write_errors: 0,
        read_errors: 0,
        is_asked_for: false,
    };
    let took_us = tools.count(began);
    tools.after_request(py);
    tools.count_answer(&request.spoken, &answered, began, took_us);
    match outgoing {
        Ok(outgoing) => After::Send(outgoing),
        Err(error) => {
            tools.worker.log(&format!("a file cannot be sent: {error}"));
            After::Reset
        }
    }
}

/// The head, then each part of the file behind the bytes that belong before it.
fn outgoing(mut bytes: Vec<u8>, file: Option<File>, mut then: Then) -> io::Result<Outgoing> {
    let Some(File { fd, parts, end }) = file else { return Ok(Outgoing { bytes, file: None, then }) };
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
