//! The functions of `uwsgi` that do something: reload, stop, log, setprocname, set_user_harakiri.

use std::sync::{OnceLock, atomic::Ordering};

use empery_control::{boot::AppBoot, worker::FromWorker};
use empery_sys::process;
use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    types::{PyBytes, PyModule, PyString},
};

use super::add_functions;
use crate::{
    attend::Harakiri,
    os,
    serve::{Serving, green},
    worker::Worker,
};

/// Prefix and append of process titles.
static AFFIXES: OnceLock<(String, String)> = OnceLock::new();

pub(super) fn add(py: Python<'_>, module: &Bound<'_, PyModule>, boot: &AppBoot) -> PyResult<()> {
    AFFIXES.get_or_init(|| (boot.titles.prefix.clone(), boot.titles.append.clone()));
    add_functions!(module, reload, stop, log, setprocname, set_user_harakiri);
    module.add("Harakiri", py.get_type::<Harakiri>())?;
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

/// Limits the request of the calling thread to so many seconds from now; 0 takes its limit back. `harakiri` holds beside it.
/// Outside of a request it does nothing.
#[pyfunction]
fn set_user_harakiri(py: Python<'_>, seconds: u64) {
    let (Some(worker), Some(serving)) = (Worker::here(), Serving::here()) else { return };
    let ident = green::ident(py);
    for core in 0..worker.boot.threads {
        let state = &worker.slot(core).state;
        let started_ns = state.started_monotonic_ns.load(Ordering::Relaxed);
        if state.thread_ident.load(Ordering::Relaxed) != ident || started_ns == 0 {
            continue;
        }
        if seconds == 0 {
            state.limited_ns.store(0, Ordering::Release);
            return;
        }
        let ends_ns = os::monotonic_ns().saturating_add(seconds.saturating_mul(1_000_000_000));
        state.limit_ends_ns.store(ends_ns, Ordering::Relaxed);
        state.limited_ns.store(started_ns, Ordering::Release);
        serving.owed[core as usize].limit();
        worker.say(&FromWorker::LimitSet);
        return;
    }
}
