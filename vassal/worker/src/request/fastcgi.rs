//! FastCGI on a worker's listener, as a responder: connections stay open as long as the web server wants, one request is
//! served on each at a time.

use empery_control::scoreboard::HEAD_MAX_BYTES;
use empery_wire::{
    Parsed,
    fastcgi::{self, Head},
    uwsgi,
};
use pyo3::prelude::*;

use super::{
    After, Tools,
    beside::Beside,
    cgi::{self, Incoming},
};
use crate::serve::{
    connection::Connection,
    outgoing::{Outgoing, Then},
};

/// Serves what is at the beginning of the buffer, if it is whole.
pub(crate) fn serve(py: Python<'_>, tools: &mut Tools, connection: &mut Connection, buffer: &[u8]) -> After {
    let (head, consumed) = match fastcgi::parse(buffer, &tools.limits) {
        Parsed::NeedMore => return After::NeedMore,
        Parsed::Bad(bad) => {
            tools.worker.log(&format!("invalid FastCGI request from {}: {}", connection.from(), bad.reason));
            return After::Close;
        }
        Parsed::Head { head, consumed } => (head, consumed),
    };
    let behind = &buffer[consumed..];
    let request = match head {
        Head::Request(request) => request,
        Head::Other { answer, closes } => {
            let then = if closes { Then::Close } else { Then::Keep { leftover: behind.to_vec() } };
            return After::Send(Outgoing { bytes: answer, file: None, then });
        }
    };
    let beside = Beside::new(connection.raw());
    if beside.say(&request.answer).is_err() {
        return After::Close;
    }
    let vars: Vec<_> = request.params.iter().collect();
    let incoming = Incoming {
        vars: &vars,
        block: &uwsgi::block(vars.iter().copied(), HEAD_MAX_BYTES),
        head_bytes: consumed,
        behind,
        body: request.body,
        is_cgi: !cgi::is_nph(tools, connection),
        records: Some(request.request_id),
        beside: Some(beside),
        keeps: request.keeps,
    };
    cgi::answer(py, tools, connection, &incoming)
}
