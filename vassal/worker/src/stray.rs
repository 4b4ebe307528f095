//! Children that the app forks inside a request. One that comes back from the app would answer its parent's client a
//! second time, and then serve on connections that are its parent's: it leaves instead. A child that execs, or leaves
//! by itself, never gets here.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use pyo3::prelude::*;

use crate::{python, worker::Worker};

static IS_CHILD: AtomicBool = AtomicBool::new(false);

static FORKS: AtomicU32 = AtomicU32::new(0);

/// Notices from now on whether this process is a child of the worker, and whether it has any, whoever forked them: Python
/// or C.
pub(crate) fn watch() {
    // SAFETY: the handlers run before a fork and in its child, where atomics are allowed (signal-safety(7)). ENOMEM leaves
    // children unnoticed, as they are everywhere else; then it is as if one had been forked.
    if unsafe { libc::pthread_atfork(Some(before_fork), None, Some(in_child)) } != 0 {
        FORKS.store(UNKNOWN, Ordering::Relaxed);
    }
}

const UNKNOWN: u32 = u32::MAX;

extern "C" fn before_fork() {
    let _ = FORKS.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |forks| Some(forks.saturating_add(1)));
}

extern "C" fn in_child() {
    IS_CHILD.store(true, Ordering::Relaxed);
}

/// Whether this process was forked by the app.
pub(crate) fn is_child() -> bool {
    IS_CHILD.load(Ordering::Relaxed)
}

/// A moment that [`have_come_since`] is asked about.
pub(crate) fn now() -> Before {
    Before(FORKS.load(Ordering::SeqCst))
}

/// A moment among the forks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Before(u32);

/// Whether a child may have been forked since, which has copies of the descriptors of then. A process that execs keeps
/// none of them.
pub(crate) fn have_come_since(before: Before) -> bool {
    let forks = FORKS.load(Ordering::SeqCst);
    forks == UNKNOWN || Before(forks) != before
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
