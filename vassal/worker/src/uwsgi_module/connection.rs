//! Functions of `uwsgi` about the client's connection, and about descriptors that an app waits for.

use std::{cell::Cell, os::fd::RawFd, path::PathBuf};

use pyo3::{
    exceptions::{PyOSError, PyValueError},
    prelude::*,
    types::{PyBool, PyBytes, PyModule},
};

use super::{add_functions, request::current, text::Bytes};
use crate::{
    gevent,
    os::{self, Ready},
    worker::Worker,
};

/// How much of a file is read at once, in bytes.
const PIECE_BYTES: usize = 64 * 1024;
/// Longest that `recv` takes at once, in bytes, as in uWSGI.
const RECV_MAX_BYTES: usize = 4096;
/// Who waits looks so often whether a signal has come for Python, in ms.
const LOOKS_EVERY_MS: u64 = 200;

thread_local! {
    /// The descriptor that the last wait of this thread ended for; -1 when its time was over.
    static READY: Cell<RawFd> = const { Cell::new(-1) };
}

pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(
        module,
        connection_fd,
        is_connected,
        disconnect,
        send,
        recv,
        close,
        sendfile,
        chunked_read,
        chunked_read_nb,
        cl,
        wait_fd_read,
        wait_fd_write,
        ready_fd,
        suspend,
        green_schedule
    );
    Ok(())
}

fn no_request() -> PyErr {
    PyValueError::new_err("this thread serves no request")
}

/// The descriptor of the client's connection; -1 outside of a request.
#[pyfunction]
fn connection_fd(py: Python<'_>) -> RawFd {
    current(py).and_then(|answer| answer.try_borrow().ok().map(|answer| answer.response.fd())).unwrap_or(-1)
}

/// Whether the other end of a connection is there.
#[pyfunction]
#[pyo3(signature = (fd, /))]
fn is_connected(fd: RawFd) -> bool {
    os::is_connected(fd)
}

/// Ends the connection to the client as far as sending goes: what was sent is its answer, and the app goes on.
#[pyfunction]
fn disconnect(py: Python<'_>) -> PyResult<()> {
    let answer = current(py).ok_or_else(no_request)?;
    answer.try_borrow_mut()?.response.disconnect(py);
    Ok(())
}

/// Sends bytes as they are: to the client, instead of an answer of `start_response`; or, with a descriptor before them, there.
/// True, or None when they cannot be sent.
#[pyfunction]
#[pyo3(signature = (data, more=None, /))]
fn send(py: Python<'_>, data: &Bound<'_, PyAny>, more: Option<Bytes>) -> PyResult<Option<bool>> {
    if let Some(Bytes(bytes)) = more {
        let fd: RawFd = data.extract()?;
        return Ok(py.detach(|| os::write_all(fd, &bytes)).is_ok().then_some(true));
    }
    let Bytes(bytes) = data.extract()?;
    let answer = current(py).ok_or_else(no_request)?;
    let sent = answer.try_borrow_mut()?.response.send_raw(py, &bytes);
    Ok(sent.is_ok().then_some(true))
}

/// Receives at most so many bytes (4096) from a descriptor; None at the end, or when nothing can be received.
#[pyfunction]
#[pyo3(signature = (fd, most=4096, /))]
fn recv(py: Python<'_>, fd: RawFd, most: usize) -> Option<Bound<'_, PyBytes>> {
    let mut bytes = vec![0; most.min(RECV_MAX_BYTES)];
    let received = py.detach(|| os::read_once(fd, &mut bytes)).unwrap_or(0);
    (received > 0).then(|| PyBytes::new(py, &bytes[..received]))
}

/// Closes a descriptor that the app has opened.
///
/// # Errors
/// `ValueError` for one that is this worker's.
#[pyfunction]
#[pyo3(signature = (fd, /))]
fn close(py: Python<'_>, fd: RawFd) -> PyResult<()> {
    let is_ours = fd == connection_fd(py)
        || Worker::here().is_some_and(|worker| worker.boot.listeners.iter().any(|listener| listener.fd == fd));
    if is_ours {
        return Err(PyValueError::new_err("the descriptor is the worker's; see uwsgi.disconnect"));
    }
    // What is not open stays so, as in uWSGI.
    let _ = py.import("os")?.call_method1("close", (fd,));
    Ok(())
}

/// Sends a file, or a part of it, as the body of the answer, by its path, its descriptor or an object that has one. True, or
/// None when it cannot be opened. `start_response` comes first; the second argument, a size of pieces, counts for nothing.
///
/// # Errors
/// OSError when the client is gone.
#[pyfunction]
#[pyo3(signature = (what, chunk=0, position=0, size=0, /))]
fn sendfile(py: Python<'_>, what: &Bound<'_, PyAny>, chunk: i64, position: u64, size: u64) -> PyResult<Option<bool>> {
    let _ = chunk;
    let io = py.import("io")?;
    let path: Option<PathBuf> = what.extract().ok();
    let file = match &path {
        Some(path) => io.call_method1("open", (path, "rb", 0)),
        None => {
            let fd: RawFd = match what.extract() {
                Ok(fd) => fd,
                Err(_) => what.call_method0("fileno")?.extract()?,
            };
            io.call_method1("open", (fd, "rb", 0, py.None(), py.None(), py.None(), false))
        }
    };
    let Ok(file) = file else { return Ok(None) };
    if position > 0 {
        file.call_method1("seek", (position,))?;
    }
    let answer = current(py).ok_or_else(no_request)?;
    let mut left = if size == 0 { u64::MAX } else { size };
    while left > 0 {
        let piece: Bound<'_, PyBytes> = file.call_method1("read", (left.min(PIECE_BYTES as u64),))?.cast_into()?;
        if piece.as_bytes().is_empty() {
            break;
        }
        left -= piece.as_bytes().len() as u64;
        answer.try_borrow_mut()?.response.write(py, piece.as_bytes())?;
    }
    file.call_method0("close")?;
    Ok(Some(true))
}

fn chunk<'py>(py: Python<'py>, waits: bool) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let unable = || PyOSError::new_err("unable to receive chunked part");
    let answer = current(py).ok_or_else(unable)?;
    let input = answer.try_borrow()?.response.input.as_ref().map(|input| input.clone_ref(py)).ok_or_else(unable)?;
    let mut input = input.bind(py).try_borrow_mut()?;
    if input.is_chunked() { input.piece(py, waits) } else { Err(unable()) }
}

