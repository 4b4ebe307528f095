//! `hook-…` and `exec-…` of the zygote's moments and the workers'.

use std::sync::atomic::{AtomicBool, Ordering};

use empery_control::{process::Hook, worker::FromWorker};
use empery_sys::hooks::{Left, perform};
use pyo3::prelude::*;

use crate::{load::LoadFailure, os, python, worker::Worker};

/// Does what is to be done around the apps; the first that fails keeps them from serving.
pub(crate) fn run(py: Python<'_>, hooks: &[Hook]) -> Result<(), LoadFailure> {
    for hook in hooks {
        one(py, hook).map_err(|sentence| LoadFailure { sentence, traceback: None })?;
    }
    Ok(())
}

fn one(py: Python<'_>, hook: &Hook) -> Result<(), String> {
    let say = |line: &str| os::write_stderr(format!("{line}\n").as_bytes());
    say(&format!("running \"{}:{}\"...", hook.action, hook.argument));
    match py.detach(|| perform(hook))? {
        Left::Nothing => Ok(()),
        Left::Line(line) => {
            say(&line);
            Ok(())
        }
        Left::Variable(name, value) => {
            let set = || -> PyResult<()> {
                let environ = py.import("os")?.getattr("environ")?;
                match value {
                    Some(value) => environ.set_item(name, value),
                    None => environ.call_method1("pop", (name, py.None())).map(|_| ()),
                }
            };
            set().map_err(|error| format!("{}: {}", hook.action, python::one_line(py, &error)))
        }
        Left::Exit(code) => std::process::exit(code),
    }
}

/// Whether this worker has accepted before: what comes back from a freeze does not begin.
static HAS_ACCEPTED: AtomicBool = AtomicBool::new(false);

/// In a worker whose gate has been opened. One that fails stops the vassal, as in uWSGI.
pub(crate) fn accepting(worker: &Worker) {
    let hooks = &worker.boot.process.accepting;
    if hooks.is_empty() || HAS_ACCEPTED.swap(true, Ordering::Relaxed) {
        return;
    }
    let reference = worker.reference;
    for accepting in hooks {
        if accepting.first_worker_only && reference.worker.0 != 1 || accepting.once && reference.spawn != 0 {
            continue;
        }
        if let Err(sentence) = Python::attach(|py| one(py, &accepting.hook)) {
            worker.log(&sentence);
            worker.say(&FromWorker::StopAsked);
            return;
        }
    }
}
