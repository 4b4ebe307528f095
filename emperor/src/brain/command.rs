//! A shell command of the emperor's own configuration that is told the name of a vassal. Runs as the brain's user.

use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use empery_lifecycle::ids::VassalName;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// What is run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// What `/bin/sh -c` runs.
    pub(crate) command: String,
    /// Its first argument: one of its own, so that nothing in it is the shell's to read.
    pub(crate) name: Option<VassalName>,
    /// Variables beside the brain's own.
    pub(crate) env: Vec<(&'static str, String)>,
    /// Where it runs, when not where the brain does.
    pub(crate) directory: Option<PathBuf>,
}

/// Runs it to its end; what it has written to its standard output. Its standard error is the emperor's.
///
/// # Errors
/// One sentence: it cannot be started, fails, or has not ended within `within` and was killed with its children.
pub(crate) async fn run(told: Told, within: Duration) -> Result<Vec<u8>, String> {
    let Told { command, name, env, directory } = told;
    let mut shell = Command::new("/bin/sh");
    match &name {
        Some(name) => shell.args(["-c", &format!("{command} \"$1\""), "sh", name.as_str()]),
        None => shell.args(["-c", &command]),
    };
    shell.envs(env).current_dir(directory.unwrap_or_else(|| ".".into()));
    to_its_end(shell, &command, within).await
}

/// Runs this program with one argument, without a shell.
///
/// # Errors
/// As [`run`].
pub(crate) async fn run_program(program: &Path, argument: &str, within: Duration) -> Result<Vec<u8>, String> {
    let mut command = Command::new(program);
    command.arg(argument);
    to_its_end(command, &program.display().to_string(), within).await
}

async fn to_its_end(mut command: Command, shown: &str, within: Duration) -> Result<Vec<u8>, String> {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("{shown}: {error}"))?;
    let group = Pid::from_raw(child.id().cast_signed());
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
    let output = match tokio::time::timeout(within, ended).await {
        Ok(Ok(output)) => output.map_err(|error| format!("{shown}: {error}"))?,
        Ok(Err(panic)) => return Err(panic.to_string()),
        Err(_) => {
            // Nobody has waited for it yet, so the number is still its own.
            let _ = killpg(group, Signal::SIGKILL);
            return Err(format!("{shown} has not ended within {} s", within.as_secs()));
        }
    };
    if output.status.success() { Ok(output.stdout) } else { Err(format!("{shown}: {}", output.status)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_does_not_end_is_killed_and_holds_nobody_up_until_then() {
        let tried = run_program(Path::new("/bin/sleep"), "600", Duration::from_millis(300));
        let mut turns = 0;
        let mut others = tokio::time::interval(Duration::from_millis(10));
        tokio::pin!(tried);
        let outcome = loop {
            tokio::select! {
                outcome = &mut tried => break outcome,
                _ = others.tick() => turns += 1,
            }
        };
        assert!(outcome.unwrap_err().contains("/bin/sleep has not ended"));
        assert!(turns > 1);
        run_program(Path::new("/bin/true"), "--version", Duration::from_secs(10)).await.unwrap();
        assert!(run_program(Path::new("/bin/false"), "x", Duration::from_secs(10)).await.is_err());
    }
}
