//! Children that the app forks inside a request. One that comes back from the app would answer its parent's client a
//! second time, and then serve on connections that are its parent's: it leaves instead. A child that execs, or leaves
//! by itself, never gets here.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;

use crate::{python, worker::Worker};

static IS_CHILD: AtomicBool = AtomicBool::new(false);

/// Notices from now on whether this process is a child of the worker, whoever forked it: Python or C.
pub(crate) fn watch() {
    // SAFETY: the handler runs in the child of a fork, where an atomic store is allowed (signal-safety(7)). ENOMEM leaves
    // children unnoticed, as they are everywhere else.
    let _ = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
}

extern "C" fn in_child() {
    IS_CHILD.store(true, Ordering::Relaxed);
}

/// Whether this process was forked by the app.
pub(crate) fn is_child() -> bool {
    IS_CHILD.load(Ordering::Relaxed)
}

/// Ends such a child when it comes back from the app: as it wants to when it raised SystemExit, else with 1 and a line
/// in the log. Python's exit handlers are its parent's.
pub(crate) fn leave(py: Python<'_>, worker: &Worker, raised: Option<&PyErr>) -> ! {
    let code = match raised.and_then(|error| python::exit_argument(py, error)) {
        Some(code) if code.is_empty() => 0,
        Some(code) => code.parse().unwrap_or(1),
        None => {
            worker.log("a process that the app forked came back from the app: it exits, its parent answers");
            1
        }
    };
    python::flush(py);
    // SAFETY: nothing of this process is of use to anybody.
    unsafe { libc::_exit(code) }
}
