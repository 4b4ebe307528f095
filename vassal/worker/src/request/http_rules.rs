//! What the configuration says of the requests of an HTTP listener (`http-var` and its relatives), where routes, static files and
//! environ ask for it.

use empery_control::boot::AppListener;
use empery_wire::target::{percent_decode, percent_decode_but_slashes};
use pyo3::{prelude::*, types::PyDict};

use crate::python;

/// PATH_INFO of a path as it was sent, into `into` (cleared first).
pub(super) fn path_info(listener: Option<&AppListener>, path: &[u8], into: &mut Vec<u8>) {
    if keeps_encoded_slashes(listener) {
        percent_decode_but_slashes(path, into);
    } else {
        percent_decode(path, into);
    }
}

fn keeps_encoded_slashes(listener: Option<&AppListener>) -> bool {
    listener.is_some_and(|listener| listener.http.keeps_encoded_slashes)
}

/// A variable that does not depend on what the request says of it.
pub(super) fn variable<'l>(listener: Option<&'l AppListener>, name: &[u8]) -> Option<&'l [u8]> {
    let vars = &listener?.http.vars;
    vars.iter().rfind(|(known, _)| known.as_bytes() == name).map(|(_, value)| value.as_bytes())
}

/// Adds what each request of this listener has. Comes last: no header of a client takes the place of `http-var`.
pub(super) fn add_to(environ: &Bound<'_, PyDict>, listener: Option<&AppListener>) -> PyResult<()> {
    let Some(AppListener { http, .. }) = listener else { return Ok(()) };
    if http.server_name_is_host
        && let Some(host) = environ.get_item("HTTP_HOST")?
    {
        environ.set_item("SERVER_NAME", host)?;
    }
    for (name, value) in &http.vars {
        environ.set_item(name, python::latin1(environ.py(), value.as_bytes())?)?;
    }
    Ok(())
}
