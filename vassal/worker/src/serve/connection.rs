//! A client's connection, from accept to close.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

use empery_control::worker::Proxied;
use pyo3::{Py, PyAny, Python};

use super::{outgoing::Sending, parting::Template};
use crate::{epoll::Watch, os, request::Chunks, stray};

/// What is done with what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coming {
    /// It is a request.
    Request,
    /// It is thrown away: the answer was sent before the request's body was read, and closing now would reset the
    /// connection before the client has read it (RFC 9112 section 9.6).
    Rest,
}

/// A connection.
pub(crate) struct Connection {
    fd: OwnedFd,
    /// Index of the listener it came from.
    pub(crate) listener: usize,
    /// Who is at the other end, or whom the PROXY protocol names instead; None on a unix socket.
    pub(crate) peer: Option<SocketAddr>,
    /// What its PROXY protocol header said, once that has come.
    pub(crate) proxied: Option<Proxied>,
    /// Its listener asks for such a header only since it was accepted, by a worker before this one: none will come.
    pub(crate) has_no_proxy_header: bool,
    /// How it is given to another worker, when that is not told as of any connection of its listener.
    pub(crate) parting_word: Option<Box<Template>>,
    /// REMOTE_ADDR and REMOTE_PORT, made for the first request.
    pub(crate) remote: Option<(Py<PyAny>, Py<PyAny>)>,
    /// Received but not served: the beginning of a head, or requests sent ahead.
    pub(crate) received: Vec<u8>,
    /// What was received is still to be looked at, when its turn comes: nothing more is received before.
    pub(super) has_its_turn: bool,
    /// How much must have been received before it is worth looking at; 0 when that is not known.
    pub(super) wanted_bytes: usize,
    /// The chunked body of the request that `received` begins with.
    pub(crate) chunks: Option<Box<Chunks>>,
    /// The client was told to send the body of the request that `received` begins with (100 Continue).
    pub(crate) has_continued: bool,
    /// The client has said that nothing more comes.
    pub(crate) has_ended: bool,
    /// Since when the client is waited for, on the monotonic clock in ms: the beginning of the head in `received`, or the last
    /// answer; 0 when it is to be set.
    pub(crate) waits_since_ms: u64,
    /// Requests served on it, by workers before this one too.
    pub(crate) requests: u64,
    pub(crate) coming: Coming,
    /// An answer that the client has not taken whole: nothing is read before.
    pub(crate) sending: Option<Box<Sending>>,
    /// What epoll was told of it.
    pub(crate) watched: Option<Watch>,
    /// Since when no other process has its descriptor; None when one may, or may have had.
    ours_since: Option<stray::Before>,
}

impl Connection {
    pub(crate) fn new(fd: OwnedFd, listener: usize, peer: Option<SocketAddr>) -> Self {
        Self {
            fd,
            listener,
            peer,
            proxied: None,
            has_no_proxy_header: false,
            parting_word: None,
            remote: None,
            chunks: None,
            received: Vec::new(),
            has_its_turn: false,
            wanted_bytes: 0,
            has_continued: false,
            has_ended: false,
            waits_since_ms: super::now_ms(),
            requests: 0,
            coming: Coming::Request,
            sending: None,
            watched: None,
            ours_since: Some(stray::now()),
        }
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Whether nothing of a request has come: it may go to another worker.
    pub(crate) fn is_idle(&self) -> bool {
        self.received.is_empty() && self.coming == Coming::Request && self.sending.is_none()
    }

    /// Whether a signal handler can say all that another worker must know of it.
    pub(crate) fn may_be_parted(&self) -> bool {
        self.is_idle() && (self.is_as_any() || self.parting_word.is_some())
    }

    /// Whether there is nothing to say of it that is not so of any connection of its listener.
    pub(super) fn is_as_any(&self) -> bool {
        self.proxied.is_none() && !self.has_no_proxy_header
    }

    /// Somebody else has its descriptor, too, for a while or until ours is closed.
    pub(crate) fn is_shared(&mut self) {
        self.ours_since = None;
    }

    /// Whether closing its descriptor ends the connection and the watch. While Python's lock is held no thread of the app
    /// forks, so that it stays so.
    pub(crate) fn is_ours_alone(&self, _: Python<'_>) -> bool {
        self.ours_since.is_some_and(|before| !stray::have_come_since(before))
    }

    /// Goes on under another number, which epoll does not know; the one before, for somebody who uses it still.
    pub(super) fn change_number(&mut self) -> io::Result<OwnedFd> {
        let other = os::duplicate(self.raw())?;
        self.is_shared();
        Ok(std::mem::replace(&mut self.fd, other))
    }

    /// Takes what its PROXY protocol header said.
    pub(crate) fn take_proxied(&mut self, proxied: Proxied) {
        self.peer = proxied.client.or(self.peer);
        self.proxied = Some(proxied);
    }

    /// Where it comes from, for the log.
    pub(crate) fn from(&self) -> String {
        self.peer.map_or_else(|| "a unix socket".to_owned(), |peer| peer.ip().to_string())
    }

    /// What comes from now on is thrown away, for a while.
    pub(crate) fn expect_the_rest(&mut self) {
        os::shut_down_sending(self.raw());
        self.received = Vec::new();
        self.coming = Coming::Rest;
        self.waits_since_ms = super::now_ms();
    }

    /// Closes without saying the end.
    pub(crate) fn reset(self) {
        os::reset_on_close(self.raw());
    }

    /// Says the end and closes.
    pub(crate) fn close(self) {
        os::shut_down_sending(self.raw());
    }
}
