//! `route`, `route-if` and their relatives: from their texts to rules, as uWSGI 2.0 cuts them (core/routing.c,
//! `uwsgi_opt_add_route`). What a rule may do is read in [`action`].

mod action;
mod template;

use empery_rules::routes::{Comparison, Condition, PathIs, Routes, Rule, Step, When};

use super::values::Value;

/// What options end with, and the variable that they look at.
const SUBJECTS: &[(&str, &str)] = &[
    ("route", "PATH_INFO"),
    ("route-uri", "REQUEST_URI"),
    ("route-host", "HTTP_HOST"),
    ("route-qs", "QUERY_STRING"),
    ("route-remote-addr", "REMOTE_ADDR"),
    ("route-remote-user", "REMOTE_USER"),
    ("route-user-agent", "HTTP_USER_AGENT"),
    ("route-referer", "HTTP_REFERER"),
];

/// What may stand before the colon of a condition, for the hint.
const CONDITIONS: &str = "write for example `equal:${HTTP_HOST};a.example`, `regexp:${REQUEST_URI};^/a`, `empty:${REMOTE_USER}`, \
                          `isfile:/srv/down` or `ipv4in:${REMOTE_ADDR};10.0.0.0/8`";

/// Applies one directive if it is one of these.
pub(super) fn take(routes: &mut Routes, value: &mut Value<'_>) -> bool {
    let key = value.directive.key.clone();
    let (steps, key) = match key.split_once('-') {
        Some(("final", key)) => (&mut routes.last, key),
        Some(("error", key)) => (&mut routes.error, key),
        Some(("response", key)) => (&mut routes.response, key),
        _ => (&mut routes.request, key.as_str()),
    };
    if !key.starts_with("route") {
        return false;
    }
    let step = match key {
        "route-label" => value.required().map(Step::Label),
        "route-run" => value.required().and_then(|text| rule(value, When::Always, &text)),
        "route-if" => conditional(value, When::If),
        "route-if-not" => conditional(value, When::IfNot),
        "route-status" => status(value),
        _ => match SUBJECTS.iter().find(|(name, _)| *name == key) {
            Some((_, variable)) => found(value, variable),
            None => return false,
        },
    };
    steps.extend(step);
    true
}

fn rule(value: &mut Value<'_>, when: When, action: &str) -> Option<Step> {
    let action = action::read(value, action)?;
    Some(Step::Rule(Box::new(Rule { when, action })))
}

/// What stands before the first blank, and what behind it.
fn halves(value: &mut Value<'_>, first: &str) -> Option<(String, String)> {
    let text = value.required()?;
    let halves = text.split_once(' ').map(|(before, behind)| (before.to_owned(), behind.to_owned()));
    if halves.is_none() {
        value.bad(&format!("{first}, a blank and an action"), "write for example `route = ^/old redirect:/new`");
    }
    halves
}

fn found(value: &mut Value<'_>, variable: &str) -> Option<Step> {
    let (pattern, action) = halves(value, "a regular expression")?;
    let pattern = value.pattern(pattern)?;
    rule(value, When::Found { variable: variable.to_owned(), pattern }, &action)
}

fn status(value: &mut Value<'_>) -> Option<Step> {
    let (number, action) = halves(value, "a status")?;
    let Ok(number) = number.parse() else {
        value.bad("a status such as 404", "write for example `final-route-status = 404 log:nothing there`");
        return None;
    };
    rule(value, When::Status(number), &action)
}

fn conditional(value: &mut Value<'_>, when: fn(Condition) -> When) -> Option<Step> {
    let (text, action) = halves(value, "a condition")?;
    let condition = condition(value, &text)?;
    rule(value, when(condition), &action)
}

/// `KIND:ARGUMENT` or `KIND:LEFT;RIGHT`.
fn condition(value: &mut Value<'_>, text: &str) -> Option<Condition> {
    let Some((kind, argument)) = text.split_once(':') else {
        value.bad("a condition such as `equal:A;B`", CONDITIONS);
        return None;
    };
    let one = |value: &mut Value<'_>| template::read(value, argument);
    let path = |value: &mut Value<'_>, is| Some(Condition::Path { path: template::read(value, argument), is });
    let compare = |value: &mut Value<'_>, how| {
        let (left, right) = two(value, argument)?;
        let (left, right) = (template::read(value, left), template::read(value, right));
        Some(Condition::Compare { left, how, right })
    };
    match kind {
        "exists" => path(value, PathIs::There),
        "isfile" => path(value, PathIs::File),
        "isdir" => path(value, PathIs::Directory),
        "islink" => path(value, PathIs::Link),
        "isexec" => path(value, PathIs::Executable),
        "empty" => Some(Condition::Empty(one(value))),
        "equal" | "isequal" | "eq" | "==" => compare(value, Comparison::Equal),
        "startswith" => compare(value, Comparison::StartsWith),
        "endswith" => compare(value, Comparison::EndsWith),
        "contains" | "contain" => compare(value, Comparison::Contains),
        "ishigher" | ">" => compare(value, Comparison::Higher),
        "ishigherequal" | ">=" => compare(value, Comparison::HigherOrEqual),
        "islower" | "<" => compare(value, Comparison::Lower),
        "islowerequal" | "<=" => compare(value, Comparison::LowerOrEqual),
        "regexp" | "re" => {
            let (text, pattern) = two(value, argument)?;
            let (text, pattern) = (text.to_owned(), value.pattern(pattern.to_owned())?);
            Some(Condition::Regexp { text: template::read(value, &text), pattern })
        }
        "ipv4in" | "ipv6in" => {
            let (address, network) = two(value, argument)?;
            let (address, network) = (template::read(value, address), template::read(value, network));
            Some(Condition::Within { address, network })
        }
        "lord" => {
            value.bad("a condition that is there: there are no legions here", CONDITIONS);
            None
        }
        _ => {
            value.bad(&format!("a condition that is there; `{kind}` is none"), CONDITIONS);
            None
        }
    }
}

fn two<'t>(value: &mut Value<'_>, argument: &'t str) -> Option<(&'t str, &'t str)> {
    let halves = argument.split_once(';');
    if halves.is_none() {
        value.bad("two texts, apart by a semicolon", CONDITIONS);
    }
    halves
}

#[cfg(test)]
mod tests;
