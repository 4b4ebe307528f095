//! The functions of `uwsgi` about the log, and about the line that a request gets in it.

use std::sync::OnceLock;

use empery_control::boot::AppBoot;
use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    types::{PyBytes, PyModule, PyString},
};

use super::{add_functions, request::current};
use crate::{log as own_lines, os, request::log_variables, worker::Worker};

/// For `log` while there is no worker yet.
static BOOT: OnceLock<AppBoot> = OnceLock::new();

pub(super) fn add(_py: Python<'_>, module: &Bound<'_, PyModule>, boot: &AppBoot) -> PyResult<()> {
    BOOT.get_or_init(|| boot.clone());
    add_functions!(module, log, set_logvar, get_logvar, add_var, log_this_request, logsize);
    Ok(())
}

/// The bytes of a str or bytes.
pub(super) fn bytes_of(text: &Bound<'_, PyAny>, what: &'static str) -> PyResult<Vec<u8>> {
    if let Ok(text) = text.cast::<PyString>() {
        Ok(text.to_string_lossy().into_owned().into_bytes())
    } else if let Ok(bytes) = text.cast::<PyBytes>() {
        Ok(bytes.as_bytes().to_vec())
    } else {
        Err(PyTypeError::new_err(format!("{what} takes str or bytes")))
    }
}

/// Writes a line to the log. True.
#[pyfunction]
fn log(message: &Bound<'_, PyAny>) -> PyResult<bool> {
    let mut line = BOOT.get().map_or_else(String::new, own_lines::date).into_bytes();
    line.extend(bytes_of(message, "uwsgi.log")?);
    line.push(b'\n');
    os::write_stderr(&line);
    Ok(true)
}

/// Sets what `%(NAME)` in `log-format` is for the request of the calling thread. Name and value are cut at 255 bytes. Outside of a
/// request it does nothing.
#[pyfunction]
fn set_logvar(py: Python<'_>, name: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let (name, value) = (bytes_of(name, "uwsgi.set_logvar")?, bytes_of(value, "uwsgi.set_logvar")?);
    if let Some((_, began_ns)) = Worker::here().and_then(|worker| worker.request_of_this_thread(py)) {
        log_variables::set(began_ns, &name, &value);
    }
    Ok(())
}

/// What was set by this name for the request of the calling thread, as bytes; None when nothing was.
#[pyfunction]
fn get_logvar<'py>(py: Python<'py>, name: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let name = bytes_of(name, "uwsgi.get_logvar")?;
    let request = Worker::here().and_then(|worker| worker.request_of_this_thread(py));
    let value = request.and_then(|(_, began_ns)| log_variables::get(began_ns, &name));
    Ok(value.map(|value| PyBytes::new(py, &value)))
}

/// Adds a variable to the request of the calling thread, which `%(var.NAME)` in `log-format` is from now on; the app's own environ has
/// been made already, and stays as it is, as in uWSGI. True.
///
/// # Errors
/// `ValueError` outside of a request.
#[pyfunction]
fn add_var(py: Python<'_>, name: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let (name, value) = (bytes_of(name, "uwsgi.add_var")?, bytes_of(value, "uwsgi.add_var")?);
    let request = Worker::here().and_then(|worker| worker.request_of_this_thread(py));
    let (_, began_ns) = request.ok_or_else(|| PyValueError::new_err("this thread serves no request"))?;
    log_variables::set(began_ns, &log_variables::name_of_added(&name), &value);
    Ok(true)
}

/// The request of this thread gets its line in the log, whatever is logged else.
///
/// # Errors
/// `ValueError` outside of a request.
#[pyfunction]
fn log_this_request(py: Python<'_>) -> PyResult<()> {
    let answer = current(py).ok_or_else(|| PyValueError::new_err("this thread serves no request"))?;
    answer.try_borrow_mut()?.response.is_logged = true;
    Ok(())
}

/// 0, as uWSGI says of a log that its master does not write.
#[pyfunction]
fn logsize() -> u64 {
    0
}
