//! What the emperor does around its vassals (uWSGI `vassals-start-hook`, `vassals-stop-hook`, `exec-as-emperor`;
//! core/emperor.c): commands of the emperor's own configuration, run as the brain's user beside everything else. A failure is
//! told and changes nothing.

use std::{ffi::OsString, sync::Arc, time::Duration};

use empery_control::keeper::LivingMaster;
use empery_lifecycle::ids::VassalName;

use super::command::{self, Told};
use crate::sources::Sources;

/// How long a command may take: nobody waits for it, but none is to be left for ever.
const WITHIN: Duration = Duration::from_secs(60);

/// Options of `emperor run`.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct AroundOptions {
    /// A command that is told the name of each vassal that starts
    #[arg(id = "vassals-start-hook", long, value_name = "COMMAND")]
    pub(crate) start: Option<String>,
    /// A command that is told the name of each vassal that is stopped
    #[arg(id = "vassals-stop-hook", long, value_name = "COMMAND")]
    pub(crate) stop: Option<String>,
    /// A command that is run after each start of a vassal, with UWSGI_VASSAL_CONFIG, _PID, _UID and _GID
    #[arg(id = "exec-as-emperor", long, value_name = "COMMAND")]
    pub(crate) exec: Vec<String>,
}

impl AroundOptions {
    /// Those typed, or where one was not typed that of the configuration file.
    pub(crate) fn or(self, file: AroundOptions) -> AroundOptions {
        AroundOptions {
            start: self.start.or(file.start),
            stop: self.stop.or(file.stop),
            exec: if self.exec.is_empty() { file.exec } else { self.exec },
        }
    }

    /// As arguments that clap reads back; with `=`, since a value may begin with a dash.
    pub(crate) fn to_args(&self) -> impl Iterator<Item = OsString> {
        let single = [("vassals-start-hook", &self.start), ("vassals-stop-hook", &self.stop)];
        let single = single.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let all = single.chain(self.exec.iter().map(|command| ("exec-as-emperor", command)));
        all.map(|(name, value)| format!("--{name}={value}").into())
    }
}

/// The commands, and where vassals are.
#[derive(Debug, Clone)]
pub(crate) struct Around {
    options: AroundOptions,
    sources: Arc<Sources>,
}

impl Around {
    /// Nothing has happened yet.
    pub(crate) fn new(options: AroundOptions, sources: Arc<Sources>) -> Around {
        Around { options, sources }
    }

    /// A vassal that had no master has this one.
    pub(crate) fn started(&self, living: &LivingMaster) {
        let name = &living.master.vassal;
        let hook = self.options.start.iter().map(|command| self.with_name(command, name));
        let env = [
            ("UWSGI_VASSAL_CONFIG", self.sources.path_of(name).display().to_string()),
            ("UWSGI_VASSAL_PID", living.pid.to_string()),
            ("UWSGI_VASSAL_UID", living.identity.uid.to_string()),
            ("UWSGI_VASSAL_GID", living.identity.gid.to_string()),
        ];
        let own = |command: &String| Told { command: command.clone(), env: env.to_vec(), ..Told::default() };
        self.run_in_turn(name, hook.chain(self.options.exec.iter().map(own)).collect());
    }

    /// The only master of a vassal is told to leave.
    pub(crate) fn stops(&self, name: &VassalName) {
        self.run_in_turn(name, self.options.stop.iter().map(|command| self.with_name(command, name)).collect());
    }

    fn with_name(&self, command: &str, name: &VassalName) -> Told {
        let directory = self.sources.working_directory(name);
        Told {
            command: command.to_owned(),
            name: Some(name.clone()),
            env: vec![("UWSGI_VASSALS_DIR", directory.display().to_string())],
            directory: Some(directory.to_owned()),
        }
    }

    fn run_in_turn(&self, vassal: &VassalName, all: Vec<Told>) {
        if all.is_empty() {
            return;
        }
        let vassal = vassal.clone();
        tokio::spawn(async move {
            for told in all {
                match command::run(told, WITHIN).await {
                    Ok(output) => {
                        for line in String::from_utf8_lossy(&output).lines() {
                            tracing::info!(%vassal, "{line}");
                        }
                    }
                    Err(why) => tracing::error!(%vassal, "the emperor's command for it failed: {why}"),
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_say_the_options_again() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            around: AroundOptions,
        }
        let around = AroundOptions {
            start: Some("-x one".into()),
            stop: Some("two".into()),
            exec: vec!["a b".into(), "--c".into()],
        };
        let words = std::iter::once(OsString::from("brain")).chain(around.to_args());
        assert_eq!(<Line as clap::Parser>::parse_from(words).around, around);
    }
}
