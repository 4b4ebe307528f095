//! What runs beside the workers while it comes in: each line is read by one of the modules below, and kept here.

mod crons;
mod daemons;
mod keys;
mod words;

use std::path::{Path, PathBuf};

pub(super) use self::keys::pairs;
use self::{
    crons::{OwnLimit, cron_by_keys, crontab_line},
    daemons::{by_keys, plain, smart},
    words::{farm, file_and_signal, known_farm, timer},
};
use super::values::Value;
use crate::{
    beside::{Beside, Cron, Daemon, Farm, Mules, SignalOptions, Spoolers},
    problem::{Origin, Problem},
};

/// Most mules of one vassal.
const MULES_MAX: u32 = 1024;
/// Longest message of a mule.
const MESSAGE_MAX_BYTES: u32 = 16 * 1024 * 1024;
/// Most spoolers of one directory.
const SPOOLERS_MAX: u32 = 256;

/// What has been said so far; paths as written.
#[derive(Default)]
pub(super) struct BesideDraft {
    daemons: Vec<Daemon>,
    honour_stdin: bool,
    reload_mercy: Option<u32>,
    crons: Vec<(Cron, OwnLimit)>,
    cron_harakiri_s: Option<u32>,
    signals: SignalOptions,
    mules: Mules,
    farms: Vec<(Farm, Origin)>,
    spoolers: Spoolers,
}

impl BesideDraft {
    /// Applies one directive if it is one of these.
    pub(super) fn take(&mut self, value: &mut Value<'_>) -> bool {
        match value.directive.key.as_str() {
            "attach-daemon" => self.daemons.extend(value.required().map(plain)),
            "attach-control-daemon" => {
                self.daemons.extend(value.required().map(|command| Daemon { control: true, ..plain(command) }));
            }
            "smart-attach-daemon" => self.daemons.extend(smart(value)),
            "smart-attach-daemon2" => {
                self.daemons.extend(smart(value).map(|daemon| Daemon { daemonize: true, ..daemon }));
            }
            "attach-daemon2" => self.daemons.extend(by_keys(value)),
            "daemons-honour-stdin" => self.honour_stdin = value.boolean(),
            "reload-mercy" => {
                let seconds = |mercy: std::time::Duration| u32::try_from(mercy.as_secs()).unwrap_or(u32::MAX);
                self.reload_mercy = value.seconds().map(seconds).filter(|seconds| *seconds > 0);
            }
            "cron" => self.crons.extend(crontab_line(value)),
            "unique-cron" => {
                let unique = |(cron, limit)| (Cron { unique: true, ..cron }, limit);
                self.crons.extend(crontab_line(value).map(unique));
            }
            "cron-curl" | "curl-cron" => {
                let request = |(cron, limit)| (Cron { is_request: true, ..cron }, limit);
                self.crons.extend(crontab_line(value).map(request));
            }
            "cron2" => self.crons.extend(cron_by_keys(value)),
            "cron-harakiri" => self.cron_harakiri_s = value.number_up_to(u32::MAX).filter(|seconds| *seconds > 0),
            "touch-signal" => self.signals.touched.extend(file_and_signal(value)),
            "fs-signal" => self.signals.monitored.extend(file_and_signal(value)),
            "timer" | "signal-timer" | "rbtimer" | "signal-rbtimer" => self.signals.timers.extend(timer(value)),
            _ => return self.take_mules(value),
        }
        true
    }

