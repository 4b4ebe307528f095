//! `uwsgi.websocket_*`: the connection of a request becomes a WebSocket (RFC 6455). The request goes on as long as the app
//! talks; its thread serves nobody else meanwhile, as in uWSGI without an asynchronous mode.

use empery_wire::websocket::{Heard, Opcode, Receiver, frame};
use pyo3::{
    exceptions::PyOSError,
    prelude::*,
    types::{PyBytes, PyDict, PyModule, PyString},
};

use super::{add_functions, connection::look, request::current, text::Text};
use crate::{
    os::{self, Ready},
    request::StartResponse,
    worker::Worker,
};

/// RFC 6455, section 1.3.
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Who waits looks so often whether a signal has come for Python, or a ping is due, in ms.
const LOOKS_EVERY_MS: u64 = 200;
const RECEIVE_BYTES: usize = 64 * 1024;
const NS_PER_S: u64 = 1_000_000_000;

pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(
        module,
        websocket_handshake,
        websocket_recv,
        websocket_recv_nb,
        websocket_send,
        websocket_send_binary
    );
    Ok(())
}

/// What is known of the other end.
pub(crate) struct WebSocket {
    receiver: Receiver,
    /// When it was last heard of, on the monotonic clock.
    heard_ns: u64,
    /// When it was asked whether it is there, if it has not answered.
    asked_ns: Option<u64>,
}

/// A client that is not there, or does not speak the protocol.
fn failed(what: &str, why: &str) -> PyErr {
    PyOSError::new_err(format!("unable to {what}: {why}"))
}

const HANDSHAKE: &str = "complete websocket handshake";
const RECEIVE: &str = "receive websocket message";

/// A header of the request; empty without it.
fn header(environ: Option<&Bound<'_, PyDict>>, name: &str) -> PyResult<Vec<u8>> {
    let Some(value) = environ.map(|environ| environ.get_item(name)).transpose()?.flatten() else {
        return Ok(Vec::new());
    };
    Ok(value.cast::<PyString>()?.to_cow()?.into_owned().into_bytes())
}

fn given(text: Option<Text>, environ: Option<&Bound<'_, PyDict>>, name: &str) -> PyResult<Vec<u8>> {
    match text {
        Some(Text(text)) if !text.is_empty() => Ok(text),
        _ => header(environ, name),
    }
}

/// Turns the connection into a WebSocket. Key, origin and protocol are the request's headers when they are not given.
///
/// # Errors
/// OSError when the request is none for a WebSocket, or the client is gone.
#[pyfunction]
#[pyo3(signature = (key=None, origin=None, protocol=None, /))]
fn websocket_handshake(
    py: Python<'_>,
    key: Option<Text>,
    origin: Option<Text>,
    protocol: Option<Text>,
) -> PyResult<()> {
    let (answer, worker) = here(py, HANDSHAKE)?;
    if !answer.try_borrow()?.response.may_be_websocket(py) {
        return Err(failed(HANDSHAKE, "the request has no `Upgrade: websocket`"));
    }
    let environ = answer.try_borrow()?.response.environ.as_ref().map(|environ| environ.bind(py).clone());
    let environ = environ.as_ref();
    let key = given(key, environ, "HTTP_SEC_WEBSOCKET_KEY")?;
    let origin = given(origin, environ, "HTTP_ORIGIN")?;
    let protocol = given(protocol, environ, "HTTP_SEC_WEBSOCKET_PROTOCOL")?;
    let has_controls = [&key, &origin, &protocol].iter().any(|text| text.iter().any(|byte| *byte < b' '));
    if key.is_empty() || has_controls {
        return Err(failed(HANDSHAKE, "the request has no usable Sec-WebSocket-Key"));
    }
    let digest = py.import("hashlib")?.call_method1("sha1", (PyBytes::new(py, &[&key, ACCEPT_SUFFIX].concat()),))?;
    let accept = py.import("base64")?.call_method1("b64encode", (digest.call_method0("digest")?,))?;
    let accept: Vec<u8> = accept.extract()?;
    let mut head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n".to_vec();
    for (name, value) in [
        (&b"Sec-WebSocket-Origin: "[..], &origin),
        (b"Sec-WebSocket-Protocol: ", &protocol),
        (b"Sec-WebSocket-Accept: ", &accept),
    ] {
        if !value.is_empty() {
            head.extend([name, value, b"\r\n"].concat());
        }
    }
    head.extend(b"\r\n");
    let mut answer = answer.try_borrow_mut()?;
    answer.response.send_raw(py, &head).map_err(|_| failed(HANDSHAKE, "the client is gone"))?;
    answer.response.status = 101;
    let mut receiver = Receiver::new(worker.boot.websocket.message_max_bytes);
    // Clients should wait for the handshake, and some do not.
    receiver.receive(&std::mem::take(&mut answer.response.ahead));
    answer.response.websocket = Some(Box::new(WebSocket { receiver, heard_ns: os::monotonic_ns(), asked_ns: None }));
    Ok(())
}

fn here<'py>(py: Python<'py>, what: &str) -> PyResult<(Bound<'py, StartResponse>, &'static Worker)> {
    let here = current(py).zip(Worker::here());
    here.ok_or_else(|| failed(what, "this thread serves no request"))
}

