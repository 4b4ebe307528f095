//! Sends to a client as much as it takes. The first try does not wait and keeps Python's lock; only a client that is
//! slower than the app makes the thread let go of it.

use std::{io, os::fd::RawFd};

use empery_wire::limits::{ANSWER_HELD_MAX_BYTES, ANSWER_SHORT_BYTES};
use pyo3::prelude::*;

use super::patience::Patience;
use crate::{
    gevent,
    os::{self, Ready},
    serve::outgoing::room_bytes,
};

/// What is left to the loop of the pieces that end an answer.
#[derive(Clone, Copy)]
pub(super) struct Left {
    /// Most of it, in bytes.
    most: usize,
    /// After so long, in ms.
    after_ms: u64,
}

impl Left {
    /// Nothing: the thread waits for the client.
    pub(super) const NOTHING: Self = Self { most: 0, after_ms: 0 };

    /// As much as there is room for, once the client has had that long to take it.
    pub(super) fn after_ms(after_ms: u64) -> Self {
        Self { most: ANSWER_HELD_MAX_BYTES.min(room_bytes()), after_ms }
    }
}

/// Sends all pieces, one behind the other, as long as there is patience with the client.
pub(super) fn send_all(py: Python<'_>, fd: RawFd, pieces: [&[u8]; 3], patience: &mut Patience) -> io::Result<()> {
    send_but(py, fd, pieces, Left::NOTHING, patience).map(|_| ())
}

/// Sends the last pieces of an answer; what may be left of them is put aside, and nobody waits for the client.
pub(super) fn send_last(
    py: Python<'_>,
    fd: RawFd,
    pieces: [&[u8]; 3],
    left: Left,
    patience: &mut Patience,
    unsent: &mut Vec<u8>,
) -> io::Result<()> {
    let sent = send_but(py, fd, pieces, left, patience)?;
    for piece in skip(pieces, sent) {
        unsent.extend_from_slice(piece);
    }
    Ok(())
}

/// Sends until the client takes no more and what is left may be; how many bytes were sent.
fn send_but(py: Python<'_>, fd: RawFd, pieces: [&[u8]; 3], left: Left, patience: &mut Patience) -> io::Result<usize> {
    let whole: usize = pieces.iter().map(|piece| piece.len()).sum();
    let mut sent = match os::send(fd, pieces) {
        Ok(sent) => sent,
        Err(error) if os::would_block(&error) => 0,
        Err(error) => return Err(error),
    };
    if sent == whole || (left.after_ms == 0 && whole - sent <= left.most) {
        return Ok(sent);
    }
    let began_ns = os::monotonic_ns();
    let mut send_on = |wait: &mut dyn FnMut(&mut Patience) -> io::Result<bool>| {
        while sent < whole {
            match os::send(fd, skip(pieces, sent)) {
                Ok(more) => {
                    sent += more;
                    patience.moved(more);
                }
                Err(error) if os::would_block(&error) && whole - sent <= left.most => {
                    let waited_ms = (os::monotonic_ns() - began_ns) / 1_000_000;
                    let wait_ms = left.after_ms.saturating_sub(waited_ms);
                    if wait_ms == 0 || !os::wait(fd, Ready::Write, wait_ms).unwrap_or(false) {
                        break;
                    }
                }
                Err(error) if os::would_block(&error) => wait_for_client(wait(patience))?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    };
    if gevent::is_engine() {
        return send_on(&mut |patience| patience.wait_in_greenlet(py, fd, Ready::Write));
    }
    py.detach(|| send_on(&mut |patience| patience.wait(fd, Ready::Write)))
}

/// Sends what the client takes at once; the rest is put behind what was left over before.
pub(super) fn send_now(fd: RawFd, pieces: [&[u8]; 3], unsent: &mut Vec<u8>) -> io::Result<()> {
    let sent = if unsent.is_empty() {
        match os::send(fd, pieces) {
            Ok(sent) => sent,
            Err(error) if os::would_block(&error) => 0,
            Err(error) => return Err(error),
        }
    } else {
        0
    };
    for piece in skip(pieces, sent) {
        unsent.extend_from_slice(piece);
    }
    Ok(())
}

/// The same with an answer that is known whole. Where there is no room for what would be left, the client is waited for.
pub(super) fn send_known(
    py: Python<'_>,
    fd: RawFd,
    pieces: [&[u8]; 3],
    patience: &mut Patience,
    unsent: &mut Vec<u8>,
) -> io::Result<()> {
    if !unsent.is_empty() || pieces.iter().all(|piece| piece.len() <= ANSWER_SHORT_BYTES) {
        return send_now(fd, pieces, unsent);
    }
    send_last(py, fd, pieces, Left { most: room_bytes(), after_ms: 0 }, patience, unsent)
}

fn wait_for_client(waited: io::Result<bool>) -> io::Result<()> {
    match waited {
        Ok(true) => Ok(()),
        Ok(false) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes the answer too slowly")),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        Err(error) => Err(error),
    }
}

fn skip(pieces: [&[u8]; 3], mut bytes: usize) -> [&[u8]; 3] {
    pieces.map(|piece| {
        let here = bytes.min(piece.len());
        bytes -= here;
        &piece[here..]
    })
}
