//! `alarm` and its relatives while they come in (core/alarm.c, plugins/alarm_curl).

mod curl;
mod raisers;

use self::raisers::{on_descriptor, on_line, threshold};
use super::values::Value;
use crate::{
    alarms::{Alarm, Alarms, OnLine, Way},
    problem::{Origin, Problem},
    shared::Shared,
};

/// Longest message that reaches a mule or comes from a worker in one piece.
const MESSAGE_MAX_BYTES: u64 = 16 * 1024;

/// What has been said so far.
#[derive(Default)]
pub(super) struct AlarmDraft {
    alarms: Alarms,
    lines: Vec<OnLine>,
    /// Which alarms are named where, and by which option.
    named: Vec<(String, String, Origin)>,
    /// Where mules are named.
    mules: Vec<(usize, Origin)>,
    /// Where metrics are named.
    metrics: Vec<(String, Origin)>,
}

impl AlarmDraft {
    /// Applies one directive if it is one of these.
    pub(super) fn take(&mut self, value: &mut Value<'_>) -> bool {
        let alarms = &mut self.alarms;
        match value.directive.key.as_str() {
            "alarm" => {
                let Some(alarm) = alarm(value) else { return true };
                if matches!(alarm.way, Way::Mule(_)) {
                    self.mules.push((alarms.all.len(), value.directive.value_at.clone()));
                }
                alarms.all.push(alarm);
            }
            "alarm-log" | "log-alarm" => {
                let Some((names, pattern)) = on_line(value) else { return true };
                names.iter().for_each(|name| self.name(name, value));
                self.lines.push(OnLine { pattern, alarms: names });
            }
            "not-alarm-log" | "not-log-alarm" => {
                let Some((names, pattern)) = on_line(value) else { return true };
                names.iter().for_each(|name| self.name(name, value));
                self.lines.push(OnLine { pattern, alarms: Vec::new() });
            }
            "alarm-listen-queue" | "alarm-lq" | "alarm-backlog" | "backlog-alarm" | "lq-alarm"
            | "listen-queue-alarm" => {
                let Some(name) = value.required() else { return true };
                self.name(&name, value);
                self.alarms.on_backlog.push(name);
            }
            "alarm-segfault" | "segfault-alarm" => {
                let Some(name) = value.required() else { return true };
                self.name(&name, value);
                self.alarms.on_crash.push(name);
            }
            "alarm-fd" => {
                let Some(watched) = on_descriptor(value) else { return true };
                self.name(&watched.alarm, value);
                self.alarms.on_descriptor.push(watched);
            }
            "metric-threshold" | "metric-alarm" | "alarm-metric" => {
                let Some(threshold) = threshold(value) else { return true };
                threshold.alarm.iter().for_each(|name| self.name(name, value));
                self.metrics.push((threshold.metric.clone(), value.directive.value_at.clone()));
                self.alarms.on_metric.push(threshold);
            }
            "alarm-freq" => alarms.repeats_after_s = value.number_up_to(u32::MAX).unwrap_or(alarms.repeats_after_s),
            "alarm-msg-size" => match value.number() {
                Some(bytes @ 1..=MESSAGE_MAX_BYTES) => alarms.message_max_bytes = bytes,
                _ => value.bad("a number of bytes from 1 to 16384", "8192 is the default"),
            },
            _ => return false,
        }
        true
    }

    fn name(&mut self, name: &str, value: &Value<'_>) {
        self.named.push((name.to_owned(), value.directive.key.clone(), value.directive.value_at.clone()));
    }

    /// Whether the vassal's own metrics are wanted for this.
    pub(super) fn wants_metrics(&self) -> bool {
        !self.alarms.on_metric.is_empty()
    }

