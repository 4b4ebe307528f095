//! Sends to a client as much as it takes. The first try does not wait and keeps Python's lock; only a client that is
//! slower than the app makes the thread let go of it.

use std::{io, os::fd::RawFd};

use pyo3::prelude::*;

use crate::os::{self, Ready};

/// Sends all pieces, one behind the other; `timeout_ms` is the longest wait for the client to take anything.
pub(super) fn send_all(py: Python<'_>, fd: RawFd, pieces: [&[u8]; 3], timeout_ms: u64) -> io::Result<()> {
    let whole: usize = pieces.iter().map(|piece| piece.len()).sum();
    let mut sent = match os::send(fd, pieces) {
        Ok(sent) if sent == whole => return Ok(()),
        Ok(sent) => sent,
        Err(error) if os::would_block(&error) => 0,
        Err(error) => return Err(error),
    };
    py.detach(|| {
        while sent < whole {
            match os::send(fd, skip(pieces, sent)) {
                Ok(more) => sent += more,
                Err(error) if os::would_block(&error) => wait_for_client(fd, timeout_ms)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })
}

/// Sends a part of a file; how much of it was left to send.
pub(super) fn send_file(
    py: Python<'_>,
    socket: RawFd,
    file: RawFd,
    offset: i64,
    length: u64,
    timeout_ms: u64,
) -> io::Result<u64> {
    py.detach(|| {
        let mut offset = offset;
        let mut left = length;
        while left > 0 {
            match os::send_file(socket, file, &mut offset, usize::try_from(left).unwrap_or(usize::MAX).min(1 << 30)) {
                // The file is shorter than it was.
                Ok(0) => break,
                Ok(sent) => left -= sent as u64,
                Err(error) if os::would_block(&error) => wait_for_client(socket, timeout_ms)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(left)
    })
}

fn wait_for_client(fd: RawFd, timeout_ms: u64) -> io::Result<()> {
    match os::wait(fd, Ready::Write, timeout_ms) {
        Ok(true) => Ok(()),
        Ok(false) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client took nothing for socket-timeout")),
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
