//! Commands of the vassal file: run by `/bin/sh -c` in a session of their own, as the vassal's user, with the app's
//! environment; what they print is in the log. Decides nothing about when.

use std::{
    io,
    os::fd::{OwnedFd, RawFd},
    path::Path,
};

use empery_sys::spawn::{self, DropTo, Held, Spawn};

use crate::zygote;

/// What uWSGI takes unless `binsh` says otherwise.
const SHELL: &str = "/bin/sh";

/// The environment variable by which a later master of the same vassal knows what an earlier one has left running.
pub(crate) const MARK: &str = "EMPERY_BESIDE";

/// What is run and how.
pub(crate) struct Command<'a> {
    /// For the shell.
    pub(crate) text: &'a str,
    /// Where.
    pub(crate) directory: &'a Path,
    /// `env` and `unenv` of the vassal.
    pub(crate) env: &'a [(String, Option<String>)],
    /// Its standard input; None is /dev/null.
    pub(crate) stdin: Option<OwnedFd>,
    /// What it finds open under the same number.
    pub(crate) inherit: Vec<RawFd>,
    /// Who it becomes.
    pub(crate) identity: Option<DropTo>,
    /// What it gets when this process dies; None outlives it.
    pub(crate) death_signal: Option<i32>,
    /// The value of [`MARK`].
    pub(crate) mark: Option<&'a Path>,
}

/// Forks it; it runs when it is released.
///
/// # Errors
/// When it cannot be started, with what was attempted in the text.
pub(crate) fn hold(command: Command<'_>, log: &OwnedFd) -> io::Result<Held> {
    let mut env = zygote::environment(std::env::vars_os(), command.env);
    env.extend(command.mark.map(|mark| (MARK.into(), mark.as_os_str().to_owned())));
    let what = Spawn {
        program: SHELL.into(),
        args: vec![SHELL.into(), "-c".into(), command.text.into()],
        env,
        directory: Some(command.directory.to_owned()),
        stdio: [command.stdin, Some(log.try_clone()?), Some(log.try_clone()?)],
        inherit: command.inherit,
        identity: command.identity,
        new_session: true,
    };
    match command.death_signal {
        Some(signal) => spawn::hold_mortal(what, signal),
        None => spawn::hold(what),
    }
}
