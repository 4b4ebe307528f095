//! Files in FastCGI records. Between two records the kernel cannot send from a file, so it is read here, a record's length at a
//! time, by the thread that serves the request. What an app gives is packed in [`super::response`].

use std::{
    fs::File,
    io,
    os::{fd::RawFd, unix::fs::FileExt},
};

use empery_wire::fastcgi::record;
use pyo3::prelude::*;

use super::{After, Tools, patience::Patience, send::send_all};
use crate::serve::outgoing::{Outgoing, Then};

/// How much of a file is read at once, in bytes: whole pages that fit into a record.
const PIECE_BYTES: u64 = 60 * 1024;

/// Sends an answer that is known whole, to this request and behind these bytes.
///
/// # Errors
/// When the web server is gone or too slow, or the file has become shorter: it has been promised more.
pub(super) fn send(
    py: Python<'_>,
    tools: &Tools,
    socket: RawFd,
    (request_id, before): (u16, Vec<u8>),
    mut outgoing: Outgoing,
) -> io::Result<After> {
    let mut patience = Patience::for_answer(tools.worker.boot);
    let mut out = before;
    loop {
        record::stdout(request_id, [&outgoing.bytes, b"", b""], &mut out);
        if let Some(span) = outgoing.file {
            let file = File::from(span.fd);
            let (mut offset, mut left) = (span.offset, span.left);
            while left > 0 {
                let mut piece = vec![0; usize::try_from(left.min(PIECE_BYTES)).unwrap_or(0)];
                py.detach(|| file.read_exact_at(&mut piece, offset))?;
                offset += piece.len() as u64;
                left -= piece.len() as u64;
                record::stdout(request_id, [&piece, b"", b""], &mut out);
                send_all(py, socket, [&out, b"", b""], &mut patience)?;
                out.clear();
            }
        }
        outgoing = match outgoing.then {
            Then::Send(next) => *next,
            then => {
                record::end(request_id, record::Status::Complete, &mut out);
                return Ok(After::Send(Outgoing { bytes: out, file: None, then }));
            }
        };
    }
}
