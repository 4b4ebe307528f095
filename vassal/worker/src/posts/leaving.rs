//! How a mule or spooler leaves: the master tells it over its line and by SIGTERM. A script, which hears no line, gets a
//! SystemExit where it is; a function that was called for a signal, a message or a task is finished first.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU8, Ordering},
};

use pyo3::{exceptions::PySystemExit, prelude::*};

use super::{
    PostProcess,
    mule::{self, Farms},
};

static ASKED: AtomicBool = AtomicBool::new(false);
static LATER: AtomicBool = AtomicBool::new(false);
static HEARD: AtomicU8 = AtomicU8::new(Wanted::Stays as u8);
/// Those that the script has asked for last.
static TAKES: Mutex<Option<Farms>> = Mutex::new(None);

/// What the master wants of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Nothing.
    Stays,
    /// It leaves.
    Leaves,
    /// It leaves when it has done what was sent to it.
    Finishes,
}

/// The master has said it.
pub(super) fn hear(wanted: Wanted) -> Wanted {
    HEARD.store(wanted as u8, Ordering::Relaxed);
    wanted
}

/// What the master has said; None when only a signal has asked, so that the word is still on its way.
pub(super) fn heard() -> Option<Wanted> {
    match HEARD.load(Ordering::Relaxed) {
        heard if heard == Wanted::Leaves as u8 => Some(Wanted::Leaves),
        heard if heard == Wanted::Finishes as u8 => Some(Wanted::Finishes),
        _ => (!ASKED.load(Ordering::Relaxed)).then_some(Wanted::Stays),
    }
}

/// The script asks for such messages: what lies there when it is to leave it gets before.
pub(super) fn takes_messages(farms: Farms) {
    *TAKES.lock().unwrap_or_else(PoisonError::into_inner) = Some(farms);
}

/// Whether there are messages that the script would ask for.
fn are_messages_left() -> bool {
    let takes = *TAKES.lock().unwrap_or_else(PoisonError::into_inner);
    let here = PostProcess::here();
    takes.zip(here).is_some_and(|(farms, here)| mule::has_message(here.mule(), farms))
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
    if LATER.load(Ordering::Relaxed) || are_messages_left() { Ok(()) } else { Err(PySystemExit::new_err(0)) }
}
