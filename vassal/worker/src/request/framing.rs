//! The words of an answer's way to the client: what was asked, how the body is framed, how it ended. Types only;
//! [`super::response`] acts on them.

use std::os::fd::RawFd;

use empery_wire::limits::ANSWER_LINGER_MS;
use pyo3::PyErr;

use super::send::Left;
use crate::gevent;

/// Why sending ended.
pub(crate) enum Cut {
    /// The client is gone or does not read.
    Client,
    /// The app did something wrong.
    App(PyErr),
}

/// What the request says about its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) fd: RawFd,
    /// HTTP on our side: Date, Connection and chunks are ours to add.
    pub(super) is_http: bool,
    /// The head begins with `Status:` instead of HTTP's status line (RFC 3875 section 6.3.3).
    pub(super) is_cgi: bool,
    /// The number of the FastCGI request whose records the answer is packed into.
    pub(super) records: Option<u16>,
    pub(super) minor_version: u8,
    pub(super) is_head: bool,
    pub(super) client_keeps: bool,
}

impl Asked {
    /// Before there was a request.
    pub(super) const fn of_nobody() -> Self {
        Self {
            fd: -1,
            is_http: true,
            is_cgi: false,
            records: None,
            minor_version: 1,
            is_head: false,
            client_keeps: false,
        }
    }

    /// What stands before the status.
    pub(super) const fn before_status(&self) -> &'static [u8] {
        if self.is_cgi { b"Status: " } else { b"HTTP/1.1 " }
    }
}

/// How the client finds the end of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many more bytes.
    Length { left: u64 },
    /// By the chunked coding.
    Chunked,
    /// When the connection ends.
    Close,
    /// There is none.
    NoBody,
}

/// What of the app runs behind the last item of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing: the answer is a list or a tuple.
    Nothing,
    /// The end of an iterator, and `close()`: what frameworks return.
    End,
    /// Whatever is behind the last `yield`, which is not to run before its item is sent (PEP 3333, "Buffering and Streaming").
    Code,
}

impl Tail {
    /// What may be left to the loop of that item. Greenlets wait at no cost to anybody.
    pub(super) fn left(self) -> Left {
        match self {
            Tail::Nothing => Left::after_ms(0),
            Tail::End if !gevent::is_engine() => Left::after_ms(ANSWER_LINGER_MS),
            Tail::End | Tail::Code => Left::NOTHING,
        }
    }
}

/// Whether the client got what the head promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    Yes,
    /// The app sent less than its Content-Length.
    Short {
        by: u64,
    },
}
