//! `wsgi.input` (PEP 3333, "Input and Error Streams"): the body as it comes off the wire. It ends where the body ends; a
//! body that ends too early, comes too slowly or is wrongly coded is an OSError, never a short read.

use std::os::fd::RawFd;

use empery_wire::{chunked::Decoder, framing::Body};
use pyo3::{
    exceptions::{PyOSError, PyStopIteration},
    prelude::*,
    types::{PyBytes, PyList},
};

use crate::os::{self, Ready};

/// How much is received at once, in bytes.
const RECEIVE_BYTES: usize = 64 * 1024;

/// Where the body is.
enum Source {
    /// So many bytes are to come.
    Length { left: u64 },
    /// The coding says when it ends.
    Chunked(Decoder),
    /// All of it is here.
    Ended,
    /// It will never be whole.
    Broken(String),
}

/// How a request's body stood when its answer was out.
pub(super) enum BodyEnd {
    /// Read, or here: these bytes come after it.
    Whole { leftover: Vec<u8> },
    /// The client may be sending it still.
    Unread,
    /// No use reading on.
    Broken,
}

/// The stream.
#[pyclass(module = "uwsgi", name = "_Input")]
pub(super) struct Input {
    /// -1 when its request is over.
    fd: RawFd,
    source: Source,
    /// Received, not decoded.
    raw: Vec<u8>,
    raw_start: usize,
    /// Of the body, not read.
    body: Vec<u8>,
    body_start: usize,
    /// `limit-post`, in bytes; 0 is no limit.
    body_max_bytes: u64,
    decoded_bytes: u64,
    timeout_ms: u64,
    /// Whether the client waits for 100 Continue.
    expect_continue: bool,
    pub(super) read_errors: u64,
}

impl Input {
    /// Of a request without a body.
    pub(super) fn empty() -> Self {
        Self {
            fd: -1,
            source: Source::Ended,
            raw: Vec::new(),
            raw_start: 0,
            body: Vec::new(),
            body_start: 0,
            body_max_bytes: 0,
            decoded_bytes: 0,
            timeout_ms: 0,
            expect_continue: false,
            read_errors: 0,
        }
    }

    /// Of a request with one, of which `received` has come with the head.
    pub(super) fn new(
        fd: RawFd,
        body: Body,
        received: &[u8],
        expect_continue: bool,
        timeout_ms: u64,
        body_max_bytes: u64,
    ) -> Self {
        let source = match body {
            Body::Length(left) => Source::Length { left },
            Body::Chunked => Source::Chunked(Decoder::default()),
        };
        Self { fd, source, raw: received.to_vec(), expect_continue, timeout_ms, body_max_bytes, ..Self::empty() }
    }

    /// Whether the client has nothing of this body left to send, as far as can be told without reading.
    pub(super) fn is_here(&mut self) -> bool {
        let _ = self.take_what_is_here();
        matches!(self.source, Source::Ended)
    }

    /// The client is not to be asked for the body any more: the answer's head is out.
    pub(super) fn answer_has_begun(&mut self) {
        self.expect_continue = false;
    }

    /// The request is over.
    pub(super) fn finish(&mut self) -> BodyEnd {
        let _ = self.take_what_is_here();
        self.fd = -1;
        self.body = Vec::new();
        self.body_start = 0;
        match self.source {
            Source::Ended => BodyEnd::Whole { leftover: self.raw.split_off(self.raw_start) },
            Source::Length { .. } | Source::Chunked(_) => BodyEnd::Unread,
            Source::Broken(_) => BodyEnd::Broken,
        }
    }

    fn available(&self) -> &[u8] {
        &self.body[self.body_start..]
    }

    fn take(&mut self, bytes: usize) -> (usize, usize) {
        let start = self.body_start;
        let end = (start + bytes).min(self.body.len());
        self.body_start = end;
        (start, end)
    }

