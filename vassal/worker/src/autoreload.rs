//! `py-autoreload = N`: every worker watches the files of the imported modules, and the Python files beside those of the
//! app, which may be the ones that do not import yet; the first of those that live asks for the reload, since `cheaper` lets
//! go whom it likes. One thread of Python, because that is where `sys.modules` is.

use std::sync::atomic::Ordering;

use empery_control::{apps::AppTarget, worker::FromWorker};
use empery_sys::process;
use pyo3::{
    prelude::*,
    types::{PyDict, PyModule},
};

use crate::worker::Worker;

/// The thread's program. `changed()` asks the master for a reload, and says whether it did.
const WATCH: &std::ffi::CStr = cr#"
import os, sys, threading

def files(extra, ignored):
    found = set(extra)
    own = set()
    unseen = set()
    for name, module in list(sys.modules.items()):
        path = getattr(module, '__file__', None)
        if not isinstance(path, str):
            continue
        path = os.path.abspath(path)
        if name in ignored:
            unseen.add(path)
            continue
        found.add(path)
        if not path.startswith((sys.prefix + os.sep, sys.base_prefix + os.sep)):
            own.add(os.path.dirname(path))
    for directory in own.union(os.path.dirname(path) for path in extra):
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        found.update(os.path.join(directory, name) for name in names if name.endswith('.py'))
    return found - unseen

def stamp(path):
    try:
        seen = os.stat(path)
    except OSError:
        return None
    return seen.st_mtime_ns, seen.st_size, seen.st_ino

def watch(seconds, extra, ignored, changed):
    known = {path: stamp(path) for path in files(extra, ignored)}
    pause = threading.Event()
    moved = False
    while True:
        pause.wait(seconds)
        for path in files(extra, ignored):
            now = stamp(path)
            moved = moved or (path in known and now is not None and now != known[path])
            known[path] = now if now is not None else known.get(path)
        moved = moved and not changed()

def start(seconds, extra, ignored, changed):
    threading.Thread(target=watch, args=(seconds, extra, ignored, changed), name='py-autoreload', daemon=True).start()
"#;

/// Starts the thread, when it is asked for.
pub(crate) fn start(py: Python<'_>, worker: &Worker) -> PyResult<()> {
    let boot = worker.boot;
    if boot.py_autoreload_s == 0 {
        return Ok(());
    }
    let apps = boot.apps.main.iter().chain(boot.apps.mounts.iter().map(|mount| &mount.app));
    let files = apps.filter_map(|app| match &app.target {
        AppTarget::File(path) => Some(path),
        AppTarget::Module(_) | AppTarget::Code(_) | AppTarget::Paste { .. } => None,
    });
    let extra = files
        .map(|path| Ok(std::path::absolute(path)?.to_string_lossy().into_owned()))
        .collect::<std::io::Result<Vec<String>>>()?;
    let module = PyModule::from_code(py, WATCH, c"py-autoreload", c"empery_autoreload")?;
    // What the file is made of is not the app's business.
    py.import("sys")?.getattr("modules")?.cast::<PyDict>()?.del_item("empery_autoreload")?;
    module.getattr("start")?.call1((
        boot.py_autoreload_s,
        extra,
        boot.py_autoreload_ignore.clone(),
        pyo3::wrap_pyfunction!(changed, py)?,
    ))?;
    Ok(())
}

#[pyfunction]
fn changed() -> bool {
    let Some(worker) = Worker::here().filter(|worker| is_first(worker)) else { return false };
    worker.log("py-autoreload: a file has changed");
    worker.say(&FromWorker::ReloadAsked)
}

/// Whether no worker before this one lives. A number in the scoreboard may be somebody else's by now, who is no child of the
/// master.
fn is_first(worker: &Worker) -> bool {
    let siblings = process::children_of(std::os::unix::process::parent_id().cast_signed()).unwrap_or_default();
    let lives = |pid: i32| siblings.contains(&pid) && !process::has_ended(pid);
    let pid_of = |(before, spawn)| worker.slot_of(before, spawn, 0).state.pid.load(Ordering::Acquire).cast_signed();
    let mut before = (1..worker.reference.worker.0).flat_map(|before| [(before, 0), (before, 1)]);
    !before.any(|place| lives(pid_of(place)))
}
