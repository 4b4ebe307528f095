//! The module `uwsgi` that apps import: the names that work here, and no others, so that an app that asks for an SNMP counter
//! gets the AttributeError it can handle, with what to use instead ([`absent`]).

mod absent;
mod areas;
mod cache;
pub(crate) mod connection;
pub(crate) mod control;
mod crew;
mod facts;
mod files;
mod lines;
mod locks;
pub(crate) mod metrics;
mod queue;
mod request;
mod rpc;
mod text;
pub(crate) mod websocket;

use empery_control::boot::{AppBoot, Engine, OptValue};
use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict, PyList, PyModule},
};

use crate::{mounts, os, posts, python, signals};

/// The uWSGI whose behaviour is offered: libraries compare it with the versions that had this or that defect.
pub(crate) const VERSION: &str = "2.0.31";

/// The name of the module in `sys.modules`.
const NAME: &str = "uwsgi";

/// Makes the module, in the zygote, before the app is imported.
pub(crate) fn make<'py>(py: Python<'py>, boot: &AppBoot) -> PyResult<Bound<'py, PyModule>> {
    let module = PyModule::new(py, NAME)?;
    module.add("version", PyBytes::new(py, VERSION.as_bytes()))?;
    module.add("version_info", (2, 0, 31, 0, PyBytes::new(py, b"")))?;
    module.add("hostname", PyBytes::new(py, &hostname()))?;
    module.add("numproc", boot.processes)?;
    module.add("cores", boot.threads)?;
    module.add("has_threads", 1)?;
    module.add("buffer_size", boot.head_max_bytes)?;
    module.add("started_on", os::realtime_ns() / 1_000_000_000)?;
    module.add("is_a_reload", boot.reloads > 0)?;
    module.add("sockets", PyList::new(py, boot.listeners.iter().map(|listener| listener.fd))?)?;
    module.add("applications", PyDict::new(py))?;
    module.add("loop", matches!(boot.engine, Engine::Gevent { .. }).then(|| PyBytes::new(py, b"gevent")))?;
    module.add("unbit", py.None())?;
    module.add("magic_table", facts::magic_table(py)?)?;
    for given in ["pidfile", "mode"] {
        if let Some((_, OptValue::One(text))) = boot.opt.iter().find(|(name, _)| name == given) {
            module.add(given, PyBytes::new(py, text.as_bytes()))?;
        }
    }
    module.add("opt", options(py, boot)?)?;
    facts::add(&module, boot)?;
    control::add(py, &module, boot)?;
    lines::add(py, &module, boot)?;
    cache::add(&module)?;
    locks::add(&module)?;
    queue::add(&module)?;
    areas::add(&module)?;
    metrics::add(&module)?;
    rpc::add(&module)?;
    files::add(&module)?;
    connection::add(&module)?;
    websocket::add(&module)?;
    signals::add(&module)?;
    posts::add(&module)?;
    posts::spooler::add(py, &module, &boot.spoolers)?;
    absent::add(&module)?;
    Ok(module)
}

fn options<'py>(py: Python<'py>, boot: &AppBoot) -> PyResult<Bound<'py, PyDict>> {
    let options = PyDict::new(py);
    for (name, value) in &boot.opt {
        match value {
            OptValue::Flag(flag) => options.set_item(name, flag)?,
            OptValue::One(text) => options.set_item(name, PyBytes::new(py, text.as_bytes()))?,
            OptValue::Many(texts) => {
                options.set_item(name, PyBytes::new(py, texts.last().map_or(b"", |text| text.as_bytes())))?;
            }
        }
    }
    Ok(options)
}

/// `uwsgi.hostname` and `uwsgi.node`.
pub(crate) fn hostname() -> Vec<u8> {
    nix::unistd::gethostname().map_or_else(|_| b"localhost".to_vec(), |name| name.into_encoded_bytes())
}

/// In a new worker, with its app: calls `uwsgi.post_fork_hook`, if the app has set one. What it raises is logged, as in uWSGI.
///
/// # Errors
/// The SystemExit of a hook that wants the process to end.
pub(crate) fn after_fork(py: Python<'_>, app: &Py<PyAny>) -> PyResult<()> {
    let module = py.import(NAME)?;
    if let Ok(applications) = module.getattr("applications")?.cast::<PyDict>() {
        applications.set_item("", app)?;
        for (point, app) in mounts::here().into_iter().flat_map(|mounts| mounts.all()) {
            applications.set_item(point, app)?;
        }
    }
    call_hook(py, "post_fork_hook").or_else(|error| python::unless_it_exits(py, error))
}

/// In a worker that leaves: calls `uwsgi.atexit`, if the app has set one.
pub(crate) fn at_exit(py: Python<'_>) {
    if let Err(error) = call_hook(py, "atexit") {
        python::print_exception(py, &error);
    }
}

/// `uwsgi.after_req_hook`, as the app has set it by the time that a worker begins to serve: at import, or in a hook after the fork.
/// uWSGI looks for it once, too (uwsgi_python_init_apps). None when there is none.
pub(crate) fn after_request(py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
    let hook = py.import(NAME)?.getattr_opt("after_req_hook")?;
    Ok(hook.filter(|hook| !hook.is_none()).map(Bound::unbind))
}

fn call_hook(py: Python<'_>, name: &str) -> PyResult<()> {
    match py.import(NAME)?.getattr_opt(name)? {
        Some(hook) => hook.call0().map(drop),
        None => Ok(()),
    }
}

/// Adds functions to the module.
macro_rules! add_functions {
    ($module:expr, $($function:ident),+) => {
        $($module.add_function(pyo3::wrap_pyfunction!($function, $module)?)?;)+
    };
}
pub(crate) use add_functions;
