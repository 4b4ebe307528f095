//! The uwsgi protocol on a worker's listener: one request per connection, the answer is plain HTTP, the end of the
//! connection is the end of the answer.

use empery_wire::{
    Parsed,
    uwsgi::{self, PACKET_HEAD_BYTES},
};
use pyo3::prelude::*;

use super::{
    After, Tools,
    cgi::{self, Incoming},
};
use crate::serve::connection::Connection;

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
    let incoming = Incoming {
        vars: &head.vars,
        block: head.block,
        head_bytes: consumed - PACKET_HEAD_BYTES,
        behind: &buffer[consumed..],
        body: head.body,
        is_cgi: false,
        records: None,
        beside: None,
        keeps: false,
    };
    cgi::answer(py, tools, connection, &incoming)
}
