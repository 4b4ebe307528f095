//! What is asked of gevent: to patch, to wait, to begin a greenlet, to end one. Which greenlet serves what is
//! [`crate::serve::green`]'s.

use std::os::fd::RawFd;

use empery_control::boot::{AppBoot, Engine, MonkeyPatch};
use pyo3::{prelude::*, sync::PyOnceLock, types::PyModule};

use crate::os::Ready;

/// A watcher is made for each wait: two greenlets must not wait for the same one, and libev forgets a descriptor that was closed
/// only when its watcher is stopped.
const CALLS: &std::ffi::CStr = cr#"
from gevent import Timeout, getcurrent, get_hub, sleep, spawn

def wait(fd, writes, seconds):
    hub = get_hub()
    watcher = hub.loop.io(fd, 2 if writes else 1)
    try:
        if seconds is None:
            hub.wait(watcher)
            return True
        with Timeout(seconds, False):
            hub.wait(watcher)
            return True
        return False
    finally:
        watcher.close()

def end(greenlet, error):
    greenlet.kill(error, block=False)
"#;

/// The functions; there are some once [`prepare`] has found gevent.
static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

/// Before the app is imported. The error is one sentence.
pub(crate) fn prepare(py: Python<'_>, boot: &AppBoot) -> Result<(), String> {
    let Engine::Gevent { patch } = boot.engine else { return Ok(()) };
    let found = MODULE.get_or_try_init(py, || {
        PyModule::from_code(py, CALLS, c"empery/gevent.py", c"empery_gevent").map(Bound::unbind)
    });
    found.map_err(|error| {
        format!(
            "gevent = {} needs the package gevent in the app's Python ({}): install it there, or say `threads` instead",
            boot.threads,
            crate::python::one_line(py, &error)
        )
    })?;
    match patch {
        MonkeyPatch::BeforeApp => patch_all(py).map_err(|error| crate::python::one_line(py, &error)),
        MonkeyPatch::Never | MonkeyPatch::InWorker => Ok(()),
    }
}

/// In a worker that was forked just now: a loop that was made before, by us or by the app, belongs to the zygote.
pub(crate) fn after_fork(py: Python<'_>, boot: &AppBoot) -> PyResult<()> {
    let modules = py.import("sys")?.getattr("modules")?;
    if let Ok(gevent) = modules.get_item("gevent") {
        gevent.call_method0("reinit")?;
    }
    let Engine::Gevent { patch } = boot.engine else { return Ok(()) };
    match patch {
        MonkeyPatch::InWorker => patch_all(py),
        MonkeyPatch::Never | MonkeyPatch::BeforeApp => Ok(()),
    }
}

fn patch_all(py: Python<'_>) -> PyResult<()> {
    py.import("gevent.monkey")?.call_method0("patch_all").map(|_| ())
}

/// Whether greenlets serve in this process.
pub(crate) fn is_engine() -> bool {
    crate::worker::Worker::here().is_some_and(|worker| worker.boot.engine != Engine::Threads)
}

/// Waits for a descriptor while other greenlets run; false when the time is over. `None` is for ever.
///
/// # Errors
/// What another greenlet, or a signal handler, raises in this one meanwhile.
pub(crate) fn wait(py: Python<'_>, fd: RawFd, ready: Ready, timeout_ms: Option<u64>) -> PyResult<bool> {
    let seconds = timeout_ms.map(|timeout_ms| timeout_ms as f64 / 1000.0);
    call(py, "wait", (fd, matches!(ready, Ready::Write), seconds))?.extract()
}

/// Lets the other greenlets run for so long; 0 is until each that is ready has had its turn.
///
/// # Errors
/// As [`wait`].
pub(crate) fn sleep(py: Python<'_>, seconds: f64) -> PyResult<()> {
    call(py, "sleep", (seconds,)).map(|_| ())
}

/// Begins a greenlet, which runs when this one waits.
pub(crate) fn spawn(py: Python<'_>, callable: &Bound<'_, PyAny>) -> PyResult<()> {
    call(py, "spawn", (callable,)).map(|_| ())
}

/// The running greenlet.
pub(crate) fn current(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    call(py, "getcurrent", ())
}

/// Raises an error in a greenlet that waits, as soon as the loop gets to it.
pub(crate) fn end(py: Python<'_>, greenlet: &Bound<'_, PyAny>, error: PyErr) -> PyResult<()> {
    call(py, "end", (greenlet, error)).map(|_| ())
}

fn call<'py>(py: Python<'py>, name: &str, arguments: impl pyo3::call::PyCallArgs<'py>) -> PyResult<Bound<'py, PyAny>> {
    let module = MODULE.get(py).ok_or_else(|| pyo3::exceptions::PyRuntimeError::new_err("gevent was not prepared"))?;
    module.bind(py).call_method1(name, arguments)
}
