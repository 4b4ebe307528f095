//! `blacklist` and `whitelist`: options that may not, or alone may, be used until the list is ended (core/config.c).

use crate::problem::{Origin, Problem};

/// The lists in force, each as words apart by blanks.
#[derive(Debug, Default)]
pub(super) struct Lists {
    forbidden: Option<String>,
    allowed: Option<String>,
}

impl Lists {
    /// What one of the four options does.
    pub(super) fn set(&mut self, option: &str, names: &str) {
        match option {
            "blacklist" => self.forbidden = Some(names.to_owned()),
            "whitelist" => self.allowed = Some(names.to_owned()),
            "end-blacklist" => self.forbidden = None,
            _ => self.allowed = None,
        }
    }

    /// The problem of an option that a list forbids. A list can always be ended, which in uWSGI a whitelist must allow.
    pub(super) fn forbids(&self, key: &str, at: &Origin) -> Option<Problem> {
        let has = |names: &str| names.split(' ').any(|name| name == key);
        let list = if self.forbidden.as_deref().is_some_and(has) {
            "blacklist"
        } else if self.allowed.as_deref().is_some_and(|names| !has(names) && key != "end-whitelist") {
            "whitelist"
        } else {
            return None;
        };
        let message = format!("forbidden option \"{key}\" (by {list})");
        Some(
            Problem::error("option-forbidden", at.clone(), message)
                .hint(format!("remove it, or let the `{list}` before it allow it")),
        )
    }
}
