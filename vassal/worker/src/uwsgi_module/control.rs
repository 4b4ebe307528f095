//! The functions of `uwsgi` that do something: reload, stop, log, setprocname.

use std::sync::OnceLock;

use empery_control::{boot::AppBoot, worker::FromWorker};
use empery_sys::process;
use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    types::{PyBytes, PyModule, PyString},
};

use super::add_functions;
use crate::{os, worker::Worker};

/// Prefix and append of process titles.
static AFFIXES: OnceLock<(String, String)> = OnceLock::new();

pub(super) fn add(_py: Python<'_>, module: &Bound<'_, PyModule>, boot: &AppBoot) -> PyResult<()> {
    AFFIXES.get_or_init(|| (boot.titles.prefix.clone(), boot.titles.append.clone()));
    add_functions!(module, reload, stop, log, setprocname);
    Ok(())
}

fn ask(word: &FromWorker) -> PyResult<bool> {
    let worker =
        Worker::here().ok_or_else(|| PyValueError::new_err("there is no worker yet: the app is being imported"))?;
    if worker.say(word) { Ok(true) } else { Err(PyValueError::new_err("the master is gone")) }
}

/// Asks the master for a reload. True.
#[pyfunction]
fn reload() -> PyResult<bool> {
    ask(&FromWorker::ReloadAsked)
}

/// Asks the master to stop. True.
#[pyfunction]
fn stop() -> PyResult<bool> {
    ask(&FromWorker::StopAsked)
}

/// Writes a line to the log. True.
#[pyfunction]
fn log(message: &Bound<'_, PyAny>) -> PyResult<bool> {
    let mut line = if let Ok(text) = message.cast::<PyString>() {
        text.to_string_lossy().into_owned().into_bytes()
    } else if let Ok(bytes) = message.cast::<PyBytes>() {
        bytes.as_bytes().to_vec()
    } else {
        return Err(PyTypeError::new_err("uwsgi.log takes str or bytes"));
    };
    line.push(b'\n');
    os::write_stderr(&line);
    Ok(true)
}

/// Sets the process's title.
#[pyfunction]
fn setprocname(name: &str) {
    let (prefix, append) = AFFIXES.get().map_or(("", ""), |(prefix, append)| (prefix.as_str(), append.as_str()));
    process::set_title(&format!("{prefix}{name}{append}"));
}
