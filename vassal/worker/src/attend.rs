//! Attending to the master while the threads are inside the app. It writes what it wants into the scoreboard, and raises
//! a real-time signal, for which Python runs a handler on the main thread, and says `Attend` over the channel, for a
//! thread that waits there. Whoever can run Python first does it: tells the stacks, ends requests that ran too long. What
//! must work without Python as well is [`crate::serve::farewell`]'s, and faulthandler's.
//!
//! Signals are taken only where nobody else has: an app that uses one keeps it, and the master does without.

use std::{os::fd::AsRawFd, os::fd::OwnedFd, sync::atomic::Ordering};

use empery_control::worker::{FromWorker, Signals};
use pyo3::{create_exception, exceptions::PyBaseException, ffi, prelude::*, types::PyDict};

use crate::{
    os, python,
    serve::{
        Serving, farewell,
        green::{self, Found},
        parting,
    },
    stacks, stray,
    worker::Worker,
};

create_exception!(
    uwsgi,
    Harakiri,
    PyBaseException,
    "Raised in a request that ran longer than `harakiri` (or `uwsgi.set_user_harakiri`) allows. No `Exception`, so that an \
     app's error handlers do not take it for a failure of the app; `finally` blocks and context managers run."
);

/// Who attends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeardBy {
    /// The main thread, in a signal handler, wherever in the app it is.
    MainThread,
    /// The thread that leads.
    Leader,
}

/// Which of the real-time signals; one below is parting's, the one between the farewell's.
fn attend_signal() -> i32 {
    libc::SIGRTMIN() + 8
}

fn ask_signal() -> i32 {
    libc::SIGRTMIN() + 11
}

fn dump_signal() -> i32 {
    libc::SIGRTMIN() + 10
}

/// Takes the signals that are free, for a worker of so many threads. `crash` is where faulthandler writes.
pub(crate) fn install(py: Python<'_>, threads: u32, crash: Option<&OwnedFd>) -> Signals {
    // What cannot be had is done without; why does not matter to anybody.
    let ask = take(py, ask_signal(), Interrupts::Nothing).unwrap_or_default();
    Signals {
        ask,
        attend: take(py, attend_signal(), Interrupts::Waiting).unwrap_or_default(),
        farewell: farewell::install(),
        dump: crash.and_then(|crash| take_dump(py, crash).unwrap_or_default()),
        // Several threads cannot be told apart from the loop in a native handler.
        relieve: if threads > 1 { ask } else { parting::install() },
    }
}

/// What a signal does to the main thread.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Interrupts {
    /// Interrupted system calls go on, as far as the kernel can do that (signal(7)).
    Nothing,
    /// They fail with EINTR, so that Python gets to run the handler.
    Waiting,
}

fn take(py: Python<'_>, number: i32, interrupts: Interrupts) -> PyResult<Option<i32>> {
    let signal = py.import("_signal")?;
    if !is_free(&signal, number)? {
        return Ok(None);
    }
    signal.call_method1("signal", (number, pyo3::wrap_pyfunction!(on_signal, py)?))?;
    signal.call_method1("siginterrupt", (number, interrupts == Interrupts::Waiting))?;
    Ok(Some(number))
}

/// Fatal signals leave the stack in the crash file, too. An app that enabled faulthandler at import meant to learn of
/// crashes: it does, since the master writes what it finds there to the log.
fn take_dump(py: Python<'_>, crash: &OwnedFd) -> PyResult<Option<i32>> {
    let faulthandler = py.import("faulthandler")?;
    let options = PyDict::new(py);
    options.set_item("file", crash.as_raw_fd())?;
    options.set_item("all_threads", true)?;
    faulthandler.call_method("enable", (), Some(&options))?;
    let number = dump_signal();
    if !is_free(&py.import("_signal")?, number)? {
        return Ok(None);
    }
    options.set_item("chain", false)?;
    faulthandler.call_method("register", (number,), Some(&options))?;
    Ok(Some(number))
}

fn is_free(signal: &Bound<'_, PyModule>, number: i32) -> PyResult<bool> {
    signal.call_method1("getsignal", (number,))?.eq(signal.getattr("SIG_DFL")?)
}

