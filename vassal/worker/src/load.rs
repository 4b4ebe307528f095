//! Imports the app and finds its callable. Whatever goes wrong becomes one sentence and a traceback.

use std::path::Path;

use empery_control::{
    apps::{App, AppTarget, Mount},
    boot::AppBoot,
};
use pyo3::{
    exceptions::PyAttributeError,
    prelude::*,
    types::{PyDict, PyModule, PyString, PyTuple},
};

use crate::{hooks, imports, mounts, os, python};

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
    pub(crate) fn of(py: Python<'_>, doing: &str, error: &PyErr) -> Self {
        let sentence = match python::exit_argument(py, error) {
            Some(argument) => format!("{doing}: the app called sys.exit({argument})"),
            None => format!("{doing}: {}", python::one_line(py, error)),
        };
        Self { sentence, traceback: python::traceback(py, error) }
    }
}

/// What a process serves.
pub(crate) struct Loaded {
    /// Who answers when no mount point fits.
    pub(crate) app: Py<PyAny>,
    /// The apps at mount points.
    pub(crate) mounted: Vec<(String, Py<PyAny>)>,
    /// How long each took that the configuration names, in ms, by its mount point; that of `app` is empty.
    pub(crate) load_ms: Vec<(String, u64)>,
}

/// Imports what is to be there beside the apps, and loads these.
pub(crate) fn load(py: Python<'_>, boot: &AppBoot) -> Result<Loaded, LoadFailure> {
    hooks::run(py, &boot.process.pre_app)?;
    imports::with_apps(py, &boot.apps.imports)?;
    let apps = &boot.apps;
    let mut mounted = Vec::new();
    let mut main = None;
    let mut load_ms = Vec::new();
    if let Some(app) = &apps.main {
        let began = os::monotonic_ns();
        let module = module(py, &app.target)?;
        main = Some(app_of(py, &module, app)?);
        load_ms.push((String::new(), (os::monotonic_ns() - began) / 1_000_000));
        if let AppTarget::Module(_) = app.target {
            mounted.extend(applications(py, &module)?);
        }
    }
    for mount in &apps.mounts {
        let Mount { point, app } = mount;
        if mounted.iter().any(|(other, _)| other == point) {
            os::write_stderr(format!("mountpoint {point} already configured. skip.\n").as_bytes());
            continue;
        }
        let began = os::monotonic_ns();
        let module = module(py, &app.target)?;
        mounted.push((point.clone(), app_of(py, &module, app)?));
        load_ms.push((point.clone(), (os::monotonic_ns() - began) / 1_000_000));
    }
    if let Some(directory) = &boot.chdir2 {
        nix::unistd::chdir(directory).map_err(|error| LoadFailure {
            sentence: format!("chdir2 = {}: {}", directory.display(), error.desc()),
            traceback: None,
        })?;
    }
    let first = || mounted.first().filter(|(point, _)| !apps.no_default_app && point.starts_with('/'));
    let app = match main.or_else(|| first().map(|(_, app)| app.clone_ref(py))) {
        Some(app) => app,
        None => mounts::nobody(py).map_err(|error| LoadFailure::of(py, "no app can be made", &error))?,
    };
    hooks::run(py, &boot.process.post_app)?;
    Ok(Loaded { app, mounted, load_ms })
}

/// The callable of an app in what was loaded for it; paste gives the callable itself.
fn app_of(py: Python<'_>, loaded: &Bound<'_, PyAny>, app: &App) -> Result<Py<PyAny>, LoadFailure> {
    let place = place(&app.target);
    if let AppTarget::Paste { .. } = app.target {
        not_callable(loaded, &place, "what it gives")?;
        return Ok(loaded.clone().unbind());
    }
    Ok(callable(py, loaded, &place, &app.callable)?.unbind())
}

/// How a target is called in sentences.
fn place(target: &AppTarget) -> String {
    match target {
        AppTarget::Module(name) => format!("module {name}"),
        AppTarget::File(path) => format!("file {}", path.display()),
        AppTarget::Code(_) => "the code of eval".to_owned(),
        AppTarget::Paste { uri, .. } => uri.clone(),
    }
}

