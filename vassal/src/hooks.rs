//! `hook-…` and `exec-…` of the moments that are the master's. The others are the zygote's and its workers'.

use std::time::Duration;

use empery_config::{
    runtime::{Hook as Configured, Moment},
    vassal::VassalConfig,
};
use empery_control::process::Hook;
use empery_sys::hooks::{Left, perform_by};
use nix::unistd::geteuid;

use crate::{log, shell::Shell};

/// What is left to do when the vassal stops.
#[derive(Default)]
pub(crate) struct Ending {
    hooks: Vec<Configured>,
    shell: Shell,
}

/// Does what is to be done at a moment, before everything else.
///
/// # Errors
/// One sentence about the first that failed.
pub(crate) fn run(config: &VassalConfig, moment: Moment, shell: &Shell) -> Result<(), String> {
    if moment == Moment::AsRoot && !geteuid().is_root() {
        for hook in config.runtime.hooks_at(moment) {
            log::say(&format!("\"{}:{}\" is not run: this process is not root's", hook.action, hook.argument));
        }
        return Ok(());
    }
    config.runtime.hooks_at(moment).try_for_each(|hook| one(hook, shell))
}

/// The same at several moments, while everything else of this process goes on.
///
/// # Errors
/// As [`run`].
pub(crate) async fn run_beside(config: &VassalConfig, moments: &'static [Moment], shell: Shell) -> Result<(), String> {
    let config = config.clone();
    let all = move || moments.iter().try_for_each(|moment| run(&config, *moment, &shell));
    tokio::task::spawn_blocking(all).await.map_err(|error| format!("a hook broke off: {error}"))?
}

impl Ending {
    /// That of a configuration.
    pub(crate) fn of(config: &VassalConfig, shell: Shell) -> Self {
        let hooks = config.runtime.hooks_at(Moment::AsUserAtExit).cloned().collect();
        Self { hooks, shell: shell.within(config.mercy.max(ENDING_LEAST)) }
    }

    /// Does it; what fails is told.
    pub(crate) async fn run(self) {
        let all = move || {
            for hook in &self.hooks {
                if let Err(sentence) = one(hook, &self.shell) {
                    log::say(&format!("*** {sentence} ***"));
                }
            }
        };
        if let Err(error) = tokio::task::spawn_blocking(all).await {
            log::say(&format!("*** a hook broke off: {error} ***"));
        }
    }
}

/// How long a command at the end may take at least.
const ENDING_LEAST: Duration = Duration::from_secs(1);

fn one(hook: &Configured, shell: &Shell) -> Result<(), String> {
    log::say(&format!("running \"{}:{}\"...", hook.action, hook.argument));
    match perform_by(&told(hook), &|text| shell.run(text))? {
        // A variable is one of `env` already: the app's environment is made of these.
        Left::Nothing | Left::Variable(..) => {}
        Left::Line(line) => log::say(&line),
        Left::Exit(code) => std::process::exit(code),
    }
    Ok(())
}

/// In the words of whoever does it.
pub(crate) fn told(hook: &Configured) -> Hook {
    Hook { action: hook.action.clone(), argument: hook.argument.clone() }
}
