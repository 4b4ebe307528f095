//! One directive's value as the type its option wants, with the problem when it is not.

use std::time::Duration;

use crate::{gather::Directive, problem::Problem, value};

/// Limits that uWSGI reads by strtoul(3), so that -1 is more than there ever is; 0 is without limit as well.
const WITHOUT_LIMIT_WHEN_NEGATIVE: [&str; 6] =
    ["evil-reload-on-as", "evil-reload-on-rss", "limit-post", "max-requests", "reload-on-as", "reload-on-rss"];

/// Lists to which uWSGI adds an empty value that does nothing, besides all of `touch-…`.
const PASSED_OVER_WHEN_EMPTY: [&str; 6] =
    ["add-header", "pp", "python-path", "pythonpath", "safe-pidfile", "safe-pidfile2"];

/// Longest time an option can ask for: a year.
const SECONDS_MAX: u64 = 365 * 24 * 3600;

/// A directive being read.
pub(super) struct Value<'a> {
    pub(super) directive: &'a Directive,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Value<'_> {
    /// The text; empty when there is none.
    pub(super) fn text(&self) -> String {
        self.directive.value.clone().unwrap_or_default()
    }

    /// The text, which must not be empty.
    pub(super) fn required(&mut self) -> Option<String> {
        let text = self.text();
        let key = self.directive.key.as_str();
        if text.is_empty() && (key.starts_with("touch-") || PASSED_OVER_WHEN_EMPTY.contains(&key)) {
            let message = format!("`{key} =` has no value and asks for nothing");
            let problem = Problem::warning("empty-value", self.directive.value_at.clone(), message);
            self.problems.push(problem.hint("write one, or remove the line"));
            return None;
        }
        if text.is_empty() {
            self.bad("a value", "write one, or remove the line");
            return None;
        }
        Some(text)
    }

    pub(super) fn boolean(&self) -> bool {
        value::boolean(self.directive.value.as_deref())
    }

    /// A number from 0 on, as atoi(3) reads it. Doubts are warnings, a negative number is an error (as in uWSGI).
    pub(super) fn number(&mut self) -> Option<u64> {
        let number = value::number(self.directive.value.as_deref());
        let Ok(value) = u64::try_from(number.value) else {
            let key = &self.directive.key;
            if WITHOUT_LIMIT_WHEN_NEGATIVE.contains(&key.as_str()) {
                let message = format!("`{key} = {}` is taken for no limit, as in uWSGI", self.text());
                let problem = Problem::warning("bad-number", self.directive.value_at.clone(), message);
                self.problems.push(problem.hint("remove the line, or write a number"));
                return Some(0);
            }
            let message = format!("invalid value for option \"{}\": must be > 0", self.directive.key);
            self.problems.push(Problem::error("bad-number", self.directive.value_at.clone(), message));
            return None;
        };
        if number.doubtful {
            let text = self.text();
            let hint = match text.contains([';', '#']) {
                true => "a comment stands on a line of its own; after a value it is part of the value",
                false => "write digits only",
            };
            let message = format!("`{text}` is not a number; it is read as {value}, as uWSGI does");
            self.problems.push(Problem::warning("bad-number", self.directive.value_at.clone(), message).hint(hint));
        }
        Some(value)
    }

    /// A number that fits; more is cut, as there is no use for more.
    pub(super) fn number_up_to(&mut self, most: u32) -> Option<u32> {
        self.number().map(|value| u32::try_from(value).unwrap_or(most).min(most))
    }

    /// How many of something there are: at least 1, and digits, since a worker less than wanted is no detail.
    pub(super) fn count(&mut self, most: u32) -> Option<u32> {
        let number = value::number(self.directive.value.as_deref());
        match u32::try_from(number.value) {
            Ok(count @ 1..) if count <= most => {
                self.number();
                Some(count)
            }
            _ => {
                self.bad(&format!("a number from 1 to {most}"), "write how many there shall be");
                None
            }
        }
    }

    pub(super) fn seconds(&mut self) -> Option<Duration> {
        self.number().map(|seconds| Duration::from_secs(seconds.min(SECONDS_MAX)))
    }

    /// The pattern when it is one. Matching takes time in proportion to the text, so look-around and back-references,
    /// which PCRE has and an attacker may make slow, are not there.
    pub(super) fn pattern(&mut self, pattern: String) -> Option<String> {
        match regex::bytes::RegexBuilder::new(&pattern).unicode(false).build() {
            Ok(_) => Some(pattern),
            Err(error) => {
                let why = error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                self.bad(
                    &format!("a regular expression: {why}"),
                    "look-around and back-references are not supported; the rest is as in PCRE",
                );
                None
            }
        }
    }

    /// Tells that the value is not what was expected.
    pub(super) fn bad(&mut self, expected: &str, hint: &str) {
        let message = format!("`{} = {}`: expected {expected}", self.directive.key, self.text());
        self.problems.push(Problem::error("bad-value", self.directive.value_at.clone(), message).hint(hint));
    }
}
