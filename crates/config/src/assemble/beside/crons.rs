//! `cron`, `unique-cron` and `cron2`: one line each.

use std::path::PathBuf;

use super::keys::{self, pairs, unknown_key};
use crate::{
    assemble::values::Value,
    beside::{Cron, When},
    problem::Problem,
};

/// Whether a command has a limit of its own, which may be none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OwnLimit {
    Said,
    NotSaid,
}

/// `MINUTE HOUR DAY MONTH WEEKDAY COMMAND`.
pub(super) fn crontab_line(value: &mut Value<'_>) -> Option<(Cron, OwnLimit)> {
    let text = value.required()?;
    let mut rest = text.trim_start();
    let mut fields = [0; 5];
    for field in &mut fields {
        let (word, after) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
        let Ok(number) = word.parse() else {
            let hint = "write five numbers before the command: minute, hour, day, month, day of the week; -1 is any";
            value.bad("`MINUTE HOUR DAY MONTH WEEKDAY COMMAND`", hint);
            return None;
        };
        *field = number;
        rest = after.trim_start();
    }
    let [minute, hour, day, month, week] = fields;
    cron(value, When { minute, hour, day, month, week }, rest, (false, None, OwnLimit::NotSaid))
}

/// `[KEY=VALUE,…] COMMAND`.
pub(super) fn cron_by_keys(value: &mut Value<'_>) -> Option<(Cron, OwnLimit)> {
    let text = value.required()?;
    let (keys, command) = match text.split_once(' ') {
        Some((keys, command)) if keys.contains('=') => (keys, command),
        None if text.contains('=') => ("", ""),
        _ => ("", text.as_str()),
    };
    let mut when = When { minute: -1, hour: -1, day: -1, month: -1, week: -1 };
    let (mut unique, mut harakiri_s, mut limit) = (false, None, OwnLimit::NotSaid);
    for (key, said) in pairs(keys) {
        let mut number = || i32::try_from(keys::number(value, &key, &said)).unwrap_or(i32::MAX);
        match key.as_str() {
            "minute" => when.minute = number(),
            "hour" => when.hour = number(),
            "day" => when.day = number(),
            "month" => when.month = number(),
            "week" => when.week = number(),
            "unique" => unique = number() != 0,
            // 0 is none, whatever `cron-harakiri` says.
            "harakiri" => (harakiri_s, limit) = (u32::try_from(number()).ok().filter(|s| *s > 0), OwnLimit::Said),
            "legion" => {
                value.bad("no `legion`", "there is no legion of hosts: run it on one host by a timer of its own")
            }
            _ => unknown_key(value, &key),
        }
    }
    cron(value, when, command, (unique, harakiri_s, limit))
}

fn cron(
    value: &mut Value<'_>,
    when: When,
    command: &str,
    (unique, harakiri_s, limit): (bool, Option<u32>, OwnLimit),
) -> Option<(Cron, OwnLimit)> {
    if command.is_empty() {
        value.bad("a command", "write it behind the time");
        return None;
    }
    doubt(value, when);
    let command = command.to_owned();
    Some((Cron { when, command, is_request: false, directory: PathBuf::new(), unique, harakiri_s }, limit))
}

/// Times that mean something else than they seem to, or never come.
fn doubt(value: &mut Value<'_>, when: When) {
    let fields = [
        ("minute", when.minute, 0, 59),
        ("hour", when.hour, 0, 23),
        ("day", when.day, 1, 31),
        ("month", when.month, 1, 12),
        ("weekday", when.week, 0, 7),
    ];
    for (name, number, first, last) in fields {
        let message = if number >= 0 && !(first..=last).contains(&number) {
            format!("the {name} {number} never comes; expected {first} to {last}, or less than 0")
        } else if number < -1 && number < -last && first == 0 {
            format!("the {name} {number} is the same as 0, as in uWSGI: only 0 is divided by {}", number.unsigned_abs())
        } else if number < -last {
            format!("the {name} {number} never comes: no {name} is divided by {}", number.unsigned_abs())
        } else {
            continue;
        };
        let hint = "a negative number is every so many within the next larger unit; -1 is every one";
        value.problems.push(Problem::warning("bad-value", value.directive.value_at.clone(), message).hint(hint));
    }
}
