//! The part of Empery that lives inside the app's own Python: an extension module, loaded by the interpreter that the
//! vassal file names. One entry: `zygote`, called by the bootstrap text of `empery-control`.
//!
//! Fence 2 for unsafe code: the system calls of the request path ([`os`], [`epoll`]), inherited descriptors, and the few
//! calls of Python's C API that pyo3 does not wrap as they are needed here. Panics end at the edge: the extension is built to unwind,
//! a panic in a request is caught there, and any other becomes a Python exception.
//!
//! It decides nothing about generations or workers: it does what the master says.
#![allow(unsafe_code)]

mod alarm;
mod attend;
mod autoreload;
mod awaiting;
mod bereft;
mod decorators;
mod epoll;
mod fork;
mod gevent;
mod hooks;
mod imports;
mod leave;
mod line;
mod load;
mod log;
mod mounts;
mod os;
mod posts;
mod prepare;
mod python;
mod recycling;
mod request;
mod serve;
mod shared;
mod signals;
mod stacks;
mod start_over;
mod static_files;
mod stray;
mod title;
mod uwsgi_module;
mod worker;
mod zygote;

use pyo3::prelude::*;

/// The module.
#[pymodule]
fn empery_worker(module: &Bound<'_, PyModule>) -> PyResult<()> {
    /// Runs a zygote on the inherited channel. Returns in workers only, with the exit code.
    #[pyfunction]
    #[pyo3(name = "zygote", signature = (channel, resume=-1))]
    fn run_zygote(py: Python<'_>, channel: i32, resume: i32) -> PyResult<i32> {
        crate::zygote::run(py, channel, resume)
    }
    module.add_function(wrap_pyfunction!(run_zygote, module)?)
}
