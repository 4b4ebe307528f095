//! What uWSGI's module has and this one has not: whoever asks is told what to use instead, with the AttributeError that an
//! app can handle.

use pyo3::{exceptions::PyAttributeError, prelude::*, types::PyModule};

use super::request::current;

const ASYNC: &str =
    "there is no asynchronous mode here: use `threads = N` or `gevent = N`, and what Python or gevent has for waiting";
const LEGION: &str = "there are no legions here: let a lock in the database or the orchestrator choose a leader";
const SNMP: &str = "there is no SNMP here: use uwsgi.metric_set and /metrics of the emperor";
const QUEUE: &str = "there is no queue in this vassal: say `queue = N`";
const SPOOLER: &str = "there is no spooler in this vassal: say `spooler = DIRECTORY`";
const AREA: &str = "there is no shared area in this vassal: say `sharedarea = PAGES`";

/// What to use instead, by name or by its beginning (with a `*`).
const INSTEAD: &[(&str, &str)] = &[
    ("async_*", ASYNC),
    ("connect", "use the `socket` module"),
    ("erlang_*", "there is no Erlang here"),
    ("i_am_the_lord", LEGION),
    ("lord_scroll", LEGION),
    ("mode", "the vassal has no mode: say `mode = NAME`"),
    ("offload", "return the file, or an iterable: the server sends what the client is slow to take"),
    ("queue_*", QUEUE),
    ("route", "use the routes of the vassal file (`route = …`), or answer in the app"),
    ("scrolls", LEGION),
    ("send_multi_message", ASYNC),
    ("send_to_spooler", SPOOLER),
    ("set_spooler_frequency", SPOOLER),
    ("sharedarea_object", "use uwsgi.sharedarea_memoryview"),
    ("sharedarea_*", AREA),
    ("snmp_*", SNMP),
    ("spool", SPOOLER),
    ("spooler_*", SPOOLER),
    ("spoolers", SPOOLER),
    ("start_response", "start_response is the app's second argument"),
];

/// Called by Python for names that the module does not have (PEP 562): the environ of the request is one of them.
#[pyfunction]
#[pyo3(name = "__getattr__", signature = (name, /))]
fn absent(py: Python<'_>, name: &str) -> PyResult<Py<PyAny>> {
    if name == "env"
        && let Some(answer) = current(py)
        && let Some(environ) = &answer.try_borrow()?.response.environ
    {
        return Ok(environ.clone_ref(py).into_any());
    }
    let fits = |pattern: &str| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    };
    let plain = format!("module 'uwsgi' has no attribute '{name}'");
    Err(PyAttributeError::new_err(match INSTEAD.iter().find(|(pattern, _)| fits(pattern)) {
        Some((_, instead)) => format!("{plain}: {instead}"),
        None => plain,
    }))
}

pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    super::add_functions!(module, absent);
    Ok(())
}
