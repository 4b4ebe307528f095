//! Options about the log: what is written, and what becomes of the file.

use std::path::Path;

use crate::{value, vassal::Log};

use super::values::Value;

/// Most full files that are kept.
const KEEP_MAX: u32 = 1000;

/// Applies one directive if it is one of these.
pub(super) fn take(log: &mut Log, value: &mut Value<'_>) -> bool {
    match value.directive.key.as_str() {
        "disable-logging" => log.requests = !value.boolean(),
        "log-4xx" => log.log_4xx = value.boolean(),
        "log-5xx" => log.log_5xx = value.boolean(),
        "log-slow" => log.slow_ms = value.number().unwrap_or(0),
        "log-big" => log.big_bytes = value.number().unwrap_or(0),
        "log-zero" => log.zero = value.boolean(),
        "log-micros" => log.micros = value.boolean(),
        "log-x-forwarded-for" => log.x_forwarded_for = value.boolean(),
        "log-json" => log.json = value.boolean(),
        "log-max-rate" => log.lines_per_s_max = value.number().unwrap_or(0),
        "log-maxsize" => log.max_bytes = value.number().unwrap_or(0),
        "log-rotate-every" => log.rotate_every_s = period(value).unwrap_or(0),
        "log-backupname" => log.backup_name = value.required().map(Into::into),
        "log-keep" => log.keep = value.number_up_to(KEEP_MAX),
        "log-compress" => log.compress = value.boolean(),
        "log-truncate" => log.truncate = value.boolean(),
        "logfile-chmod" => match value::mode(value.directive.value.as_deref()) {
            Some(mode) => log.mode = Some(mode),
            None => value.bad("three octal digits, like 640", "write `logfile-chmod = 640`"),
        },
        "logfile-chown" => log.chown = value.boolean(),
        "touch-logreopen" => log.touch_reopen.extend(value.required().map(Into::into)),
        "touch-logrotate" => log.touch_rotate.extend(value.required().map(Into::into)),
        _ => return false,
    }
    true
}

/// A number of seconds, or a word.
fn period(value: &mut Value<'_>) -> Option<u64> {
    match value.text().as_str() {
        "hourly" => Some(3600),
        "daily" => Some(86_400),
        "weekly" => Some(7 * 86_400),
        text => {
            let seconds = text.parse().ok().filter(|seconds| *seconds > 0);
            if seconds.is_none() {
                value.bad("`hourly`, `daily`, `weekly` or a number of seconds", "write `log-rotate-every = daily`");
            }
            seconds
        }
    }
}

/// Makes the paths absolute: the log is opened from where uWSGI was started, touched files are looked for from `base`.
pub(super) fn resolved(mut log: Log, working_directory: &Path, base: &Path) -> Log {
    if let Some(name) = &mut log.backup_name {
        *name = working_directory.join(&*name);
    }
    for path in log.touch_reopen.iter_mut().chain(&mut log.touch_rotate) {
        *path = base.join(&*path);
    }
    log
}