/// The module in which a callable is to be looked for; of paste the callable.
fn module<'py>(py: Python<'py>, target: &AppTarget) -> Result<Bound<'py, PyAny>, LoadFailure> {
    let (doing, loaded) = match target {
        AppTarget::Module(name) => ("cannot import", py.import(name.as_str()).map(Bound::into_any)),
        AppTarget::File(path) => ("cannot load", run_file(py, &file_module(path), path)),
        AppTarget::Code(code) => ("cannot run", run_code(py, code)),
        AppTarget::Paste { uri, name, logged } => ("paste cannot load", paste(py, uri, name.as_deref(), *logged)),
    };
    loaded.map_err(|error| LoadFailure::of(py, &format!("{doing} {}", place(target)), &error))
}

/// `paste.deploy.loadapp(uri)`.
fn paste<'py>(py: Python<'py>, uri: &str, name: Option<&str>, logged: bool) -> PyResult<Bound<'py, PyAny>> {
    if logged {
        let file = uri.strip_prefix("config:").unwrap_or(uri);
        py.import("logging.config")?.call_method1("fileConfig", (file,))?;
    }
    let deploy = py.import("paste.deploy")?;
    match name {
        Some(name) => deploy.call_method1("loadapp", (uri, name)),
        None => deploy.call_method1("loadapp", (uri,)),
    }
}

/// Runs the text of `eval` as uWSGI does, as a module of this name.
fn run_code<'py>(py: Python<'py>, code: &str) -> PyResult<Bound<'py, PyAny>> {
    const NAME: &str = "uwsgi_eval_config";
    let compiled = py.import("builtins")?.call_method1("compile", (code, NAME, "exec"))?;
    run_module(py, NAME, NAME, &compiled)
}

/// `applications` of a module: mount points, and for each a callable or the name of one.
fn applications(py: Python<'_>, module: &Bound<'_, PyAny>) -> Result<Vec<(String, Py<PyAny>)>, LoadFailure> {
    let failed = |error: PyErr| LoadFailure::of(py, "its applications cannot be read", &error);
    let Some(applications) = module.getattr_opt("applications").map_err(failed)? else { return Ok(Vec::new()) };
    let Ok(applications) = applications.cast_into::<PyDict>() else { return Ok(Vec::new()) };
    let mut mounted = Vec::new();
    for (point, app) in applications.iter() {
        let point = point.extract::<String>().map_err(failed)?;
        let app = match app.cast::<PyString>() {
            Ok(name) => module.getattr(name).map_err(failed)?,
            Err(_) => app,
        };
        not_callable(&app, "applications", &point)?;
        mounted.push((point, app.unbind()));
    }
    Ok(mounted)
}

/// Runs a file as a module of its own, whatever its name ends in; no byte code is written beside it.
pub(crate) fn run_file<'py>(py: Python<'py>, name: &str, path: &Path) -> PyResult<Bound<'py, PyAny>> {
    let text = path.to_string_lossy();
    let source = py.import("io")?.call_method1("open_code", (std::path::absolute(path)?.to_string_lossy(),))?;
    let bytes = source.call_method0("read")?;
    source.call_method0("close")?;
    let code = py.import("builtins")?.call_method1("compile", (bytes, text.as_ref(), "exec"))?;
    run_module(py, name, &text, &code)
}

fn run_module<'py>(py: Python<'py>, name: &str, file: &str, code: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let builtins = py.import("builtins")?;
    let module = PyModule::new(py, name)?;
    module.setattr("__file__", file)?;
    module.setattr("__builtins__", &builtins)?;
    let modules = py.import("sys")?.getattr("modules")?;
    modules.set_item(name, &module)?;
    if let Err(error) = builtins.call_method1("exec", (code, module.dict())) {
        modules.del_item(name)?;
        return Err(error);
    }
    Ok(module.into_any())
}

/// What uWSGI calls the module of a file with an app, seen in logs and pickles.
fn file_module(path: &Path) -> String {
    format!("uwsgi_file_{}", module_name(&path.to_string_lossy()))
}

/// The path with `/` and `.` as underscores, without a `.py` (uwsgi_pythonize).
pub(crate) fn module_name(path: &str) -> String {
    path.strip_suffix(".py").unwrap_or(path).replace(['/', '.'], "_")
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
