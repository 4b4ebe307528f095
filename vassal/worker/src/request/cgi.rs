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
    path_info, records,
    request_line::{Address, Spoken},
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

/// What the log says of a request, found in one walk over its variables; of those that came twice the later one.
#[derive(Default)]
struct Line<'b> {
    method: &'b [u8],
    uri: &'b [u8],
    protocol: &'b [u8],
    remote_addr: &'b [u8],
    remote_user: &'b [u8],
    forwarded_for: &'b [u8],
}

impl<'b> Line<'b> {
    fn of(vars: &[(&'b [u8], &'b [u8])]) -> Self {
        let mut line = Self::default();
        for (key, value) in vars {
            match *key {
                b"REQUEST_METHOD" => line.method = value,
                b"REQUEST_URI" => line.uri = value,
                b"SERVER_PROTOCOL" => line.protocol = value,
                b"REMOTE_ADDR" => line.remote_addr = value,
                b"REMOTE_USER" => line.remote_user = value,
                b"HTTP_X_FORWARDED_FOR" => line.forwarded_for = value,
                _ => {}
            }
        }
        line
    }
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
    let mut decoded = Vec::new();
    let completed = path_info::completed(incoming.vars, &mut decoded);
    let cgi_vars = completed.as_deref().unwrap_or(incoming.vars);
    let line = Line::of(cgi_vars);
    let listener = tools.worker.boot.listeners.get(connection.listener);
    let vars = Vars { source: Source::Cgi(cgi_vars), who: &who, listener, routed: None };
    let routed = tools.serving.rules.as_ref().map(|_| Arc::<Routed>::default());
    let outcome = routed.as_ref().map(|routed| routing::follow(py, tools, &vars, routed));
    let vars = Vars { routed: routed.as_deref(), ..vars };
    let mut request = Request {
        spoken: Spoken {
            method: line.method,
            uri: line.uri,
            protocol: line.protocol,
            remote_addr: match who.peer.filter(|_| tools.trusted.is_said()) {
                Some(peer) => Address::Known(Some(peer.ip())),
                None => Address::Said(line.remote_addr),
            },
            remote_user: line.remote_user,
            forwarded_for: if tools.logs_forwarded_for() { line.forwarded_for } else { b"" },
            vars_number: incoming.vars.len(),
            head_bytes: incoming.head_bytes,
            vars: &vars,
        },
        kind: HeadKind::Uwsgi,
        peer: connection.peer,
        head: incoming.block,
        behind: incoming.behind,
        body: incoming.body,
        beside: incoming.beside.clone(),
        routed: None,
        asked: Asked {
            fd: connection.raw(),
            is_http: false,
            is_cgi: incoming.is_cgi,
            records: incoming.records,
            minor_version: 1,
            is_head: line.method == b"HEAD",
            client_keeps: incoming.keeps,
        },
    };
    let changed = routed.as_deref().map(Routed::of_line);
    if let Some(changed) = &changed {
        request.spoken = changed.over(request.spoken);
    }
    let serving = tools.serving;
    let routed_after = outcome.and_then(|outcome| routing::answer(py, tools, &request, outcome));
    let of_cache = |cache| cached::answer(py, tools, cache, &request);
    let without_app = routed_after.or_else(|| serving.answers.and_then(of_cache));
    let of_file = |files| static_file::of_vars(py, tools, files, cgi_vars, &request);
    if let Some(after) = without_app.or_else(|| serving.static_files.as_ref().and_then(of_file)) {
        return match (after, incoming.records) {
            (After::Send(outgoing), Some(request_id)) => {
                let before = incoming.beside.as_ref().map(|beside| beside.hold()).unwrap_or_default();
                records::send(py, tools, connection.raw(), (request_id, before), outgoing).unwrap_or(After::Close)
            }
            (after, _) => after,
        };
    }
    let environ = match environ::of_vars(py, tools, connection, cgi_vars, &who) {
        Ok(environ) => environ,
        Err(error) => {
            python::print_exception(py, &error);
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
