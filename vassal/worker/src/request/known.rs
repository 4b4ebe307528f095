//! What a request has in common with those before it, so that it is made once: headers as clients spell them, and the
//! values that a client sends with each of its requests.

use std::collections::HashMap;

use empery_wire::vars::cgi_name;
use pyo3::{prelude::*, types::PyString};

use super::names::Hashing;
use crate::python;

/// Most spellings of headers remembered.
const HEADERS_MAX: usize = 512;

/// Longest text remembered, in bytes.
const TEXT_MAX_BYTES: usize = 1024;

/// A text of the last request that had one there.
#[derive(Default)]
pub(super) struct LastText {
    bytes: Vec<u8>,
    text: Option<Py<PyAny>>,
}

impl LastText {
    /// These bytes as a text, in Latin-1.
    pub(super) fn of<'py>(&mut self, py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        if let Some(text) = &self.text
            && self.bytes == bytes
        {
            return Ok(text.bind(py).clone());
        }
        let text = python::latin1(py, bytes)?;
        if bytes.len() <= TEXT_MAX_BYTES {
            self.bytes.clear();
            self.bytes.extend_from_slice(bytes);
            self.text = Some(text.clone().unbind());
        }
        Ok(text)
    }
}

/// A header under its CGI name.
struct Known {
    name: Py<PyAny>,
    value: LastText,
    /// The last request that had it.
    request: u64,
}

/// Headers that requests had.
#[derive(Default)]
pub(super) struct KnownHeaders {
    /// By their names as sent; several spellings are one header.
    places: HashMap<Box<[u8]>, usize, Hashing>,
    known: Vec<Known>,
    request: u64,
    /// A header of this request had no place: nobody knows which of those that follow it was.
    has_strangers: bool,
}

/// A header for environ.
pub(super) struct Entry<'py> {
    pub(super) name: Bound<'py, PyAny>,
    pub(super) value: Bound<'py, PyAny>,
    /// Whether this request may have had it before.
    pub(super) may_repeat: bool,
}

impl KnownHeaders {
    /// What comes belongs to another request.
    pub(super) fn next_request(&mut self) {
        self.request += 1;
        self.has_strangers = false;
    }

    /// A header of this request.
    pub(super) fn entry<'py>(&mut self, py: Python<'py>, name: &str, value: &[u8]) -> PyResult<Entry<'py>> {
        let Some(place) = self.place(py, name.as_bytes()) else {
            self.has_strangers = true;
            let name = PyString::new(py, &String::from_utf8_lossy(&cgi_name(name.as_bytes()))).into_any();
            return Ok(Entry { name, value: python::latin1(py, value)?, may_repeat: true });
        };
        let request = self.request;
        let known = &mut self.known[place];
        let may_repeat = std::mem::replace(&mut known.request, request) == request || self.has_strangers;
        Ok(Entry { name: known.name.bind(py).clone(), value: known.value.of(py, value)?, may_repeat })
    }

    /// Where it is; None when there is no place left.
    fn place(&mut self, py: Python<'_>, name: &[u8]) -> Option<usize> {
        if let Some(place) = self.places.get(name) {
            return Some(*place);
        }
        if self.places.len() >= HEADERS_MAX {
            return None;
        }
        // Interned, so that one CGI name is one object.
        let spelled = PyString::intern(py, std::str::from_utf8(&cgi_name(name)).ok()?).into_any();
        let place = self.known.iter().position(|known| known.name.is(&spelled)).unwrap_or(self.known.len());
        if place == self.known.len() {
            self.known.push(Known { name: spelled.unbind(), value: LastText::default(), request: 0 });
        }
        self.places.insert(name.into(), place);
        Some(place)
    }
}
