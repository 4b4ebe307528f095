//! The body of a request as it comes off the wire: received, decoded, and waiting for the app. It ends where its framing
//! says; when it ends too early, comes too slowly or is wrongly coded, it is broken for good, and never just short.
//! What the app sees of it is [`super::input`].

use std::{mem::MaybeUninit, os::fd::RawFd, sync::Arc};

use empery_wire::{chunked, fastcgi::stdin, framing::Body};
use pyo3::{exceptions::PyOSError, prelude::*};

use super::{beside::Beside, patience::Patience};
use crate::{
    gevent,
    os::{self, Ready},
};

/// How much is received at once, in bytes.
const RECEIVE_BYTES: usize = 64 * 1024;

const TOO_LONG: &str = "the body is longer than limit-post allows";

/// Where the body is.
enum Source {
    /// So many bytes are to come.
    Length { left: u64 },
    /// The coding says when it ends.
    Chunked(chunked::Decoder),
    /// FastCGI's records say it.
    Records(stdin::Decoder),
    /// All of it is here.
    Ended,
    /// It will never be whole.
    Broken(String),
}

/// How a body stood when the answer was out.
pub(super) enum BodyEnd {
    /// Read, or here: these bytes come after it.
    Whole { leftover: Vec<u8> },
    /// The client may be sending it still.
    Unread,
    /// No use reading on.
    Broken,
}

/// The body.
pub(super) struct BodyStream {
    /// -1 when its request is over.
    fd: RawFd,
    source: Source,
    /// Received, not decoded.
    raw: Vec<u8>,
    raw_start: usize,
    /// Decoded, not read.
    ready: Vec<u8>,
    ready_start: usize,
    /// `limit-post`, in bytes; 0 is no limit.
    body_max_bytes: u64,
    decoded_bytes: u64,
    patience: Patience,
    /// With records: where answers go that are asked for between them.
    beside: Option<Arc<Beside>>,
    pub(super) read_errors: u64,
}

impl BodyStream {
    /// Of a request without a body.
    pub(super) fn empty() -> Self {
        Self {
            fd: -1,
            source: Source::Ended,
            raw: Vec::new(),
            raw_start: 0,
            ready: Vec::new(),
            ready_start: 0,
            body_max_bytes: 0,
            decoded_bytes: 0,
            patience: Patience::none(),
            beside: None,
            read_errors: 0,
        }
    }

    /// Of a request with one, of which `received` has come with the head.
    pub(super) fn new(
        fd: RawFd,
        body: Body,
        received: &[u8],
        patience: Patience,
        body_max_bytes: u64,
        beside: Option<Arc<Beside>>,
    ) -> Self {
        let source = match body {
            Body::Length(left) => Source::Length { left },
            Body::Chunked => Source::Chunked(chunked::Decoder::default()),
            Body::Records { request_id, length } => Source::Records(stdin::Decoder::new(request_id, length)),
        };
        Self { fd, source, raw: received.to_vec(), patience, body_max_bytes, beside, ..Self::empty() }
    }

    /// Whether the client has nothing of this body left to send, as far as can be told without reading.
    pub(super) fn is_here(&mut self) -> bool {
        let _ = self.take_what_is_here();
        matches!(self.source, Source::Ended)
    }

    /// The request is over.
    pub(super) fn finish(&mut self) -> BodyEnd {
        let _ = self.take_what_is_here();
        self.fd = -1;
        self.ready = Vec::new();
        self.ready_start = 0;
        match self.source {
            Source::Ended => BodyEnd::Whole { leftover: self.raw.split_off(self.raw_start) },
            Source::Length { .. } | Source::Chunked(_) | Source::Records(_) => BodyEnd::Unread,
            Source::Broken(_) => BodyEnd::Broken,
        }
    }

    /// What has been read of it is lost: whoever reads on is told why.
    pub(super) fn break_off(&mut self, reason: String) {
        self.ready = Vec::new();
        self.ready_start = 0;
        if !matches!(self.source, Source::Broken(_)) {
            self.source = Source::Broken(reason);
        }
    }

    /// What can be read without waiting.
    pub(super) fn available(&self) -> &[u8] {
        &self.ready[self.ready_start..]
    }

    /// Whether reading on need not wait for the client: something has come, the end too, or there is nothing to wait for.
    pub(super) fn has_come(&self) -> bool {
        let is_open = matches!(self.source, Source::Length { .. } | Source::Chunked(_) | Source::Records(_));
        !is_open || self.fd < 0 || os::wait(self.fd, Ready::Read, 0).unwrap_or(true)
    }

