//! An emperor as uWSGI's options describe it (`emperor = DIR` and what stands beside it), in the words of `emperor run`.
//!
//! The one table of what an emperor takes of them: `vassal --emperor`, `emperor FILE.ini`, `emperor check --emperor-ini`
//! and `emperor migrate` all come by it. What it does not take is told, never dropped in silence.

use crate::{
    gather::{Directive, Given},
    problem::Problem,
    registry::{self, Kind, Status},
    value,
};

/// What `emperor run` is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emperor {
    /// The directories of vassal files, and patterns of their paths.
    pub vassals: Vec<String>,
    /// More flags, each as `--NAME=VALUE`; a switch is `true` or `false`.
    pub flags: Vec<String>,
}

/// uWSGI's names (core/uwsgi.c), and the flag that each is.
const TAKEN: [(&str, &str); 27] = [
    ("emperor-extra-ext", "emperor-extra-extension"),
    ("emperor-extra-extension", "emperor-extra-extension"),
    ("emperor-on-demand-dir", "emperor-on-demand-directory"),
    ("emperor-on-demand-directory", "emperor-on-demand-directory"),
    ("emperor-on-demand-exec", "emperor-on-demand-exec"),
    ("emperor-on-demand-ext", "emperor-on-demand-extension"),
    ("emperor-on-demand-extension", "emperor-on-demand-extension"),
    ("emperor-pidfile", "emperor-pidfile"),
    ("emperor-stats", "emperor-stats"),
    ("emperor-stats-server", "emperor-stats"),
    ("emperor-tyrant", TYRANT),
    ("emperor-tyrant-initgroups", "emperor-tyrant-initgroups"),
    ("emperor-tyrant-nofollow", "emperor-tyrant-nofollow"),
    ("exec-as-emperor", "exec-as-emperor"),
    ("exec-as-vassal", VASSAL_SET),
    ("gid", VASSAL_SET),
    ("hook-as-vassal", VASSAL_SET),
    ("pidfile", "emperor-pidfile"),
    ("uid", VASSAL_SET),
    ("vassal-set", VASSAL_SET),
    ("vassals-include", "vassals-include"),
    ("vassals-include-before", "vassals-include-before"),
    ("vassals-inherit", "vassals-inherit"),
    ("vassals-inherit-before", "vassals-inherit-before"),
    ("vassals-set", VASSAL_SET),
    ("vassals-start-hook", "vassals-start-hook"),
    ("vassals-stop-hook", "vassals-stop-hook"),
];

const TYRANT: &str = "emperor-tyrant";
const VASSAL_SET: &str = "vassal-set";

/// Options that are always so here, or have done their work when the file was read.
const NOTHING_LOST: [&str; 7] =
    ["emperor", "master", "die-on-term", "fallback-config", "inherit", "print", "show-config"];

/// The flag of `emperor run` that an option of uWSGI's becomes.
#[must_use]
pub fn flag_of(option: &str) -> Option<&'static str> {
    TAKEN.iter().find(|(name, _)| *name == option).map(|(_, flag)| *flag)
}

impl Emperor {
    /// None when no directory is named. What cannot be, and what is not taken, is added to `problems`.
    pub(crate) fn of(directives: &[Directive], problems: &mut Vec<Problem>) -> Option<Emperor> {
        let said: Vec<&Directive> =
            directives.iter().filter(|directive| directive.given != Given::Placeholder).collect();
        let sources = said.iter().filter(|directive| directive.key == "emperor");
        let vassals: Vec<String> = sources.map(|directive| source(directive, problems)).collect();
        if vassals.is_empty() {
            return None;
        }
        let is_tyrant = last(&said, TYRANT).is_some_and(|directive| value::boolean(directive.value.as_deref()));
        let mut flags = Flags::default();
        for key in ["uid", "gid"] {
            flags.identity(last(&said, key), is_tyrant, problems);
        }
        let own_pidfile = last(&said, "emperor-pidfile");
        for directive in said {
            match flag_of(&directive.key) {
                Some(_) if directive.key == "pidfile" && own_pidfile.is_some() => {
                    let message = "`emperor-pidfile` is named as well: the emperor writes that one alone";
                    problems.push(Problem::warning("emperor-option", directive.key_at.clone(), message));
                }
                Some(flag) => flags.take(directive, flag),
                None => problems.extend(left_out(directive)),
            }
        }
        Some(Emperor { vassals, flags: flags.words() })
    }
}

