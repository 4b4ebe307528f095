//! The functions of `uwsgi` about signals, timers, cron and file monitors.

use std::{io, path::PathBuf};

use empery_control::signals::SignalWord;
use pyo3::{
    exceptions::{PyOSError, PyValueError},
    prelude::*,
    types::{PyBytes, PyModule},
};

use super::{LAST, Received, functions, letterbox, run, words};
use crate::{
    gevent,
    os::{self, Ready},
    serve::Serving,
    uwsgi_module::add_functions,
};

pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(
        module,
        register_signal,
        signal_registered,
        signal,
        signal_wait,
        signal_received,
        add_timer,
        add_ms_timer,
        add_rb_timer,
        add_cron,
        add_file_monitor
    );
    Ok(())
}

/// A master that reads late holds up the calling thread, and no other.
fn say(py: Python<'_>, word: SignalWord) -> PyResult<()> {
    py.detach(|| words::say(word, &[]))
        .map_err(|error| PyValueError::new_err(format!("the master does not hear: {error}")))
}

/// The function is called with the number whenever the signal is raised, by whom `target` names: `worker` (or nothing),
/// `workers`, `active-workers`, `workerN`, `mule`, `mules`, `muleN`, `farm_NAME`, `spooler`.
#[pyfunction]
fn register_signal(py: Python<'_>, number: u8, target: &str, function: Py<PyAny>) -> PyResult<()> {
    let known = ["worker", "active-workers", "mule", "farm", "spooler"].iter().any(|known| target.starts_with(known));
    if !target.is_empty() && !known {
        return Err(PyValueError::new_err(format!(
            "unable to register signal: {target:?} is nobody; name \"worker\", \"workers\", \"worker1\", \"mule\", \"mules\", \
             \"mule1\", \"farm_NAME\" or \"spooler\""
        )));
    }
    let before = functions().insert(number, function);
    // Its end may run code of the app, which asks for functions itself.
    drop(before);
    say(py, SignalWord::Registered { signal: number, target: target.to_owned() })?;
    if words::has_line() {
        py.detach(letterbox::open)?;
    }
    Ok(())
}

/// True when a function is registered here, else None.
#[pyfunction]
fn signal_registered(number: u8) -> Option<bool> {
    functions().contains_key(&number).then_some(true)
}

/// Raises a signal. Not of another server, as uWSGI's `remote` would.
#[pyfunction]
#[pyo3(signature = (number, remote=None))]
fn signal(py: Python<'_>, number: u8, remote: Option<&str>) -> PyResult<()> {
    if let Some(remote) = remote {
        return Err(PyOSError::new_err(format!(
            "unable to deliver signal {number} to node {remote}: signals stay within a vassal; ask the other one over HTTP"
        )));
    }
    if !words::has_line() {
        return Err(PyValueError::new_err("nobody can run the function yet: the app is being imported"));
    }
    say(py, SignalWord::Raised { signal: number })
}

/// Waits for a signal, or for this one, running the functions of those that come. b"".
#[pyfunction]
#[pyo3(signature = (number=None))]
fn signal_wait<'py>(py: Python<'py>, number: Option<u8>) -> PyResult<Bound<'py, PyBytes>> {
    let broken = || pyo3::exceptions::PySystemError::new_err("error waiting for signal");
    LAST.set(None);
    if !words::has_line() {
        return Err(broken());
    }
    let raw = py.detach(letterbox::open)?;
    // The loop would take them away.
    let _unwatched = Serving::here().map(|serving| serving.unwatch_letterbox(raw));
    loop {
        match letterbox::receive() {
            Received::Signal(came) => {
                run(py, came);
                if number.is_none_or(|number| number == came) {
                    LAST.set(Some(came));
                    return Ok(PyBytes::new(py, b""));
                }
            }
            Received::End => return Err(broken()),
            Received::Nothing if gevent::is_engine() => {
                gevent::wait(py, raw, Ready::Read, None)?;
            }
            Received::Nothing => match py.detach(|| os::wait(raw, Ready::Read, u64::MAX)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => py.check_signals()?,
                Err(_) => return Err(broken()),
            },
        }
    }
}

/// The signal for which `signal_wait` has waited last on this thread; -1 before the first.
#[pyfunction]
fn signal_received() -> i32 {
    LAST.get().map_or(-1, i32::from)
}

fn timer(py: Python<'_>, signal: u8, every_ms: u64, times: u64) -> PyResult<()> {
    if every_ms == 0 {
        return Err(PyValueError::new_err("unable to add timer: expected a time longer than 0"));
    }
    say(py, SignalWord::Timer { signal, every_ms, times })
}

/// Raises the signal every so many seconds.
#[pyfunction]
fn add_timer(py: Python<'_>, number: u8, seconds: u32) -> PyResult<()> {
    timer(py, number, u64::from(seconds) * 1000, 0)
}

/// Raises the signal every so many milliseconds.
#[pyfunction]
fn add_ms_timer(py: Python<'_>, number: u8, milliseconds: u32) -> PyResult<()> {
    timer(py, number, milliseconds.into(), 0)
}

/// Raises the signal every so many seconds, so many times; 0 is for ever.
#[pyfunction]
#[pyo3(signature = (number, seconds, iterations=0))]
fn add_rb_timer(py: Python<'_>, number: u8, seconds: u32, iterations: u32) -> PyResult<()> {
    timer(py, number, u64::from(seconds) * 1000, iterations.into())
}

/// Raises the signal at these times: -1 is any, -N every one that N divides. True.
#[pyfunction]
fn add_cron(py: Python<'_>, number: u8, minute: i32, hour: i32, day: i32, month: i32, week: i32) -> PyResult<bool> {
    say(py, SignalWord::Cron { signal: number, when: [minute, hour, day, month, week] })?;
    Ok(true)
}

/// Raises the signal whenever the file or directory changes.
#[pyfunction]
fn add_file_monitor(py: Python<'_>, number: u8, path: PathBuf) -> PyResult<()> {
    // The master may be elsewhere.
    say(py, SignalWord::FileMonitor { signal: number, path: std::path::absolute(path)? })
}
