//! Requests that are answered without the app: from what a head says to [`crate::static_files`], and from the answer
//! there to what [`super::whole`] sends.

use std::{borrow::Cow, sync::atomic::Ordering};

use empery_wire::http;
use pyo3::prelude::*;

use super::{
    After, Tools,
    account::Began,
    http_rules, routing,
    vars::Vars,
    whole::{self, WholeAnswer},
    wsgi::Request,
};
use crate::static_files::{Answer, Asked, Conditions, Outcome, StaticFiles, Waiting, answer::Status};

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
    /// Of variables.
    fn of(vars: &Vars<'r>) -> Self {
        Wishes {
            if_match: vars.find(b"HTTP_IF_MATCH"),
            if_none_match: vars.find(b"HTTP_IF_NONE_MATCH"),
            if_modified_since: vars.find(b"HTTP_IF_MODIFIED_SINCE"),
            if_unmodified_since: vars.find(b"HTTP_IF_UNMODIFIED_SINCE"),
            if_range: vars.find(b"HTTP_IF_RANGE"),
            range: vars.find(b"HTTP_RANGE"),
            accept_encoding: vars.find(b"HTTP_ACCEPT_ENCODING"),
        }
    }

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
    files: &StaticFiles,
    head: &http::Head<'_>,
    request: &Request<'_>,
) -> Option<After> {
    if !StaticFiles::serves(head.method.as_bytes()) {
        return None;
    }
    let mut wishes = Wishes::default();
    for header in &head.headers {
        wishes.take(header.name.as_bytes(), header.value);
    }
    let mut path_info = std::mem::take(&mut tools.scratch);
    let below = match request.spoken.vars.routed.and_then(|routed| routed.variable(b"PATH_INFO")) {
        // What is mounted was taken from it before the routes.
        Some(path) => {
            path_info = path;
            &path_info[..]
        }
        None => {
            http_rules::path_info(request.spoken.vars.listener, head.target.path, &mut path_info);
            tools.mounts.map_or(&path_info[..], |mounts| mounts.rest(&path_info))
        }
    };
    let after = look(py, tools, request, &Means::Path { path_info: below, document_root: b"" }, files, &wishes);
    tools.scratch = path_info;
    after
}

/// Answers a request in CGI variables if it is for a file.
pub(super) fn of_vars(
    py: Python<'_>,
    tools: &mut Tools,
    files: &StaticFiles,
    vars: &[(&[u8], &[u8])],
    request: &Request<'_>,
) -> Option<After> {
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
    let routed = |name: &[u8]| request.spoken.vars.routed.and_then(|routed| routed.variable(name));
    let (routed_path, routed_root) = (routed(b"PATH_INFO"), routed(b"DOCUMENT_ROOT"));
    let unrouted = || tools.mounts.map_or(path_info, |mounts| mounts.rest(path_info));
    let means = Means::Path {
        path_info: routed_path.as_deref().unwrap_or_else(unrouted),
        document_root: routed_root.as_deref().unwrap_or(document_root),
    };
    look(py, tools, request, &means, files, &wishes)
}

/// Answers a request with the file of this path; None when it is not there.
pub(super) fn of_path(py: Python<'_>, tools: &mut Tools, request: &Request<'_>, path: &[u8]) -> Option<After> {
    let files = tools.serving.static_files.as_ref()?;
    look(py, tools, request, &Means::File(path), files, &Wishes::of(request.spoken.vars))
}

/// Which file is meant.
enum Means<'r> {
    /// The one that a rule leads to.
    Path { path_info: &'r [u8], document_root: &'r [u8] },
    /// This one.
    File(&'r [u8]),
}

fn look(
    py: Python<'_>,
    tools: &mut Tools,
    request: &Request<'_>,
    means: &Means<'_>,
    files: &StaticFiles,
    wishes: &Wishes<'_>,
) -> Option<After> {
    let (path_info, document_root) = match *means {
        Means::Path { path_info, document_root } => (path_info, document_root),
        Means::File(path) => (path, &b""[..]),
    };
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
    let look = |waiting| match means {
        Means::Path { .. } => files.answer(&asked, waiting),
        Means::File(path) => files.file(&asked, path, waiting),
    };
    let outcome = match look(Waiting::Never) {
        Outcome::WouldWait => {
            let slot = tools.slot;
            slot.begin(began.monotonic_ns, began.unix_ms(), request.kind, request.head, request.peer);
            let outcome = py.detach(|| look(Waiting::Allowed));
            slot.end();
            outcome
        }
        outcome => outcome,
    };
    match outcome {
        Outcome::Answer(answer) => Some(send(py, tools, request, answer, began)),
        Outcome::ForTheApp | Outcome::WouldWait => None,
    }
}

/// Writes down that it is a static file, and has it sent.
fn send(py: Python<'_>, tools: &mut Tools, request: &Request<'_>, answer: Answer, began: Began) -> After {
    if let Some(why) = &answer.why {
        tools.worker.log(why);
    }
    tools.slot.counters.static_requests.fetch_add(1, Ordering::Relaxed);
    let (status, line) = answer.status.line();
    if matches!(answer.status, Status::Forbidden | Status::Failed) {
        return routing::not_served(py, tools, request, line, began);
    }
    let whole = WholeAnswer {
        status,
        status_line: line.as_bytes(),
        lines: &answer.lines,
        length: answer.length,
        text: answer.text.as_bytes(),
        file: answer.file,
        closes: false,
    };
    whole::send(py, tools, request, whole, began)
}
