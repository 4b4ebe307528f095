//! Forks a worker out of the zygote: twice, so that the worker's parent becomes the master, the nearest subreaper (prctl(2)).
//! The second fork is Python's own, so that CPython's hooks run, and those of the app (logging, random, ssl rely on
//! `os.register_at_fork`). They run once: the first fork is nothing but fork(2), unless there are threads, or the process between
//! would start the threads that a worker is to have, and fork with them. `posix` is what `os` is made of: gevent replaces `os.fork` and
//! `os.waitpid` by some that run its loop, and nothing is to run here.

use pyo3::prelude::*;

use crate::{os as system, python};

/// Where the caller is after the fork.
pub(crate) enum Forked {
    /// In the worker.
    Worker,
    /// In the zygote still; the worker has this pid.
    Zygote(i32),
}

/// Forks.
pub(crate) fn fork(py: Python<'_>) -> PyResult<Forked> {
    python::flush(py);
    let os = py.import("posix")?;
    let (read, write): (i32, i32) = os.call_method0("pipe")?.extract()?;
    // Where there are other threads, what they hold is made anew by Python's fork alone.
    let first = if system::has_other_threads() {
        os.call_method0("fork").and_then(|pid| pid.extract())
    } else {
        system::fork_without_hooks(py).map_err(PyErr::from)
    };
    let child = match first {
        Ok(pid) => pid,
        Err(error) => {
            os.call_method1("close", (read,))?;
            os.call_method1("close", (write,))?;
            return Err(error);
        }
    };
    if child == 0 {
        return between(&os, read, write);
    }
    os.call_method1("close", (write,))?;
    let answer = os.call_method1("read", (read, 4)).and_then(|answer| answer.extract::<Vec<u8>>());
    os.call_method1("close", (read,))?;
    // An app that ignores SIGCHLD, or whose handler for it waits for every child, has it waited for already (wait(2), ECHILD).
    let _ = os.call_method1("waitpid", (child, 0));
    let number = <[u8; 4]>::try_from(answer?.as_slice()).map(i32::from_ne_bytes);
    match number {
        Ok(pid) if pid > 0 => Ok(Forked::Zygote(pid)),
        Ok(errno) => Err(std::io::Error::from_raw_os_error(-errno).into()),
        Err(_) => Err(std::io::Error::other("the process between zygote and worker died").into()),
    }
}

/// The process between: forks the worker, tells its pid, and is gone without running the app's exit handlers.
fn between(os: &Bound<'_, PyAny>, read: i32, write: i32) -> PyResult<Forked> {
    let (pid, error) = match os.call_method0("fork").and_then(|pid| pid.extract::<i32>()) {
        Ok(pid) => (pid, None),
        Err(error) => (-1, Some(error)),
    };
    if pid == 0 {
        os.call_method1("close", (read,))?;
        os.call_method1("close", (write,))?;
        return Ok(Forked::Worker);
    }
    let number = match error {
        None => pid,
        Some(error) => {
            -error.value(os.py()).getattr("errno").and_then(|number| number.extract()).unwrap_or(libc::EAGAIN)
        }
    };
    let _ = os.call_method1("write", (write, number.to_ne_bytes().as_slice()));
    os.call_method1("_exit", (0,))?;
    // os._exit does not return.
    std::process::abort()
}
