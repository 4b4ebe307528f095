//! SCGI on a worker's listener: one request per connection, the answer is CGI's, the end of the connection is the end of
//! the answer.

use empery_control::scoreboard::HEAD_MAX_BYTES;
use empery_wire::{Parsed, scgi, uwsgi};
use pyo3::prelude::*;

use super::{
    After, Tools,
    cgi::{self, Incoming},
};
use crate::serve::connection::Connection;

/// Serves the request at the beginning of the buffer, if it is whole.
pub(crate) fn serve(py: Python<'_>, tools: &mut Tools, connection: &mut Connection, buffer: &[u8]) -> After {
    let (head, consumed) = match scgi::parse(buffer, &tools.limits) {
        Parsed::NeedMore => return After::NeedMore,
        Parsed::Bad(bad) => {
            tools.worker.log(&format!("invalid SCGI request from {}: {}", connection.from(), bad.reason));
            return After::Close;
        }
        Parsed::Head { head, consumed } => (head, consumed),
    };
    let incoming = Incoming {
        vars: &head.vars,
        block: &uwsgi::block(head.vars.iter().copied(), HEAD_MAX_BYTES),
        head_bytes: consumed,
        behind: &buffer[consumed..],
        body: head.body,
        is_cgi: !cgi::is_nph(tools, connection),
        records: None,
        beside: None,
        keeps: false,
    };
    cgi::answer(py, tools, connection, &incoming)
}
