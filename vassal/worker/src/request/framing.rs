//! The words of an answer's way to the client: what was asked, how the body is framed, how it ended. Types only;
//! [`super::response`] acts on them.

use std::os::fd::RawFd;

use pyo3::PyErr;

/// Why sending ended.
pub(super) enum Cut {
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
    pub(super) minor_version: u8,
    pub(super) is_head: bool,
    pub(super) client_keeps: bool,
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

/// Whether the client got what the head promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    Yes,
    /// The app sent less than its Content-Length.
    Short {
        by: u64,
    },
}
