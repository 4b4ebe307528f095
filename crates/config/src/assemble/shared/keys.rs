//! Values that are themselves lists of `key=value`, apart by commas.

use crate::{problem::Problem, value};

use super::super::values::Value;

/// What stands in one value.
pub(super) struct Keys {
    pairs: Vec<(String, Option<String>)>,
    known: Vec<&'static str>,
}

impl Keys {
    pub(super) fn of(value: &Value<'_>) -> Keys {
        let text = value.text();
        let pairs = text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(|part| {
            let (key, rest) = part.split_once('=').map_or((part, None), |(key, rest)| (key, Some(rest.to_owned())));
            (key.trim().to_owned(), rest)
        });
        Keys { pairs: pairs.collect(), known: Vec::new() }
    }

    /// The last of these keys, by any of its names.
    fn last(&mut self, names: &[&'static str]) -> Option<&(String, Option<String>)> {
        self.known.extend(names);
        self.pairs.iter().rev().find(|(key, _)| names.contains(&key.as_str()))
    }

    /// The name that is there of these.
    pub(super) fn any(&mut self, names: &[&'static str]) -> Option<String> {
        self.last(names).map(|(key, _)| key.clone())
    }

    pub(super) fn text(&mut self, names: &[&'static str]) -> Option<String> {
        self.last(names).and_then(|(_, text)| text.clone()).filter(|text| !text.is_empty())
    }

    /// A number, also one in hexadecimal; garbage is 0, as for uWSGI.
    pub(super) fn number(&mut self, names: &[&'static str]) -> Option<u64> {
        let text = self.text(names)?;
        if let Some(digits) = text.strip_prefix("0x") {
            return Some(u64::from_str_radix(digits, 16).unwrap_or(0));
        }
        Some(u64::try_from(value::number(Some(&text)).value).unwrap_or(0))
    }

    pub(super) fn is_set(&mut self, names: &[&'static str]) -> bool {
        self.last(names).is_some_and(|(_, text)| value::boolean(text.as_deref()))
    }

    /// Warns of keys that nobody has asked for.
    pub(super) fn tell_unknown(&self, value: &mut Value<'_>) {
        for (key, _) in self.pairs.iter().filter(|(key, _)| !self.known.contains(&key.as_str())) {
            let message = format!("`{key}` in `{}` is no key of it and counts for nothing", value.directive.key);
            let at = value.directive.value_at.clone();
            value.problems.push(Problem::warning("bad-value", at, message).hint("correct it or take it out"));
        }
    }
}
