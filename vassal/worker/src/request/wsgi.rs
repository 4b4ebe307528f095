//! Calls the app and sends what it returns (PEP 3333, "The Server/Gateway Side"): item by item, `close()` exactly once
//! however it ends, and an app that fails before it said anything is answered for.

use std::{
    os::fd::RawFd,
    sync::{Arc, atomic::Ordering},
};

use empery_control::scoreboard::HeadKind;
use empery_wire::framing::Body;
use pyo3::{
    exceptions::PyTypeError,
    ffi, intern,
    prelude::*,
    sync::PyOnceLock,
    types::{PyBytes, PyDict, PyList, PyMemoryView, PyType},
};

use super::{
    After, Tools,
    account::Began,
    beside::Beside,
    body::BodyEnd,
    buffered, environ,
    file_wrapper::FileWrapper,
    framing::{Asked, Cut, Tail, Whole},
    input::Input,
    patience::Patience,
    reply_rules::Reply,
    request_line::{Answered, Spoken},
    rules::Routed,
    start_response::StartResponse,
};
use crate::{
    attend,
    os::{self, Ready},
    python,
    serve::{
        connection::Connection,
        farewell::Manner,
        lent::LetGo,
        outgoing::{FileSpan, Outgoing, Then},
    },
    stray,
    uwsgi_module::connection,
};

/// A request whose head is understood.
pub(super) struct Request<'b> {
    pub(super) spoken: Spoken<'b>,
    pub(super) kind: HeadKind,
    /// The client, as the scoreboard shows it.
    pub(super) peer: Option<std::net::SocketAddr>,
    /// What the scoreboard keeps.
    pub(super) head: &'b [u8],
    /// What came behind the head.
    pub(super) behind: &'b [u8],
    pub(super) body: Body,
    pub(super) asked: Asked,
    /// What FastCGI asks for beside it.
    pub(super) beside: Option<Arc<Beside>>,
    /// What rules have said of it, for its answer.
    pub(super) routed: Option<Arc<Routed>>,
}

/// How the app did.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The client has a whole answer.
    Whole,
    /// It has a part of one and must see that.
    Truncated,
    /// It is gone.
    ClientGone,
}

/// Answers a request.
pub(super) fn answer(
    py: Python<'_>,
    tools: &mut Tools,
    connection: &mut Connection,
    environ: &Bound<'_, PyDict>,
    request: &Request<'_>,
) -> PyResult<After> {
    let began = Began::now();
    let worker = tools.worker;
    tools.serving.take_back(py);
    tools.slot.begin(began.monotonic_ns, began.unix_ms(), request.kind, request.head, request.peer);
    let asked = &request.asked;
    let manner = Manner { is_cgi: asked.is_cgi, is_head: asked.is_head, records: asked.records };
    tools.owed().begin(asked.fd, manner, worker.boot.harakiri_s > 0);
    if let Some(routed) = request.spoken.vars.routed {
        routed.begin(began.monotonic_ns);
        let limit_s = routed.said().limit_s;
        if let Some(limit_s) = limit_s {
            attend::limit(worker, tools.serving, (tools.core, began.monotonic_ns), limit_s);
        }
    }

    let input = if request.body == Body::Length(0) {
        None
    } else {
        let input = Input::new(
            connection.raw(),
            request.body,
            request.behind,
            Patience::for_body(worker.boot),
            worker.boot.body_max_bytes,
            request.beside.clone(),
        );
        let input = Py::new(py, input)?;
        match worker.boot.process.body_to_file_bytes {
            0 => environ.set_item(&tools.names.input, &input)?,
            to_file_bytes => match buffered::whole(input.bind(py), to_file_bytes) {
                Ok(whole) => environ.set_item(&tools.names.input, whole)?,
                // The app gets the error when it reads.
                Err(error) => {
                    input.bind(py).borrow_mut().break_off(python::one_line(py, &error));
                    environ.set_item(&tools.names.input, &input)?;
                }
            },
        }
        Some(input)
    };
    let held = input.as_ref().map(|input| input.clone_ref(py));
    let start_response = prepare(py, tools, request, held, (environ, began))?;

    let ending = run(py, tools, &start_response, environ, request);

    // The app may be in `write` in another thread, or have kept what is ours.
    let mut leftover = Vec::new();
    let mut after = match ending {
        Ending::Whole => None,
        Ending::Truncated => Some(After::Reset),
        Ending::ClientGone => Some(After::Close),
    };
    let counters = &tools.slot.counters;
    let mut read_errors = 0;
    let mut users: Vec<LetGo> = Vec::new();
    if let Some(input) = &input {
        if let Ok(mut input) = input.bind(py).try_borrow_mut() {
            let end;
            (end, read_errors) = input.finish();
            counters.read_errors.fetch_add(read_errors, Ordering::Relaxed);
            match end {
                BodyEnd::Whole { leftover: rest } => leftover = rest,
                BodyEnd::Unread | BodyEnd::Broken => after = after.or(Some(After::Rest)),
            }
        } else {
            after = after.or(Some(After::Close));
            os::shut_down_receiving(connection.raw());
            let input = input.clone_ref(py);
            users.push(Box::new(move |py| input.try_borrow_mut(py).map(|mut input| input.finish()).is_ok()));
        }
    } else {
        leftover.extend_from_slice(request.behind);
    }
    let unsent = unsent(&start_response);
    let is_out = ending == Ending::Whole && unsent.is_none();
    let settled = settle(py, tools, &start_response, request, is_out, (began, read_errors));
    if let Settled::Busy = settled {
        os::shut_down_receiving(connection.raw());
        os::shut_down_sending(connection.raw());
        let start_response = start_response.clone().unbind();
        users.push(Box::new(move |py| {
            start_response.try_borrow_mut(py).map(|mut held| held.response.finish_with_request()).is_ok()
        }));
    }
    tools.serving.lend(connection, users);
    let after = match after {
        Some(after) => after,
        None if settled == Settled::Keeps => After::Keep { leftover },
        // Closing with unread bytes would reset the connection before the client has read its answer.
        None if !leftover.is_empty() || is_saying_more(&start_response, connection.raw()) => After::Rest,
        None => After::Close,
    };
    Ok(match unsent {
        Some((bytes, file)) if ending == Ending::Whole => {
            let then = match after {
                After::Keep { leftover } => Then::Keep { leftover },
                After::Rest => Then::Rest,
                _ => Then::Close,
            };
            After::Send(Outgoing { bytes, file, then })
        }
        Some(_) | None => after,
    })
}

