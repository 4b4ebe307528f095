//! The functions of `uwsgi` that do something: reload, stop, setprocname, set_user_harakiri.

use std::sync::OnceLock;

use empery_control::{
    boot::AppBoot,
    posts::{ALARM_MESSAGE_MAX_BYTES, FromPost},
    worker::FromWorker,
};
use empery_sys::process;
use pyo3::{exceptions::PyValueError, prelude::*, types::PyModule};

use super::{add_functions, lines::bytes_of};
use crate::{
    attend::{Harakiri, limit},
    os,
    posts::PostProcess,
    serve::Serving,
    worker::Worker,
};

/// Longest message of `set_warning_message`, as in uWSGI.
const WARNING_MAX_CHARACTERS: usize = 80;

/// Prefix and append of process titles.
static AFFIXES: OnceLock<(String, String)> = OnceLock::new();

pub(super) fn add(py: Python<'_>, module: &Bound<'_, PyModule>, boot: &AppBoot) -> PyResult<()> {
    AFFIXES.get_or_init(|| (boot.titles.prefix.clone(), boot.titles.append.clone()));
    add_functions!(module, reload, stop, setprocname, set_user_harakiri, set_warning_message, alarm, accepting, ready);
    module.add("Harakiri", py.get_type::<Harakiri>())?;
    Ok(())
}

fn ask(py: Python<'_>, word: &FromWorker, of_post: &FromPost) -> PyResult<bool> {
    if let Some(post) = PostProcess::here() {
        return py
            .detach(|| post.say(of_post, &[]))
            .map(|()| true)
            .map_err(|_| PyValueError::new_err("the master is gone"));
    }
    let worker =
        Worker::here().ok_or_else(|| PyValueError::new_err("there is no worker yet: the app is being imported"))?;
    if py.detach(|| worker.say(word)) { Ok(true) } else { Err(PyValueError::new_err("the master is gone")) }
}

/// Asks the master for a reload. True.
#[pyfunction]
fn reload(py: Python<'_>) -> PyResult<bool> {
    ask(py, &FromWorker::ReloadAsked, &FromPost::ReloadAsked)
}

/// Asks the master to stop. True.
#[pyfunction]
fn stop(py: Python<'_>) -> PyResult<bool> {
    ask(py, &FromWorker::StopAsked, &FromPost::StopAsked)
}

/// Sets the process's title.
#[pyfunction]
fn setprocname(name: &str) {
    let (prefix, append) = AFFIXES.get().map_or(("", ""), |(prefix, append)| (prefix.as_str(), append.as_str()));
    process::set_title(&format!("{prefix}{name}{append}"));
}

/// Tells everybody who reads the log what is wrong, in 80 characters or less. True.
#[pyfunction]
#[pyo3(signature = (message, /))]
fn set_warning_message(message: &str) -> bool {
    let shown: String = message.chars().take(WARNING_MAX_CHARACTERS).collect();
    os::write_stderr(format!("*** {shown} ***\n").as_bytes());
    true
}

/// Has the master raise an alarm of the vassal file (`alarm = NAME …`) with this text, of which 16 KiB reach it. Nobody waits for it.
/// While the app is being imported there is nobody to raise it, as in uWSGI; the log says so.
#[pyfunction]
#[pyo3(signature = (name, message, /))]
fn alarm(py: Python<'_>, name: &str, message: &Bound<'_, PyAny>) -> PyResult<()> {
    let message = bytes_of(message, "uwsgi.alarm")?;
    if let Some(post) = PostProcess::here() {
        let (name, message) = (name.to_owned(), shown(&message));
        return py
            .detach(|| post.say(&FromPost::AlarmRaised { name, message }, &[]))
            .map_err(|_| PyValueError::new_err("the master is gone"));
    }
    match Worker::here() {
        Some(worker) => {
            let raised = alarm_raised(name, &message);
            // A worker whose master died serves on; the next one hears of what comes then.
            py.detach(|| worker.say(&raised));
        }
        None => {
            os::write_stderr(format!("[uwsgi-alarm] \"{name}\" is not raised while the app is imported\n").as_bytes())
        }
    }
    Ok(())
}

/// The word with which a worker has an alarm raised.
pub(crate) fn alarm_raised(name: &str, message: &[u8]) -> FromWorker {
    FromWorker::AlarmRaised { name: name.to_owned(), message: shown(message) }
}

/// As much of an alarm's message as reaches the master.
fn shown(message: &[u8]) -> String {
    String::from_utf8_lossy(&message[..message.len().min(ALARM_MESSAGE_MAX_BYTES)]).into_owned()
}

/// Nothing: a worker accepts when its master has proved it.
#[pyfunction]
#[pyo3(signature = (_accepting=1, /))]
fn accepting(_accepting: i64) {}

/// Whether the app runs in a worker: not while it is being imported before that.
#[pyfunction]
fn ready() -> bool {
    Worker::here().is_some()
}

/// Limits the request of the calling thread to so many seconds from now; 0 takes its limit back. `harakiri` holds beside it.
/// In a mule or spooler it limits the process, until it is set back. Elsewhere outside of a request it does nothing.
#[pyfunction]
fn set_user_harakiri(py: Python<'_>, seconds: u64) {
    if let Some(post) = PostProcess::here() {
        let within_ms = (seconds > 0).then(|| seconds.saturating_mul(1000));
        // Without a master it has ended already.
        let _ = py.detach(|| post.say(&FromPost::Limited { within_ms }, &[]));
    }
    let (Some(worker), Some(serving)) = (Worker::here(), Serving::here()) else { return };
    if let Some(request) = worker.request_of_this_thread(py) {
        limit(worker, serving, request, seconds);
    }
}
