//! Serving: one epoll loop, led by one thread at a time, and the threads that run the app.
//!
//! The leader runs the app inline. With more threads than one, another takes the lead when that takes long ([`relay`]).
//! A connection belongs to one thread at a time: whoever has taken it out of the [`slab`]. Python's lock is held except
//! while waiting.

mod accept;
mod again;
pub(crate) mod connection;
mod control;
mod drain;
pub(crate) mod farewell;
mod frozen;
pub(crate) mod green;
mod lead;
pub(crate) mod lent;
mod meanwhile;
mod orphan;
pub(crate) mod outgoing;
pub(crate) mod parting;
mod raised;
mod relay;
mod slab;
mod thread;

use std::{
    collections::VecDeque,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
};

use empery_control::boot::Engine;
use empery_rules::routes::Routes;
use empery_wire::limits::{BODY_MIN_BYTES_PER_S, REST_MAX_MS};
use pyo3::{
    exceptions::PyRuntimeError,
    prelude::*,
    types::{PyDict, PyList},
};

use crate::{
    epoll::{Epoll, Watch},
    os,
    request::{StartResponse, rules::Rules},
    serve::{
        connection::{Coming, Connection},
        farewell::Owed,
        lead::{Lead, Turn},
        lent::Lent,
        parting::Parting,
        relay::{Followed, Relay, Role},
        slab::{NEVER_MS, Place, Slab},
    },
    shared::{Shared, cache::Cache},
    signals,
    static_files::StaticFiles,
    worker::Worker,
};

/// How long the threads may take to leave once nothing is to be served any more, in s.
const JOIN_TIMEOUT_S: u32 = 5;

/// Where in its life the worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// It serves, or waits for its gate to be opened.
    Serving,
    /// It accepts nothing any more and finishes what it has.
    Draining,
    /// Nothing is left.
    Done,
}

/// What the threads of a worker share.
pub(crate) struct Serving {
    pub(crate) worker: &'static Worker,
    epoll: Epoll,
    relay: Relay,
    /// For each thread, what it owes to its client.
    pub(crate) owed: Box<[Owed]>,
    /// For each thread, the answer of the request that it serves, or served last.
    answers_of: Box<[Mutex<Option<Py<StartResponse>>>]>,
    /// Only with one thread.
    parting: Option<Parting>,
    lent: Lent,
    /// Of the next connection that goes to another worker.
    next_token: AtomicU64,
    /// Only the leader locks it, and lets go of it while inside the app.
    lead: Mutex<Lead>,
    slab: Mutex<Slab>,
    /// Who waits for being looked at: connections that have sent something, and listeners.
    ready: Mutex<VecDeque<Turn>>,
    /// What is answered without the app; None when there is nothing of the kind.
    pub(crate) static_files: Option<StaticFiles>,
    pub(crate) rules: Option<Rules>,
    /// The cache that has whole answers (`check-cache`).
    pub(crate) answers: Option<&'static Cache>,
    /// From this number on descriptors are the app's, as long as connections can be done without.
    first_scarce_descriptor: RawFd,
    /// Functions of uWSGI signals that run.
    functions_running: AtomicU32,
    /// Wakes the leader.
    wake: OwnedFd,
    phase: AtomicU8,
    /// Somebody other than the master wants the worker to drain.
    leave_asked: AtomicBool,
}

static SERVING: OnceLock<&'static Serving> = OnceLock::new();

impl Serving {
    /// That of this process; None before it serves.
    pub(crate) fn here() -> Option<&'static Serving> {
        SERVING.get().copied()
    }
}

/// What a thread does next.
pub(crate) enum Next {
    /// Look at what this connection has sent: it is in the thread's buffer.
    Serve(Place, Box<Connection>),
    /// Let Python look after signals.
    Signalled,
    /// Run the function of a uWSGI signal.
    Raised,
    /// Leave.
    End,
}

impl Serving {
    pub(crate) fn new(worker: &'static Worker) -> std::io::Result<Self> {
        let boot = worker.boot;
        let serves_files = !boot.static_files.rules.is_empty() || boot.routes != Routes::default();
        let static_files = serves_files.then(|| {
            StaticFiles::new(&boot.static_files, |warning| {
                // Once for all workers.
                if worker.reference.worker.0 == 1 {
                    worker.log(&warning);
                }
            })
        });
        let serving = Self {
            worker,
            static_files: static_files.transpose().map_err(std::io::Error::other)?,
            rules: Rules::new(boot).map_err(std::io::Error::other)?,
            answers: Shared::here().and_then(|shared| shared.caches.get(shared.check?)),
            epoll: Epoll::new()?,
            relay: Relay::new()?,
            owed: (0..worker.boot.threads).map(|_| Owed::nothing()).collect(),
            answers_of: (0..worker.boot.threads).map(|_| Mutex::new(None)).collect(),
            parting: Parting::new(worker)?,
            lent: Lent::default(),
            next_token: AtomicU64::new(0),
            lead: Mutex::new(Lead::new()),
            slab: Mutex::new(Slab::new(now_ms())),
            ready: Mutex::new(VecDeque::new()),
            first_scarce_descriptor: accept::first_scarce_descriptor()?,
            functions_running: AtomicU32::new(0),
            wake: os::event_counter()?,
            phase: AtomicU8::new(Phase::Serving as u8),
            leave_asked: AtomicBool::new(false),
        };
        serving.epoll.add(serving.wake.as_raw_fd(), Watch::Level, lead::WAKE)?;
        if let Some(line) = serving.worker.line.raw() {
            serving.epoll.add(line, Watch::Level, lead::LINE)?;
        }
        accept::prepare(&worker.boot.listeners, &worker.boot.process);
        Ok(serving)
    }