    /// All of it: the alarms, and what lines of the log raise.
    pub(super) fn finish(self, mules: usize, shared: &Shared, problems: &mut Vec<Problem>) -> (Alarms, Vec<OnLine>) {
        let AlarmDraft { mut alarms, lines, named, mules: to_mules, metrics } = self;
        for (name, option, at) in named {
            if !alarms.all.iter().any(|alarm| alarm.name == name) {
                let message = format!("`{option}` names the alarm `{name}`, and there is none");
                let hint = format!("define it: `alarm = {name} cmd:COMMAND`");
                // uWSGI does not start with some of them, if it has any alarm; others say nothing.
                let ends = !alarms.all.is_empty() && ["alarm-fd", "alarm-log", "log-alarm"].contains(&option.as_str());
                let problem = if ends { Problem::error } else { Problem::warning };
                problems.push(problem("bad-value", at, message).hint(hint));
            }
        }
        for (place, at) in to_mules {
            let Some(Way::Mule(number)) = alarms.all.get_mut(place).map(|alarm| &mut alarm.way) else { continue };
            if usize::try_from(*number).is_ok_and(|number| number > mules) || mules == 0 {
                let message = match mules {
                    0 => "this alarm is for a mule, and there is none: nobody gets it, as in uWSGI".to_owned(),
                    _ => format!("there is no mule {number} of {mules}: whichever takes it gets it, as in uWSGI"),
                };
                let hint = "add mules with `mule` or `mules = NUMBER`";
                problems.push(Problem::warning("bad-value", at, message).hint(hint));
                *number = 0;
            }
        }
        for (metric, at) in metrics {
            let is_app_s = shared.metrics.iter().any(|known| known.name == metric);
            let is_vassal_s = ["core.", "worker.", "socket."].iter().any(|family| metric.starts_with(family))
                || ["rss_size", "vsz_size"].contains(&metric.as_str());
            if !(is_app_s || is_vassal_s) {
                let message = format!("there is no metric `{metric}`");
                let hint = format!("write `metric = {metric}`, or name one of the vassal's, such as `core.total_rss`");
                problems.push(Problem::error("bad-value", at, message).hint(hint));
            }
        }
        (alarms, lines)
    }
}

/// `NAME PLUGIN:ARGUMENTS`.
fn alarm(value: &mut Value<'_>) -> Option<Alarm> {
    let text = value.required()?;
    let read = text.split_once(' ').and_then(|(name, rest)| Some((name, rest.split_once(':')?)));
    let Some((name, (plugin, arguments))) = read.filter(|(name, _)| !name.is_empty()) else {
        value.bad(
            "`NAME PLUGIN:ARGUMENTS`",
            "write a name, a blank and what is done: `alarm = mail cmd:mail -s app root`",
        );
        return None;
    };
    let number = || crate::value::number(Some(arguments)).value;
    let way = match plugin.trim_start() {
        "cmd" => Way::Command(arguments.to_owned()),
        "signal" => match u8::try_from(number()) {
            Ok(number) => Way::Signal(number),
            Err(_) => {
                value.bad("`signal:NUMBER` with a number of a uWSGI signal", "write one from 0 to 255");
                return None;
            }
        },
        "mule" => Way::Mule(u32::try_from(number()).unwrap_or(0)),
        "log" => Way::Log(arguments.to_owned()),
        "curl" => Way::Curl(curl::read(value, arguments)?),
        plugin @ ("xmpp" | "jabber" | "speech") => {
            let message =
                format!("`{plugin}` alarms are not sent here: the log says that `{name}` was raised, no more");
            let hint = "use `cmd:` with a program that sends its standard input, such as sendxmpp(1)";
            value
                .problems
                .push(Problem::warning("plugin-refused", value.directive.value_at.clone(), message).hint(hint));
            Way::Nothing(plugin.to_owned())
        }
        _ => {
            value.bad("`cmd:`, `signal:`, `mule:`, `log:` or `curl:` behind the name", "use one of them");
            return None;
        }
    };
    Some(Alarm { name: name.to_owned(), way })
}

#[cfg(test)]
mod tests;
