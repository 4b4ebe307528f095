//! Answers that are known whole before anything of them is sent, and that no app gives: handed to the loop, which sends them, so
//! no thread is held by a slow client; and written down.

use std::{io, os::unix::fs::FileExt};

use empery_wire::framing::Body;
use pyo3::prelude::*;

use super::{
    After, Tools,
    account::Began,
    head::AnswerHead,
    reply_rules::{self, Instead},
    request_line::Answered,
    routing::{self, Answering, Sight},
    rules::Changes,
    wsgi::Request,
};
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

/// Hands the answer to the loop, as the rules for answers have it, and writes down that it was given.
pub(super) fn send(
    py: Python<'_>,
    tools: &mut Tools,
    request: &Request<'_>,
    answer: WholeAnswer<'_>,
    began: Began,
) -> After {
    let (Some(rules), Some(routed)) = (tools.serving.rules.as_ref(), request.spoken.vars.routed) else {
        return give(py, tools, request, answer, began, None);
    };
    routed.begin(began.monotonic_ns);
    let lines = rules.shown(routed, answer.lines);
    let sight = Sight::Vars(*request.spoken.vars);
    let seen = Answering { status: answer.status, body_bytes: 0, sight, began };
    let instead = reply_rules::ask(py, rules, &seen, routed);
    let changes = Changes::of(rules, Some(routed));
    match instead {
        None => give(py, tools, request, WholeAnswer { lines: &lines, ..answer }, began, Some(&changes)),
        Some(Instead::Nothing) => nothing(py, tools, request, began),
        Some(Instead::Answer(instead)) => {
            let lines = rules.shown(routed, &routing::lines_of(&instead.headers));
            let whole = WholeAnswer {
                status: instead.number,
                status_line: &instead.status,
                lines: &lines,
                length: Some(instead.body.len() as u64),
                text: &instead.body,
                file: None,
                closes: instead.closes,
            };
            give(py, tools, request, whole, began, Some(&changes))
        }
    }
}

/// Gives none, and writes that down: the connection is closed.
pub(super) fn nothing(py: Python<'_>, tools: &mut Tools, request: &Request<'_>, began: Began) -> After {
    if let Some(routed) = request.spoken.vars.routed {
        routed.begin(began.monotonic_ns);
    }
    let took_us = tools.count(began);
    tools.after_request(py);
    tools.count_answer(&request.spoken, &Answered::nothing(), began, took_us);
    After::Close
}

fn give(
    py: Python<'_>,
    tools: &mut Tools,
    request: &Request<'_>,
    answer: WholeAnswer<'_>,
    began: Began,
    changes: Option<&Changes>,
) -> After {
    let asked = request.asked;
    // RFC 9110, sections 6.4.1 and 8.6: what a client takes for the next answer if it comes all the same.
    let may_have_body = !matches!(answer.status, 100..=199 | 204 | 304);
    let sends_body = may_have_body && !asked.is_head;
    let has_body = request.body != Body::Length(0);
    let keeps = (asked.is_http || asked.records.is_some())
        && asked.client_keeps
        && !answer.closes
        && !has_body
        && tools.serving.keeps_connections();
    let mut head = AnswerHead::default();
    head.start(asked.before_status(), answer.status_line);
    match changes {
        None => head.lines(answer.lines),
        Some(changes) => changes.apply(&mut head, answer.lines),
    }
    let length = answer.length.filter(|_| may_have_body);
    if let Some(length) = length {
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
    if sends_body {
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
    let outgoing = outgoing(bytes, answer.file.filter(|_| sends_body), then);
    let answered = Answered {
        status: answer.status,
        headers_number: head.headers_number(),
        head_bytes,
        body_bytes: length.filter(|_| sends_body).unwrap_or(0),
        used_sendfile: outgoing.as_ref().is_ok_and(|outgoing| outgoing.file.is_some()),
        ..Answered::nothing()
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