/// Whether the client speaks another protocol by now, and has said something that nobody has heard.
fn is_saying_more(start_response: &Bound<'_, StartResponse>, fd: RawFd) -> bool {
    start_response.try_borrow().is_ok_and(|held| held.response.status == 101)
        && os::wait(fd, Ready::Read, 0).unwrap_or(false)
}

/// What the client did not take at once.
fn unsent(start_response: &Bound<'_, StartResponse>) -> Option<(Vec<u8>, Option<FileSpan>)> {
    let mut held = start_response.try_borrow_mut().ok()?;
    let (bytes, file) = held.response.take_unsent();
    (!bytes.is_empty() || file.is_some()).then_some((bytes, file))
}

fn prepare<'py>(
    py: Python<'py>,
    tools: &mut Tools,
    request: &Request<'_>,
    input: Option<Py<Input>>,
    (environ, began): (&Bound<'_, PyDict>, Began),
) -> PyResult<Bound<'py, StartResponse>> {
    if !StartResponse::is_unshared(py, &tools.start_response) {
        tools.renew(py)?;
    }
    let start_response = tools.start_response.bind(py).clone();
    let mut asked = request.asked;
    asked.client_keeps &= tools.serving.keeps_connections();
    let mut held = start_response.try_borrow_mut()?;
    held.response.environ = Some(environ.clone().unbind());
    held.response.reset(
        asked,
        Patience::for_answer(tools.worker.boot),
        tools.dates.line(began.unix_s()),
        input,
        tools.serving.owed.get(tools.core as usize),
        request.beside.clone(),
    );
    if !request.behind.is_empty() && request.body == Body::Length(0) && environ.contains(intern!(py, "HTTP_UPGRADE"))? {
        held.response.ahead.extend_from_slice(request.behind);
    }
    if let (Some(rules), Some(routed)) = (&tools.serving.rules, &request.routed) {
        let vars = rules.has_routes_of_answers().then(|| environ::kept(environ));
        held.response.change(Reply::new(rules, Arc::clone(routed), vars.unwrap_or_default(), began));
    }
    drop(held);
    Ok(start_response)
}

/// Whether the connection may go on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Settled {
    /// It may.
    Keeps,
    /// The answer was its last.
    Ends,
    /// The same, and a thread of the app is in the middle of it.
    Busy,
}

