//! What the master keeps an eye on besides its processes: files whose touch has something done, mount points, descriptors.

use std::path::{Path, PathBuf};

use empery_config::{runtime::Hook, vassal::VassalConfig, watched::Watched};
use empery_control::link::Severity;
use empery_sys::{
    hooks::{Left, perform},
    spawn::Held,
};

use super::Supervisor;
use crate::{
    command::{self, Command},
    hooks, log,
    mount_points::MountPoints,
    reload_descriptors::ReloadDescriptors,
};

/// Exit code after a mount point was lost, as in uWSGI (core/master_checks.c).
const EXIT_LOST: u8 = 1;

/// See the module.
#[derive(Default)]
pub(crate) struct WatchedSide {
    mount_points: Option<MountPoints>,
    pub(super) descriptors: ReloadDescriptors,
}

impl WatchedSide {
    pub(crate) fn new(descriptors: ReloadDescriptors) -> Self {
        Self { mount_points: None, descriptors }
    }
}

/// Files whose touch has something done.
pub(super) fn files(watched: &Watched) -> impl Iterator<Item = PathBuf> {
    let commands = watched.commands.iter().map(|(path, _)| path);
    commands.chain(watched.hooks.iter().map(|(path, _)| path)).cloned()
}

impl Supervisor {
    /// Another configuration is in service.
    pub(super) fn watched_follow(&mut self, watched: &Watched) {
        let side = &mut self.watched;
        if side.mount_points.as_ref().map_or(&[][..], MountPoints::paths) != watched.mount_points {
            side.mount_points = MountPoints::start(&watched.mount_points, self.inbox.clone());
        }
        side.descriptors.follow(&watched.descriptors, &self.inbox);
    }

    /// Runs what there is to run when this file has changed.
    pub(super) fn run_touched(&mut self, path: &Path, config: &VassalConfig) {
        let Watched { commands, hooks, directory, .. } = &config.watched;
        for (_, hook) in hooks.iter().filter(|(named, _)| named == path) {
            self.touch_hook(hook, directory, config);
        }
        for (_, text) in commands.iter().filter(|(named, _)| named == path) {
            self.start_command("uwsgi-touch-exec", text, directory, config);
        }
    }

    /// Commands do not hold this process up: whoever wants their end has them say it.
    fn touch_hook(&mut self, hook: &Hook, directory: &Path, config: &VassalConfig) {
        if matches!(&*hook.action, "exec" | "safeexec") {
            return self.start_command("uwsgi-hook-touch", &hook.argument, directory, config);
        }
        log::say(&format!("running \"{}:{}\" (touch)...", hook.action, hook.argument));
        match perform(&hooks::told(hook)) {
            Ok(Left::Nothing | Left::Variable(..)) => {}
            Ok(Left::Line(line)) => log::say(&line),
            Ok(Left::Exit(_)) => self.stop(),
            Err(sentence) => log::say(&format!("*** {sentence} ***")),
        }
    }

    fn start_command(&self, who: &str, text: &str, directory: &Path, config: &VassalConfig) {
        let command = Command {
            text,
            directory,
            env: &config.env,
            stdin: None,
            inherit: Vec::new(),
            identity: None,
            // As in uWSGI it finishes what it has begun.
            death_signal: None,
            mark: None,
        };
        match command::hold(command, &self.surroundings.log).and_then(Held::release) {
            Ok(child) => log::say(&format!("[{who}] running {text} (pid {})", child.pid)),
            Err(error) => log::say(&format!("[{who}] {text} cannot be run: {error}")),
        }
    }

    /// What the app's files lie on is gone: nothing it does from now on can be trusted, so it ends at once.
    pub(super) fn mount_point_lost(&mut self, path: &Path, error: &str) {
        let text = format!("mountpoint {} cannot be reached ({error}): the vassal stops at once", path.display());
        self.notice(Severity::Incident, "mountpoint-lost", text, None);
        self.exit_code = EXIT_LOST;
        if !self.stop_asked {
            self.stop();
        }
        self.stop();
    }
}
