//! A spooler: takes tasks out of a directory, one after the other, and gives them to the function that the app has put at
//! `uwsgi.spooler` (core/spooler.c). Several may share a directory, also with uWSGI's own: a task is locked while it runs.

mod files;
mod module;
pub(crate) mod shared;

use std::{path::Path, time::Duration};

use empery_wire::spool::{Content, Task, decode};
use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict},
};

pub(crate) use self::module::add;
use super::{FromPost, PostProcess, wait::wait_for};
use crate::{
    os, python,
    signals::{self, Received},
};

/// What the app's function answers: the task is done.
const OK: i64 = -2;
/// It is to be tried again.
const RETRY: i64 = -1;
/// It is nobody's.
const IGNORE: i64 = 0;

/// What becomes of a spooler.
enum Then {
    /// It goes on.
    GoesOn,
    /// It leaves.
    Leaves,
}

/// Runs until it is to leave.
pub(super) fn run(py: Python<'_>, here: &'static PostProcess, number: u32) -> PyResult<()> {
    let boot = &here.boot.spoolers;
    let Some((place, directory)) = shared::of(number) else { return Ok(()) };
    shared::is_here(number);
    // As uWSGI: requests go first.
    // SAFETY: three integers.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, libc::PRIO_MAX) };
    for import in &boot.imports {
        if let Err(error) = import_one(py, import) {
            python::print_exception(py, &error);
        }
    }
    let mut done = 0;
    loop {
        if let Then::Leaves = look(py, here, number, &directory, &mut done)? {
            return run_signals(py, here);
        }
        let sources: Vec<_> = shared::bell(place).into_iter().chain(signals::letterbox()).chain(here.line()).collect();
        wait_for(py, &sources, Some(Duration::from_secs(shared::frequency_s().into())))?;
        shared::heard(place);
        let leaves = here.is_told_to_leave();
        run_signals(py, here)?;
        if leaves {
            return Ok(());
        }
    }
}

/// Runs the functions of all signals that have come.
fn run_signals(py: Python<'_>, here: &'static PostProcess) -> PyResult<()> {
    while let Received::Signal(signal) = signals::receive() {
        here.work(py, here.boot.spoolers.harakiri_s, || signals::run_beside(py, signal))?;
    }
    Ok(())
}

/// A module, or a file as one.
fn import_one(py: Python<'_>, name: &str) -> PyResult<()> {
    if !name.contains('/') && !name.ends_with(".py") {
        return py.import(name).map(drop);
    }
    let machinery = py.import("importlib.util")?;
    let stem = Path::new(name).file_stem().map_or_else(|| name.to_owned(), |stem| stem.to_string_lossy().into_owned());
    let spec = machinery.call_method1("spec_from_file_location", (&stem, name))?;
    let module = machinery.call_method1("module_from_spec", (&spec,))?;
    py.import("sys")?.getattr("modules")?.set_item(&stem, &module)?;
    spec.getattr("loader")?.call_method1("exec_module", (module,)).map(drop)
}

/// Takes every task that is there and due, those of directories whose names are numbers (priorities) first.
fn look(py: Python<'_>, here: &'static PostProcess, number: u32, directory: &Path, done: &mut u64) -> PyResult<Then> {
    for path in files::due(directory) {
        if here.is_told_to_leave() {
            return Ok(Then::Leaves);
        }
        nix::unistd::chdir(path.parent().unwrap_or(directory)).map_err(std::io::Error::from)?;
        let Some(claimed) = files::claim(&path) else { continue };
        if !manage(py, here, number, &path, &claimed)? {
            continue;
        }
        *done += 1;
        let most = here.boot.spoolers.max_tasks;
        if most > 0 && *done >= most {
            say(number, &format!("maximum number of tasks reached ({most}) recycling ..."));
            let _ = here.say(&FromPost::Recycles, &[]);
            return Ok(Then::Leaves);
        }
    }
    Ok(Then::GoesOn)
}

/// Runs a task. Whether anybody was there to run it.
fn manage(
    py: Python<'_>,
    here: &'static PostProcess,
    number: u32,
    path: &Path,
    claimed: &files::Claimed,
) -> PyResult<bool> {
    let boot = &here.boot.spoolers;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let task = match decode(&claimed.bytes) {
        Content::Task(task) => task,
        Content::Nothing => return Ok(false),
        Content::Broken => {
            say(number, &format!("the task {name} is cut off and removed"));
            files::remove(path);
            return Ok(false);
        }
    };
    let loud = |text: &str| {
        if !boot.quiet {
            say(number, text);
        }
    };
    loud(&format!("managing request {name} ..."));
    if let Some(directory) = &boot.chdir {
        nix::unistd::chdir(directory).map_err(std::io::Error::from)?;
    }
    let began_ns = os::monotonic_ns();
    let answer = here.work(py, boot.harakiri_s, || call(py, &name, &task))?;
    match answer {
        None | Some(IGNORE) => {
            say(number, "unable to find the spooler function, have you loaded it into the spooler process ?");
            return Ok(false);
        }
        Some(OK) => {
            let seconds = (os::monotonic_ns() - began_ns) / 1_000_000_000;
            loud(&format!("done with task {name} after {seconds} seconds"));
            files::remove(path);
        }
        Some(_) => {}
    }
    Ok(true)
}

/// Calls the app's function; None when there is none. What it raises is logged, and the task tried again: by the next process,
/// when it is a SystemExit.
fn call(py: Python<'_>, name: &str, task: &Task<'_>) -> PyResult<Option<i64>> {
    let called = || -> PyResult<Option<i64>> {
        let Some(function) = py.import("uwsgi")?.getattr_opt("spooler")? else { return Ok(None) };
        let answer = function.call1((as_dict(py, name, task)?,))?;
        Ok(Some(answer.extract().unwrap_or(RETRY)))
    };
    called().or_else(|error| python::unless_it_exits(py, error).map(|()| Some(RETRY)))
}

/// A task as the app gets it: names and values are bytes, and two names are not.
fn as_dict<'py>(py: Python<'py>, name: &str, task: &Task<'_>) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("spooler_task_name", PyBytes::new(py, name.as_bytes()))?;
    for (name, value) in &task.pairs {
        dict.set_item(PyBytes::new(py, name), PyBytes::new(py, value))?;
    }
    if !task.body.is_empty() {
        dict.set_item("body", PyBytes::new(py, task.body))?;
    }
    Ok(dict)
}

fn say(number: u32, text: &str) {
    let directory = shared::of(number).map(|(_, directory)| directory).unwrap_or_default();
    os::write_stderr(format!("[spooler {} pid: {}] {text}\n", directory.display(), std::process::id()).as_bytes());
}
