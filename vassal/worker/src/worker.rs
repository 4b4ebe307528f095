//! A worker from its fork to its end: descriptors, scoreboard slots, the app (under `lazy-apps`), the serving threads.
//! What every part of it needs to know of the process stands in [`Worker`].

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use empery_control::{
    boot::AppBoot,
    ids::WorkerRef,
    scoreboard::{Slot, slot_index},
    worker::{FromWorker, Signals},
};
use empery_failpoint::point;
use empery_sys::{limits, scoreboard::Scoreboard};
use pyo3::prelude::*;

use crate::{
    attend, autoreload, bereft, gevent, hooks, leave,
    line::Line,
    load::{self, CollectorIs, Loaded},
    log::{self, Log},
    mounts, os, python,
    recycling::Recycling,
    serve::{self, Serving, green},
    signals, stray, title, uwsgi_module,
};

/// The worker that this process is.
pub(crate) struct Worker {
    pub(crate) boot: &'static AppBoot,
    pub(crate) reference: WorkerRef,
    pub(crate) pid: i32,
    pub(crate) scoreboard: Scoreboard,
    pub(crate) line: Line,
    pub(crate) log: Log,
    /// Requests of this process.
    pub(crate) requests: AtomicU64,
    /// When it was forked.
    pub(crate) spawned_unix_s: u64,
    /// The same by CLOCK_MONOTONIC: its age is not changed by whoever sets the clock.
    pub(crate) spawned_monotonic_ns: u64,
    /// How the master reaches it while its threads are inside the app.
    pub(crate) signals: Signals,
    /// The last asking for stacks that was answered.
    pub(crate) stacks_told: AtomicU32,
    /// For each thread: whether something is on its way that ends its request.
    pub(crate) is_struck: Box<[AtomicBool]>,
    /// What faulthandler writes to: the number must stay its own.
    _crash: Option<OwnedFd>,
    /// Whether and when it asks to be replaced.
    pub(crate) recycling: Recycling,
}

static WORKER: OnceLock<Worker> = OnceLock::new();

impl Worker {
    /// The worker of this process; None in a zygote.
    pub(crate) fn here() -> Option<&'static Worker> {
        WORKER.get()
    }

    /// The slot of a thread of this worker.
    pub(crate) fn slot(&self, core: u32) -> &Slot {
        self.slot_of(self.reference.worker.0, self.reference.spawn, core)
    }

    /// The slot of a thread of a worker (counted from 1) in its n-th spawn.
    pub(crate) fn slot_of(&self, worker: u32, spawn: u32, core: u32) -> &Slot {
        self.scoreboard.slot(slot_index(self.boot.processes, self.boot.threads, worker, spawn, core))
    }

    /// What a master is told first.
    pub(crate) fn up(&self) -> FromWorker {
        FromWorker::Up { worker: self.reference, pid: self.pid, signals: self.signals, claims: true }
    }

    /// Tells the master something that it may miss without harm.
    pub(crate) fn say(&self, word: &FromWorker) -> bool {
        self.line.say(word, &[]).is_ok()
    }

    /// Writes a line to the log.
    pub(crate) fn log(&self, text: &str) {
        let worker = self.reference.worker.0;
        self.log.write(worker, format!("{}[worker {worker}] {text}\n", log::date(self.boot)).as_bytes());
    }

    /// The request that the calling thread, or greenlet, serves: its core, and when it began on the monotonic clock.
    pub(crate) fn request_of_this_thread(&self, py: Python<'_>) -> Option<(u32, u64)> {
        let ident = green::ident(py);
        (0..self.boot.threads).find_map(|core| {
            let state = &self.slot(core).state;
            let began_ns = state.started_monotonic_ns.load(Ordering::Relaxed);
            (state.thread_ident.load(Ordering::Relaxed) == ident && began_ns != 0).then_some((core, began_ns))
        })
    }

    /// Counts a request, and asks for a successor when it is time.
    pub(crate) fn count_request(&self) {
        let done = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        self.recycling.after_request(self, done);
    }

    fn take_slots(&self) {
        for core in 0..self.boot.threads {
            let state = &self.slot(core).state;
            let counters = &self.slot(core).counters;
            state.started_monotonic_ns.store(0, Ordering::Relaxed);
            state.struck_ns.store(0, Ordering::Relaxed);
            state.thread_ident.store(0, Ordering::Relaxed);
            state.requests_at_spawn.store(counters.requests.load(Ordering::Relaxed), Ordering::Relaxed);
            state.spawned_unix_s.store(self.spawned_unix_s, Ordering::Relaxed);
            state.spawn.store(self.reference.spawn, Ordering::Relaxed);
            set_flags(&state.flags, 0);
            state.connections.store(0, Ordering::Relaxed);
            state.stacks_asked.store(0, Ordering::Relaxed);
            state.pid.store(self.pid as u32, Ordering::Release);
        }
    }

    /// Says in every slot whether the gate is open.
    pub(crate) fn show_flags(&self, flags: u32) {
        for core in 0..self.boot.threads {
            set_flags(&self.slot(core).state.flags, flags);
        }
    }
}

