//! A process that a story started: its output goes to a file, it can be waited for, and it does not outlive its handle.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::{procfs, wait};

/// A child of the story.
#[derive(Debug)]
pub struct Spawned {
    child: Child,
    name: String,
    output: PathBuf,
}

impl Spawned {
    /// Starts `command` with its stdout and stderr appended to `output`.
    ///
    /// # Errors
    /// When it cannot be started; the command is named.
    pub fn start(name: &str, command: Command, output: &Path) -> Result<Spawned> {
        Self::with_stdin(name, command, output, Stdio::null())
    }

    /// The same for a program that listens to what is typed.
    ///
    /// # Errors
    /// When it cannot be started; the command is named.
    pub fn at_a_keyboard(name: &str, command: Command, output: &Path) -> Result<(Spawned, ChildStdin)> {
        let mut spawned = Self::with_stdin(name, command, output, Stdio::piped())?;
        let keyboard = spawned.child.stdin.take().context("a child started with a pipe has one")?;
        Ok((spawned, keyboard))
    }

    fn with_stdin(name: &str, mut command: Command, output: &Path, stdin: Stdio) -> Result<Spawned> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(output)
            .with_context(|| format!("open {}", output.display()))?;
        let child = command
            .stdin(stdin)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {name}: {command:?}"))?;
        Ok(Spawned { child, name: name.to_owned(), output: output.to_owned() })
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(0)
    }

    /// Everything it wrote so far.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// Whether it runs.
    #[must_use]
    pub fn alive(&self) -> bool {
        procfs::alive(self.pid())
    }

    /// Sends it a signal.
    pub fn signal(&self, which: Signal) {
        procfs::signal(self.pid(), which);
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `within`.
    pub fn exited(&mut self, within: Duration) -> Result<ExitStatus> {
        let name = format!("{} (pid {}) to exit", self.name, self.pid());
        wait::until(&name, within, || self.child.try_wait().ok().flatten())
    }

    /// SIGTERM, then its end.
    ///
    /// # Errors
    /// When it does not end within `within`.
    pub fn terminated(&mut self, within: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM);
        self.exited(within)
    }

    /// SIGKILL, then its end.
    ///
    /// # Errors
    /// When even that does not end it.
    pub fn killed(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGKILL);
        self.exited(Duration::from_secs(5))
    }

    /// Waits for `text` in its output.
    ///
    /// # Errors
    /// With the output so far, when it ends without it or the deadline passes.
    pub fn says(&mut self, text: &str, within: Duration) -> Result<()> {
        let what = format!("{} to say {text:?}", self.name);
        let said = wait::until(&what, within, || {
            let over = self.child.try_wait().ok().flatten().is_some();
            let said = self.output().contains(text);
            (said || over).then_some(said)
        });
        match said {
            Ok(true) => Ok(()),
            Ok(false) => anyhow::bail!("{} ended without saying {text:?}; it said:\n{}", self.name, self.output()),
            Err(error) => Err(error.context(self.output())),
        }
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // The handle goes because the story failed half-way, or because nobody cares for a gentle end.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; 128 and the signal's number when a signal ended it, as a shell has it.
    pub code: i32,
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
}

impl Finished {
    /// Stdout, when the command succeeded.
    ///
    /// # Errors
    /// With all it printed, when it did not.
    pub fn success(self) -> Result<String> {
        anyhow::ensure!(self.code == 0, "exit code {}\nstdout: {}\nstderr: {}", self.code, self.stdout, self.stderr);
        Ok(self.stdout)
    }
}

/// Runs a command to its end with this text to read.
///
/// # Errors
/// When it cannot be started.
pub fn run_with_input(mut command: Command, text: &[u8]) -> Result<Finished> {
    use std::io::Write;
    let shown = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start {shown}"))?;
    // One that ends before it has read everything says why.
    let _ = child.stdin.take().context("a child started with a pipe has one")?.write_all(text);
    Ok(finished(&child.wait_with_output()?))
}

/// Runs a command to its end.
///
/// # Errors
/// When it cannot be started.
pub fn run(mut command: Command) -> Result<Finished> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {command:?}"))?;
    Ok(finished(&output))
}

fn finished(output: &Output) -> Finished {
    use std::os::unix::process::ExitStatusExt;
    Finished {
        code: output.status.code().or_else(|| output.status.signal().map(|signal| 128 + signal)).unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
