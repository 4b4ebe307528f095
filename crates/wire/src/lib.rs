//! What the bytes of a request mean: heads of HTTP/1.1 and of the uwsgi, FastCGI and SCGI protocols, body framing, the
//! chunked coding, and what stands before a request or speaks for its client.
//!
//! Every protocol has the same shape, `parse(&[u8], &Limits) -> Parsed<Head>`, and is given the bytes received so far
//! from the beginning of the head. Nothing here reads, writes or waits; the worker's loop does, and the master uses
//! [`vars`] to show what is running. A head that could be understood in two ways is refused, because the proxy in
//! front may have understood the other one.

mod cgi;
pub mod chunked;
pub mod fastcgi;
pub mod forwarded;
pub mod framing;
pub mod gateway;
pub mod http;
pub mod limits;
pub mod pace;
pub mod proxy;
pub mod refusal;
pub mod scgi;
pub mod spool;
pub mod target;
pub mod uwsgi;
pub mod vars;
pub mod websocket;

/// The bounds of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest head, in bytes: request line and headers, or the block of a uwsgi packet.
    pub head_max_bytes: usize,
    /// Most headers.
    pub headers_max: usize,
    /// Longest body that is said beforehand, in bytes; 0 is no limit.
    pub body_max_bytes: u64,
}

/// What the bytes received so far are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed<H> {
    /// The beginning of a head.
    NeedMore,
    /// A whole head.
    Head {
        /// It.
        head: H,
        /// Its length in bytes: what follows is the body.
        consumed: usize,
    },
    /// Not a head that may be served. The connection is of no use after it.
    Bad(Bad),
}

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bad {
    /// The HTTP status that says so.
    pub status: u16,
    /// A few words, for the log and for the body of the answer.
    pub reason: &'static str,
}

impl Bad {
    /// With this status and these words.
    #[must_use]
    pub const fn new(status: u16, reason: &'static str) -> Self {
        Self { status, reason }
    }
}