    /// The app has read these.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.ready_start = (self.ready_start + bytes).min(self.ready.len());
    }

    /// How many bytes there are in all to be read, when the client has said so.
    pub(super) fn known_left(&mut self) -> Option<u64> {
        let _ = self.take_what_is_here();
        let here = self.available().len() as u64;
        match self.source {
            Source::Length { left } => Some(here + left),
            Source::Ended => Some(here),
            Source::Chunked(_) | Source::Records(_) | Source::Broken(_) => None,
        }
    }

    /// Moves received bytes to what is ready. An error breaks the body for good.
    fn take_what_is_here(&mut self) -> Result<(), String> {
        // Moving what is less than what was read costs no more than reading it did.
        if self.ready_start > self.ready.len() / 2 || self.ready_start == self.ready.len() {
            self.ready.drain(..self.ready_start);
            self.ready_start = 0;
        }
        let result = self.decode();
        if let Err(reason) = &result {
            self.source = Source::Broken(reason.clone());
        }
        result
    }

    fn decode(&mut self) -> Result<(), String> {
        let raw = &self.raw[self.raw_start..];
        match &mut self.source {
            Source::Length { left } => {
                let take = raw.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= take as u64;
                if *left == 0 {
                    self.source = Source::Ended;
                }
                if self.ready.is_empty() && take == self.raw.len() {
                    std::mem::swap(&mut self.ready, &mut self.raw);
                } else {
                    self.ready.extend_from_slice(&raw[..take]);
                    self.raw_start += take;
                }
            }
            Source::Chunked(decoder) => {
                let before = self.ready.len();
                self.ready.resize(before + raw.len(), 0);
                let progress = decoder
                    .decode(raw, &mut self.ready[before..])
                    .map_err(|bad| format!("the chunked body is malformed: {}", bad.0))?;
                self.ready.truncate(before + progress.written);
                self.raw_start += progress.read;
                self.decoded_bytes += progress.written as u64;
                if self.body_max_bytes != 0 && self.decoded_bytes > self.body_max_bytes {
                    return Err(TOO_LONG.to_owned());
                }
                if decoder.is_done() {
                    self.source = Source::Ended;
                }
            }
            Source::Records(decoder) => {
                let before = self.ready.len();
                self.ready.resize(before + raw.len(), 0);
                let progress = decoder.decode(raw, &mut self.ready[before..]).map_err(|bad| bad.0.to_owned())?;
                self.ready.truncate(before + progress.written);
                self.raw_start += progress.read;
                self.decoded_bytes += progress.written as u64;
                if let Some(beside) = &self.beside {
                    beside.say(&decoder.take_answer()).map_err(|error| error.to_string())?;
                }
                if self.body_max_bytes != 0 && self.decoded_bytes > self.body_max_bytes {
                    return Err(TOO_LONG.to_owned());
                }
                if decoder.is_done() {
                    self.source = Source::Ended;
                }
            }
            Source::Ended => return Ok(()),
            Source::Broken(reason) => return Err(reason.clone()),
        }
        if self.raw_start == self.raw.len() {
            self.raw.clear();
            self.raw_start = 0;
        }
        Ok(())
    }

    /// Gets more of the body; false at its end. `asked` is what the app called, for the exception.
    pub(super) fn more(&mut self, py: Python<'_>, asked: &str) -> PyResult<bool> {
        let before = self.available().len();
        loop {
            self.take_what_is_here().map_err(PyOSError::new_err)?;
            if self.available().len() > before {
                return Ok(true);
            }
            if matches!(self.source, Source::Ended) {
                return Ok(false);
            }
            let mut raw = std::mem::take(&mut self.raw);
            raw.reserve(RECEIVE_BYTES);
            let received = self.receive(py, &mut raw.spare_capacity_mut()[..RECEIVE_BYTES], asked);
            if let Ok(bytes) = received {
                // SAFETY: that many bytes behind the length were written, within the capacity.
                unsafe { raw.set_len(raw.len() + bytes) };
            }
            self.raw = raw;
            received?;
        }
    }

    /// Receives a part of a body of known length where it will stay: `space` is not longer than what is left, and nothing
    /// is ready. How many bytes came before the first failure is in `filled`.
    pub(super) fn receive_into(
        &mut self,
        py: Python<'_>,
        space: &mut [MaybeUninit<u8>],
        filled: &mut usize,
        asked: &str,
    ) -> PyResult<()> {
        while *filled < space.len() {
            let bytes = self.receive(py, &mut space[*filled..], asked)?;
            *filled += bytes;
            if let Source::Length { left } = &mut self.source {
                *left -= bytes as u64;
                if *left == 0 {
                    self.source = Source::Ended;
                }
            }
        }
        Ok(())
    }

    /// Gives back what was received for an app that will not get it now.
    pub(super) fn put_back(&mut self, bytes: &[u8]) {
        self.ready.extend_from_slice(bytes);
    }

    /// Waits for the client. An error that is not what a signal handler of the app raised breaks the body.
    fn receive(&mut self, py: Python<'_>, space: &mut [MaybeUninit<u8>], asked: &str) -> PyResult<usize> {
        self.receive_or_signal(py, space, asked)?.map_err(|reason| {
            self.read_errors += 1;
            self.source = Source::Broken(reason.clone());
            PyOSError::new_err(reason)
        })
    }

    fn receive_or_signal(
        &mut self,
        py: Python<'_>,
        space: &mut [MaybeUninit<u8>],
        asked: &str,
    ) -> PyResult<Result<usize, String>> {
        if self.fd < 0 {
            return Ok(Err("the request of this wsgi.input is over".to_owned()));
        }
        loop {
            match os::receive_into(self.fd, space) {
                Ok(0) => return Ok(Err(format!("the client went away during {asked} on wsgi.input"))),
                Ok(bytes) => {
                    self.patience.moved(bytes);
                    return Ok(Ok(bytes));
                }
                Err(error) if os::would_block(&error) => {}
                Err(error) => return Ok(Err(format!("error during {asked} on wsgi.input: {error}"))),
            }
            let (fd, patience) = (self.fd, &mut self.patience);
            let waited = match gevent::is_engine() {
                true => patience.wait_in_greenlet(py, fd, Ready::Read),
                false => py.detach(|| patience.wait(fd, Ready::Read)),
            };
            match waited {
                Ok(true) => {}
                Ok(false) => return Ok(Err(format!("timeout during {asked} on wsgi.input"))),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => py.check_signals()?,
                // What ends the greenlet is the app's to see.
                Err(error) if error.get_ref().is_some_and(|inner| inner.is::<PyErr>()) => return Err(error.into()),
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
    }
}
