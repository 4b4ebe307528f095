//! `uwsgi.queue_*`: a queue that all workers share; only with `queue`.

use empery_shared::queue::Queue;
use empery_sys::region::Locked;
use pyo3::{
    exceptions::PyRuntimeError,
    prelude::*,
    types::{PyBytes, PyList, PyModule},
};

use super::{add_functions, text::Text};
use crate::{
    os,
    shared::{Shared, SharedQueue},
};

pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let Some(queue) = Shared::here().and_then(|shared| shared.queue.as_ref()) else { return Ok(()) };
    add_functions!(
        module,
        queue_push,
        queue_pull,
        queue_pop,
        queue_get,
        queue_set,
        queue_last,
        queue_slot,
        queue_pull_slot
    );
    module.add("queue_size", queue.slots())
}

fn with<T: Send>(py: Python<'_>, use_it: impl FnOnce(&mut Queue<'_, Locked<'_>>) -> T + Send) -> PyResult<T> {
    let queue: &SharedQueue = Shared::here()
        .and_then(|shared| shared.queue.as_ref())
        .ok_or_else(|| PyRuntimeError::new_err("there is no queue: say `queue = N`"))?;
    Ok(py.detach(|| queue.with(use_it))?)
}

fn now_s() -> u64 {
    os::realtime_ns() / 1_000_000_000
}

fn bytes<'py>(py: Python<'py>, message: Option<Vec<u8>>) -> Option<Bound<'py, PyBytes>> {
    message.map(|message| PyBytes::new(py, &message))
}

/// Adds a message. True, or None when it is empty or too long (`queue-blocksize` less 16).
#[pyfunction]
#[pyo3(signature = (message, /))]
fn queue_push(py: Python<'_>, message: Text) -> PyResult<Option<bool>> {
    Ok(with(py, |queue| queue.push(&message.0, now_s()))?.then_some(true))
}

/// Takes the oldest message; None when there is none.
#[pyfunction]
fn queue_pull(py: Python<'_>) -> PyResult<Option<Bound<'_, PyBytes>>> {
    Ok(bytes(py, with(py, |queue| queue.pull())?))
}

/// Takes the message pushed last; None when there is none.
#[pyfunction]
fn queue_pop(py: Python<'_>) -> PyResult<Option<Bound<'_, PyBytes>>> {
    Ok(bytes(py, with(py, |queue| queue.pop())?))
}

/// The message in a slot, which stays there.
#[pyfunction]
#[pyo3(signature = (slot, /))]
fn queue_get(py: Python<'_>, slot: i64) -> PyResult<Option<Bound<'_, PyBytes>>> {
    let Ok(slot) = u64::try_from(slot) else { return Ok(None) };
    Ok(bytes(py, with(py, |queue| queue.get(slot))?))
}

/// Writes a message into a slot. True, or None when there is no such slot or it does not fit.
#[pyfunction]
#[pyo3(signature = (slot, message, /))]
fn queue_set(py: Python<'_>, slot: i64, message: Text) -> PyResult<Option<bool>> {
    let Ok(slot) = u64::try_from(slot) else { return Ok(None) };
    Ok(with(py, |queue| queue.set(slot, &message.0, now_s()))?.then_some(true))
}

/// The message pushed last; with a number a list of the last ones, None where a slot is empty.
#[pyfunction]
#[pyo3(signature = (count=0, /))]
fn queue_last(py: Python<'_>, count: i64) -> PyResult<Bound<'_, PyAny>> {
    let several = u64::try_from(count).unwrap_or(0);
    let mut last = with(py, |queue| queue.last(several.max(1)))?;
    if several == 0 {
        return bytes(py, last.pop().flatten()).into_pyobject(py).map(Bound::into_any).map_err(Into::into);
    }
    Ok(PyList::new(py, last.into_iter().map(|message| bytes(py, message)))?.into_any())
}

/// Where the next message is pushed.
#[pyfunction]
fn queue_slot(py: Python<'_>) -> PyResult<u64> {
    with(py, |queue| queue.push_slot())
}

/// Where the next one is pulled.
#[pyfunction]
fn queue_pull_slot(py: Python<'_>) -> PyResult<u64> {
    with(py, |queue| queue.pull_slot())
}
