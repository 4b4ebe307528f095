//! The variables of a web server: request after request it sends the same names in the same order, and most values are the
//! same too. What comes before the client's own headers is kept as a whole, with the environ that was made of it, so that
//! only what differs from the last request is made anew; of the headers, each name and its last value.

use std::collections::HashMap;

use pyo3::{
    prelude::*,
    types::{PyDict, PyString},
};

use super::{
    environ::{CONTROL_PREFIX, make_room, set},
    known::LastText,
    names::Hashing,
};
use crate::python;

/// What the names of a client's headers begin with.
const HEADER_PREFIX: &[u8] = b"HTTP_";

/// Most names of headers remembered.
const REMEMBERED_MAX: usize = 512;

/// What becomes of a variable.
pub(super) enum Use {
    /// An item of environ, under this name.
    Item(Py<PyAny>),
    /// `wsgi.url_scheme`.
    Scheme,
    /// Nothing: a peer must not steer the server by it.
    Refused,
}

impl Use {
    /// `lasts` when it is one of a bounded number: CPython 3.12 never frees an interned string.
    fn of(py: Python<'_>, key: &[u8], lasts: bool) -> PyResult<Self> {
        if key == b"UWSGI_SCHEME" {
            return Ok(Self::Scheme);
        }
        // wsgi.input and the like are ours to set.
        if key.starts_with(CONTROL_PREFIX) || memchr::memchr(b'.', key).is_some() {
            return Ok(Self::Refused);
        }
        Ok(Self::Item(match std::str::from_utf8(key) {
            Ok(ascii) if lasts && ascii.is_ascii() => PyString::intern(py, ascii).into_any().unbind(),
            _ => python::latin1(py, key)?.unbind(),
        }))
    }
}

/// A variable of the last request.
struct Last {
    key: Box<[u8]>,
    value: Vec<u8>,
    usage: Use,
}

/// The variables before the client's headers.
pub(super) struct Beginning {
    last: Vec<Last>,
    /// How many names there were, with those of earlier requests.
    learned: usize,
    /// What environ is with them and nothing else.
    environ: Py<PyDict>,
}

impl Beginning {
    /// None yet.
    pub(super) fn none(environ: Py<PyDict>) -> Self {
        Self { last: Vec::new(), learned: 0, environ }
    }

    /// How many variables those are.
    pub(super) fn length(vars: &[(&[u8], &[u8])]) -> usize {
        vars.iter().position(|(key, _)| key.starts_with(HEADER_PREFIX)).unwrap_or(vars.len())
    }

    /// environ with these; `base` is environ without any. Those that are refused are named to `refuse` when they are new.
    pub(super) fn environ<'py>(
        &mut self,
        py: Python<'py>,
        base: &Py<PyDict>,
        vars: &[(&[u8], &[u8])],
        refuse: impl FnMut(&[u8]),
    ) -> PyResult<Bound<'py, PyDict>> {
        if self.follows(py, vars)? {
            return self.environ.bind(py).copy();
        }
        self.learn(py, base, vars, refuse)
    }

    /// Takes the values that differ from the last; false when the names do, and nothing is to be believed any more.
    fn follows(&mut self, py: Python<'_>, vars: &[(&[u8], &[u8])]) -> PyResult<bool> {
        if self.last.len() != vars.len() {
            return Ok(false);
        }
        for (last, (key, value)) in self.last.iter_mut().zip(vars) {
            if *last.key != **key {
                return Ok(false);
            }
            if last.value != *value {
                if let Use::Item(name) = &last.usage {
                    set(self.environ.bind(py), name.bind(py), &python::latin1(py, value)?)?;
                }
                last.value.clear();
                last.value.extend_from_slice(value);
            }
        }
        Ok(true)
    }

    fn learn<'py>(
        &mut self,
        py: Python<'py>,
        base: &Py<PyDict>,
        vars: &[(&[u8], &[u8])],
        mut refuse: impl FnMut(&[u8]),
    ) -> PyResult<Bound<'py, PyDict>> {
        self.last.clear();
        self.learned = self.learned.saturating_add(vars.len());
        let lasts = self.learned < REMEMBERED_MAX;
        self.environ = base.bind(py).copy()?.unbind();
        let environ = base.bind(py).copy()?;
        let mut last = Vec::with_capacity(vars.len());
        for (key, value) in vars {
            let usage = Use::of(py, key, lasts)?;
            match &usage {
                Use::Item(name) => set(&environ, name.bind(py), &python::latin1(py, value)?)?,
                Use::Scheme => {}
                Use::Refused => refuse(key),
            }
            last.push(Last { key: (*key).into(), value: value.to_vec(), usage });
        }
        // Of two of one name the later one counts, whichever of them differs the next time.
        let is_repeated = |at: usize| last[..at].iter().any(|before: &Last| before.key == last[at].key);
        if !(0..last.len()).any(is_repeated) {
            make_room(&environ)?;
            self.environ = environ.copy()?.unbind();
            self.last = last;
        }
        Ok(environ)
    }
}

/// The client's headers, and whatever comes between them.
#[derive(Default)]
pub(super) struct Headers(HashMap<Box<[u8]>, (Use, LastText), Hashing>);

impl Headers {
    /// Hands what becomes of a variable, and its value as a text, to `take`.
    pub(super) fn take<'py>(
        &mut self,
        py: Python<'py>,
        key: &[u8],
        value: &[u8],
        take: impl FnOnce(&Use, Bound<'py, PyAny>) -> PyResult<()>,
    ) -> PyResult<()> {
        if let Some((usage, last)) = self.0.get_mut(key) {
            return take(usage, last.of(py, value)?);
        }
        let has_room = self.0.len() < REMEMBERED_MAX;
        let (usage, mut last) = (Use::of(py, key, has_room)?, LastText::default());
        take(&usage, last.of(py, value)?)?;
        if has_room {
            self.0.insert(key.into(), (usage, last));
        }
        Ok(())
    }
}
