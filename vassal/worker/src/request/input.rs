//! `wsgi.input` (PEP 3333, "Input and Error Streams"): what the app reads of [`super::body`]. It ends where the body
//! ends; a body that is not whole is an OSError, never a short read.

use std::{mem::MaybeUninit, os::fd::RawFd, sync::Arc};

use empery_wire::framing::Body;
use pyo3::{
    exceptions::PyStopIteration,
    ffi,
    prelude::*,
    types::{PyBytes, PyList},
};

use super::{
    beside::Beside,
    body::{BodyEnd, BodyStream},
    patience::Patience,
};

/// Reads of at least this size are received into the object that the app gets; smaller ones are cut from a buffer.
const DIRECT_MIN_BYTES: usize = 16 * 1024;

/// Larger reads grow with what comes: a length that a client only claims must not be allocated.
const DIRECT_MAX_BYTES: usize = 64 * 1024 * 1024;

/// The stream.
#[pyclass(module = "uwsgi", name = "_Input")]
pub(crate) struct Input {
    body: BodyStream,
    framing: Body,
}

impl Input {
    /// Of a request without a body.
    pub(super) fn empty() -> Self {
        Self { body: BodyStream::empty(), framing: Body::Length(0) }
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
        Self { body: BodyStream::new(fd, body, received, patience, body_max_bytes, beside), framing: body }
    }

    /// Whether the client has not said how long it is.
    pub(crate) fn is_chunked(&self) -> bool {
        self.framing == Body::Chunked
    }

    /// How long it is, in bytes, when the client has said so.
    pub(crate) fn length(&self) -> Option<u64> {
        match self.framing {
            Body::Length(length) => Some(length),
            Body::Chunked | Body::Records { .. } => None,
        }
    }

    /// What has come, else what comes next; empty at its end. Without waiting None when nothing has come.
    pub(crate) fn piece<'py>(&mut self, py: Python<'py>, waits: bool) -> PyResult<Option<Bound<'py, PyBytes>>> {
        // What has been received may be decoded still.
        let _ = self.body.known_left();
        if self.body.available().is_empty() {
            if !waits && !self.body.has_come() {
                return Ok(None);
            }
            self.body.more(py, "chunked_read()")?;
        }
        Ok(Some(self.cut(py, usize::MAX)))
    }

    /// Whether the client has nothing of this body left to send, as far as can be told without reading.
    pub(super) fn is_here(&mut self) -> bool {
        self.body.is_here()
    }

    /// What has been read of it is lost: whoever reads on is told why.
    pub(super) fn break_off(&mut self, reason: String) {
        self.body.break_off(reason);
    }

    /// The request is over. Also how often reading failed.
    pub(super) fn finish(&mut self) -> (BodyEnd, u64) {
        (self.body.finish(), self.body.read_errors)
    }

    fn read_bytes<'py>(&mut self, py: Python<'py>, most: Option<usize>) -> PyResult<Bound<'py, PyBytes>> {
        let most = most.unwrap_or(usize::MAX);
        if self.body.available().len() < most {
            if let Some(bytes) = self.direct_bytes(most) {
                return self.read_direct(py, bytes);
            }
            let asked = if most == usize::MAX { "read()".to_owned() } else { format!("read({most})") };
            while self.body.available().len() < most && self.body.more(py, &asked)? {}
        }
        Ok(self.cut(py, most))
    }

    /// How much to receive directly; None when that is no use.
    fn direct_bytes(&mut self, most: usize) -> Option<usize> {
        let bytes = most.min(usize::try_from(self.body.known_left()?).ok()?);
        let to_come = bytes.saturating_sub(self.body.available().len());
        (DIRECT_MIN_BYTES..=DIRECT_MAX_BYTES).contains(&to_come).then_some(bytes)
    }

    fn read_direct<'py>(&mut self, py: Python<'py>, bytes: usize) -> PyResult<Bound<'py, PyBytes>> {
        // SAFETY: a null pointer asks for bytes that are not set yet. The result is a new reference or null with an exception set.
        let object = unsafe {
            Bound::from_owned_ptr_or_err(
                py,
                ffi::PyBytes_FromStringAndSize(std::ptr::null(), bytes as ffi::Py_ssize_t),
            )?
            .cast_into_unchecked::<PyBytes>()
        };
        // SAFETY: nobody else has seen the object, which is `bytes` long, and it is not seen before all of it is set.
        let space = unsafe {
            std::slice::from_raw_parts_mut(ffi::PyBytes_AsString(object.as_ptr()).cast::<MaybeUninit<u8>>(), bytes)
        };
        let mut filled = self.body.available().len();
        space[..filled].write_copy_of_slice(self.body.available());
        self.body.consume(filled);
        let received = self.body.receive_into(py, space, &mut filled, "read()");
        if let Err(error) = received {
            // SAFETY: so many bytes were written.
            let received = unsafe { std::slice::from_raw_parts(space.as_ptr().cast::<u8>(), filled) };
            self.body.put_back(received);
            return Err(error);
        }
        Ok(object)
    }

    /// Takes what is available, at most so much.
    fn cut<'py>(&mut self, py: Python<'py>, most: usize) -> Bound<'py, PyBytes> {
        let available = self.body.available();
        let length = available.len().min(most);
        let bytes = PyBytes::new(py, &available[..length]);
        self.body.consume(length);
        bytes
    }

    fn line<'py>(&mut self, py: Python<'py>, most: Option<usize>) -> PyResult<Bound<'py, PyBytes>> {
        let most = most.unwrap_or(usize::MAX);
        let mut looked_at = 0;
        let length = loop {
            let available = self.body.available();
            if let Some(at) = memchr::memchr(b'\n', &available[looked_at..]) {
                break (looked_at + at + 1).min(most);
            }
            looked_at = available.len();
            if looked_at >= most || !self.body.more(py, "readline()")? {
                break looked_at.min(most);
            }
        };
        Ok(self.cut(py, length))
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