fn say(py: Python<'_>, answer: &Bound<'_, StartResponse>, opcode: Opcode, content: &[u8], what: &str) -> PyResult<()> {
    let mut answer = answer.try_borrow_mut()?;
    if answer.response.websocket.is_none() {
        return Err(failed(what, "there was no handshake"));
    }
    answer.response.send_raw(py, &frame(opcode, content)).map_err(|_| failed(what, "the client is gone"))
}

/// What the client has said that was received already. Its pings are answered.
fn heard(py: Python<'_>, answer: &Bound<'_, StartResponse>) -> PyResult<Option<Vec<u8>>> {
    loop {
        let heard = {
            let mut answer = answer.try_borrow_mut()?;
            let Some(websocket) = &mut answer.response.websocket else {
                return Err(failed(RECEIVE, "there was no handshake"));
            };
            websocket.receiver.hear().map_err(|why| failed(RECEIVE, why))?
        };
        match heard {
            None => return Ok(None),
            Some(Heard::Message(message)) => return Ok(Some(message)),
            Some(Heard::Pong) => {}
            Some(Heard::Ping(content)) => say(py, answer, Opcode::Pong, &content, RECEIVE)?,
            Some(Heard::Close(content)) => {
                // It may be gone already.
                let _ = say(py, answer, Opcode::Close, &content, RECEIVE);
                return Err(failed(RECEIVE, "the client has closed"));
            }
        }
    }
}

/// Receives what has come; false when nothing has.
fn receive(answer: &Bound<'_, StartResponse>) -> PyResult<bool> {
    let mut answer = answer.try_borrow_mut()?;
    let response = &mut answer.response;
    let mut bytes = Vec::with_capacity(RECEIVE_BYTES);
    match os::receive(response.fd(), &mut bytes, RECEIVE_BYTES) {
        Ok(0) => Err(failed(RECEIVE, "the client is gone")),
        Err(error) if os::would_block(&error) => Ok(false),
        Err(error) => Err(failed(RECEIVE, &error.to_string())),
        Ok(_) => {
            if let Some(websocket) = &mut response.websocket {
                websocket.receiver.receive(&bytes);
                websocket.heard_ns = os::monotonic_ns();
                websocket.asked_ns = None;
            }
            Ok(true)
        }
    }
}

/// Asks a silent client whether it is there, and gives up on one that does not say so.
fn mind_silence(py: Python<'_>, answer: &Bound<'_, StartResponse>, worker: &Worker) -> PyResult<()> {
    let rules = &worker.boot.websocket;
    let now_ns = os::monotonic_ns();
    let is_due = {
        let mut answer = answer.try_borrow_mut()?;
        let Some(websocket) = &mut answer.response.websocket else { return Ok(()) };
        if websocket.asked_ns.is_some_and(|asked_ns| now_ns.saturating_sub(asked_ns) / NS_PER_S >= rules.pong_within_s)
        {
            return Err(failed(RECEIVE, "the client does not answer"));
        }
        let is_due = rules.ping_every_s > 0
            && websocket.asked_ns.is_none()
            && now_ns.saturating_sub(websocket.heard_ns) / NS_PER_S >= rules.ping_every_s;
        if is_due {
            websocket.asked_ns = Some(now_ns);
        }
        is_due
    };
    if is_due { say(py, answer, Opcode::Ping, b"", RECEIVE) } else { Ok(()) }
}

/// The next message, bytes, as soon as it has come.
///
/// # Errors
/// OSError when the client leaves, is gone, is silent (`websocket-ping-freq`, `websocket-pong-tolerance`), sends too much at
/// once (`websocket-max-size`) or something else than frames.
#[pyfunction]
fn websocket_recv(py: Python<'_>) -> PyResult<Bound<'_, PyBytes>> {
    let (answer, worker) = here(py, RECEIVE)?;
    loop {
        if let Some(message) = heard(py, &answer)? {
            return Ok(PyBytes::new(py, &message));
        }
        if receive(&answer)? {
            continue;
        }
        let fd = answer.try_borrow()?.response.fd();
        look(py, fd, Ready::Read, LOOKS_EVERY_MS)?;
        py.check_signals()?;
        mind_silence(py, &answer, worker)?;
    }
}

/// The next message without waiting; empty when none has come.
///
/// # Errors
/// See [`websocket_recv`].
#[pyfunction]
fn websocket_recv_nb(py: Python<'_>) -> PyResult<Bound<'_, PyBytes>> {
    let (answer, worker) = here(py, RECEIVE)?;
    loop {
        if let Some(message) = heard(py, &answer)? {
            return Ok(PyBytes::new(py, &message));
        }
        if !receive(&answer)? {
            mind_silence(py, &answer, worker)?;
            return Ok(PyBytes::new(py, b""));
        }
    }
}

/// Sends a text.
///
/// # Errors
/// OSError when the client is gone.
#[pyfunction]
#[pyo3(signature = (message, /))]
fn websocket_send(py: Python<'_>, message: Text) -> PyResult<()> {
    let what = "send websocket message";
    say(py, &here(py, what)?.0, Opcode::Text, &message.0, what)
}

/// Sends bytes.
///
/// # Errors
/// See [`websocket_send`].
#[pyfunction]
#[pyo3(signature = (message, /))]
fn websocket_send_binary(py: Python<'_>, message: Text) -> PyResult<()> {
    let what = "send websocket binary message";
    say(py, &here(py, what)?.0, Opcode::Binary, &message.0, what)
}
