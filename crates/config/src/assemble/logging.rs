//! Options about the log: what is written, and what becomes of the file.

use std::path::Path;

use empery_rules::line::LineFormat;

use crate::{problem::Problem, value, vassal::Log};

use super::{log_format, loggers, values::Value};

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
        "memory-report" => log.memory = value.boolean(),
        "log-x-forwarded-for" => log.x_forwarded_for = value.boolean(),
        "log-format" | "logformat" => {
            let pieces = log_format::pieces(value);
            log.format = pieces.map(|pieces| LineFormat { pieces, ftime: None });
        }
        "log-format-strftime" | "logformat-strftime" => log.strftime = value.boolean(),
        "log-date" | "logdate" | "log-prefix" => date(log, value),
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
        _ => return loggers::take(log, value),
    }
    true
}

/// Without a format it is that of ctime(3). uWSGI has one place for all three options, so `log-prefix` is one with no date in
/// it (core/uwsgi.c, `uwsgi_opt_log_date`); there `false` is a text, too, and here it is what it says.
fn date(log: &mut Log, value: &mut Value<'_>) {
    let text = value.text();
    if text.is_empty() || ["true", "1", "on", "yes"].iter().any(|on| text.eq_ignore_ascii_case(on)) {
        log.prefix.get_or_insert_with(|| "%a %b %e %H:%M:%S %Y - ".to_owned());
        return;
    }
    if ["false", "0", "off", "no"].iter().any(|off| text.eq_ignore_ascii_case(off)) {
        log.prefix = None;
        return;
    }
    if value.directive.key != "log-prefix" && !text.contains('%') {
        let message =
            format!("`{} = {text}`: there is no date in it; each line begins with `{text}`", value.directive.key);
        let hint = "write `log-date = true`, or a format such as `%%Y-%%m-%%d %%H:%%M:%%S` (strftime(3))";
        value.problems.push(Problem::warning("bad-value", value.directive.value_at.clone(), message).hint(hint));
    }
    log.prefix = Some(format!("{text} - "));
    log.date_format = Some(text);
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
    loggers::resolve(&mut log, base);
    if let Some(format) = &mut log.format {
        format.ftime = log.date_format.clone().filter(|_| log.strftime);
    }
    if let Some(name) = &mut log.backup_name {
        *name = working_directory.join(&*name);
    }
    for path in log.touch_reopen.iter_mut().chain(&mut log.touch_rotate) {
        *path = base.join(&*path);
    }
    log
}
