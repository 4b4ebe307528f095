//! Names and common values of environ as Python strings, made once: a dictionary finds an interned string by its
//! address. Headers are in [`super::known`].

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use pyo3::{prelude::*, types::PyString};

use crate::python;

type Table = HashMap<Box<[u8]>, Py<PyAny>, Hashing>;

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
    pub(super) http_1_0: Py<PyString>,
    methods: Table,
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
            http_1_0: intern("HTTP/1.0"),
            methods,
        }
    }

    pub(super) fn method<'py>(&self, py: Python<'py>, method: &str) -> PyResult<Bound<'py, PyAny>> {
        match self.methods.get(method.as_bytes()) {
            Some(known) => Ok(known.bind(py).clone()),
            None => python::latin1(py, method.as_bytes()),
        }
    }
}

/// For tables with a bound, whose keys are short.
pub(super) type Hashing = BuildHasherDefault<Words>;

/// Eight bytes a step, as rustc's tables of names.
#[derive(Default)]
pub(super) struct Words(u64);

impl Words {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for Words {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.add(u64::from_le_bytes(*word));
        }
        self.add(rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
    }

    fn write_usize(&mut self, length: usize) {
        self.add(length as u64);
    }
}
