//! A standalone `vassal`, started as a user would start it.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::{
    ground::{self, Ground},
    http::{self, Answer, Target},
    process::{Finished, Spawned, run},
    procfs, python, wait,
};

/// How long a vassal of a story may take to answer first.
pub const BOOTED_WITHIN: Duration = Duration::from_secs(20);

/// How long it may take to stop when nothing is in flight.
pub const STOPPED_WITHIN: Duration = Duration::from_secs(10);

/// The command `vassal ARGUMENTS`, in a story's directory.
///
/// # Errors
/// When the binary has not been built.
pub fn command(directory: &Path, arguments: &[&str]) -> Result<Command> {
    named(&ground::binary("vassal")?, directory, arguments)
}

/// The same through a link of another name (`uwsgi`).
///
/// # Errors
/// When the link cannot be made.
pub fn command_as(name: &str, directory: &Path, arguments: &[&str]) -> Result<Command> {
    let link = directory.join(name);
    if !link.exists() {
        std::os::unix::fs::symlink(ground::binary("vassal")?, &link)?;
    }
    named(&link, directory, arguments)
}

fn named(program: &Path, directory: &Path, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory);
    surroundings(&mut command);
    Ok(command)
}

/// The environment every binary of ours is started with: nothing of the test runner's, but what finds Python.
pub fn surroundings(command: &mut Command) {
    command.env_clear();
    command.env("PATH", python::path_variable());
    command.env("LANG", "C.UTF-8");
    command.env("HOME", std::env::var_os("HOME").unwrap_or_else(|| "/".into()));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    for passed_on in ["EMPERY_WORKER_EXTENSION", "RUST_BACKTRACE"] {
        if let Some(value) = std::env::var_os(passed_on) {
            command.env(passed_on, value);
        }
    }
}

/// A running vassal.
#[derive(Debug)]
pub struct Vassal {
    /// Its master.
    pub master: Spawned,
    directory: PathBuf,
}

impl Vassal {
    /// Starts `vassal ARGUMENTS` in the story's directory.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(ground: &Ground, arguments: &[&str]) -> Result<Vassal> {
        Vassal::start_in(ground, ground.directory(), arguments)
    }

    /// Starts it in another directory.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_in(ground: &Ground, directory: &Path, arguments: &[&str]) -> Result<Vassal> {
        Vassal::adopt(ground, directory, command(directory, arguments)?)
    }

    /// Starts it from a file whose text is given.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn from_ini(ground: &Ground, name: &str, text: &str) -> Result<Vassal> {
        ground.write(name, text)?;
        Vassal::start(ground, &[name])
    }

    /// Starts a prepared command.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn adopt(ground: &Ground, directory: &Path, command: Command) -> Result<Vassal> {
        Ok(Vassal { master: ground.start("vassal", command)?, directory: directory.to_owned() })
    }

    /// Waits for the first 200 on `/`.
    ///
    /// # Errors
    /// With what the vassal wrote, when it does not come.
    pub fn answers(&mut self, target: impl Into<Target>) -> Result<Answer> {
        let target = target.into();
        let answer = wait::until_ok("a first answer", BOOTED_WITHIN, || {
            let answer = http::get(&target, "/")?;
            anyhow::ensure!(answer.status == 200, "status {}: {}", answer.status, answer.text());
            Ok(answer)
        });
        answer.map_err(|error| error.context(format!("the vassal wrote:\n{}", self.master.output())))
    }

    /// Sends the master a signal.
    pub fn signal(&self, which: Signal) {
        self.master.signal(which);
    }

    /// Pids of everything below the master.
    #[must_use]
    pub fn family(&self) -> Vec<i32> {
        procfs::descendants(self.master.pid())
    }

    /// Stops it gently and checks that nothing of it is left.
    ///
    /// # Errors
    /// When it does not stop, or not cleanly.
    pub fn stop(mut self) -> Result<()> {
        let family = self.family();
        let status = self.master.terminated(STOPPED_WITHIN)?;
        anyhow::ensure!(status.success(), "the vassal stopped with {status}; it wrote:\n{}", self.master.output());
        wait::until("workers and zygote to be gone with their master", Duration::from_secs(2), || {
            family.iter().all(|pid| !procfs::alive(*pid)).then_some(())
        })
    }

    /// Runs another `vassal` command in the same directory (`--reload`, `--stop`).
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn command(&self, arguments: &[&str]) -> Result<Finished> {
        run(command(&self.directory, arguments)?)
    }
}
