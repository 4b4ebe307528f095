//! One serving thread: takes what is next, has it answered, and puts the connection where it belongs then.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::Ordering,
};

use empery_control::boot::Protocol;
use pyo3::{exceptions::PyKeyboardInterrupt, prelude::*};

use super::{Next, Serving, connection::Connection, outgoing::Then, relay::Role, slab::Place};
use crate::{
    os, python,
    request::{self, After, Tools},
};

/// Serves until the worker is drained; what it was to the others is forgotten then.
pub(super) fn run(
    py: Python<'_>,
    serving: &'static Serving,
    app: Py<PyAny>,
    core: u32,
    mut role: Role,
) -> PyResult<()> {
    let mut tools = Tools::new(py, serving, app, core)?;
    serving.worker.slot(core).state.thread_ident.store(os::thread_ident(), Ordering::Relaxed);
    let mut buffer = Vec::new();
    loop {
        match serving.next(py, core, &mut role, &mut buffer) {
            Next::Serve(place, connection) => {
                role = serve(py, serving, &mut tools, place, connection, &mut buffer);
                if buffer.capacity() > BUFFER_KEPT_BYTES {
                    buffer = Vec::new();
                }
            }
            Next::Raised => role = serving.raised(py, core),
            Next::Signalled => look_after_signals(py, serving),
            Next::End => return Ok(()),
        }
    }
}

/// Python's handlers run on the main thread only; elsewhere this does nothing (PyErr_CheckSignals).
pub(super) fn look_after_signals(py: Python<'_>, serving: &Serving) {
    if let Err(error) = py.check_signals() {
        look_after(py, serving, &error);
    }
}

/// Something was raised outside of any request.
pub(super) fn look_after(py: Python<'_>, serving: &Serving, error: &PyErr) {
    if error.is_instance_of::<PyKeyboardInterrupt>(py) {
        // SIGINT asks this worker to go: what it has begun is finished.
        serving.leave();
    } else {
        python::print_exception(py, error);
    }
}

fn serve(
    py: Python<'_>,
    serving: &Serving,
    tools: &mut Tools,
    place: Place,
    mut connection: Box<Connection>,
    buffer: &mut [u8],
) -> Role {
    serving.watch_for_parting();
    let inside = serving.relay.enter_app();
    let after = answer(py, serving, tools, &mut connection, buffer);
    let role = serving.relay.leave_app(inside);
    serving.settle();
    dispose(py, serving, place, connection, after, buffer);
    if role == Role::Follows {
        // There may be a request to serve, a deadline to wait for, or nothing to drain any more.
        os::raise(&serving.wake);
    }
    role
}

/// Has what is in the buffer answered.
pub(super) fn answer(
    py: Python<'_>,
    serving: &Serving,
    tools: &mut Tools,
    connection: &mut Connection,
    buffer: &mut [u8],
) -> After {
    let protocol =
        serving.worker.boot.listeners.get(connection.listener).map_or(Protocol::Http, |listener| listener.protocol);
    // A panic must not unwind into Python nor take the other connections with it.
    let after = catch_unwind(AssertUnwindSafe(|| match protocol {
        Protocol::Http => request::http::serve(py, tools, connection, buffer),
        Protocol::Uwsgi => request::uwsgi::serve(py, tools, connection, buffer),
        Protocol::FastCgi => request::fastcgi::serve(py, tools, connection, buffer),
        Protocol::Scgi => request::scgi::serve(py, tools, connection, buffer),
    }));
    after.unwrap_or_else(|_| {
        tools.after_panic(py);
        After::Reset
    })
}

/// Puts the connection where it belongs after that.
pub(super) fn dispose(
    py: Python<'_>,
    serving: &Serving,
    place: Place,
    mut connection: Box<Connection>,
    after: After,
    buffer: &[u8],
) {
    match after {
        After::NeedMore if connection.has_ended => serving.answered(place, connection, Then::Close),
        After::NeedMore => {
            connection.received = buffer.into();
            serving.put_back(place, connection);
        }
        After::NeedBody { bytes } => {
            connection.received = buffer.into();
            connection.wanted_bytes = bytes;
            serving.put_back(place, connection);
        }
        After::Send(outgoing) => py.detach(|| serving.send(place, connection, outgoing)),
        After::Keep { leftover } => serving.answered(place, connection, Then::Keep { leftover }),
        After::Rest => serving.answered(place, connection, Then::Rest),
        After::Close => serving.close_served(py, place, connection),
        After::Reset => serving.reset(place, connection),
    }
}

/// A buffer that one long head has made larger than this is not kept.
pub(super) const BUFFER_KEPT_BYTES: usize = 128 * 1024;
