//! environ (PEP 3333, "environ Variables"): a prepared dictionary copied for each request, and what the request adds.

use std::net::SocketAddr;

use empery_control::boot::AppBoot;
use empery_wire::{gateway::tls_variables, http::Head};
use pyo3::{
    ffi,
    prelude::*,
    types::{PyBytes, PyDict, PyString},
};

use super::{
    Tools,
    file_wrapper::FileWrapper,
    http_rules,
    input::Input,
    known::Entry,
    names::Names,
    repeated::{Beginning, Headers, Use},
    rules::Routed,
    who::Who,
};
use crate::{python, serve::connection::Connection, worker::Worker};

/// What a request is unless it says otherwise.
const METHOD: &str = "GET";

/// Prefix of the variables by which a peer of uWSGI may load code and read files; only the scheme is honoured here.
pub(super) const CONTROL_PREFIX: &[u8] = b"UWSGI_";

/// The dictionaries to copy, one for each listener.
pub(super) struct Templates {
    of_listeners: Vec<Py<PyDict>>,
    /// The same with what a web server sends each time; one for each listener.
    beginnings: Vec<Beginning>,
    headers: Headers,
    /// Control variables that have been named in the log.
    warned_of: Vec<Vec<u8>>,
}

impl Templates {
    pub(super) fn new(py: Python<'_>, boot: &AppBoot, core: u32) -> PyResult<Self> {
        let common = PyDict::new(py);
        let sys = py.import("sys")?;
        put(&common, "wsgi.version", (1, 0))?;
        put(&common, "wsgi.url_scheme", "http")?;
        put(&common, "wsgi.errors", sys.getattr("stderr")?)?;
        put(&common, "wsgi.multithread", boot.threads > 1)?;
        put(&common, "wsgi.multiprocess", boot.processes > 1)?;
        put(&common, "wsgi.run_once", false)?;
        // What Werkzeug and others ask for before they read a body without Content-Length: read() ends where the body ends.
        put(&common, "wsgi.input_terminated", true)?;
        // Of most requests; those with a body get their own.
        put(&common, "wsgi.input", Py::new(py, Input::empty())?)?;
        if !boot.apps.no_file_wrapper {
            put(&common, "wsgi.file_wrapper", py.get_type::<FileWrapper>())?;
        }
        put(&common, "uwsgi.version", PyBytes::new(py, crate::uwsgi_module::VERSION.as_bytes()))?;
        put(&common, "uwsgi.node", PyBytes::new(py, &crate::uwsgi_module::hostname()))?;
        if boot.threads > 1 {
            put(&common, "uwsgi.core", core)?;
        }
        put(&common, "SCRIPT_NAME", "")?;
        let (mut of_listeners, mut beginnings) = (Vec::new(), Vec::new());
        for listener in &boot.listeners {
            let own = common.copy()?;
            if listener.protocol == empery_control::boot::Protocol::Http {
                put(&own, "SERVER_NAME", &listener.server_name)?;
                put(&own, "SERVER_PORT", &listener.server_port)?;
                // What every request has: setting it anew does not make the copy grow, and most need not set these at all.
                put(&own, "REQUEST_METHOD", METHOD)?;
                put(&own, "SERVER_PROTOCOL", "HTTP/1.1")?;
                for name in ["QUERY_STRING", "REQUEST_URI", "PATH_INFO", "REMOTE_ADDR", "REMOTE_PORT"] {
                    put(&own, name, "")?;
                }
            }
            make_room(&own)?;
            beginnings.push(Beginning::none(own.copy()?.unbind()));
            of_listeners.push(own.unbind());
        }
        Ok(Self { of_listeners, beginnings, headers: Headers::default(), warned_of: Vec::new() })
    }

    fn copy<'py>(&self, py: Python<'py>, listener: usize) -> PyResult<Bound<'py, PyDict>> {
        match self.of_listeners.get(listener) {
            Some(template) => template.bind(py).copy(),
            None => Ok(PyDict::new(py)),
        }
    }
}

/// Makes the table of a template as large as the next size up, for the headers. A copy has the table of its original,
/// of which it copies what is gone again as well, unless that is a third (CPython's `PyDict_Copy`); a copy that has to
/// grow costs as much as the rest of environ.
pub(super) fn make_room(template: &Bound<'_, PyDict>) -> PyResult<()> {
    // A table is two thirds full at most.
    let held = (template.len() * 3).div_ceil(2).next_power_of_two() * 2 / 3;
    let names: Vec<_> = (template.len()..=held).map(|number| format!("room {number}")).collect();
    if names.len() * 2 > template.len() {
        return Ok(());
    }
    for name in &names {
        template.set_item(name, "")?;
    }
    for name in &names {
        template.del_item(name)?;
    }
    Ok(())
}

