//! Serving under gevent. The main greenlet leads: it waits until epoll has something, with gevent's loop for company, and
//! begins a greenlet for each request. These run when it waits, and each other's waits are their chance; wherever a thread
//! would wait for its client, a greenlet lets the others run.
//!
//! A greenlet has a seat, which is its place on the scoreboard and what is kept from request to request. While none is free,
//! connections wait for their turn and the leader takes no more; it goes on hearing its master, sending answers and watching
//! the clock.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, atomic::Ordering};

use pyo3::{exceptions::PyRuntimeError, prelude::*};

use super::{
    Next, Serving,
    connection::Connection,
    raised::Call,
    slab::Place,
    thread::{self, BUFFER_KEPT_BYTES},
};
use crate::{
    gevent,
    os::{self, Ready},
    python,
    request::Tools,
};

/// What the greenlets of a worker share.
struct Green {
    seats: Vec<Py<Seat>>,
    /// Seats that nobody has.
    free: Mutex<Vec<u32>>,
}

static GREEN: OnceLock<Green> = OnceLock::new();

/// Where one request after the other is served.
#[pyclass(frozen)]
struct Seat {
    serving: &'static Serving,
    core: u32,
    /// Locked while a request runs: nobody else has anything to do here then.
    kept: Mutex<Kept>,
    /// Who sits there.
    greenlet: Mutex<Option<Py<PyAny>>>,
}

struct Kept {
    tools: Tools,
    buffer: Vec<u8>,
    next: Option<(Place, Box<Connection>)>,
}

/// Serves until the worker is drained.
pub(super) fn run(py: Python<'_>, serving: &'static Serving, app: &Py<PyAny>) -> PyResult<()> {
    let seats = (0..serving.worker.boot.threads).map(|core| {
        let tools = Tools::new(py, serving, app.clone_ref(py), core)?;
        let kept = Mutex::new(Kept { tools, buffer: Vec::new(), next: None });
        Py::new(py, Seat { serving, core, kept, greenlet: Mutex::default() })
    });
    let seats: Vec<_> = seats.collect::<PyResult<_>>()?;
    // The first is taken first: `uwsgitop` and the dashboard show how far down they are in use.
    let free = Mutex::new((0..serving.worker.boot.threads).rev().collect());
    let green = GREEN.get_or_init(|| Green { seats, free });
    let mut buffer = Vec::new();
    loop {
        let mut lead = serving.lead();
        lead.is_full = locked(&green.free).is_empty();
        let next = serving.look(&mut lead, &mut buffer);
        drop(lead);
        let next = match next {
            Some(next) => Some(next),
            None => wait(py, serving),
        };
        match next {
            None => {}
            Some(Next::Signalled) => thread::look_after_signals(py, serving),
            Some(Next::End) => return Ok(()),
            Some(Next::Raised) => {
                if let Some(signal) = serving.take_raised() {
                    gevent::spawn(py, Bound::new(py, Call::new(serving, signal))?.as_any())?;
                }
            }
            Some(Next::Serve(place, connection)) => {
                // The leader gives nothing out while there is none.
                let Some(core) = locked(&green.free).pop() else { continue };
                let seat = &green.seats[core as usize];
                let mut kept = locked(&seat.get().kept);
                std::mem::swap(&mut kept.buffer, &mut buffer);
                kept.next = Some((place, connection));
                drop(kept);
                gevent::spawn(py, &seat.bind(py).getattr("serve")?)?;
            }
        }
    }
}

/// Lets the greenlets run until epoll has something or something is due.
fn wait(py: Python<'_>, serving: &'static Serving) -> Option<Next> {
    let due = match serving.see_to_deadlines(&mut serving.lead()) {
        Ok(due) => due,
        Err(next) => return Some(next),
    };
    if let Err(error) = gevent::wait(py, serving.epoll.as_raw_fd(), Ready::Read, due.in_ms) {
        thread::look_after(py, serving, &error);
    }
    serving.take_events(&mut serving.lead(), Some(0), due.seen_ms)
}

#[pymethods]
impl Seat {
    fn serve(&self, py: Python<'_>) -> PyResult<()> {
        let mut kept = self.kept.try_lock().map_err(|_| PyRuntimeError::new_err("somebody sits here"))?;
        let Kept { tools, buffer, next } = &mut *kept;
        let Some((place, mut connection)) = next.take() else { return Ok(()) };
        let greenlet = gevent::current(py)?;
        self.serving.worker.slot(self.core).state.thread_ident.store(ident_of(&greenlet), Ordering::Relaxed);
        *locked(&self.greenlet) = Some(greenlet.unbind());
        let after = thread::answer(py, self.serving, tools, &mut connection, buffer);
        *locked(&self.greenlet) = None;
        thread::dispose(py, self.serving, place, connection, after, buffer);
        if buffer.capacity() > BUFFER_KEPT_BYTES {
            *buffer = Vec::new();
        }
        drop(kept);
        if let Some(green) = GREEN.get() {
            locked(&green.free).push(self.core);
        }
        // There may be somebody who waits for a seat, another request, a deadline, or nothing to drain any more.
        os::raise(&self.serving.wake);
        Ok(())
    }
}

/// What tells one greenlet from the others as long as it lives: as a thread's ident does.
fn ident_of(greenlet: &Bound<'_, PyAny>) -> u64 {
    greenlet.as_ptr() as u64
}

/// That of the running greenlet where greenlets serve, or of the thread.
pub(crate) fn ident(py: Python<'_>) -> u64 {
    let green = GREEN.get().and_then(|_| gevent::current(py).ok());
    green.map_or_else(os::thread_ident, |greenlet| ident_of(&greenlet))
}

/// Every greenlet that serves a request now, with its ident and, unless it runs, its innermost frame.
pub(crate) fn sitting(py: Python<'_>) -> Vec<(u64, Option<Bound<'_, PyAny>>)> {
    let Some(green) = GREEN.get() else { return Vec::new() };
    let greenlets = green.seats.iter().filter_map(|seat| Some(locked(&seat.get().greenlet).as_ref()?.clone_ref(py)));
    let described = greenlets.map(|greenlet| {
        let greenlet = greenlet.into_bound(py);
        let frame = greenlet.getattr("gr_frame").ok().filter(|frame| !frame.is_none());
        (ident_of(&greenlet), frame)
    });
    described.collect()
}

/// Where a request is that is to end.
pub(crate) enum Found {
    /// It runs now: what called this is inside it.
    Running,
    /// It waits, and has been told.
    Waiting,
    /// No greenlet serves it.
    Nowhere,
}

/// Ends the request of a core, unless it runs at this moment; None where threads serve.
pub(crate) fn strike(py: Python<'_>, core: u32, error: impl FnOnce() -> PyErr) -> Option<Found> {
    let green = GREEN.get()?;
    let greenlet =
        green.seats.get(core as usize).and_then(|seat| Some(locked(&seat.get().greenlet).as_ref()?.clone_ref(py)));
    let (Some(greenlet), Ok(current)) = (greenlet, gevent::current(py)) else { return Some(Found::Nowhere) };
    if current.is(&greenlet) {
        return Some(Found::Running);
    }
    match gevent::end(py, greenlet.bind(py), error()) {
        Ok(()) => Some(Found::Waiting),
        Err(error) => {
            python::print_exception(py, &error);
            Some(Found::Nowhere)
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