fn set_flags(place: &AtomicU32, flags: u32) {
    place.store(flags, Ordering::Release);
}

/// Runs the worker in the process that the zygote has just forked; its exit code.
pub(crate) fn run(
    py: Python<'_>,
    boot: &'static AppBoot,
    reference: WorkerRef,
    (line, crash): (OwnedFd, Option<OwnedFd>),
    app: Option<Loaded>,
) -> i32 {
    match begin(py, boot, reference, line, crash).and_then(|worker| live(py, worker, app)) {
        Ok(code) => code,
        Err(error) => {
            python::print_exception(py, &error);
            1
        }
    }
}

fn begin(
    py: Python<'_>,
    boot: &'static AppBoot,
    reference: WorkerRef,
    line: OwnedFd,
    crash: Option<OwnedFd>,
) -> PyResult<&'static Worker> {
    point!("worker.begin")?;
    for stream in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        os::duplicate_onto(boot.log_write_fd, stream)?;
    }
    title::worker(boot, reference.worker.0);
    if boot.process.cpus_per_worker > 0
        && let Err(error) = limits::bind_to_cpus(reference.worker.0, boot.process.cpus_per_worker)
    {
        os::write_stderr(format!("*** cpu-affinity does not take effect: {error} ***\n").as_bytes());
    }
    load::collector(py, CollectorIs::On)?;
    // SAFETY: the zygote keeps the number open for all its workers, and nothing in it closes it.
    let scoreboard_fd = unsafe { BorrowedFd::borrow_raw(boot.scoreboard_fd) };
    let worker = Worker {
        boot,
        reference,
        pid: std::process::id() as i32,
        scoreboard: Scoreboard::map(scoreboard_fd.as_fd())?,
        line: Line::new(line)?,
        log: Log::new(),
        requests: AtomicU64::new(0),
        spawned_unix_s: os::realtime_ns() / 1_000_000_000,
        spawned_monotonic_ns: os::monotonic_ns(),
        signals: attend::install(py, boot.threads, crash.as_ref()),
        stacks_told: AtomicU32::new(0),
        is_struck: (0..boot.threads).map(|_| AtomicBool::new(false)).collect(),
        _crash: crash,
        recycling: Recycling::new(&boot.recycle, reference)?,
    };
    worker.take_slots();
    stray::watch();
    let worker = WORKER.get_or_init(|| worker);
    point!("worker.up")?;
    worker.line.say(&worker.up(), &[])?;
    Ok(worker)
}

fn live(py: Python<'_>, worker: &'static Worker, app: Option<Loaded>) -> PyResult<i32> {
    // SAFETY: the line stays open and is nobody else's: only a worker that serves replaces it.
    let line = worker.line.raw().map(|raw| unsafe { BorrowedFd::borrow_raw(raw) });
    let watch = line.map(bereft::Watch::begin);
    if let Err(failure) = hooks::run(py, &worker.boot.process.post_fork) {
        worker.log(&failure.sentence);
        return Ok(1);
    }
    let app = match app {
        Some(app) => app,
        None => match load_here(py, worker)? {
            Some(app) => app,
            None => return Ok(22),
        },
    };
    gevent::after_fork(py, worker.boot)?;
    let app = mounts::keep(app, &worker.boot.apps);
    mounts::show_load_times(worker);
    uwsgi_module::after_fork(py, &app)?;
    signals::begin()?;
    let serving: &'static Serving = Box::leak(Box::new(Serving::new(worker)?));
    autoreload::start(py, worker)?;
    drop(watch);
    serve::run(py, serving, app)?;
    point!("worker.leave")?;
    uwsgi_module::at_exit(py);
    python::flush(py);
    leave::leave(py, 0, |text| worker.log(text))?;
    Ok(0)
}

/// The import under `lazy-apps`; None when it failed and the master knows.
fn load_here(py: Python<'_>, worker: &Worker) -> PyResult<Option<Loaded>> {
    let began = os::monotonic_ns();
    let (app, word) = match load::load(py, worker.boot) {
        Ok(app) => (Some(app), FromWorker::AppLoaded { import_ms: (os::monotonic_ns() - began) / 1_000_000 }),
        Err(failure) => (None, FromWorker::LoadFailed { sentence: failure.sentence, traceback: failure.traceback }),
    };
    python::flush(py);
    match worker.line.say(&word, &[]) {
        // The master may have died meanwhile; the loop finds out and knows what to do.
        Err(error) if app.is_none() => {
            Err(io::Error::other(format!("the app was not loaded, and the master cannot be told: {error}")).into())
        }
        Ok(()) | Err(_) => Ok(app),
    }
}