/// Sets an item of a template. Its name is interned, as those are by which apps ask, so that they are found by their address.
fn put<'py>(template: &Bound<'py, PyDict>, name: &str, value: impl IntoPyObject<'py>) -> PyResult<()> {
    template.set_item(PyString::intern(template.py(), name), value)
}

/// Sets an item without the detours of conversions.
pub(super) fn set<T, U>(environ: &Bound<'_, PyDict>, key: &Bound<'_, T>, value: &Bound<'_, U>) -> PyResult<()> {
    // SAFETY: three live objects, the first a dict; the dict takes references of its own.
    let result = unsafe { ffi::PyDict_SetItem(environ.as_ptr(), key.as_ptr(), value.as_ptr()) };
    if result < 0 { Err(PyErr::fetch(environ.py())) } else { Ok(()) }
}

/// environ of an HTTP request.
pub(super) fn of_http<'py>(
    py: Python<'py>,
    tools: &mut Tools,
    connection: &mut Connection,
    head: &Head<'_>,
    who: &Who<'_>,
) -> PyResult<Bound<'py, PyDict>> {
    let environ = tools.templates.copy(py, connection.listener)?;
    let listener = tools.worker.boot.listeners.get(connection.listener);
    let Tools { names, known, last_uri, scratch, .. } = tools;
    if head.method != METHOD {
        set(&environ, names.request_method.bind(py), &names.method(py, head.method)?)?;
    }
    let uri = last_uri.of(py, head.target.whole)?;
    set(&environ, names.request_uri.bind(py), &uri)?;
    let path = if head.target.path == head.target.whole && memchr::memchr(b'%', head.target.path).is_none() {
        uri
    } else {
        http_rules::path_info(listener, head.target.path, scratch);
        python::latin1(py, scratch)?
    };
    set(&environ, names.path_info.bind(py), &path)?;
    if !head.target.query.is_empty() {
        set(&environ, names.query_string.bind(py), &python::latin1(py, head.target.query)?)?;
    }
    if head.minor_version == 0 {
        set(&environ, names.server_protocol.bind(py), names.http_1_0.bind(py))?;
    }
    remote(py, names, connection, who, &environ)?;
    known.next_request();
    for header in head.headers.iter().filter(|header| who.shows(header.name)) {
        let Entry { name, value, may_repeat } = known.entry(py, header.name, header.value)?;
        if may_repeat {
            add_header(&environ, &name, header.name, value)?;
        } else {
            set(&environ, &name, &value)?;
        }
    }
    if who.is_https {
        set(&environ, names.url_scheme.bind(py), names.https.bind(py))?;
        environ.set_item("HTTPS", "on")?;
    }
    for (name, value) in &who.tls {
        let (name, uwsgi_name, value) = tls_variables(name, value);
        let value = python::latin1(py, &value)?;
        if let Some(uwsgi_name) = uwsgi_name {
            environ.set_item(uwsgi_name, &value)?;
        }
        environ.set_item(name, value)?;
    }
    if let Some(authority) = who.host.or(head.target.authority) {
        set(&environ, names.http_host.bind(py), &python::latin1(py, authority)?)?;
    }
    http_rules::add_to(&environ, listener)?;
    Ok(environ)
}

fn remote(
    py: Python<'_>,
    names: &Names,
    connection: &mut Connection,
    who: &Who<'_>,
    environ: &Bound<'_, PyDict>,
) -> PyResult<()> {
    if who.peer.is_none() {
        // As the template says it.
        return Ok(());
    }
    let made;
    let (address, port) = if who.peer == connection.peer {
        connection.remote.get_or_insert_with(|| address_and_port(py, who.peer))
    } else {
        made = address_and_port(py, who.peer);
        &made
    };
    set(environ, names.remote_addr.bind(py), address.bind(py))?;
    set(environ, names.remote_port.bind(py), port.bind(py))
}

