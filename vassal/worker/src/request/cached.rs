//! GET requests that are answered from a cache (`check-cache`): what stands there under their REQUEST_URI is a whole answer,
//! status line and all, and the connection is closed behind it, as in uWSGI.

use empery_wire::framing::Body;
use pyo3::prelude::*;

use super::{After, Tools, account::Began, request_line::Answered, wsgi::Request};
use crate::{
    serve::outgoing::{Outgoing, Then},
    shared::cache::Cache,
};

/// Answers a request if its answer is in the cache.
pub(super) fn answer(py: Python<'_>, tools: &mut Tools, cache: &Cache, request: &Request<'_>) -> Option<After> {
    if request.spoken.method != b"GET" || request.spoken.uri.is_empty() {
        return None;
    }
    let began = Began::now();
    let uri = request.spoken.uri;
    let bytes = match py.detach(|| cache.with(|cache, _| cache.get(uri))) {
        Ok(answer) => answer?,
        Err(error) => {
            tools.worker.log(&format!("check-cache: {error}"));
            return None;
        }
    };
    let answered = Answered { status: status(&bytes), body_bytes: bytes.len() as u64, ..Answered::nothing() };
    let took_us = tools.count(began);
    tools.after_request(py);
    tools.count_answer(&request.spoken, &answered, began, took_us);
    let is_over = request.body == Body::Length(0) && request.behind.is_empty();
    // Closing with unread bytes would reset the connection before the client has read its answer.
    let then = if is_over { Then::Close } else { Then::Rest };
    Some(After::Send(Outgoing { bytes, file: None, then }))
}

/// From `HTTP/1.1 404 Not Found` or `Status: 404 Not Found`; 200 for what begins otherwise.
fn status(answer: &[u8]) -> u16 {
    let line = answer.split(|byte| *byte == b'\r' || *byte == b'\n').next().unwrap_or_default();
    let says = line.starts_with(b"HTTP/") || line.starts_with(b"Status:");
    let mut words = line.split(|byte| *byte == b' ').filter(|_| says).skip(1);
    words.next().and_then(|word| std::str::from_utf8(word).ok()?.parse().ok()).unwrap_or(200)
}
