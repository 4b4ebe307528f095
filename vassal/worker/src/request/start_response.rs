//! `start_response` and the `write` it returns (PEP 3333). One object per thread serves request after request, unless
//! the app has kept it.

use pyo3::{
    PyTraverseError, PyVisit,
    exceptions::{PyAssertionError, PyTypeError, PyValueError},
    ffi,
    prelude::*,
    types::{PyBytes, PyList, PyString, PyTuple},
};

use super::{head::HeaderKind, recalled::Recalled, response::Response};
use crate::python::in_latin1;

/// The callable.
#[pyclass(module = "uwsgi", name = "start_response")]
pub(crate) struct StartResponse {
    pub(crate) response: Response,
    /// `self.write`, made once.
    write: Option<Py<PyAny>>,
    statuses: Recalled<Status>,
    names: Recalled<Name>,
}

/// A status that is well formed.
struct Status {
    number: u16,
    line: Box<[u8]>,
}

/// The name of a header that is well formed.
struct Name {
    bytes: Box<[u8]>,
    kind: HeaderKind,
}

impl StartResponse {
    pub(super) fn new() -> Self {
        Self { response: Response::new(), write: None, statuses: Recalled::nothing(), names: Recalled::nothing() }
    }

    /// Whether nobody but its thread holds it. The bound method refers to it, [`crate::serve::Serving::answer_of`] does, and so
    /// does the borrow here.
    pub(super) fn is_unshared(py: Python<'_>, this: &Py<Self>) -> bool {
        let Ok(inner) = this.try_borrow(py) else { return false };
        match &inner.write {
            None => references(this) == 3,
            Some(write) => references(this) == 4 && references(write) == 1,
        }
    }
}

#[pymethods]
impl StartResponse {
    #[pyo3(signature = (status, response_headers, exc_info=None))]
    fn __call__(
        this: &Bound<'_, Self>,
        status: &Bound<'_, PyAny>,
        response_headers: &Bound<'_, PyAny>,
        exc_info: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let py = this.py();
        let mut inner = this.try_borrow_mut()?;
        if inner.response.is_sent() {
            // Too late for another status: the exception goes on through the app (PEP 3333, "Error Handling").
            return Err(match exc_info.filter(|given| given.is_truthy().unwrap_or(false)) {
                Some(exc_info) => PyErr::from_value(exc_info.get_item(1)?),
                None => PyAssertionError::new_err("start_response was called after the headers were sent"),
            });
        }
        if inner.response.is_started() && !exc_info.is_some_and(|given| given.is_truthy().unwrap_or(false)) {
            return Err(PyAssertionError::new_err("start_response was called twice without exc_info"));
        }
        if let Err(error) = inner.take(status, response_headers) {
            inner.response.unstart();
            return Err(error);
        }
        match &inner.write {
            Some(write) => Ok(write.clone_ref(py)),
            None => {
                drop(inner);
                let write = this.getattr("write")?.unbind();
                this.try_borrow_mut()?.write = Some(write.clone_ref(py));
                Ok(write)
            }
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.write)
    }

    fn __clear__(&mut self) {
        self.write = None;
    }

    fn write(&mut self, py: Python<'_>, body: &Bound<'_, PyBytes>) -> PyResult<()> {
        self.response.write(py, body.as_bytes())
    }
}

fn references<T>(object: &Py<T>) -> isize {
    // SAFETY: a live object.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
}

impl StartResponse {
    fn take(&mut self, status: &Bound<'_, PyAny>, headers: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = status.py();
        let status = status.cast::<PyString>().map_err(|_| PyTypeError::new_err("the status must be of type str"))?;
        let status = self.statuses.of(status, Status::of)?;
        let changes_protocol = status.number == 101;
        if changes_protocol && !self.response.may_change_protocol(py) {
            return Err(PyValueError::new_err(
                "101 answers only a request over HTTP/1.1 that asks for another protocol (Connection: Upgrade)",
            ));
        }
        self.response.start(status.number, &status.line);
        let headers = headers.cast::<PyList>().map_err(|_| PyTypeError::new_err("the headers must be a list"))?;
        for header in headers.iter() {
            let pair = header.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2);
            let pair = pair.ok_or_else(|| PyTypeError::new_err("a header must be a tuple of two"))?;
            let (name, value) = (pair.get_borrowed_item(0)?, pair.get_borrowed_item(1)?);
            let name =
                name.cast::<PyString>().map_err(|_| PyTypeError::new_err("a header's name must be of type str"))?;
            let value =
                value.cast::<PyString>().map_err(|_| PyTypeError::new_err("a header's value must be of type str"))?;
            let (name, value) = (self.names.of(&name, Name::of)?, in_latin1(&value)?);
            if has_controls(value.bytes()) {
                return Err(PyValueError::new_err("a header's value has control characters"));
            }
            self.response.header(name.kind, &name.bytes, value.bytes().trim_ascii()).map_err(PyValueError::new_err)?;
        }
        if changes_protocol && !self.response.names_a_protocol() {
            return Err(PyValueError::new_err("101 needs a header Upgrade that says which protocol comes next"));
        }
        Ok(())
    }
}

impl Status {
    fn of(text: &Bound<'_, PyString>) -> PyResult<Self> {
        let line = in_latin1(text)?;
        let number = status_number(line.bytes()).ok_or_else(|| {
            PyValueError::new_err("the status must be three digits, a blank and a reason, such as \"200 OK\"")
        })?;
        Ok(Self { number, line: line.bytes().into() })
    }
}

impl Name {
    fn of(text: &Bound<'_, PyString>) -> PyResult<Self> {
        let name = in_latin1(text)?;
        if !is_token(name.bytes()) {
            return Err(PyValueError::new_err("a header's name has characters that no header has"));
        }
        Ok(Self { bytes: name.bytes().into(), kind: HeaderKind::of(name.bytes()) })
    }
}

/// From `200 OK`; without control characters, final statuses only, and 101, behind which nothing of HTTP comes.
fn status_number(line: &[u8]) -> Option<u16> {
    let (digits, reason) = line.split_at_checked(3)?;
    let well_formed =
        digits.iter().all(u8::is_ascii_digit) && matches!(reason, [] | [b' ', ..]) && !has_controls(reason);
    let number = digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit.wrapping_sub(b'0')));
    (well_formed && (number == 101 || (200..=599).contains(&number))).then_some(number)
}

/// RFC 9110 section 5.6.2.
fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| TOKEN[usize::from(*byte)])
}

/// The characters of a token.
const TOKEN: [bool; 256] = {
    let mut token = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        token[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < others.len() {
        token[others[at] as usize] = true;
        at += 1;
    }
    token
};

fn has_controls(value: &[u8]) -> bool {
    let (words, rest) = value.as_chunks::<8>();
    words.iter().any(|word| may_have_controls(u64::from_le_bytes(*word)) && word.iter().any(|byte| is_control(*byte)))
        || rest.iter().any(|byte| is_control(*byte))
}

/// Whether one of eight bytes is below a blank or is DEL; now and then also when none is. ("Bit Twiddling Hacks", S. E. Anderson.)
fn may_have_controls(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 255;
    let del = word ^ (ONES * 0x7f);
    let below = word.wrapping_sub(ONES * 0x20) & !word;
    let is_del = del.wrapping_sub(ONES) & !del;
    (below | is_del) & (ONES * 0x80) != 0
}

fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}
