//! The functions of `uwsgi` that tell something: ids, counters, the workers as the scoreboard shows them.

use std::sync::atomic::{AtomicU64, Ordering};

use empery_control::scoreboard::{Slot, slot_index};
use empery_sys::process;
use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict, PyList, PyModule, PyTuple},
};

use super::add_functions;
use crate::{os, worker::Worker};

pub(super) fn add(_py: Python<'_>, module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(module, masterpid, worker_id, mule_id, total_requests, request_id, workers, mem, micros);
    Ok(())
}

/// Pid of the master; 0 while the app is being imported.
#[pyfunction]
fn masterpid() -> i32 {
    Worker::here().map_or(0, |worker| worker.boot.master_pid)
}

/// From 1; 0 while the app is being imported.
#[pyfunction]
fn worker_id() -> u32 {
    Worker::here().map_or(0, |worker| worker.reference.worker.0)
}

/// There are no mules.
#[pyfunction]
fn mule_id() -> u32 {
    0
}

/// Requests of all workers.
#[pyfunction]
fn total_requests() -> u64 {
    Worker::here().map_or(0, |worker| worker.scoreboard.totals().requests)
}

/// Requests of this worker.
#[pyfunction]
fn request_id() -> u64 {
    Worker::here().map_or(0, |worker| worker.requests.load(Ordering::Relaxed))
}

/// Resident set and virtual size of this process, in bytes.
#[pyfunction]
fn mem() -> (u64, u64) {
    memory(std::process::id() as i32)
}

fn memory(pid: i32) -> (u64, u64) {
    process::memory(pid).map_or((0, 0), |memory| (memory.rss_bytes, memory.vsz_bytes))
}

/// Microseconds since 1970.
#[pyfunction]
fn micros() -> u64 {
    os::realtime_ns() / 1000
}

/// A dict for each worker.
#[pyfunction]
fn workers(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
    let Some(here) = Worker::here() else { return Ok(PyTuple::empty(py)) };
    let all = (1..=here.boot.processes).map(|id| worker(py, here, id)).collect::<PyResult<Vec<_>>>()?;
    PyTuple::new(py, all)
}

fn worker<'py>(py: Python<'py>, here: &Worker, id: u32) -> PyResult<Bound<'py, PyDict>> {
    let (processes, threads) = (here.boot.processes, here.boot.threads);
    let half = |spawn: u32| {
        (0..threads).map(move |core| here.scoreboard.slot(slot_index(processes, threads, id, spawn, core)))
    };
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let both = || half(0).chain(half(1));
    let sum = |of: fn(&Slot) -> &AtomicU64| both().map(|slot| read(of(slot))).sum::<u64>();
    // The half of the process that lives: the later spawn.
    let now = [0, 1]
        .into_iter()
        .max_by_key(|spawn| {
            half(*spawn).next().map_or((0, 0), |slot| {
                let state = &slot.state;
                (u64::from(state.pid.load(Ordering::Acquire) != 0), u64::from(state.spawn.load(Ordering::Relaxed)))
            })
        })
        .unwrap_or(0);
    let (mut pid, mut spawn, mut last_spawn, mut average, mut busy, mut delta) = (0, 0, 0, 0, false, 0);
    for slot in half(now) {
        let state = &slot.state;
        pid = state.pid.load(Ordering::Acquire) as i32;
        spawn = state.spawn.load(Ordering::Relaxed);
        last_spawn = read(&state.spawned_unix_s);
        average = average.max(read(&state.avg_rt_us));
        busy |= read(&state.started_monotonic_ns) != 0;
        delta += read(&slot.counters.requests).saturating_sub(read(&state.requests_at_spawn));
    }
    let (rss, vsz) = if pid == 0 { (0, 0) } else { memory(pid) };
    let requests = sum(|slot| &slot.counters.requests);
    let exceptions = sum(|slot| &slot.counters.exceptions);
    let status: &[u8] = match (pid, busy) {
        (0, _) => b"cheap",
        (_, true) => b"busy",
        (_, false) => b"idle",
    };
    let app = PyDict::new(py);
    app.set_item("id", 0)?;
    app.set_item("modifier1", 0)?;
    app.set_item("mountpoint", PyBytes::new(py, b""))?;
    app.set_item("requests", requests)?;
    app.set_item("exceptions", exceptions)?;
    let all = PyDict::new(py);
    all.set_item("id", id)?;
    all.set_item("pid", pid)?;
    all.set_item("requests", requests)?;
    all.set_item("delta_requests", delta)?;
    all.set_item("signals", 0)?;
    all.set_item("exceptions", exceptions)?;
    all.set_item("status", PyBytes::new(py, status))?;
    all.set_item("rss", rss)?;
    all.set_item("vsz", vsz)?;
    all.set_item("running_time", sum(|slot| &slot.counters.running_us))?;
    all.set_item("last_spawn", last_spawn)?;
    all.set_item("respawn_count", if pid == 0 { 0 } else { spawn + 1 })?;
    all.set_item("tx", sum(|slot| &slot.counters.tx_bytes))?;
    all.set_item("avg_rt", average)?;
    all.set_item("apps", PyList::new(py, [app])?)?;
    Ok(all)
}
