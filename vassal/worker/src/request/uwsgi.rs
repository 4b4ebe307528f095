//! The uwsgi protocol on a worker's listener: one request per connection, the answer is plain HTTP, the end of the
//! connection is the end of the answer.

use empery_control::scoreboard::HeadKind;
use empery_wire::{
    Parsed,
    uwsgi::{self, PACKET_HEAD_BYTES},
};
use pyo3::prelude::*;

use super::{
    After, Tools, environ,
    framing::Asked,
    request_line::Spoken,
    static_file,
    wsgi::{self, Request},
};
use crate::{python, serve::connection::Connection};

/// Serves the request at the beginning of the buffer, if it is whole.
pub(crate) fn serve(py: Python<'_>, tools: &mut Tools, connection: &mut Connection, buffer: &[u8]) -> After {
    let (head, consumed) = match uwsgi::parse(buffer, &tools.limits) {
        Parsed::NeedMore => return After::NeedMore,
        Parsed::Bad(bad) => {
            // As uWSGI: no answer, since whoever sends this does not speak uwsgi.
            tools.worker.log(&format!("invalid uwsgi request from {}: {}", connection.from(), bad.reason));
            return After::Close;
        }
        Parsed::Head { head, consumed } => (head, consumed),
    };
    if head.modifier1 != 0 {
        tools.worker.log(&format!("-- unavailable modifier requested: {} --", head.modifier1));
        return After::Close;
    }
    let find = |name: &[u8]| head.vars.iter().find(|(key, _)| *key == name).map_or(&b""[..], |(_, value)| *value);
    let request = Request {
        spoken: Spoken {
            method: find(b"REQUEST_METHOD"),
            uri: find(b"REQUEST_URI"),
            protocol: find(b"SERVER_PROTOCOL"),
            remote_addr: find(b"REMOTE_ADDR"),
            remote_user: find(b"REMOTE_USER"),
            forwarded_for: find(b"HTTP_X_FORWARDED_FOR"),
            vars_number: head.vars.len(),
            head_bytes: consumed - PACKET_HEAD_BYTES,
        },
        kind: HeadKind::Uwsgi,
        peer: connection.peer,
        head: head.block,
        behind: &buffer[consumed..],
        body: head.body,
        expect_continue: false,
        asked: Asked {
            fd: connection.raw(),
            is_http: false,
            minor_version: 1,
            is_head: find(b"REQUEST_METHOD") == b"HEAD",
            client_keeps: false,
        },
    };
    if let Some(after) = static_file::of_vars(py, tools, &head.vars, &request) {
        return after;
    }
    let environ = match environ::of_uwsgi(py, tools, connection, &head) {
        Ok(environ) => environ,
        Err(error) => {
            python::print_exception(py, &error);
            return After::Close;
        }
    };
    match wsgi::answer(py, tools, connection, &environ, &request) {
        Ok(after) => after,
        Err(error) => {
            python::print_exception(py, &error);
            tools.after_panic(py);
            After::Close
        }
    }
}
