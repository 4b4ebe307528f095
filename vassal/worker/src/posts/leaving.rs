//! How a mule or spooler leaves: the master tells it over its line and by SIGTERM. A script, which hears no line, gets a
//! SystemExit where it is; a function that was called for a signal, a message or a task is finished first.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::{exceptions::PySystemExit, prelude::*};

static ASKED: AtomicBool = AtomicBool::new(false);
static LATER: AtomicBool = AtomicBool::new(false);

/// Whether a signal has asked for it.
pub(super) fn is_asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// Runs something that is finished first.
pub(super) fn later<T>(work: impl FnOnce() -> T) -> T {
    let before = LATER.swap(true, Ordering::Relaxed);
    let done = work();
    LATER.store(before, Ordering::Relaxed);
    done
}

/// It leaves: what runs from now on is finished.
pub(super) fn for_good() {
    LATER.store(true, Ordering::Relaxed);
}

/// SIGTERM, SIGINT and SIGHUP, as in uWSGI.
pub(super) fn catch_signals(py: Python<'_>) -> PyResult<()> {
    let signal = py.import("_signal")?;
    let handler = pyo3::wrap_pyfunction!(on_signal, py)?;
    for name in ["SIGTERM", "SIGINT", "SIGHUP"] {
        signal.call_method1("signal", (signal.getattr(name)?, &handler))?;
    }
    Ok(())
}

#[pyfunction]
fn on_signal(_number: i32, _frame: &Bound<'_, PyAny>) -> PyResult<()> {
    ASKED.store(true, Ordering::Relaxed);
    if LATER.load(Ordering::Relaxed) { Ok(()) } else { Err(PySystemExit::new_err(0)) }
}
