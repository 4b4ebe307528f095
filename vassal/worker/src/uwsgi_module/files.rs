//! Functions of `uwsgi` that read something: packets in files, files themselves.

use std::path::PathBuf;

use pyo3::{
    exceptions::{PyOSError, PyValueError},
    prelude::*,
    types::{PyBytes, PyDict, PyModule},
};

use super::add_functions;

/// Bytes of the head of a packet: modifier 1, length, modifier 2.
const PACKET_HEAD_BYTES: usize = 4;

pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(module, parsefile, extract, embedded_data);
    Ok(())
}

/// The variables of a file with a packet of the uwsgi protocol (a spool file, for one): a dict of bytes. None when it
/// cannot be read or is no packet.
#[pyfunction]
#[pyo3(signature = (path, /))]
fn parsefile(py: Python<'_>, path: PathBuf) -> PyResult<Option<Bound<'_, PyDict>>> {
    let Some(content) = py.detach(|| std::fs::read(path)).ok() else { return Ok(None) };
    let Some((head, rest)) = content.split_at_checked(PACKET_HEAD_BYTES) else { return Ok(None) };
    let Some(mut vars) = rest.get(..usize::from(u16::from_le_bytes([head[1], head[2]]))) else { return Ok(None) };
    let dict = PyDict::new(py);
    while !vars.is_empty() {
        let (Some(key), Some(value)) = (cut(&mut vars), cut(&mut vars)) else { return Ok(None) };
        dict.set_item(PyBytes::new(py, key), PyBytes::new(py, value))?;
    }
    Ok(Some(dict))
}

/// A text behind its length.
fn cut<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first_chunk::<2>()?;
    let (text, behind) = behind.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    *rest = behind;
    Some(text)
}

/// The content of a file, bytes.
///
/// # Errors
/// OSError when it cannot be read, where uWSGI ends the worker; `ValueError` for a scheme (`http://`, `sym://`).
#[pyfunction]
#[pyo3(signature = (path, /))]
fn extract<'py>(py: Python<'py>, path: &str) -> PyResult<Bound<'py, PyBytes>> {
    if let Some((scheme, _)) = path.split_once("://") {
        return Err(PyValueError::new_err(format!("{scheme}:// cannot be extracted: read it in the app")));
    }
    let content = py.detach(|| std::fs::read(path)).map_err(|error| PyOSError::new_err(format!("{path}: {error}")))?;
    Ok(PyBytes::new(py, &content))
}

/// Data that was linked into uWSGI; there is none.
///
/// # Errors
/// `ValueError`, as in uWSGI for what it has not.
#[pyfunction]
#[pyo3(signature = (symbol, /))]
fn embedded_data(symbol: &str) -> PyResult<()> {
    Err(PyValueError::new_err(format!("unable to find symbol {symbol}")))
}
