//! The interpreter report: which Python would run the app, whether the app's user may start it, whether the module can be
//! imported and has the callable. It runs the app's import in a process of its own, as that user, so only when asked.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::mpsc,
    time::Duration,
};

use empery_config::vassal::{AppTarget, VassalConfig};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

use super::say;
use crate::brain::scan::reading::RunPlan;

/// The question and the import, as a program for that Python.
const PROGRAM: &str = include_str!("import.py");
/// How long an app may take to be imported.
const DEADLINE: Duration = Duration::from_secs(60);

/// What was found out.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// The program.
    python: Option<PathBuf>,
    /// Who it ran as.
    identity: String,
    #[serde(flatten)]
    answer: Option<Answer>,
    /// Why there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

/// What the Python says.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    version: String,
    /// The file the module came from.
    module: Option<String>,
    /// Whether what is named is there and can be called.
    callable: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    traceback: Option<String>,
}

/// The question.
#[derive(Serialize)]
struct Question<'c> {
    path: Vec<PathBuf>,
    module: Option<&'c str>,
    file: Option<&'c Path>,
    callable: &'c str,
}

/// Looks, and imports. `directory` is where the vassal file is: an emperor starts masters there.
pub(super) fn report(plan: &RunPlan, directory: &Path) -> Report {
    let identity = format!("{}:{}", plan.identity.uid, plan.identity.gid);
    let python = python_of(&plan.config);
    match ask(plan, &python, directory) {
        Ok(answer) => Report { python: Some(python), identity, answer: Some(answer), failure: None },
        Err(sentence) => Report { python: Some(python), identity, answer: None, failure: Some(sentence) },
    }
}

/// As the master chooses it: the virtualenv's own, else what `python` names, else `python3`; a bare name is looked for
/// on PATH when it is started.
fn python_of(config: &VassalConfig) -> PathBuf {
    match &config.python.home {
        Some(home) => home.join("bin/python3"),
        None => config.python.python.as_deref().unwrap_or("python3").into(),
    }
}

fn ask(plan: &RunPlan, python: &Path, directory: &Path) -> Result<Answer, String> {
    let config = &plan.config;
    let mut command = Command::new(python);
    command.args(["-c", PROGRAM]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, value) in &config.env {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    // `chdir2` is entered when the app is loaded.
    command.current_dir(config.app.chdir.as_deref().unwrap_or(directory));
    if nix::unistd::geteuid().is_root() {
        command.gid(plan.identity.gid).uid(plan.identity.uid);
    }
    let shown = python.display();
    let mut child = command.spawn().map_err(|error| format!("{shown} cannot be started: {error}"))?;
    let mut path = vec![PathBuf::from(".")];
    path.extend(config.python.pythonpath.iter().cloned());
    let app = &config.app;
    let first = app.mounts.first().map(|mount| (&mount.target, &mount.callable));
    let (module, file, callable) = match app.target.as_ref().map(|target| (target, &app.callable)).or(first) {
        Some((AppTarget::Module(name), callable)) => (Some(name.as_str()), None, callable),
        Some((AppTarget::File(file), callable)) => (None, Some(file.as_path()), callable),
        // Only the interpreter: what would be run is code of the configuration, or of paste.
        Some((AppTarget::Paste(_) | AppTarget::Code(_), callable)) => (None, None, callable),
        None => (None, None, &app.callable),
    };
    let question = Question { path, module, file, callable };
    let question = serde_json::to_vec(&question).map_err(|error| error.to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that has ended already tells why by its end.
        let _ = stdin.write_all(&question);
    }
    let pid = child.id();
    let (ended, end) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = ended.send(child.wait_with_output());
    });
    let output = match end.recv_timeout(DEADLINE) {
        Ok(output) => output.map_err(|error| format!("{shown}: {error}"))?,
        Err(_) => {
            let pid = i32::try_from(pid).map_err(|error| error.to_string())?;
            // It may have ended just now.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            return Err(format!("the app was not imported within {} s", DEADLINE.as_secs()));
        }
    };
    answer_of(&output, shown)
}

fn answer_of(output: &Output, python: std::path::Display<'_>) -> Result<Answer, String> {
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let told = String::from_utf8_lossy(&output.stderr);
        let last = told.trim().lines().last().unwrap_or("it said nothing").to_owned();
        format!("{python} ended with {}: {last}", output.status)
    })
}

impl Report {
    /// Whether an app would be found.
    pub(super) fn is_well(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.traceback.is_none() && answer.callable != Some(false))
    }

    /// For a person.
    pub(super) fn show(&self) {
        let python = self.python.as_deref().unwrap_or(Path::new("python3")).display();
        match (&self.answer, &self.failure) {
            (Some(answer), _) => {
                say!("interpreter: {python}, CPython {}, as uid:gid {}", answer.version, self.identity);
                answer.module.iter().for_each(|module| say!("module: {module}"));
                match answer.callable {
                    Some(true) => say!("callable: found"),
                    Some(false) => say!("callable: it is there but cannot be called"),
                    None => {}
                }
                answer.traceback.iter().for_each(|traceback| say!("{}", traceback.trim_end()));
            }
            (None, Some(failure)) => say!("interpreter, as uid:gid {}: {failure}", self.identity),
            (None, None) => {}
        }
    }
}