fn address_and_port(py: Python<'_>, peer: Option<SocketAddr>) -> (Py<PyAny>, Py<PyAny>) {
    let (address, port) = peer.map_or_else(Default::default, |peer| {
        // What a proxy names often has no port.
        let port = if peer.port() == 0 { String::new() } else { peer.port().to_string() };
        (peer.ip().to_string(), port)
    });
    (PyString::new(py, &address).into_any().unbind(), PyString::new(py, &port).into_any().unbind())
}

/// A repeated header is joined (RFC 9110 section 5.3), Cookie by a semicolon (RFC 9113 section 8.2.3).
fn add_header<'py>(
    environ: &Bound<'py, PyDict>,
    key: &Bound<'py, PyAny>,
    name: &str,
    value: Bound<'py, PyAny>,
) -> PyResult<()> {
    match environ.get_item(key)? {
        None => set(environ, key, &value),
        Some(before) => {
            let between = if name.eq_ignore_ascii_case("cookie") { "; " } else { ", " };
            let joined = PyString::new(environ.py(), between).call_method1("join", ([before, value],))?;
            set(environ, key, &joined)
        }
    }
}

/// environ of a request of a web server: its variables as they are, but for those by which it could steer this server.
pub(super) fn of_vars<'py>(
    py: Python<'py>,
    tools: &mut Tools,
    connection: &Connection,
    vars: &[(&[u8], &[u8])],
    who: &Who<'_>,
) -> PyResult<Bound<'py, PyDict>> {
    let (beginning, headers) = vars.split_at(Beginning::length(vars));
    let Tools { templates, worker, .. } = tools;
    let Templates { of_listeners, beginnings, headers: known, warned_of } = templates;
    let mut refuse = |key: &[u8]| warn_once(worker, warned_of, key);
    let environ = match (of_listeners.get(connection.listener), beginnings.get_mut(connection.listener)) {
        (Some(base), Some(known)) => known.environ(py, base, beginning, &mut refuse)?,
        _ => PyDict::new(py),
    };
    for (key, value) in headers.iter().filter(|(key, _)| who.shows_variable(key)) {
        known.take(py, key, value, |usage, value| match usage {
            Use::Item(name) => set(&environ, name.bind(py), &value),
            Use::Scheme => Ok(()),
            Use::Refused => {
                refuse(key);
                Ok(())
            }
        })?;
    }
    if tools.trusted.is_said() {
        let names = &tools.names;
        if let Some(peer) = who.peer {
            let (address, port) = address_and_port(py, Some(peer));
            set(&environ, names.remote_addr.bind(py), address.bind(py))?;
            set(&environ, names.remote_port.bind(py), port.bind(py))?;
        }
        if let Some(host) = who.host {
            set(&environ, names.http_host.bind(py), &python::latin1(py, host)?)?;
        }
    }
    match vars.iter().rfind(|(key, _)| *key == b"UWSGI_SCHEME") {
        Some((_, scheme)) => set(&environ, tools.names.url_scheme.bind(py), &python::latin1(py, scheme)?)?,
        None if who.is_https => set(&environ, tools.names.url_scheme.bind(py), tools.names.https.bind(py))?,
        None => {}
    }
    Ok(environ)
}

/// Variables as they are before the app sees them; those that are no texts are left out.
pub(super) fn kept(environ: &Bound<'_, PyDict>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let text = |object: &Bound<'_, PyAny>| -> Option<Vec<u8>> {
        Some(python::in_latin1(object.cast::<PyString>().ok()?).ok()?.bytes().to_vec())
    };
    environ.iter().filter_map(|(name, value)| Some((text(&name)?, text(&value)?))).collect()
}

/// What routes have made of a request.
pub(super) fn add_routed(environ: &Bound<'_, PyDict>, routed: &Routed) -> PyResult<()> {
    let py = environ.py();
    for (name, value) in routed.said().variables() {
        let name = if name == b"UWSGI_SCHEME" { "wsgi.url_scheme".into() } else { String::from_utf8_lossy(name) };
        environ.set_item(name, python::latin1(py, value)?)?;
    }
    Ok(())
}

/// Most variables that are remembered as warned of.
const WARNED_OF_MAX: usize = 64;

fn warn_once(worker: &Worker, warned_of: &mut Vec<Vec<u8>>, key: &[u8]) {
    if warned_of.len() < WARNED_OF_MAX && !warned_of.iter().any(|known| known == key) {
        warned_of.push(key.to_vec());
        worker.log(&format!("the variable {} is ignored: a peer must not steer the server by it", key.escape_ascii()));
    }
}
