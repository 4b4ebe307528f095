//! Commands of hooks, whose end is waited for: run with the app's environment, and not for ever.

use std::{
    ffi::OsString,
    io,
    os::fd::{AsFd, OwnedFd},
    process::{Command, Stdio},
    time::Duration,
};

use empery_config::vassal::VassalConfig;
use empery_sys::{hooks, limits, process};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::zygote;

/// How often the deadline of a boot a command may take.
const BOOTS: u32 = 10;

/// See the module.
#[derive(Default)]
pub(crate) struct Shell {
    env: Vec<(OsString, OsString)>,
    /// Where that goes which they print; None is where what this process prints goes.
    output: Option<OwnedFd>,
    longest: Duration,
}

impl Shell {
    /// For the hooks of a configuration. Each may take [`BOOTS`] times as long as a generation may take to boot: what a start waits
    /// for, such as a migration of a database, is longer than an import.
    pub(crate) fn new(config: &VassalConfig, output: Option<OwnedFd>) -> Self {
        Self {
            env: zygote::environment(std::env::vars_os(), &config.env),
            output,
            longest: config.boot_deadline * BOOTS,
        }
    }

    /// The same, for commands that may take so long.
    pub(crate) fn within(self, longest: Duration) -> Self {
        Self { longest, ..self }
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// When it cannot be started, fails, or takes too long: then it and what it has started are killed.
    pub(crate) fn run(&self, text: &str) -> io::Result<()> {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(text).env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(output) = &self.output {
            command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?);
        }
        limits::spare(&mut command);
        let mut child = command.spawn()?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        // Not reaped yet, so the number is its own.
        let pidfd = process::pidfd_open(pid)?;
        if process::pidfd_wait(pidfd.as_fd(), self.longest)? {
            return hooks::judge(child.wait()?);
        }
        let below = process::descendants_of(pid).unwrap_or_default();
        child.kill()?;
        child.wait()?;
        for pid in below {
            // It may have ended with the one above it.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("it was killed after {} s", self.longest.as_secs())))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read, time::Instant};

    use super::*;

    fn shell(env: &[(&str, &str)], output: Option<OwnedFd>, longest: Duration) -> Shell {
        let own = std::env::vars_os().chain(env.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        Shell { env: own.collect(), output, longest }
    }

    #[test]
    fn a_command_has_the_environment_of_the_app_and_prints_where_it_is_told_to() {
        let (mut read, write) = std::io::pipe().unwrap();
        let shell = shell(&[("DJANGO_SETTINGS_MODULE", "shop.settings")], Some(write.into()), Duration::from_secs(60));
        shell.run("echo $DJANGO_SETTINGS_MODULE; echo wrong >&2").unwrap();
        assert!(shell.run("exit 3").unwrap_err().to_string().contains("exit status: 3"));
        drop(shell);
        let mut printed = String::new();
        read.read_to_string(&mut printed).unwrap();
        assert_eq!(printed, "shop.settings\nwrong\n");
    }

    #[test]
    fn a2_a_command_that_never_ends_is_killed_with_what_it_has_started() {
        let (read, write) = std::io::pipe().unwrap();
        let began = Instant::now();
        let error =
            shell(&[], Some(write.into()), Duration::from_millis(300)).run("sleep 600 & sleep 600").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        assert!(began.elapsed() < Duration::from_secs(60));
        // Nobody holds the other end any more.
        let mut nothing = Vec::new();
        File::from(OwnedFd::from(read)).read_to_end(&mut nothing).unwrap();
    }
}
