//! Makes the interpreter look to the app as it did under uWSGI: `sys.argv`, `sys.path`, the working directory, signals,
//! standard streams, the `uwsgi` module. Before the app is imported; called by the zygote.

use empery_control::boot::AppBoot;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};
use pyo3::{prelude::*, types::PyList};

use crate::{
    decorators, gevent,
    posts::{queues, spooler},
    shared, uwsgi_module,
};

/// Does all of it. The error is one sentence.
pub(crate) fn prepare(py: Python<'_>, boot: &AppBoot) -> Result<(), String> {
    reset_signals(py).map_err(|error| format!("signals cannot be reset: {error}"))?;
    if let Some(directory) = &boot.chdir {
        nix::unistd::chdir(directory).map_err(|error| format!("chdir = {}: {}", directory.display(), error.desc()))?;
    }
    queues::make(&boot.mules).map_err(|error| format!("there are no queues for messages to mules: {error}"))?;
    spooler::shared::make(&boot.spoolers)?;
    interpreter(py, boot)
        .map_err(|error| format!("the interpreter cannot be prepared: {}", crate::python::one_line(py, &error)))?;
    gevent::prepare(py, boot)
}

/// Dispositions and mask are inherited through fork and exec: a shell that starts us in the background ignores SIGINT,
/// and then Python installs no handler for it. SIGPIPE is ignored as Python does it, so that a lost client is an error.
fn reset_signals(py: Python<'_>) -> Result<(), String> {
    let every = SigSet::all();
    sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&every), None).map_err(|error| error.to_string())?;
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in [
        Signal::SIGHUP,
        Signal::SIGTERM,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGCHLD,
        Signal::SIGALRM,
    ] {
        // SAFETY: the default action runs no code of ours.
        unsafe { sigaction(signal, &default) }.map_err(|error| error.to_string())?;
    }
    let through_python = || -> PyResult<()> {
        // What `signal` is a wrapper of: `signal` makes enums first, which takes longer than the rest of our preparations.
        let signal = py.import("_signal")?;
        signal.call_method1("signal", (signal.getattr("SIGINT")?, signal.getattr("default_int_handler")?))?;
        signal.call_method1("signal", (signal.getattr("SIGPIPE")?, signal.getattr("SIG_IGN")?))?;
        Ok(())
    };
    through_python().map_err(|error| error.to_string())
}

fn interpreter(py: Python<'_>, boot: &AppBoot) -> PyResult<()> {
    let sys = py.import("sys")?;
    let argv = std::iter::once("uwsgi").chain(boot.pyargv.iter().map(String::as_str));
    sys.setattr("argv", PyList::new(py, argv)?)?;
    let path = sys.getattr("path")?;
    // As uWSGI: "." first, then each pythonpath before what is there.
    path.call_method1("insert", (0, "."))?;
    for pattern in &boot.pythonpath {
        for directory in matches(py, &pattern.to_string_lossy())? {
            path.call_method1("insert", (0, directory))?;
        }
    }
    for name in ["stdout", "stderr"] {
        let stream = sys.getattr(name)?;
        if stream.hasattr("reconfigure")? {
            // A print goes to the log when its line ends, not when some buffer is full.
            let line_buffering = pyo3::types::PyDict::new(py);
            line_buffering.set_item("line_buffering", true)?;
            stream.call_method("reconfigure", (), Some(&line_buffering))?;
        }
    }
    // A crash at import is told with its stack: the boot output is this stderr. Workers have a file of their own.
    py.import("faulthandler")?.call_method1("enable", (libc::STDERR_FILENO,))?;
    let mapped = shared::map(&boot.shared)?;
    shared::fill::fill(py, mapped, &boot.shared.fillings)?;
    let modules = sys.getattr("modules")?;
    modules.set_item("uwsgi", uwsgi_module::make(py, boot)?)?;
    decorators::offer(py)
}

/// What a `pythonpath` names: what the pattern matches, or itself, as in uWSGI (uwsgi_opt_pythonpath).
fn matches(py: Python<'_>, pattern: &str) -> PyResult<Vec<String>> {
    if !pattern.contains(['*', '?', '[']) {
        return Ok(vec![pattern.to_owned()]);
    }
    let mut found: Vec<String> = py.import("glob")?.call_method1("glob", (pattern,))?.extract()?;
    found.sort_unstable();
    Ok(if found.is_empty() { vec![pattern.to_owned()] } else { found })
}
