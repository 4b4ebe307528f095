//! Imports the app and finds its callable. Whatever goes wrong becomes one sentence and a traceback.

use std::path::Path;

use empery_control::boot::{AppBoot, AppTarget};
use pyo3::{
    exceptions::PyAttributeError,
    prelude::*,
    types::{PyDict, PyModule, PyString, PyTuple},
};

use crate::python;

/// Most names that a sentence about a missing callable offers.
const OFFERED_NAMES_MAX: usize = 8;

/// Why there is no app.
#[derive(Debug)]
pub(crate) struct LoadFailure {
    /// One sentence.
    pub(crate) sentence: String,
    /// Where, when code of the app ran.
    pub(crate) traceback: Option<String>,
}

impl LoadFailure {
    fn of(py: Python<'_>, doing: &str, error: &PyErr) -> Self {
        let sentence = match python::exit_argument(py, error) {
            Some(argument) => format!("{doing}: the app called sys.exit({argument})"),
            None => format!("{doing}: {}", python::one_line(py, error)),
        };
        Self { sentence, traceback: python::traceback(py, error) }
    }
}

/// The WSGI callable.
pub(crate) fn load(py: Python<'_>, boot: &AppBoot) -> Result<Py<PyAny>, LoadFailure> {
    let (module, place) = match &boot.target {
        AppTarget::Module(name) => {
            let place = format!("module {name}");
            (
                py.import(name.as_str())
                    .map(Bound::into_any)
                    .map_err(|error| LoadFailure::of(py, &format!("cannot import {place}"), &error))?,
                place,
            )
        }
        AppTarget::File(path) => {
            let place = format!("file {}", path.display());
            (run_file(py, path).map_err(|error| LoadFailure::of(py, &format!("cannot load {place}"), &error))?, place)
        }
    };
    let app = callable(py, &module, &place, &boot.callable)?;
    if let Some(directory) = &boot.chdir2 {
        nix::unistd::chdir(directory).map_err(|error| LoadFailure {
            sentence: format!("chdir2 = {}: {}", directory.display(), error.desc()),
            traceback: None,
        })?;
    }
    Ok(app.unbind())
}

/// Runs a file as a module of its own, whatever its name ends in; no byte code is written beside it.
fn run_file<'py>(py: Python<'py>, path: &Path) -> PyResult<Bound<'py, PyAny>> {
    let text = path.to_string_lossy();
    let name = module_name(&text);
    let source = py.import("io")?.call_method1("open_code", (std::path::absolute(path)?.to_string_lossy(),))?;
    let bytes = source.call_method0("read")?;
    source.call_method0("close")?;
    let builtins = py.import("builtins")?;
    let code = builtins.call_method1("compile", (bytes, text.as_ref(), "exec"))?;
    let module = PyModule::new(py, &name)?;
    module.setattr("__file__", text.as_ref())?;
    module.setattr("__builtins__", &builtins)?;
    let modules = py.import("sys")?.getattr("modules")?;
    modules.set_item(name.as_str(), &module)?;
    if let Err(error) = builtins.call_method1("exec", (code, module.dict())) {
        modules.del_item(name.as_str())?;
        return Err(error);
    }
    Ok(module.into_any())
}

/// `uwsgi_file_` and the path with `/` and `.` as underscores, without a `.py`: what uWSGI calls it, seen in logs and pickles.
fn module_name(path: &str) -> String {
    let path = path.strip_suffix(".py").unwrap_or(path);
    format!("uwsgi_file_{}", path.replace(['/', '.'], "_"))
}

/// Follows `name`, `a.b` or `factory()` in the module.
fn callable<'py>(
    py: Python<'py>,
    module: &Bound<'py, PyAny>,
    place: &str,
    name: &str,
) -> Result<Bound<'py, PyAny>, LoadFailure> {
    let (path, factory) = match name.strip_suffix("()") {
        Some(path) => (path, true),
        None => (name, false),
    };
    let mut found = module.clone();
    for part in path.split('.') {
        found = found.getattr(part).map_err(|error| {
            if error.is_instance_of::<PyAttributeError>(py) {
                LoadFailure { sentence: missing(module, place, name, part), traceback: None }
            } else {
                LoadFailure::of(py, &format!("cannot take {name} of {place}"), &error)
            }
        })?;
    }
    if factory {
        not_callable(&found, place, path)?;
        found = found.call0().map_err(|error| LoadFailure::of(py, &format!("{name} of {place} failed"), &error))?;
    }
    not_callable(&found, place, name)?;
    Ok(found)
}

fn not_callable(found: &Bound<'_, PyAny>, place: &str, name: &str) -> Result<(), LoadFailure> {
    if found.is_callable() {
        return Ok(());
    }
    let kind = found.get_type().qualname().map_or_else(|_| "something else".to_owned(), |kind| kind.to_string());
    Err(LoadFailure { sentence: format!("{name} of {place} is not callable: it is of type {kind}"), traceback: None })
}

fn missing(module: &Bound<'_, PyAny>, place: &str, name: &str, part: &str) -> String {
    let offered = callables_defined(module).unwrap_or_default();
    let what = if part == name {
        format!("{place} has no {name}")
    } else {
        format!("{place} has no {name} (there is no {part})")
    };
    if offered.is_empty() {
        format!("{what}, and nothing else that can be called: set module or wsgi-file to where the app is")
    } else {
        format!("{what}; it has {}: set callable to the app's name", offered.join(", "))
    }
}

fn callables_defined(module: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    let own_name = module.getattr("__name__")?;
    let names = module.getattr("__dict__")?;
    let mut offered = Vec::new();
    for (name, value) in names.cast::<PyDict>()?.iter() {
        let name = name.cast::<PyString>()?.to_string_lossy().into_owned();
        let imported_function = value.getattr("__module__").is_ok_and(|from| !from.eq(&own_name).unwrap_or(false))
            && value.getattr("__qualname__").is_ok();
        if !name.starts_with('_') && value.is_callable() && !imported_function && offered.len() < OFFERED_NAMES_MAX {
            offered.push(name);
        }
    }
    Ok(offered)
}

/// `gc.collect()` and `gc.freeze()`: what the import made is never looked at again by the collector, so its pages stay shared.
pub(crate) fn freeze(py: Python<'_>) -> PyResult<()> {
    let gc = py.import("gc")?;
    gc.call_method0("collect")?;
    gc.call_method0("freeze")?;
    Ok(())
}

/// Switches the collector.
pub(crate) fn collector(py: Python<'_>, on: CollectorIs) -> PyResult<()> {
    let name = match on {
        CollectorIs::On => "enable",
        CollectorIs::Off => "disable",
    };
    py.import("gc")?.call_method(name, PyTuple::empty(py), None).map(|_| ())
}

/// Whether garbage is collected.
#[derive(Clone, Copy)]
pub(crate) enum CollectorIs {
    /// In a worker.
    On,
    /// While the app is imported: a collection in between would touch every page.
    Off,
}
