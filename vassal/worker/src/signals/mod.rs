//! uWSGI signals in a process of the app: the functions that it has registered, the letterbox over which its master delivers
//! signals, and running a function. When one is run is the loop's business ([`crate::serve`]) or that of whoever waits.
//!
//! Nothing is watched and no descriptor is used as long as an app registers nothing.

mod letterbox;
mod module;
mod words;

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use empery_control::signals::SignalWord;
use pyo3::prelude::*;

pub(crate) use self::{
    letterbox::{Received, descriptor as letterbox, has_any, ready, receive},
    module::add,
    words::told_at_import,
};
use crate::{python, worker::Worker};

/// The functions; filled at import and inherited over fork, or filled in a worker.
static FUNCTIONS: Mutex<BTreeMap<u8, Py<PyAny>>> = Mutex::new(BTreeMap::new());

thread_local! {
    /// What `uwsgi.signal_received` answers.
    static LAST: Cell<Option<u8>> = const { Cell::new(None) };
}

fn functions() -> MutexGuard<'static, BTreeMap<u8, Py<PyAny>>> {
    FUNCTIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the master raise one, in a process that has a line to it.
pub(crate) fn raise(signal: u8) -> std::io::Result<()> {
    words::say(SignalWord::Raised { signal }, &[])
}

/// In a new process with its app: opens the letterbox if there is anything to be called.
pub(crate) fn begin() -> std::io::Result<()> {
    if functions().is_empty() { Ok(()) } else { letterbox::open().map(drop) }
}

/// Runs the function of a signal in a worker. What it raises is logged; SystemExit too, for requests are to go on.
pub(crate) fn run(py: Python<'_>, signal: u8) {
    if let Some(worker) = Worker::here() {
        worker.slot(0).counters.signals.fetch_add(1, Ordering::Relaxed);
    }
    if let Err(error) = call(py, signal) {
        python::print_exception(py, &error);
    }
}

/// Runs the function of a signal in a process beside the workers. What it raises is logged.
///
/// # Errors
/// A SystemExit.
pub(crate) fn run_beside(py: Python<'_>, signal: u8) -> PyResult<()> {
    call(py, signal).or_else(|error| python::unless_it_exits(py, error))
}

fn call(py: Python<'_>, signal: u8) -> PyResult<()> {
    let function = functions().get(&signal).map(|function| function.clone_ref(py));
    match function {
        Some(function) => function.call1(py, (signal,)).map(drop),
        None => {
            let text = format!("[uwsgi-signal] signal {signal} came to a process without a function for it\n");
            crate::os::write_stderr(text.as_bytes());
            Ok(())
        }
    }
}