/// Writes down what the request was.
fn settle(
    py: Python<'_>,
    tools: &mut Tools,
    start_response: &Bound<'_, StartResponse>,
    request: &Request<'_>,
    is_out: bool,
    (began, read_errors): (Began, u64),
) -> Settled {
    let took_us = tools.count(began);
    let slot = tools.slot;
    let average = slot.state.avg_rt_us.load(Ordering::Relaxed);
    slot.state.avg_rt_us.store(if average == 0 { took_us } else { (average + took_us) / 2 }, Ordering::Relaxed);
    let is_answered = !tools.owed().end();
    if tools.after_request.is_some() {
        // A client that reads to the end need not wait for the hook.
        if is_out && start_response.try_borrow().is_ok_and(|held| !held.response.keeps) {
            os::shut_down_sending(request.asked.fd);
        }
        tools.after_request(py);
    }
    let Ok(mut held) = start_response.try_borrow_mut() else {
        slot.end();
        attend::spare_the_next(py, tools.worker, tools.core);
        tools.after_panic(py);
        return Settled::Busy;
    };
    let response = &mut held.response;
    response.client_is_gone |= is_answered;
    if response.client_is_gone {
        slot.counters.write_errors.fetch_add(1, Ordering::Relaxed);
    }
    let answered = Answered { read_errors, ..response.answered() };
    tools.count_answer(&request.spoken, &answered, began, took_us);
    let keeps = response.keeps && !response.client_is_gone;
    response.finish_with_request();
    slot.end();
    attend::spare_the_next(py, tools.worker, tools.core);
    if keeps { Settled::Keeps } else { Settled::Ends }
}

/// Runs the app to its end.
fn run(
    py: Python<'_>,
    tools: &mut Tools,
    start_response: &Bound<'_, StartResponse>,
    environ: &Bound<'_, PyDict>,
    request: &Request<'_>,
) -> Ending {
    let worker = tools.worker;
    let called = match tools.mounts {
        None => call(tools.app.bind(py), environ, start_response),
        Some(mounts) => match &request.routed {
            None => mounts.choose(py, environ),
            Some(_) => mounts.named(environ),
        }
        .and_then(|chosen| {
            tools.answering = mounts.count(worker, chosen);
            call(chosen.map_or_else(|| tools.app.bind(py), |mounted| mounted.app(py)), environ, start_response)
        }),
    };
    if stray::is_child() {
        stray::leave(py, worker, called.as_ref().err());
    }
    let result = called.map_err(Cut::App).and_then(|iterable| {
        let items = if worker.boot.apps.accept_buffers { Items::Buffers } else { Items::Bytes };
        let whole = items.buffer(&iterable);
        let result = send_all_of(py, whole.as_ref().unwrap_or(&iterable), items, start_response);
        if stray::is_child() {
            let raised = match &result {
                Err(Cut::App(error)) => Some(error),
                Ok(_) | Err(Cut::Client) => None,
            };
            stray::leave(py, worker, raised);
        }
        close(py, &iterable);
        result
    });
    match result {
        Ok(Whole::Yes) => {
            if start_response.try_borrow().is_ok_and(|held| held.response.too_long) {
                worker.log(&format!(
                    "{} {}: the app sent more than its Content-Length, the rest was cut",
                    request.spoken.method.escape_ascii(),
                    request.spoken.uri.escape_ascii()
                ));
            }
            Ending::Whole
        }
        Ok(Whole::Short { by }) => {
            worker.log(&format!(
                "{} {}: the app sent {by} bytes less than its Content-Length",
                request.spoken.method.escape_ascii(),
                request.spoken.uri.escape_ascii()
            ));
            Ending::Truncated
        }
        Err(Cut::Client) => Ending::ClientGone,
        Err(Cut::App(error)) => failed(py, tools, start_response, &error),
    }
}

/// `app(environ, start_response)`, without a tuple for the arguments, which pyo3 would make for abi3.
fn call<'py>(
    app: &Bound<'py, PyAny>,
    environ: &Bound<'py, PyDict>,
    start_response: &Bound<'py, StartResponse>,
) -> PyResult<Bound<'py, PyAny>> {
    let end = std::ptr::null_mut::<ffi::PyObject>();
    // SAFETY: live objects, behind the last of which is null. The result is a new reference or null with an exception set.
    unsafe {
        let result = ffi::PyObject_CallFunctionObjArgs(app.as_ptr(), environ.as_ptr(), start_response.as_ptr(), end);
        Bound::from_owned_ptr_or_err(app.py(), result)
    }
}

/// The app raised: tells the log, and the client when that is still possible.
fn failed(py: Python<'_>, tools: &mut Tools, start_response: &Bound<'_, StartResponse>, error: &PyErr) -> Ending {
    let Ok(mut held) = start_response.try_borrow_mut() else {
        python::print_exception(py, error);
        return Ending::Truncated;
    };
    if held.response.client_is_gone {
        // What `write` raised in the app, most likely.
        return Ending::ClientGone;
    }
    drop(held);
    tools.raised(py, error);
    held = match start_response.try_borrow_mut() {
        Ok(held) => held,
        Err(_) => return Ending::Truncated,
    };
    if held.response.is_sent() {
        // Nobody takes what came over another protocol for a whole answer, and a reset would lose the last of it.
        return if held.response.status == 101 { Ending::Whole } else { Ending::Truncated };
    }
    let (status, phrase) = if error.is_instance_of::<attend::Harakiri>(py) {
        (504, "Gateway Timeout")
    } else {
        (500, "Internal Server Error")
    };
    match held.response.send_failure(py, status, phrase) {
        Ok(()) => Ending::Whole,
        Err(_) => Ending::ClientGone,
    }
}