    /// The answer that a thread gives; None before it has given any.
    pub(crate) fn answer_of<'py>(&self, py: Python<'py>, core: u32) -> Option<Bound<'py, StartResponse>> {
        let answer = self.answers_of.get(core as usize)?.lock().unwrap_or_else(PoisonError::into_inner);
        answer.as_ref().map(|answer| answer.bind(py).clone())
    }

    /// From now on a thread gives its answers by this.
    pub(crate) fn set_answer_of(&self, core: u32, answer: Py<StartResponse>) {
        if let Some(place) = self.answers_of.get(core as usize) {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Serving,
            1 => Phase::Draining,
            _ => Phase::Done,
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
        if phase == Phase::Done {
            self.relay.end();
        }
    }

    /// Asks the leader to drain.
    pub(crate) fn leave(&self) {
        self.leave_asked.store(true, Ordering::Release);
        os::raise(&self.wake);
    }

    /// Whether a connection is of use after its answer: not when there is nobody to give it to and we are leaving.
    pub(crate) fn keeps_connections(&self) -> bool {
        self.phase() == Phase::Serving || self.worker.line.raw().is_some()
    }

    fn slab(&self) -> MutexGuard<'_, Slab> {
        self.slab.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ready(&self) -> MutexGuard<'_, VecDeque<Turn>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lead(&self) -> MutexGuard<'_, Lead> {
        self.lead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next thing to do for the calling thread, which may have to wait for it.
    fn next(&self, py: Python<'_>, core: u32, role: &mut Role, buffer: &mut Vec<u8>) -> Next {
        let mut has_looked = false;
        if *role == Role::Leads {
            if let Some(next) = self.look(&mut self.lead(), buffer) {
                return next;
            }
            has_looked = true;
        }
        py.detach(|| {
            if *role == Role::Follows {
                match self.follow(core) {
                    Followed::Leads => *role = Role::Leads,
                    Followed::Signalled => return Next::Signalled,
                    Followed::End => return Next::End,
                }
            }
            let mut lead = self.lead();
            loop {
                if !std::mem::take(&mut has_looked)
                    && let Some(next) = self.look(&mut lead, buffer)
                {
                    return next;
                }
                if let Some(next) = self.wait(&mut lead) {
                    return next;
                }
            }
        })
    }

    /// Takes a connection back that waits for its client: for the rest of a head, the next request, or to take an answer.
    pub(crate) fn put_back(&self, place: Place, mut connection: Box<Connection>) {
        let deadline_ms = self.deadline_ms(&mut connection);
        let watch = if connection.sending.is_some() { Watch::Writable } else { Watch::Level };
        let (raw, token) = (connection.raw(), lead::token(place));
        // Under one lock: between the two the leader would take it for a connection that a thread has.
        let mut slab = self.slab();
        let watched = if slab.unmute(place) { None } else { connection.watched };
        let armed = match watched {
            None => self.epoll.add(raw, watch, token),
            Some(before) if before == watch => Ok(()),
            Some(_) => self.epoll.arm(raw, watch, token),
        };
        connection.watched = Some(watch);
        match armed {
            Ok(()) => slab.put(place, connection, deadline_ms),
            Err(error) => {
                drop(slab);
                self.worker.log(&format!("a connection cannot be watched: {error}"));
                self.close(place, connection);
            }
        }
    }

    /// Until when the client is waited for. All are totals: none is moved on by single bytes.
    fn deadline_ms(&self, connection: &mut Connection) -> u64 {
        let boot = self.worker.boot;
        if let Some(sending) = &connection.sending {
            return sending.deadline_ms;
        }
        let waits_ms = match connection.coming {
            Coming::Rest => REST_MAX_MS,
            Coming::Request if connection.received.is_empty() && connection.requests > 0 => boot.keepalive_timeout_ms,
            Coming::Request => self.head_timeout_ms(connection),
        };
        let begins = connection.received.is_empty() || connection.waits_since_ms == 0;
        if connection.coming == Coming::Request && begins {
            connection.waits_since_ms = now_ms();
        }
        let waits_ms = if connection.wanted_bytes > 0 {
            // As for a body that the app waits for: what has come buys more.
            boot.body_timeout_ms + connection.received.len() as u64 * 1000 / BODY_MIN_BYTES_PER_S
        } else {
            waits_ms
        };
        connection.waits_since_ms + waits_ms
    }

    /// How long a head may take that comes here.
    fn head_timeout_ms(&self, connection: &Connection) -> u64 {
        let boot = self.worker.boot;
        let own = boot.listeners.get(connection.listener).and_then(|listener| listener.http.head_timeout_ms);
        own.unwrap_or(boot.client_timeout_ms)
    }

    /// Takes a connection back that has sent more than was served. It waits for us: no deadline runs before its turn.
    pub(crate) fn put_ready(&self, place: Place, mut connection: Box<Connection>) {
        connection.has_its_turn = true;
        self.slab().put(place, connection, NEVER_MS);
        self.ready().push_back(Turn::Connection(place));
    }

    /// Closes a connection that the calling thread holds.
    pub(crate) fn close(&self, place: Place, connection: Box<Connection>) {
        self.forget(place, &connection);
        connection.close();
    }

    /// Closes one that was served just now: with nothing but close(2) where that is enough.
    pub(crate) fn close_served(&self, py: Python<'_>, place: Place, connection: Box<Connection>) {
        if connection.is_ours_alone(py) {
            self.slab().forget(place);
            self.show_connections();
            drop(connection);
        } else {
            self.close(place, connection);
        }
    }

    /// Closes it so that the client sees an error.
    pub(crate) fn reset(&self, place: Place, connection: Box<Connection>) {
        self.forget(place, &connection);
        connection.reset();
    }

    /// Before its descriptor is closed, whose number may be another connection's at once.
    fn forget(&self, place: Place, connection: &Connection) {
        self.slab().forget(place);
        self.show_connections();
        // A child of the app may hold a copy of the descriptor, and then closing would not end the watch.
        if connection.watched.is_some() {
            let _ = self.epoll.remove(connection.raw());
        }
    }
}

/// CLOCK_MONOTONIC in ms.
pub(crate) fn now_ms() -> u64 {
    os::monotonic_ns() / 1_000_000
}

/// Serves until the worker is drained. The main thread serves too: signal handlers and event loops of the app want it.
pub(crate) fn run(py: Python<'_>, serving: &'static Serving, app: Py<PyAny>) -> PyResult<()> {
    SERVING.get_or_init(|| serving);
    name_main_thread(py, serving.worker)?;
    // A thread of the app may have opened it since this was made, when nobody was there to be told.
    if let Some(letterbox) = signals::ready() {
        serving.watch_letterbox(letterbox)?;
    }
    if let Engine::Gevent { .. } = serving.worker.boot.engine {
        return green::run(py, serving, &app);
    }
    let others = PyList::empty(py);
    if serving.worker.boot.threads > 1 {
        let threading = py.import("threading")?;
        if serving.worker.boot.process.thread_stack_bytes > 0 {
            threading.call_method1("stack_size", (serving.worker.boot.process.thread_stack_bytes,))?;
        }
        for core in 1..serving.worker.boot.threads {
            let options = PyDict::new(py);
            options.set_item("target", pyo3::wrap_pyfunction!(serve_core, py)?)?;
            options.set_item("args", (core, app.bind(py)))?;
            options.set_item("name", thread_name(serving.worker, core))?;
            options.set_item("daemon", true)?;
            let thread = threading.call_method("Thread", (), Some(&options))?;
            thread.call_method0("start")?;
            others.append(thread)?;
        }
    }
    thread::run(py, serving, app, 0, Role::Leads)?;
    for thread in others {
        thread.call_method1("join", (JOIN_TIMEOUT_S,))?;
    }
    Ok(())
}

/// Logs of apps tell threads by uWSGI's names (uwsgi_python_init_thread).
fn thread_name(worker: &Worker, core: u32) -> String {
    format!("uWSGIWorker{}Core{core}", worker.reference.worker.0)
}

/// Where the app has imported `threading`, which whoever asks for names of threads has.
fn name_main_thread(py: Python<'_>, worker: &Worker) -> PyResult<()> {
    if py.import("sys")?.getattr("modules")?.contains("threading")? {
        let main = py.import("threading")?.call_method0("main_thread")?;
        main.setattr("name", thread_name(worker, 0))?;
    }
    Ok(())
}

/// What every further thread runs.
#[pyfunction]
fn serve_core(py: Python<'_>, core: u32, app: Py<PyAny>) -> PyResult<()> {
    let serving = SERVING.get().ok_or_else(|| PyRuntimeError::new_err("this process serves nothing"))?;
    thread::run(py, serving, app, core, Role::Follows)
}