/// The flags so far, by name.
#[derive(Default)]
struct Flags(Vec<(&'static str, String)>);

impl Flags {
    /// The emperor stays root, so that it can start vassals as others; who names nobody is who the emperor would have been.
    fn identity(&mut self, said: Option<&Directive>, is_tyrant: bool, problems: &mut Vec<Problem>) {
        let Some(directive) = said else { return };
        let (key, value) = (&directive.key, directive.value.as_deref().unwrap_or_default());
        let message = if is_tyrant {
            format!(
                "`{key} = {value}` counts for nothing: the emperor stays root, and every vassal is the owner of its file"
            )
        } else {
            self.0.push((VASSAL_SET, format!("{key}={value}")));
            format!(
                "`{key} = {value}`: the emperor stays root; every vassal that names no `{key}` of its own has this one"
            )
        };
        let hint =
            "the part of the emperor that reads files and serves the dashboard runs as `emperor run --user NAME`";
        problems.push(Problem::warning("emperor-identity", directive.key_at.clone(), message).hint(hint));
    }

    fn take(&mut self, directive: &Directive, flag: &'static str) {
        let text = directive.value.clone().unwrap_or_default();
        match (directive.key.as_str(), registry::lookup(flag).map(|entry| entry.kind)) {
            ("uid" | "gid", _) => {}
            ("exec-as-vassal", _) => self.0.push((flag, format!("exec-asap={text}"))),
            ("hook-as-vassal", _) => self.0.push((flag, format!("hook-asap={text}"))),
            (_, Some(Kind::List)) => self.0.push((flag, text)),
            (_, Some(Kind::Boolean)) => self.last(flag, value::boolean(directive.value.as_deref()).to_string()),
            _ => self.last(flag, text),
        }
    }

    fn last(&mut self, flag: &'static str, value: String) {
        self.0.retain(|(name, _)| *name != flag);
        self.0.push((flag, value));
    }

    fn words(self) -> Vec<String> {
        self.0.into_iter().map(|(name, value)| format!("--{name}={value}")).collect()
    }
}

fn last<'d>(said: &[&'d Directive], key: &str) -> Option<&'d Directive> {
    said.iter().rev().find(|directive| directive.key == key).copied()
}

/// A directory or a pattern as it is; uWSGI's other sources of vassals (core/emperor.c: `pg://` and the like, of plugins) are
/// none.
fn source(directive: &Directive, problems: &mut Vec<Problem>) -> String {
    let named = directive.value.clone().unwrap_or_default();
    let path = named.strip_prefix("dir://").or_else(|| named.strip_prefix("glob://")).unwrap_or(&named);
    let why = if path.is_empty() {
        "names no directory"
    } else if path.contains("://") {
        "is no directory: vassals come from files only"
    } else {
        return named;
    };
    let message = format!("`emperor = {named}` {why}");
    let hint = "name the directory of the vassal files, or a pattern of their paths such as `/srv/*/app.ini`";
    problems.push(Problem::error("bad-emperor", directive.value_at.clone(), message).hint(hint));
    named
}

/// What is said of an option that an emperor does not take. Those that do not exist here have been told already.
fn left_out(directive: &Directive) -> Option<Problem> {
    let key = directive.key.as_str();
    let is_done = directive.given == Given::Done && key != "umask";
    if is_done || NOTHING_LOST.contains(&key) {
        return None;
    }
    let entry = registry::lookup(key).filter(|entry| entry.kind != Kind::Logic)?;
    let Status::Supported { .. } = entry.status else { return None };
    let hint = match key {
        "logto" | "logto2" | "daemonize" | "daemonize2" => {
            "the emperor writes to stderr and stays in the foreground: in its unit write `StandardError=append:FILE`, or leave \
             it to the journal"
                .to_owned()
        }
        "stats" | "stats-server" => "the fleet's numbers are at /metrics, /api/v1/vassals and `emperor status --json`; \
                                     for uwsgitop write `emperor-stats = ADDRESS`"
            .to_owned(),
        _ => format!("if it is meant for the vassals, write `vassal-set = {key}=VALUE`; else remove it"),
    };
    let message = format!("`{key}` is an option of vassals; the emperor does nothing with it");
    Some(Problem::warning("emperor-option", directive.key_at.clone(), message).hint(hint))
}

#[cfg(test)]
mod tests;
