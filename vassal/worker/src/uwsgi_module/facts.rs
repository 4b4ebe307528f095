//! The functions of `uwsgi` that tell something: ids, counters, the workers as the scoreboard shows them.

use std::{
    os::fd::BorrowedFd,
    sync::atomic::{AtomicI32, AtomicU64, Ordering},
};

use empery_control::{boot::AppBoot, scoreboard::Slot};
use empery_sys::{listen, process};
use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    types::{PyBytes, PyDict, PyModule, PyTuple},
};

use super::{add_functions, crew::Crew};
use crate::{os, worker::Worker};

static MASTER_PID: AtomicI32 = AtomicI32::new(0);

pub(super) fn add(module: &Bound<'_, PyModule>, boot: &AppBoot) -> PyResult<()> {
    MASTER_PID.store(boot.master_pid, Ordering::Relaxed);
    add_functions!(module, masterpid, worker_id, total_requests, request_id, workers, mem, micros, listen_queue);
    Ok(())
}

/// Pid of the master.
#[pyfunction]
fn masterpid() -> i32 {
    MASTER_PID.load(Ordering::Relaxed)
}

/// From 1; 0 while the app is being imported.
#[pyfunction]
fn worker_id() -> u32 {
    Worker::here().map_or(0, |worker| worker.reference.worker.0)
}

