//! The functions of `uwsgi` about the spooler; they are there when the vassal has one, as in uWSGI.

use std::path::PathBuf;

use empery_control::posts::SpoolersBoot;
use empery_wire::spool::{Content, Task, decode, encode};
use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    types::{PyBytes, PyDict, PyModule, PyString, PyTuple},
};

use super::{IGNORE, OK, RETRY, as_dict, files, shared};
use crate::{os, uwsgi_module::add_functions};

pub(crate) fn add(py: Python<'_>, module: &Bound<'_, PyModule>, boot: &SpoolersBoot) -> PyResult<()> {
    module.add("SPOOL_OK", OK)?;
    module.add("SPOOL_RETRY", RETRY)?;
    module.add("SPOOL_IGNORE", IGNORE)?;
    if boot.directories.is_empty() {
        return Ok(());
    }
    let directories = shared::directories().iter().map(|path| PyBytes::new(py, path.as_os_str().as_encoded_bytes()));
    module.add("spoolers", PyTuple::new(py, directories.collect::<Vec<_>>())?)?;
    add_functions!(module, spool, set_spooler_frequency, spooler_jobs, spooler_pid, spooler_pids, spooler_get_task);
    module.add("send_to_spooler", module.getattr("spool")?)
}

/// Bytes of bytes, or of what anything else is called.
fn bytes(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(bytes.as_bytes().to_vec());
    }
    let text = match value.cast::<PyString>() {
        Ok(text) => text.clone(),
        Err(_) => value.str()?,
    };
    Ok(text.to_string_lossy().into_owned().into_bytes())
}

/// Writes a task of the names and values of a dict, or of keyword arguments; the path of its file, as bytes. `spooler` names
/// the directory, `priority` (a number) goes first, `at` is when it is due, in unix s, and `body` has no limit of 64 KiB.
#[pyfunction]
#[pyo3(signature = (task=None, **keywords))]
fn spool<'py>(
    py: Python<'py>,
    task: Option<&Bound<'py, PyDict>>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyBytes>> {
    let nothing = || PyValueError::new_err("The argument of spooler callable must be a dictionary");
    let dict = task.or(keywords).ok_or_else(nothing)?;
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut body = Vec::new();
    for (name, value) in dict.iter() {
        let (name, value) = (bytes(&name)?, bytes(&value)?);
        if name == b"body" {
            body = value;
        } else {
            pairs.push((name, value));
        }
    }
    let said = |wanted: &str| {
        let found = pairs.iter().find(|(name, _)| name == wanted.as_bytes());
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).filter(|value| !value.is_empty())
    };
    let refused = |why: &str| PyValueError::new_err(format!("unable to spool job: {why}"));
    let place = match said("spooler") {
        None => 0,
        Some(directory) => shared::directories()
            .iter()
            .position(|path| path.as_os_str() == directory.as_str())
            .ok_or_else(|| refused(&format!("there is no spooler {directory}")))?,
    };
    let priority = said("priority");
    if priority.as_ref().is_some_and(|priority| !priority.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(refused("`priority` is a number, of digits only"));
    }
    // It may be a float.
    let at = said("at").map(|at| at.split('.').next().unwrap_or_default().parse::<i64>());
    let at = at.transpose().map_err(|_| refused("`at` is a number of seconds since 1970"))?;
    let task = Task { pairs: pairs.iter().map(|(name, value)| (&name[..], &value[..])).collect(), body: &body };
    let content = encode(&task).ok_or_else(|| refused("names and values have more than 64 KiB: use `body`"))?;
    let written = py.detach(|| files::write(&shared::directory(place), priority.as_deref(), at, &content));
    let path = written.map_err(|error| refused(&error.to_string()))?;
    if !shared::is_quiet() {
        os::write_stderr(format!("[spooler] written {} bytes to file {}\n", content.len(), path.display()).as_bytes());
    }
    shared::ring(place);
    Ok(PyBytes::new(py, path.as_os_str().as_encoded_bytes()))
}

/// How often the spoolers look without being told, in seconds. True.
#[pyfunction]
fn set_spooler_frequency(seconds: u32) -> bool {
    shared::set_frequency_s(seconds);
    true
}

/// The paths of the tasks in the first directory, as bytes.
#[pyfunction]
fn spooler_jobs(py: Python<'_>) -> Vec<Bound<'_, PyBytes>> {
    let jobs = files::jobs(&shared::directory(0));
    jobs.iter().map(|path| PyBytes::new(py, path.as_os_str().as_encoded_bytes())).collect()
}

/// The pid of the first spooler.
#[pyfunction]
fn spooler_pid() -> u32 {
    shared::pids().first().copied().unwrap_or(0)
}

/// The pids of all spoolers.
#[pyfunction]
fn spooler_pids() -> Vec<u32> {
    shared::pids()
}

/// The dict of a task; None when it is not there, or runs.
#[pyfunction]
fn spooler_get_task<'py>(py: Python<'py>, path: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyDict>>> {
    let path = PathBuf::from(String::from_utf8_lossy(&bytes(path)?).into_owned());
    let Some(claimed) = files::claim(&path) else { return Ok(None) };
    match decode(&claimed.bytes) {
        Content::Task(task) => Ok(Some(as_dict(py, &path.to_string_lossy(), &task)?)),
        Content::Nothing | Content::Broken => Ok(None),
    }
}
