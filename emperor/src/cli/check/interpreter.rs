//! The interpreter report: which Python would run the app, whether the app's user may start it, whether the module can be
//! imported and has the callable. It runs the app's import in a process of its own, as that user, so only when asked; the
//! process has a session of its own and none of our descriptors, for it must not reach the terminal of whoever asks
//! (TIOCSTI, ioctl_tty(2)).

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::File,
    io::{self, Seek},
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::Duration,
};

use empery_config::vassal::{AppTarget, VassalConfig};
use empery_sys::{
    memfd,
    process::{self, How},
    spawn::{Child, DropTo, Spawn, spawn},
};
use serde::{Deserialize, Serialize};

use super::say;
use crate::{brain::scan::reading::RunPlan, keeper::environment_of_vassals};

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
    let shown = python.display();
    let failed = |error: io::Error| format!("{shown}: {error}");
    let mut question = File::from(memfd::sealed("empery-question", &question_of(config)?).map_err(failed)?);
    question.rewind().map_err(failed)?;
    let (answer, told) =
        (memfd::growing("empery-answer").map_err(failed)?, memfd::growing("empery-told").map_err(failed)?);
    let copy = |file: &std::os::fd::OwnedFd| file.try_clone().map_err(failed);
    let drop_to =
        DropTo { uid: plan.identity.uid, gid: plan.identity.gid, user: plan.user.clone(), groups: plan.groups.clone() };
    let child = spawn(Spawn {
        program: python.to_owned(),
        args: vec![python.into(), "-c".into(), PROGRAM.into()],
        env: environment_of(config),
        // `chdir2` is entered when the app is loaded.
        directory: Some(config.app.chdir.as_deref().unwrap_or(directory).to_owned()),
        stdio: [Some(question.into()), Some(copy(&answer)?), Some(copy(&told)?)],
        inherit: Vec::new(),
        identity: nix::unistd::geteuid().is_root().then_some(drop_to),
        new_session: true,
    });
    let how = end_of(&child.map_err(|error| format!("{shown} cannot be started: {error}"))?).map_err(failed)?;
    let how = how.ok_or_else(|| format!("the app was not imported within {} s", DEADLINE.as_secs()))?;
    let answer = memfd::read_all(answer.as_fd()).map_err(failed)?;
    serde_json::from_slice(&answer).map_err(|_| {
        let told = memfd::read_all(told.as_fd()).unwrap_or_default();
        let told = String::from_utf8_lossy(&told);
        let last = told.trim().lines().last().unwrap_or("it said nothing");
        format!("{shown} ended with {how}: {last}")
    })
}

/// What a master of this configuration would have, as far as it is known without the emperor: ours, and what it sets.
fn environment_of(config: &VassalConfig) -> Vec<(OsString, OsString)> {
    let mut variables: BTreeMap<OsString, OsString> = environment_of_vassals(std::env::vars_os()).collect();
    for (name, value) in &config.env {
        match value {
            Some(value) => variables.insert(name.into(), value.into()),
            None => variables.remove(std::ffi::OsStr::new(name)),
        };
    }
    variables.into_iter().collect()
}

fn question_of(config: &VassalConfig) -> Result<Vec<u8>, String> {
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
    serde_json::to_vec(&Question { path, module, file, callable }).map_err(|error| error.to_string())
}

/// How it ended; None when it had to be killed because it took too long.
fn end_of(child: &Child) -> io::Result<Option<How>> {
    let in_time = process::pidfd_wait(child.pidfd.as_fd(), DEADLINE)?;
    if !in_time {
        // It may have ended just now.
        let _ = process::pidfd_kill(&child.pidfd, libc::SIGKILL);
    }
    process::wait_for(&child.pidfd).map(|how| in_time.then_some(how))
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