    /// Moves received bytes to the body. An error breaks the stream for good.
    fn take_what_is_here(&mut self) -> Result<(), String> {
        if self.body_start == self.body.len() {
            self.body.clear();
            self.body_start = 0;
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
                self.body.extend_from_slice(&raw[..take]);
                self.raw_start += take;
                *left -= take as u64;
                if *left == 0 {
                    self.source = Source::Ended;
                }
            }
            Source::Chunked(decoder) => {
                let before = self.body.len();
                self.body.resize(before + raw.len(), 0);
                let progress = decoder
                    .decode(raw, &mut self.body[before..])
                    .map_err(|bad| format!("the chunked body is malformed: {}", bad.0))?;
                self.body.truncate(before + progress.written);
                self.raw_start += progress.read;
                self.decoded_bytes += progress.written as u64;
                if self.body_max_bytes != 0 && self.decoded_bytes > self.body_max_bytes {
                    return Err("the chunked body is longer than limit-post allows".to_owned());
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

    /// Gets more of the body; false at its end.
    fn more(&mut self, py: Python<'_>, asked: &str) -> PyResult<bool> {
        let before = self.available().len();
        loop {
            if let Err(reason) = self.take_what_is_here() {
                return Err(PyOSError::new_err(reason));
            }
            if self.available().len() > before {
                return Ok(true);
            }
            if matches!(self.source, Source::Ended) {
                return Ok(false);
            }
            if let Err(reason) = self.receive(py, asked)? {
                self.read_errors += 1;
                self.source = Source::Broken(reason.clone());
                return Err(PyOSError::new_err(reason));
            }
        }
    }

    /// Waits for the client. The outer error is what a signal handler of the app raised.
    fn receive(&mut self, py: Python<'_>, asked: &str) -> PyResult<Result<(), String>> {
        if self.fd < 0 {
            return Ok(Err("the request of this wsgi.input is over".to_owned()));
        }
        if std::mem::take(&mut self.expect_continue)
            && let Err(error) =
                super::send::send_all(py, self.fd, [b"HTTP/1.1 100 Continue\r\n\r\n", b"", b""], self.timeout_ms)
        {
            return Ok(Err(error.to_string()));
        }
        loop {
            match os::receive(self.fd, &mut self.raw, RECEIVE_BYTES) {
                Ok(0) => return Ok(Err(format!("the client went away during {asked} on wsgi.input"))),
                Ok(_) => return Ok(Ok(())),
                Err(error) if os::would_block(&error) => {}
                Err(error) => return Ok(Err(format!("error during {asked} on wsgi.input: {error}"))),
            }
            let (fd, timeout_ms) = (self.fd, self.timeout_ms);
            match py.detach(|| os::wait(fd, Ready::Read, timeout_ms)) {
                Ok(true) => {}
                Ok(false) => return Ok(Err(format!("timeout during {asked} on wsgi.input"))),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => py.check_signals()?,
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
    }

    fn read_bytes<'py>(&mut self, py: Python<'py>, most: Option<usize>) -> PyResult<Bound<'py, PyBytes>> {
        let asked = most.map_or_else(|| "read()".to_owned(), |most| format!("read({most})"));
        while most.is_none_or(|most| self.available().len() < most) && self.more(py, &asked)? {}
        let (start, end) = self.take(most.unwrap_or(usize::MAX));
        Ok(PyBytes::new(py, &self.body[start..end]))
    }

    fn line<'py>(&mut self, py: Python<'py>, most: Option<usize>) -> PyResult<Bound<'py, PyBytes>> {
        let most = most.unwrap_or(usize::MAX);
        let mut looked_at = 0;
        let length = loop {
            let available = self.available();
            if let Some(at) = memchr::memchr(b'\n', &available[looked_at..]) {
                break (looked_at + at + 1).min(most);
            }
            looked_at = available.len();
            if looked_at >= most || !self.more(py, "readline()")? {
                break looked_at.min(most);
            }
        };
        let (start, end) = self.take(length);
        Ok(PyBytes::new(py, &self.body[start..end]))
    }
}

/// None and negative numbers ask for everything, as in Python's io.
fn bound(size: Option<isize>) -> Option<usize> {
    size.and_then(|size| usize::try_from(size).ok())
}

#[pymethods]
impl Input {
    #[pyo3(signature = (size=None, /))]
    fn read<'py>(&mut self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.read_bytes(py, bound(size))
    }

    #[pyo3(signature = (size=None, /))]
    fn readline<'py>(&mut self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.line(py, bound(size))
    }

    #[pyo3(signature = (hint=None, /))]
    fn readlines<'py>(&mut self, py: Python<'py>, hint: Option<isize>) -> PyResult<Bound<'py, PyList>> {
        let lines = PyList::empty(py);
        let enough = bound(hint).filter(|hint| *hint > 0).unwrap_or(usize::MAX);
        let mut bytes = 0;
        while bytes < enough {
            let line = self.line(py, None)?;
            let length = line.as_bytes().len();
            if length == 0 {
                break;
            }
            bytes += length;
            lines.append(line)?;
        }
        Ok(lines)
    }

    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let line = self.line(py, None)?;
        if line.as_bytes().is_empty() { Err(PyStopIteration::new_err(())) } else { Ok(line) }
    }

    /// Nothing: the server closes the connection.
    fn close(&self) {}
}