fn send_all_of(
    py: Python<'_>,
    iterable: &Bound<'_, PyAny>,
    items: Items,
    start_response: &Bound<'_, StartResponse>,
) -> Result<Whole, Cut> {
    let held = || start_response.try_borrow_mut().map_err(|error| Cut::App(error.into()));
    if let Some(only) = only_item(iterable) {
        let mut held = held()?;
        held.response.send_whole(py, only.as_bytes())?;
        return held.response.finish(py);
    }
    if let Ok(wrapper) = iterable.cast_exact::<FileWrapper>()
        && held()?.response.may_send_file()
        && let Some(file) = wrapper.borrow().regular_file(py)
    {
        let mut held = held()?;
        held.response.send_file(py, file.fd, file.offset, file.length)?;
        return held.response.finish(py);
    }
    held()?.response.tail = tail_of(iterable).map_err(Cut::App)?;
    let iterable = match iterable.try_iter() {
        // The app has sent all of it already, and returns what `uwsgi.sendfile` gave it.
        Err(_) if connection::is_sent_already(iterable) && held()?.response.is_sent() => {
            return held()?.response.finish(py);
        }
        iterable => iterable.map_err(Cut::App)?,
    };
    for item in iterable {
        let mut item = item.map_err(Cut::App)?;
        if let Some(bytes) = items.buffer(&item) {
            item = bytes;
        }
        let Ok(bytes) = item.cast::<PyBytes>() else {
            let kind = item.get_type().qualname().map_or_else(|_| "something else".to_owned(), |kind| kind.to_string());
            return Err(Cut::App(PyTypeError::new_err(format!("the app must give bytes, not {kind}"))));
        };
        let mut held = held()?;
        held.response.send(py, bytes.as_bytes())?;
        if !held.response.wants_more() {
            break;
        }
    }
    held()?.response.finish(py)
}

/// What an app may give for its body.
#[derive(Clone, Copy)]
enum Items {
    /// Bytes (PEP 3333).
    Bytes,
    /// Whatever has a buffer, such as a bytearray (`wsgi-accept-buffer`).
    Buffers,
}

impl Items {
    /// The bytes of something else that has some and may be given.
    fn buffer<'py>(self, given: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
        let is_plain = || given.is_exact_instance_of::<PyBytes>() || given.is_exact_instance_of::<PyList>();
        match self {
            Items::Buffers if !is_plain() => PyMemoryView::from(given).ok()?.call_method0("tobytes").ok(),
            Items::Bytes | Items::Buffers => None,
        }
    }
}

/// The body when it is one piece: a list of one, or bytes themselves (which uWSGI takes).
fn only_item<'py>(iterable: &Bound<'py, PyAny>) -> Option<Bound<'py, PyBytes>> {
    if let Ok(list) = iterable.cast_exact::<PyList>() {
        if list.len() != 1 {
            return None;
        }
        return list.get_item(0).ok()?.cast_into::<PyBytes>().ok();
    }
    iterable.cast_exact::<PyBytes>().ok().cloned()
}

/// Whether neither its items nor its end are code of the app: the exact types have no `close`.
fn is_plain(iterable: &Bound<'_, PyAny>) -> bool {
    // SAFETY: a live object.
    unsafe {
        ffi::PyList_CheckExact(iterable.as_ptr()) != 0
            || ffi::PyBytes_CheckExact(iterable.as_ptr()) != 0
            || ffi::PyTuple_CheckExact(iterable.as_ptr()) != 0
    }
}

/// `types.GeneratorType`, which the stable ABI does not know.
static GENERATOR: PyOnceLock<Py<PyType>> = PyOnceLock::new();

fn tail_of(iterable: &Bound<'_, PyAny>) -> PyResult<Tail> {
    if is_plain(iterable) {
        return Ok(Tail::Nothing);
    }
    let generator = GENERATOR.import(iterable.py(), "types", "GeneratorType")?;
    Ok(if iterable.is_exact_instance(generator) { Tail::Code } else { Tail::End })
}

/// Once, whatever happened before; what it raises goes to the log.
fn close(py: Python<'_>, iterable: &Bound<'_, PyAny>) {
    if is_plain(iterable) {
        return;
    }
    let closed =
        iterable.getattr_opt("close").and_then(|close| close.map_or(Ok(()), |close| close.call0().map(|_| ())));
    if let Err(error) = closed {
        python::print_exception(py, &error);
    }
}