    fn take_mules(&mut self, value: &mut Value<'_>) -> bool {
        let mules = &mut self.mules;
        match value.directive.key.as_str() {
            // Also `mule = true`, which asks for one without a script in files that know only values.
            "mule" => mules.patches.push(Some(value.text()).filter(|text| !matches!(text.as_str(), "" | "true" | "1"))),
            "mules" => {
                let number = value.number_up_to(MULES_MAX).unwrap_or(0);
                mules.patches.extend((0..number).map(|_| None));
            }
            "farm" => self.farms.extend(farm(value)),
            "mule-harakiri" => mules.harakiri_s = value.number_up_to(u32::MAX).unwrap_or(0),
            "mule-reload-mercy" => mules.mercy = value.seconds().unwrap_or(mules.mercy),
            "mule-msg-size" => mules.queue_bytes = value.number_up_to(u32::MAX).unwrap_or(0),
            "mule-msg-recv-size" => match value.number_up_to(MESSAGE_MAX_BYTES) {
                Some(0) | None => {}
                Some(bytes) => mules.message_max_bytes = bytes,
            },
            "touch-mules-reload" => mules.touch.extend(value.required().map(PathBuf::from)),
            _ => return self.take_spooler(value),
        }
        true
    }

    fn take_spooler(&mut self, value: &mut Value<'_>) -> bool {
        let spoolers = &mut self.spoolers;
        match value.directive.key.as_str() {
            "spooler" => spoolers.directories.extend(value.required().map(|path| (path.into(), false))),
            "spooler-external" => spoolers.directories.extend(value.required().map(|path| (path.into(), true))),
            "spooler-processes" => {
                spoolers.processes = value.number_up_to(SPOOLERS_MAX).filter(|number| *number > 0).unwrap_or(1);
            }
            "spooler-frequency" | "spooler-freq" => {
                spoolers.frequency_s = value.number_up_to(u32::MAX).filter(|s| *s > 0).unwrap_or(spoolers.frequency_s);
            }
            "spooler-max-tasks" => spoolers.max_tasks = value.number().unwrap_or(0),
            "spooler-harakiri" => spoolers.harakiri_s = value.number_up_to(u32::MAX).unwrap_or(0),
            "spooler-chdir" => spoolers.chdir = value.required().map(PathBuf::from),
            "spooler-quiet" => spoolers.quiet = value.boolean(),
            "spooler-import" | "spooler-py-import" | "spooler-python-import" => {
                spoolers.imports.extend(value.required());
            }
            "touch-spoolers-reload" => spoolers.touch.extend(value.required().map(PathBuf::from)),
            // Tasks always come in order.
            "spooler-ordered" => {}
            _ => return false,
        }
        true
    }

    /// All of it; commands run in `base`, and paths begin there.
    pub(super) fn finish(self, base: &Path, problems: &mut Vec<Problem>) -> Beside {
        let Self {
            daemons,
            honour_stdin,
            reload_mercy,
            crons,
            cron_harakiri_s,
            signals,
            mut mules,
            farms,
            mut spoolers,
        } = self;
        spoolers.directories = spoolers.directories.into_iter().map(|(path, other)| (base.join(path), other)).collect();
        spoolers.chdir = spoolers.chdir.map(|path| base.join(path));
        spoolers.touch = spoolers.touch.iter().map(|path| base.join(path)).collect();
        mules.touch = mules.touch.iter().map(|path| base.join(path)).collect();
        mules.farms = farms.into_iter().filter_map(|farm| known_farm(farm, &mules, problems)).collect();
        let resolved = |daemon: Daemon| Daemon {
            pidfile: daemon.pidfile.map(|path| base.join(path)),
            touch: daemon.touch.iter().map(|path| base.join(path)).collect(),
            directory: base.join(daemon.directory),
            stdin: daemon.stdin || honour_stdin,
            mercy_s: reload_mercy.unwrap_or(daemon.mercy_s),
            ..daemon
        };
        let limited = |(cron, limit): (Cron, OwnLimit)| Cron {
            harakiri_s: if limit == OwnLimit::Said { cron.harakiri_s } else { cron_harakiri_s },
            directory: base.to_owned(),
            ..cron
        };
        let from_base = |(path, signal): (PathBuf, u8)| (base.join(path), signal);
        Beside {
            spoolers,
            mules,
            signals: SignalOptions {
                touched: signals.touched.into_iter().map(from_base).collect(),
                monitored: signals.monitored.into_iter().map(from_base).collect(),
                ..signals
            },
            daemons: daemons.into_iter().map(resolved).collect(),
            crons: crons.into_iter().map(limited).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
