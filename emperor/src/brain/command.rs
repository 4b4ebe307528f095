//! A shell command of the emperor's own configuration that is told the name of a vassal. Runs as the brain's user.

use std::{
    os::unix::process::CommandExt,
    path::PathBuf,
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
    let child = shell
        .envs(env)
        .current_dir(directory.unwrap_or_else(|| ".".into()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("{command}: {error}"))?;
    let group = Pid::from_raw(child.id().cast_signed());
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
    let output = match tokio::time::timeout(within, ended).await {
        Ok(Ok(output)) => output.map_err(|error| format!("{command}: {error}"))?,
        Ok(Err(panic)) => return Err(panic.to_string()),
        Err(_) => {
            // Nobody has waited for it yet, so the number is still its own.
            let _ = killpg(group, Signal::SIGKILL);
            return Err(format!("{command} has not ended within {} s", within.as_secs()));
        }
    };
    if output.status.success() { Ok(output.stdout) } else { Err(format!("{command}: {}", output.status)) }
}
