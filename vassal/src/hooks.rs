//! `hook-…` and `exec-…` of the moments that are the master's. The others are the zygote's and its workers'.

use empery_config::{
    runtime::{Hook as Configured, Moment},
    vassal::VassalConfig,
};
use empery_control::process::Hook;
use empery_sys::hooks::{Left, perform};
use nix::unistd::geteuid;

use crate::log;

/// Does what is to be done at a moment.
///
/// # Errors
/// One sentence about the first that failed.
pub(crate) fn run(config: &VassalConfig, moment: Moment) -> Result<(), String> {
    if moment == Moment::AsRoot && !geteuid().is_root() {
        for hook in config.runtime.hooks_at(moment) {
            log::say(&format!("\"{}:{}\" is not run: this process is not root's", hook.action, hook.argument));
        }
        return Ok(());
    }
    config.runtime.hooks_at(moment).try_for_each(one)
}

/// What is left to do when the vassal stops; what fails is told.
pub(crate) fn at_exit(hooks: &[Configured]) {
    for hook in hooks {
        if let Err(sentence) = one(hook) {
            log::say(&format!("*** {sentence} ***"));
        }
    }
}

/// Those of the end.
pub(crate) fn of_the_end(config: &VassalConfig) -> Vec<Configured> {
    config.runtime.hooks_at(Moment::AsUserAtExit).cloned().collect()
}

fn one(hook: &Configured) -> Result<(), String> {
    log::say(&format!("running \"{}:{}\"...", hook.action, hook.argument));
    match perform(&told(hook))? {
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
