//! Names and common values of environ as Python strings, made once: a dictionary finds an interned string by its
//! address. Header names are remembered as clients spell them, up to a bound.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use empery_wire::vars::cgi_name;
use pyo3::{prelude::*, types::PyString};

use crate::python;

/// Most names remembered.
const REMEMBERED_MAX: usize = 512;

type Table = HashMap<Box<[u8]>, Py<PyAny>, BuildHasherDefault<Fnv>>;

/// The strings.
pub(super) struct Names {
    pub(super) request_method: Py<PyString>,
    pub(super) request_uri: Py<PyString>,
    pub(super) path_info: Py<PyString>,
    pub(super) query_string: Py<PyString>,
    pub(super) server_protocol: Py<PyString>,
    pub(super) remote_addr: Py<PyString>,
    pub(super) remote_port: Py<PyString>,
    pub(super) url_scheme: Py<PyString>,
    pub(super) input: Py<PyString>,
    pub(super) http_host: Py<PyString>,
    pub(super) https: Py<PyString>,
    pub(super) http_1_1: Py<PyString>,
    pub(super) http_1_0: Py<PyString>,
    pub(super) empty: Py<PyString>,
    methods: Table,
    headers: Table,
    vars: Table,
}

impl Names {
    pub(super) fn new(py: Python<'_>) -> Self {
        let intern = |text: &str| PyString::intern(py, text).unbind();
        let mut methods = Table::default();
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
            methods.insert(method.as_bytes().into(), intern(method).into_any());
        }
        Self {
            request_method: intern("REQUEST_METHOD"),
            request_uri: intern("REQUEST_URI"),
            path_info: intern("PATH_INFO"),
            query_string: intern("QUERY_STRING"),
            server_protocol: intern("SERVER_PROTOCOL"),
            remote_addr: intern("REMOTE_ADDR"),
            remote_port: intern("REMOTE_PORT"),
            url_scheme: intern("wsgi.url_scheme"),
            input: intern("wsgi.input"),
            http_host: intern("HTTP_HOST"),
            https: intern("https"),
            http_1_1: intern("HTTP/1.1"),
            http_1_0: intern("HTTP/1.0"),
            empty: intern(""),
            methods,
            headers: Table::default(),
            vars: Table::default(),
        }
    }

    pub(super) fn method<'py>(&self, py: Python<'py>, method: &str) -> PyResult<Bound<'py, PyAny>> {
        match self.methods.get(method.as_bytes()) {
            Some(known) => Ok(known.bind(py).clone()),
            None => python::latin1(py, method.as_bytes()),
        }
    }

    /// The CGI name of a header.
    pub(super) fn header<'py>(&mut self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        remembered(&mut self.headers, py, name.as_bytes(), cgi_name)
    }

    /// A variable of the uwsgi protocol.
    pub(super) fn var<'py>(&mut self, py: Python<'py>, key: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        remembered(&mut self.vars, py, key, <[u8]>::to_vec)
    }
}

fn remembered<'py>(
    table: &mut Table,
    py: Python<'py>,
    name: &[u8],
    spell: impl Fn(&[u8]) -> Vec<u8>,
) -> PyResult<Bound<'py, PyAny>> {
    if let Some(known) = table.get(name) {
        return Ok(known.bind(py).clone());
    }
    let spelled = spell(name);
    let text = match std::str::from_utf8(&spelled) {
        Ok(ascii) if ascii.is_ascii() => PyString::intern(py, ascii).into_any(),
        _ => python::latin1(py, &spelled)?,
    };
    if table.len() < REMEMBERED_MAX {
        table.insert(name.into(), text.clone().unbind());
    }
    Ok(text)
}

/// FNV-1a: short names, bounded tables.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