/// What has come of a chunked body, waiting for some; empty at its end. The client's chunks are not kept apart. How long a
/// client may take is the server's to say (`socket-timeout`): the argument counts for nothing.
///
/// # Errors
/// OSError when the body is not chunked, breaks off or does not come.
#[pyfunction]
#[pyo3(signature = (timeout=0, /))]
fn chunked_read(py: Python<'_>, timeout: i64) -> PyResult<Option<Bound<'_, PyBytes>>> {
    let _ = timeout;
    chunk(py, true)
}

/// The same without waiting: None when nothing has come.
#[pyfunction]
fn chunked_read_nb(py: Python<'_>) -> PyResult<Option<Bound<'_, PyBytes>>> {
    chunk(py, false)
}

/// The length of the request's body, in bytes; 0 without one, and outside of a request.
#[pyfunction]
fn cl(py: Python<'_>) -> u64 {
    let length = || {
        let answer = current(py)?;
        let input = answer.try_borrow().ok()?.response.input.as_ref()?.clone_ref(py);
        input.bind(py).try_borrow().ok()?.length()
    };
    length().unwrap_or(0)
}

/// Waits for a descriptor for a moment, while other threads and greenlets go on.
pub(super) fn look(py: Python<'_>, fd: RawFd, ready: Ready, time_ms: u64) -> PyResult<bool> {
    if gevent::is_engine() {
        return gevent::wait(py, fd, ready, Some(time_ms));
    }
    match py.detach(|| os::wait(fd, ready, time_ms)) {
        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(false),
        outcome => outcome.map_err(|error| PyOSError::new_err(format!("unable to wait for fd {fd}: {error}"))),
    }
}

/// Waits for a descriptor, at most so many seconds; 0 is as long as it takes. [`ready_fd`] tells whether it came.
fn wait_fd(py: Python<'_>, fd: RawFd, ready: Ready, timeout_s: u64) -> PyResult<()> {
    let until_ns = match timeout_s {
        0 => u64::MAX,
        timeout_s => os::monotonic_ns().saturating_add(timeout_s.saturating_mul(1_000_000_000)),
    };
    loop {
        let left_ms = until_ns.saturating_sub(os::monotonic_ns()).div_ceil(1_000_000);
        if look(py, fd, ready, left_ms.min(LOOKS_EVERY_MS))? {
            READY.set(fd);
            return Ok(());
        }
        if left_ms <= LOOKS_EVERY_MS {
            READY.set(-1);
            return Ok(());
        }
        py.check_signals()?;
    }
}

/// Waits until a descriptor can be read, at most so many seconds (0: as long as it takes); other threads go on. Empty bytes, to be
/// given to the server or thrown away.
///
/// # Errors
/// OSError when it cannot be waited for.
#[pyfunction]
#[pyo3(signature = (fd, timeout=0, /))]
fn wait_fd_read(py: Python<'_>, fd: RawFd, timeout: u64) -> PyResult<Bound<'_, PyBytes>> {
    wait_fd(py, fd, Ready::Read, timeout).map(|()| PyBytes::new(py, b""))
}

/// The same until it can be written.
#[pyfunction]
#[pyo3(signature = (fd, timeout=0, /))]
fn wait_fd_write(py: Python<'_>, fd: RawFd, timeout: u64) -> PyResult<Bound<'_, PyBytes>> {
    wait_fd(py, fd, Ready::Write, timeout).map(|()| PyBytes::new(py, b""))
}

/// The descriptor that this thread's last wait ended for; -1 when its time was over.
#[pyfunction]
fn ready_fd() -> RawFd {
    READY.get()
}

/// Lets other threads, and with gevent the other greenlets, go first. True.
///
/// # Errors
/// With gevent what is raised in this greenlet meanwhile.
#[pyfunction]
fn suspend(py: Python<'_>) -> PyResult<bool> {
    if gevent::is_engine() {
        gevent::sleep(py, 0.0)?;
    } else {
        py.detach(std::thread::yield_now);
    }
    Ok(true)
}

/// See [`suspend`].
///
/// # Errors
/// As there.
#[pyfunction]
fn green_schedule(py: Python<'_>) -> PyResult<bool> {
    suspend(py)
}

/// What an app returns that has sent its answer with [`sendfile`] and returns what that returned.
pub(crate) fn is_sent_already(returned: &Bound<'_, PyAny>) -> bool {
    returned.is(&*PyBool::new(returned.py(), true))
}
