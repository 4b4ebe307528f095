//! Which of several apps answers a request, by SCRIPT_NAME as it comes or as PATH_INFO makes it (`manage-script-name`;
//! uWSGI: `uwsgi_get_app_id`, and core/protocol.c). A vassal with one app never comes here.

use std::{
    collections::BTreeMap,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use empery_control::{apps::Apps, scoreboard::AppCounters};
use pyo3::{
    prelude::*,
    types::{PyDict, PyString},
};

use crate::{load::Loaded, request::error_page, worker::Worker};

/// The apps at mount points, and how one is chosen.
pub(crate) struct Mounts {
    mounted: Vec<Mounted>,
    manage_script_name: bool,
    ignore_script_name: bool,
    /// The number of the app that answers when no point fits, if one does.
    default: Option<u32>,
    /// What this process counts and keeps of each app, by their numbers.
    counts: Vec<Count>,
}

struct Count {
    requests: AtomicU64,
    load_ms: u64,
}

/// One of them.
pub(crate) struct Mounted {
    /// As written: what SCRIPT_NAME is compared with.
    point: String,
    app: Py<PyAny>,
    /// Its place among [`Apps::points`]; None for what only the module's own `applications` names.
    number: Option<u32>,
}

impl Mounted {
    /// The callable.
    pub(crate) fn app<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.app.bind(py)
    }

    /// The prefix of paths; `/` is none.
    fn prefix(&self) -> &str {
        self.point.strip_suffix('/').unwrap_or(&self.point)
    }
}

static MOUNTS: OnceLock<Mounts> = OnceLock::new();

/// Those of this process; None when there are none.
pub(crate) fn here() -> Option<&'static Mounts> {
    MOUNTS.get()
}

/// Keeps what is mounted, in a worker that is about to serve; the app that answers when nothing fits comes back.
pub(crate) fn keep(loaded: Loaded, apps: &Apps) -> Py<PyAny> {
    let Loaded { app, mounted, load_ms } = loaded;
    if !mounted.is_empty() {
        let points = apps.points();
        let numbers: BTreeMap<&str, u32> = points.iter().copied().zip(0..).collect();
        let number = |point: &str| numbers.get(point).copied();
        let first = || mounted.first().filter(|(point, _)| !apps.no_default_app && point.starts_with('/'));
        let default = number("").or_else(|| first().and_then(|(point, _)| number(point)));
        let took: BTreeMap<String, u64> = load_ms.into_iter().collect();
        let load_ms = |point: &str| took.get(point).copied().unwrap_or(0);
        let counts =
            points.iter().map(|point| Count { requests: AtomicU64::new(0), load_ms: load_ms(point) }).collect();
        let mounted = mounted.into_iter().map(|(point, app)| Mounted { number: number(&point), point, app }).collect();
        let (manage_script_name, ignore_script_name) = (apps.manage_script_name, apps.ignore_script_name);
        MOUNTS.get_or_init(|| Mounts { mounted, manage_script_name, ignore_script_name, default, counts });
    }
    app
}

/// In a worker: shows how long its apps took to load.
pub(crate) fn show_load_times(worker: &Worker) {
    let Some(mounts) = here() else { return };
    for (number, count) in (0..).zip(&mounts.counts) {
        if let Some(shown) = shown(worker, number) {
            shown.load_ms.store(count.load_ms, Ordering::Relaxed);
        }
    }
}

/// What the scoreboard has of an app of this worker.
fn shown(worker: &Worker, number: u32) -> Option<&AppCounters> {
    worker.scoreboard.app(worker.reference.worker.0, number)
}

