//! `static-map` and its relatives while they come in.

use std::path::Path;

use crate::{
    problem::Problem,
    static_files::{Compressed, Expires, ExpiresFrom, ExpiresOf, Rule, Sender, StaticFiles},
};

use super::values::Value;

/// What has been said so far; paths as written.
#[derive(Default)]
pub(super) struct StaticDraft {
    check: Vec<String>,
    map: Vec<(String, String)>,
    map2: Vec<(String, String)>,
    check_docroot: bool,
    skip_ext: Vec<String>,
    index: Vec<String>,
    safe: Vec<String>,
    compressed: Compressed,
    expires: Vec<Expires>,
    mime_files: Vec<String>,
    sender: Sender,
}

impl StaticDraft {
    /// Applies one directive if it is one of these.
    pub(super) fn take(&mut self, value: &mut Value<'_>) -> bool {
        let key = value.directive.key.as_str();
        match key {
            "check-static" | "static-check" => self.check.extend(value.required()),
            "static-map" => self.map.extend(mapping(value)),
            "static-map2" => self.map2.extend(mapping(value)),
            "check-static-docroot" => self.check_docroot = value.boolean(),
            "static-skip-ext" => self.skip_ext.extend(value.required()),
            "static-index" => self.index.extend(value.required()),
            "static-safe" => self.safe.extend(value.required()),
            "static-gzip-all" => self.compressed.all = value.boolean(),
            "static-gzip-dir" | "static-gzip-prefix" => self.compressed.prefixes.extend(value.required()),
            "static-gzip-ext" | "static-gzip-suffix" => self.compressed.suffixes.extend(value.required()),
            "static-gzip" => {
                let pattern = value.required().and_then(|pattern| value.pattern(pattern));
                self.compressed.patterns.extend(pattern);
            }
            "static-expires" | "static-expires-mtime" => self.expires.extend(by_pattern(value, ExpiresOf::File)),
            "static-expires-path-info" | "static-expires-path-info-mtime" => {
                self.expires.extend(by_pattern(value, ExpiresOf::PathInfo));
            }
            "static-expires-uri" | "static-expires-uri-mtime" => self.expires.extend(by_pattern(value, ExpiresOf::Uri)),
            "static-expires-type" | "static-expires-type-mtime" => self.expires.extend(by_type(value)),
            "mimefile" | "mime-file" => self.mime_files.extend(value.required()),
            "file-serve-mode" | "fileserve-mode" => self.sender = sender(value).unwrap_or(self.sender),
            _ => return false,
        }
        true
    }

    /// All of it, with paths from `base`.
    pub(super) fn finish(self, base: &Path) -> StaticFiles {
        let mut rules: Vec<Rule> =
            self.check.iter().map(|directory| Rule::Everything { directory: base.join(directory) }).collect();
        rules.extend(self.map.into_iter().map(|(prefix, target)| Rule::Below { prefix, target: base.join(target) }));
        rules.extend(
            self.map2.into_iter().map(|(prefix, target)| Rule::BelowWhole { prefix, target: base.join(target) }),
        );
        rules.extend(self.check_docroot.then_some(Rule::DocumentRoot));
        let mut expires = self.expires;
        // uWSGI looks at the file first, then at PATH_INFO and so on, each from now before each from the change.
        expires.sort_by_key(|expires| (kind(&expires.of), expires.from));
        StaticFiles {
            rules,
            skip_ext: self.skip_ext,
            index: self.index,
            safe: self.safe.iter().map(|directory| base.join(directory)).collect(),
            compressed: self.compressed,
            expires,
            mime_files: self.mime_files.iter().map(|path| base.join(path)).collect(),
            sender: self.sender,
        }
    }
}

fn kind(of: &ExpiresOf) -> u8 {
    match of {
        ExpiresOf::File(_) => 0,
        ExpiresOf::PathInfo(_) => 1,
        ExpiresOf::Uri(_) => 2,
        ExpiresOf::Type(_) => 3,
    }
}

/// `PREFIX=DIRECTORY`.
fn mapping(value: &mut Value<'_>) -> Option<(String, String)> {
    let text = value.required()?;
    let Some((prefix, target)) = text.split_once('=').filter(|(_, target)| !target.is_empty()) else {
        value.bad("`PREFIX=DIRECTORY`", "write for example `static-map = /static=%d/static`");
        return None;
    };
    if !prefix.is_empty() && !prefix.starts_with('/') {
        let message = format!("`{text}`: paths of requests begin with a slash, so nothing is ever below `{prefix}`");
        let at = value.directive.value_at.clone();
        value.problems.push(Problem::warning("bad-value", at, message).hint(format!("write `/{text}`")));
    }
    Some((prefix.to_owned(), target.to_owned()))
}

/// `REGEX SECONDS`.
fn by_pattern(value: &mut Value<'_>, of: fn(String) -> ExpiresOf) -> Option<Expires> {
    let text = value.required()?;
    let parts = text.split_once(' ').map(|(pattern, seconds)| (pattern.to_owned(), seconds.trim().parse()));
    let Some((pattern, Ok(seconds))) = parts else {
        value.bad("a regular expression, a blank and a number of seconds", "write for example `\\.css$ 3600`");
        return None;
    };
    let pattern = value.pattern(pattern)?;
    Some(Expires { of: of(pattern), from: from(value), seconds })
}

/// `TYPE=SECONDS`.
fn by_type(value: &mut Value<'_>) -> Option<Expires> {
    let text = value.required()?;
    let parts = text.split_once('=').map(|(name, seconds)| (name.trim().to_owned(), seconds.trim().parse()));
    let Some((name, Ok(seconds))) = parts else {
        value.bad("`TYPE=SECONDS`", "write for example `static-expires-type = text/css=3600`");
        return None;
    };
    Some(Expires { of: ExpiresOf::Type(name), from: from(value), seconds })
}

fn from(value: &Value<'_>) -> ExpiresFrom {
    if value.directive.key.ends_with("-mtime") { ExpiresFrom::Change } else { ExpiresFrom::Request }
}

fn sender(value: &mut Value<'_>) -> Option<Sender> {
    match value.text().to_ascii_lowercase().as_str() {
        "nginx" | "x-accel-redirect" | "xaccelredirect" => Some(Sender::Nginx),
        "x-sendfile" | "xsendfile" => Some(Sender::XSendfile),
        _ => {
            value.bad("`nginx` or `x-sendfile`", "without this option the worker sends files itself");
            None
        }
    }
}

#[cfg(test)]
mod tests;