/// Requests of all workers.
#[pyfunction]
fn total_requests() -> u64 {
    Crew::here().map_or(0, |crew| crew.scoreboard.totals().requests)
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

/// Resident set and virtual size of a process, in bytes; 0 when there is none.
pub(super) fn memory(pid: i32) -> (u64, u64) {
    if pid == 0 {
        return (0, 0);
    }
    process::memory(pid).map_or((0, 0), |memory| (memory.rss_bytes, memory.vsz_bytes))
}

/// How many clients wait in the queue of a socket, by its number among those of the workers; 0 for a unix socket.
///
/// # Errors
/// `ValueError` when there is no such socket.
#[pyfunction]
#[pyo3(signature = (socket=0, /))]
fn listen_queue(socket: i64) -> PyResult<u64> {
    queue_of(socket).ok_or_else(|| PyValueError::new_err(format!("unable to find socket {socket}")))
}

/// See [`listen_queue`]; None when there is no such socket.
pub(super) fn queue_of(socket: i64) -> Option<u64> {
    let listener = Crew::here()?.boot.listeners.get(usize::try_from(socket).ok()?)?;
    // SAFETY: listeners are inherited and stay open as long as the process lives.
    let fd = unsafe { BorrowedFd::borrow_raw(listener.fd) };
    Some(listen::queue_length(fd).map_or(0, |(waiting, _)| waiting))
}

/// `uwsgi.magic_table`: what one-letter variables stand for that do not depend on a file.
pub(super) fn magic_table(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let now_us = os::realtime_ns() / 1000;
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    let user = nix::unistd::User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    let group = nix::unistd::Group::from_gid(gid).ok().flatten().map_or_else(|| gid.to_string(), |group| group.name);
    let directory = std::env::current_dir().unwrap_or_default().into_os_string().into_encoded_bytes();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let table = PyDict::new(py);
    for (letter, value) in [
        ("%", b"%".to_vec()),
        ("(", b"%(".to_vec()),
        ("[", b"\x1b".to_vec()),
        ("G", group.into_bytes()),
        ("T", now_us.to_string().into_bytes()),
        ("U", user.into_bytes()),
        ("V", super::VERSION.as_bytes().to_vec()),
        ("g", gid.to_string().into_bytes()),
        ("h", super::hostname()),
        ("k", cores.to_string().into_bytes()),
        ("t", (now_us / 1_000_000).to_string().into_bytes()),
        ("u", uid.to_string().into_bytes()),
        ("v", directory),
    ] {
        table.set_item(PyBytes::new(py, letter.as_bytes()), PyBytes::new(py, &value))?;
    }
    Ok(table)
}

/// Microseconds since 1970.
#[pyfunction]
fn micros() -> u64 {
    os::realtime_ns() / 1000
}

/// A dict for each worker.
#[pyfunction]
fn workers(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
    let Some(here) = Crew::here() else { return Ok(PyTuple::empty(py)) };
    let all = (1..=here.boot.processes).map(|id| worker(py, here, id)).collect::<PyResult<Vec<_>>>()?;
    PyTuple::new(py, all)
}

/// What the scoreboard says of a worker.
pub(super) struct Numbers {
    /// 0 while there is none.
    pub(super) pid: i32,
    pub(super) requests: u64,
    pub(super) delta_requests: u64,
    pub(super) exceptions: u64,
    pub(super) is_busy: bool,
    pub(super) running_us: u64,
    pub(super) tx_bytes: u64,
    pub(super) average_us: u64,
    signals: u64,
    last_spawn_unix_s: u64,
    pub(super) respawns: u64,
}

/// Of every worker.
pub(super) fn numbers(here: Crew) -> impl Iterator<Item = Numbers> {
    (1..=here.boot.processes).map(move |id| worker_numbers(here, id))
}

/// Of one, by its id.
pub(super) fn worker_numbers(here: Crew, id: u32) -> Numbers {
    let half = |spawn: u32| (0..here.boot.threads).map(move |core| here.slot_of(id, spawn, core));
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let sum = |of: fn(&Slot) -> &AtomicU64| half(0).chain(half(1)).map(|slot| read(of(slot))).sum::<u64>();
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
    let mut numbers = Numbers {
        pid: 0,
        requests: sum(|slot| &slot.counters.requests),
        delta_requests: 0,
        exceptions: sum(|slot| &slot.counters.exceptions),
        is_busy: false,
        running_us: sum(|slot| &slot.counters.running_us),
        tx_bytes: sum(|slot| &slot.counters.tx_bytes),
        average_us: 0,
        signals: sum(|slot| &slot.counters.signals),
        last_spawn_unix_s: 0,
        respawns: 0,
    };
    for slot in half(now) {
        let state = &slot.state;
        numbers.pid = state.pid.load(Ordering::Acquire) as i32;
        numbers.respawns = u64::from(state.spawn.load(Ordering::Relaxed)) + 1;
        numbers.last_spawn_unix_s = read(&state.spawned_unix_s);
        numbers.average_us = numbers.average_us.max(read(&state.avg_rt_us));
        numbers.is_busy |= read(&state.started_monotonic_ns) != 0;
        numbers.delta_requests += read(&slot.counters.requests).saturating_sub(read(&state.requests_at_spawn));
    }
    if numbers.pid == 0 {
        numbers.respawns = 0;
    }
    numbers
}

fn worker<'py>(py: Python<'py>, here: Crew, id: u32) -> PyResult<Bound<'py, PyDict>> {
    let numbers = worker_numbers(here, id);
    let (rss, vsz) = memory(numbers.pid);
    let status: &[u8] = match (numbers.pid, numbers.is_busy) {
        (0, _) => b"cheap",
        (_, true) => b"busy",
        (_, false) => b"idle",
    };
    let apps = (0..).zip(here.boot.apps.points()).map(|(number, point)| app(py, here, (id, &numbers), (number, point)));
    let apps = apps.collect::<PyResult<Vec<_>>>()?;
    let all = PyDict::new(py);
    all.set_item("id", id)?;
    all.set_item("pid", numbers.pid)?;
    all.set_item("requests", numbers.requests)?;
    all.set_item("delta_requests", numbers.delta_requests)?;
    all.set_item("signals", numbers.signals)?;
    all.set_item("exceptions", numbers.exceptions)?;
    all.set_item("status", PyBytes::new(py, status))?;
    all.set_item("rss", rss)?;
    all.set_item("vsz", vsz)?;
    all.set_item("running_time", numbers.running_us)?;
    all.set_item("last_spawn", numbers.last_spawn_unix_s)?;
    // Only here, and not in the statistics, the first start is none.
    all.set_item("respawn_count", numbers.respawns.saturating_sub(1))?;
    all.set_item("tx", numbers.tx_bytes)?;
    all.set_item("avg_rt", numbers.average_us)?;
    all.set_item("apps", PyTuple::new(py, apps)?)?;
    Ok(all)
}

/// One of the apps of a worker; one alone has all that its worker counts.
fn app<'py>(
    py: Python<'py>,
    here: Crew,
    (worker, numbers): (u32, &Numbers),
    (number, point): (u32, &str),
) -> PyResult<Bound<'py, PyDict>> {
    let (requests, exceptions, load_ms) = match here.scoreboard.app(worker, number) {
        Some(counted) => {
            let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            (read(&counted.requests), read(&counted.exceptions), read(&counted.load_ms))
        }
        None => (numbers.requests, numbers.exceptions, 0),
    };
    let app = PyDict::new(py);
    app.set_item("id", number)?;
    app.set_item("modifier1", 0)?;
    app.set_item("mountpoint", PyBytes::new(py, point.as_bytes()))?;
    app.set_item("startup_time", load_ms / 1000)?;
    app.set_item("requests", requests)?;
    app.set_item("exceptions", exceptions)?;
    // What a request had said with UWSGI_CHDIR, which none may here.
    app.set_item("chdir", PyBytes::new(py, b""))?;
    Ok(app)
}