impl Mounts {
    /// Mount points and apps.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &Py<PyAny>)> {
        self.mounted.iter().map(|mounted| (mounted.point.as_str(), &mounted.app))
    }

    /// What is left of PATH_INFO for the app and for static files.
    pub(crate) fn rest<'p>(&self, path_info: &'p [u8]) -> &'p [u8] {
        self.split(path_info).map_or(path_info, |(_, rest)| rest)
    }

    /// SCRIPT_NAME and PATH_INFO as `manage-script-name` makes them of a path; None when it is below no point.
    pub(crate) fn split<'p>(&self, path_info: &'p [u8]) -> Option<(&str, &'p [u8])> {
        let prefix = self.longest(path_info)?.prefix();
        Some((prefix, &path_info[prefix.len()..]))
    }

    /// The longest mount point that the path begins with, in whole segments.
    fn longest(&self, path_info: &[u8]) -> Option<&Mounted> {
        if !self.manage_script_name {
            return None;
        }
        let fits = |mounted: &&Mounted| {
            let prefix = mounted.prefix().as_bytes();
            let rest = path_info.strip_prefix(prefix);
            !prefix.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        };
        // Of two of one length the first.
        self.mounted.iter().rev().filter(fits).max_by_key(|mounted| mounted.prefix().len())
    }

    /// The app for a request, whose SCRIPT_NAME and PATH_INFO are set with `manage-script-name`; None when no point fits.
    pub(crate) fn choose(&self, py: Python<'_>, environ: &Bound<'_, PyDict>) -> PyResult<Option<&Mounted>> {
        if self.manage_script_name {
            let bytes = bytes_of(environ, "PATH_INFO")?;
            if let Some(mounted) = self.longest(&bytes) {
                let prefix = crate::python::latin1(py, mounted.prefix().as_bytes())?;
                environ.set_item("SCRIPT_NAME", prefix)?;
                environ.set_item("PATH_INFO", crate::python::latin1(py, &bytes[mounted.prefix().len()..])?)?;
                return Ok(self.unless_ignored(mounted));
            }
        }
        self.named(environ)
    }

    /// The app whose point SCRIPT_NAME is. After routes, for which the path is split already: what they make of it chooses no other.
    pub(crate) fn named(&self, environ: &Bound<'_, PyDict>) -> PyResult<Option<&Mounted>> {
        let bytes = bytes_of(environ, "SCRIPT_NAME")?;
        let is_it = |mounted: &&Mounted| {
            mounted.point.as_bytes() == bytes || (self.manage_script_name && mounted.prefix().as_bytes() == bytes)
        };
        let mounted = self.mounted.iter().find(|mounted| !bytes.is_empty() && is_it(mounted));
        Ok(mounted.and_then(|mounted| self.unless_ignored(mounted)))
    }

    fn unless_ignored<'m>(&self, mounted: &'m Mounted) -> Option<&'m Mounted> {
        (!self.ignore_script_name).then_some(mounted)
    }

    /// Counts a request of the app that was chosen for it; the number of that app.
    pub(crate) fn count(&self, worker: &Worker, chosen: Option<&Mounted>) -> Option<u32> {
        let number = chosen.map_or(self.default, |mounted| mounted.number)?;
        if let Some(count) = self.counts.get(number as usize) {
            count.requests.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(shown) = shown(worker, number) {
            shown.requests.fetch_add(1, Ordering::Relaxed);
        }
        Some(number)
    }

    /// Counts what an app has raised.
    pub(crate) fn count_exception(&self, worker: &Worker, number: Option<u32>) {
        if let Some(shown) = number.and_then(|number| shown(worker, number)) {
            shown.exceptions.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Requests of an app in this process.
    pub(crate) fn requests(&self, number: u32) -> u64 {
        self.counts.get(number as usize).map_or(0, |count| count.requests.load(Ordering::Relaxed))
    }
}

/// A variable, in Latin-1, against which a point that may be UTF-8 is compared.
fn bytes_of(environ: &Bound<'_, PyDict>, name: &str) -> PyResult<Vec<u8>> {
    let value = environ.get_item(name)?.and_then(|value| value.cast_into::<PyString>().ok());
    Ok(value.map_or_else(Vec::new, |value| value.to_string_lossy().chars().map(|character| character as u8).collect()))
}

/// What answers when there is no app for a request.
pub(crate) fn nobody(py: Python<'_>) -> PyResult<Py<PyAny>> {
    Ok(pyo3::wrap_pyfunction!(no_app, py)?.into_any().unbind())
}

#[pyfunction]
fn no_app<'py>(environ: &Bound<'py, PyDict>, start_response: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let py = environ.py();
    if let Some(worker) = Worker::here() {
        worker.log("--- no python application found, check your startup logs for errors ---");
    }
    let (kind, body) = error_page::or(500, "Internal Server Error");
    start_response.call1(("500 Internal Server Error", vec![("Content-Type", kind)]))?;
    Ok(vec![pyo3::types::PyBytes::new(py, &body).into_any()])
}
