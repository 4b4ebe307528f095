//! `uwsgi.lock` and its relatives: locks that all workers share. The lock of a process that dies is the next one's.

use std::{io, time::Duration};

use empery_sys::region::{Before, Locks};
use pyo3::{
    exceptions::{PyRuntimeError, PyValueError},
    prelude::*,
    types::PyModule,
};

use super::add_functions;
use crate::{os, shared::Shared};

/// Who waits for a lock looks so often whether a signal has come for Python.
const LOOKS_EVERY: Duration = Duration::from_millis(200);

pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(module, lock, unlock, is_locked);
    Ok(())
}

fn locks() -> PyResult<&'static Locks> {
    Shared::here().and_then(|shared| shared.locks.as_ref()).ok_or_else(no_such_lock)
}

fn no_such_lock() -> PyErr {
    PyValueError::new_err("Invalid lock number")
}

fn number(number: i64) -> PyResult<usize> {
    usize::try_from(number).map_err(|_| no_such_lock())
}

fn failed(lock: usize, error: &io::Error) -> PyErr {
    match error.raw_os_error() {
        _ if error.kind() == io::ErrorKind::NotFound => no_such_lock(),
        Some(libc::EDEADLK) => {
            PyRuntimeError::new_err(format!("this thread has lock {lock} already: it would wait for ever"))
        }
        Some(libc::EPERM) => {
            PyRuntimeError::new_err(format!("lock {lock} is not this thread's: whoever took it gives it back"))
        }
        _ => PyRuntimeError::new_err(format!("lock {lock}: {error}")),
    }
}

/// Takes a lock, as soon as it is free.
///
/// # Errors
/// `ValueError` when there is no such lock (`locks = N` makes more); `RuntimeError` when this thread has it already, where
/// uWSGI waits for ever.
#[pyfunction]
#[pyo3(signature = (lock=0, /))]
fn lock(py: Python<'_>, lock: i64) -> PyResult<()> {
    let (locks, lock) = (locks()?, number(lock)?);
    loop {
        match py.detach(|| locks.lock_within(lock, LOOKS_EVERY)) {
            Ok(Some(Before::Free)) => return Ok(()),
            Ok(Some(Before::Died)) => {
                os::write_stderr(format!("lock {lock} was a process's that has ended\n").as_bytes());
                return Ok(());
            }
            Ok(None) => py.check_signals()?,
            Err(error) => return Err(failed(lock, &error)),
        }
    }
}

/// Gives a lock back. One that nobody has stays as it is.
///
/// # Errors
/// `ValueError` when there is no such lock; `RuntimeError` when another thread or process has it.
#[pyfunction]
#[pyo3(signature = (lock=0, /))]
fn unlock(lock: i64) -> PyResult<()> {
    let (locks, lock) = (locks()?, number(lock)?);
    match locks.unlock(lock) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) && !locks.is_locked(lock).unwrap_or(true) => Ok(()),
        outcome => outcome.map_err(|error| failed(lock, &error)),
    }
}

/// Whether somebody has a lock.
///
/// # Errors
/// `ValueError` when there is no such lock.
#[pyfunction]
#[pyo3(signature = (lock=0, /))]
fn is_locked(lock: i64) -> PyResult<bool> {
    let (locks, lock) = (locks()?, number(lock)?);
    locks.is_locked(lock).map_err(|error| failed(lock, &error))
}