/// Python calls it on the main thread, between two instructions of the app or when a system call was interrupted.
#[pyfunction]
fn on_signal(py: Python<'_>, _number: i32, _frame: &Bound<'_, PyAny>) -> PyResult<()> {
    attend(py, HeardBy::MainThread)
}

/// Does what the master wants. An error is the [`Harakiri`] of the request that the calling thread is inside.
pub(crate) fn attend(py: Python<'_>, heard_by: HeardBy) -> PyResult<()> {
    let Some(worker) = Worker::here().filter(|_| !stray::is_child()) else { return Ok(()) };
    if heard_by == HeardBy::MainThread
        && let Some(serving) = Serving::here()
    {
        serving.hear_meanwhile();
    }
    tell_stacks(py, worker);
    let mut is_struck = false;
    for core in 0..worker.boot.threads {
        let state = &worker.slot(core).state;
        let struck = state.struck_ns.load(Ordering::Acquire);
        let runs = struck != 0 && struck == state.started_monotonic_ns.load(Ordering::Acquire);
        if runs && let Some(found) = green::strike(py, core, overdue) {
            is_struck |= matches!(found, Found::Running);
            state.struck_ns.store(0, Ordering::Release);
            continue;
        }
        // Only a handler can interrupt what the main thread waits for.
        if !runs || (core == 0 && heard_by == HeardBy::Leader) {
            continue;
        }
        if state.struck_ns.compare_exchange(struck, 0, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            continue;
        }
        if core == 0 {
            is_struck = true;
        } else {
            worker.is_struck[core as usize].store(true, Ordering::Relaxed);
            set_async(py, state.thread_ident.load(Ordering::Relaxed), Some(&py.get_type::<Harakiri>()));
        }
    }
    if is_struck { Err(overdue()) } else { Ok(()) }
}

fn overdue() -> PyErr {
    Harakiri::new_err("the request ran longer than harakiri allows")
}

/// Limits a request, of this core and begun at this moment, to so many seconds from now; 0 takes its limit back.
pub(crate) fn limit(worker: &Worker, serving: &Serving, (core, began_ns): (u32, u64), seconds: u64) {
    let state = &worker.slot(core).state;
    if seconds == 0 {
        state.limited_ns.store(0, Ordering::Release);
        return;
    }
    let ends_ns = os::monotonic_ns().saturating_add(seconds.saturating_mul(1_000_000_000));
    state.limit_ends_ns.store(ends_ns, Ordering::Relaxed);
    state.limited_ns.store(began_ns, Ordering::Release);
    serving.owed[core as usize].limit();
    worker.say(&FromWorker::LimitSet);
}

/// The request of this thread is over: what was to end it must not end the next.
pub(crate) fn spare_the_next(py: Python<'_>, worker: &Worker, core: u32) {
    let is_struck = &worker.is_struck[core as usize];
    if is_struck.load(Ordering::Relaxed) {
        is_struck.store(false, Ordering::Relaxed);
        set_async(py, worker.slot(core).state.thread_ident.load(Ordering::Relaxed), None);
    }
}

/// The exception is raised when that thread next executes Python (PyThreadState_SetAsyncExc); None takes it back.
fn set_async(_py: Python<'_>, ident: u64, kind: Option<&Bound<'_, pyo3::types::PyType>>) {
    let kind = kind.map_or(std::ptr::null_mut(), |kind| kind.as_ptr());
    // SAFETY: Python's lock is held, and the class is alive; an ident that no thread has (any more) is looked for in vain.
    unsafe { ffi::PyThreadState_SetAsyncExc(ident as libc::c_ulong as _, kind) };
}

fn tell_stacks(py: Python<'_>, worker: &Worker) {
    let asked = worker.slot(0).state.stacks_asked.load(Ordering::Acquire);
    if worker.stacks_told.swap(asked, Ordering::Relaxed) == asked {
        return;
    }
    match stacks::collect(py) {
        Ok(threads) => drop(worker.say(&FromWorker::Stacks { asked, threads })),
        Err(error) => worker.log(&format!("the stacks cannot be told: {}", python::one_line(py, &error))),
    }
}
