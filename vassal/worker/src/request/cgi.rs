//! What the protocols that carry CGI variables have in common once their heads are understood.

use std::sync::Arc;

use empery_control::scoreboard::HeadKind;
use empery_wire::framing::Body;
use pyo3::prelude::*;

use super::{
    After, Tools,
    beside::Beside,
    cached, environ,
    framing::Asked,
    records,
    request_line::Spoken,
    routing,
    rules::Routed,
    static_file,
    vars::{Source, Vars},
    who::Who,
    wsgi::{self, Request},
};
use crate::{python, serve::connection::Connection};

/// A request of a web server.
pub(super) struct Incoming<'b> {
    pub(super) vars: &'b [(&'b [u8], &'b [u8])],
    /// The variables as the scoreboard keeps them: a block of the uwsgi protocol.
    pub(super) block: &'b [u8],
    pub(super) head_bytes: usize,
    pub(super) behind: &'b [u8],
    pub(super) body: Body,
    pub(super) is_cgi: bool,
    pub(super) records: Option<u16>,
    /// With records.
    pub(super) beside: Option<Arc<Beside>>,
    pub(super) keeps: bool,
}

/// Whether answers begin with a status line on the listener of a connection.
pub(super) fn is_nph(tools: &Tools, connection: &Connection) -> bool {
    tools.worker.boot.listeners.get(connection.listener).is_some_and(|listener| listener.nph)
}

/// Has the app answer it.
pub(super) fn answer(py: Python<'_>, tools: &mut Tools, connection: &mut Connection, incoming: &Incoming<'_>) -> After {
    let who = match Who::of_vars(incoming.vars, &tools.trusted) {
        Ok(who) => who,
        Err(bad) => {
            tools.worker.log(&format!("invalid request from {}: {}", connection.from(), bad.reason));
            return After::Close;
        }
    };
    let find = |name: &[u8]| incoming.vars.iter().rfind(|(key, _)| *key == name).map_or(&b""[..], |(_, value)| *value);
    let listener = tools.worker.boot.listeners.get(connection.listener);
    let vars = Vars { source: Source::Cgi(incoming.vars), who: &who, listener, routed: None };
    let routed = tools.serving.rules.as_ref().map(|_| Arc::<Routed>::default());
    let outcome = routed.as_ref().map(|routed| routing::follow(py, tools, &vars, routed));
    let vars = Vars { routed: routed.as_deref(), ..vars };
    let mut request = Request {
        spoken: Spoken {
            method: find(b"REQUEST_METHOD"),
            uri: find(b"REQUEST_URI"),
            protocol: find(b"SERVER_PROTOCOL"),
            remote_addr: find(b"REMOTE_ADDR"),
            remote_user: find(b"REMOTE_USER"),
            forwarded_for: find(b"HTTP_X_FORWARDED_FOR"),
            vars_number: incoming.vars.len(),
            head_bytes: incoming.head_bytes,
            vars: &vars,
        },
        kind: HeadKind::Uwsgi,
        peer: connection.peer,
        head: incoming.block,
        behind: incoming.behind,
        body: incoming.body,
        routed: None,
        asked: Asked {
            fd: connection.raw(),
            is_http: false,
            is_cgi: incoming.is_cgi,
            records: incoming.records,
            minor_version: 1,
            is_head: find(b"REQUEST_METHOD") == b"HEAD",
            client_keeps: incoming.keeps,
        },
    };
    let changed = routed.as_deref().map(Routed::of_line);
    if let Some(changed) = &changed {
        request.spoken = changed.over(request.spoken);
    }
    let routed_after = outcome.and_then(|outcome| routing::answer(py, tools, &request, outcome));
    let without_app = routed_after.or_else(|| cached::answer(py, tools, &request));
    if let Some(after) = without_app.or_else(|| static_file::of_vars(py, tools, incoming.vars, &request)) {
        return match (after, incoming.records) {
            (After::Send(outgoing), Some(request_id)) => {
                let before = incoming.beside.as_ref().map(|beside| beside.hold()).unwrap_or_default();
                records::send(py, tools, connection.raw(), (request_id, before), outgoing).unwrap_or(After::Close)
            }
            (after, _) => after,
        };
    }
    let environ = match environ::of_vars(py, tools, connection, incoming.vars, &who) {
        Ok(environ) => environ,
        Err(error) => {
            python::print_exception(py, &error);
        beside: incoming.beside.clone(),
            return After::Close;
        }
    };
    request.routed = routed.clone();
    if let Some(Err(error)) = routed.as_ref().map(|routed| environ::add_routed(&environ, routed)) {
        python::print_exception(py, &error);
        return After::Close;
    }
    match wsgi::answer(py, tools, connection, &environ, &request) {
        Ok(after) => after,
        Err(error) => {
            python::print_exception(py, &error);
            tools.after_panic(py);
            After::Close
        }
    }
}
