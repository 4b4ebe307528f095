//! A mule: runs the script or function that the vassal file names, if any, and then functions for signals and messages as
//! they come (core/mule.c).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict},
};

use super::{PostProcess, leaving::Wanted, queues, wait::wait_for};
use crate::{
    hooks, os, python,
    signals::{self, Received},
};
use empery_control::posts::FromPost;

/// The name of the module `uwsgi`'s attribute with the function for messages.
const HOOK: &str = "mule_msg_hook";

/// Runs until it is to leave.
pub(super) fn run(py: Python<'_>, here: &'static PostProcess, number: u32) -> PyResult<()> {
    let place = usize::try_from(number).unwrap_or(0).saturating_sub(1);
    if let Err(failure) = hooks::run(py, &here.boot.process.as_mule) {
        // As in uWSGI, a vassal whose mules are not what they should be does not run on.
        os::write_stderr(format!("*** {} ***\n", failure.sentence).as_bytes());
        return Ok(here.say(&FromPost::StopAsked, &[])?);
    }
    let patch = here.boot.mules.patches.get(place).and_then(Option::as_deref);
    match patch {
        Some(patch) if patch.ends_with(".py") => return script(py, patch),
        Some(patch) if patch.contains(':') => return function(py, patch),
        Some(patch) => os::write_stderr(
            format!("[mule {number}] {patch} is neither a script (.py) nor module:function: it waits for signals and messages\n")
                .as_bytes(),
        ),
        None => {}
    }
    attend(py, here, number)
}

/// As `__main__`.
fn script(py: Python<'_>, path: &str) -> PyResult<()> {
    let options = PyDict::new(py);
    options.set_item("run_name", "__main__")?;
    py.import("runpy")?.call_method("run_path", (path,), Some(&options)).map(drop)
}

fn function(py: Python<'_>, text: &str) -> PyResult<()> {
    let (module, name) = text.split_once(':').unwrap_or((text, ""));
    let mut found = py.import(module)?.into_any();
    for part in name.trim_end_matches("()").split('.') {
        found = found.getattr(part)?;
    }
    found.call0().map(drop)
}

fn attend(py: Python<'_>, here: &'static PostProcess, number: u32) -> PyResult<()> {
    let harakiri_s = here.boot.mules.harakiri_s;
    loop {
        // Before what lies there is looked at: nothing comes after the word.
        let wanted = here.wanted();
        match signals::receive() {
            Received::Signal(signal) => {
                here.work(py, harakiri_s, || signals::run_beside(py, signal))?;
                continue;
            }
            // Whether the master is gone its line says.
            Received::End | Received::Nothing => {}
        }
        if wanted == Wanted::Leaves {
            return Ok(());
        }
        if let Some(message) = next_message(number, here.boot.mules.message_max_bytes, Farms::Too)? {
            here.work(py, harakiri_s, || hear(py, number, &message))?;
            continue;
        }
        if wanted == Wanted::Finishes {
            return Ok(());
        }
        wait_for(py, &everything(here, number), None)?;
    }
}

/// Everything that a mule can be woken by.
fn everything(here: &'static PostProcess, number: u32) -> Vec<BorrowedFd<'static>> {
    let letterbox = signals::letterbox();
    sources(number, Farms::Too).into_iter().chain(letterbox).chain(here.line()).collect()
}

/// Whether messages for farms count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Farms {
    /// They alone.
    Only,
    /// They as well.
    Too,
    /// No.
    No,
}

/// Where messages for a mule come from.
pub(super) fn sources(number: u32, farms: Farms) -> Vec<BorrowedFd<'static>> {
    let Some(queues) = queues::get() else { return Vec::new() };
    let own = queues.of(number).filter(|_| farms != Farms::Only);
    own.chain(queues.of_farms(number).filter(|_| farms != Farms::No)).collect()
}

/// Whether a message is there.
pub(super) fn has_message(number: u32, farms: Farms) -> bool {
    sources(number, farms).iter().any(|source| queues::has_any(source.as_raw_fd()))
}

/// A message that is there.
pub(super) fn next_message(number: u32, most: usize, farms: Farms) -> std::io::Result<Option<Vec<u8>>> {
    for source in sources(number, farms) {
        if let Some(message) = queues::take(source.as_fd().as_raw_fd(), most)? {
            return Ok(Some(message));
        }
    }
    Ok(None)
}

/// Calls the app's function for messages. What it raises is logged, but for a SystemExit.
fn hear(py: Python<'_>, number: u32, message: &[u8]) -> PyResult<()> {
    let called = || -> PyResult<bool> {
        match py.import("uwsgi")?.getattr_opt(HOOK)? {
            Some(hook) => hook.call1((PyBytes::new(py, message),)).map(|_| true),
            None => Ok(false),
        }
    };
    match called() {
        Ok(true) => Ok(()),
        Ok(false) => {
            os::write_stderr(format!("*** mule {number} received a {} bytes message ***\n", message.len()).as_bytes());
            Ok(())
        }
        Err(error) => python::unless_it_exits(py, error),
    }
}

/// For `install_mule_msg_hook`.
pub(super) fn install(py: Python<'_>, function: &Bound<'_, PyAny>) -> PyResult<()> {
    py.import("uwsgi")?.setattr(HOOK, function)
}
