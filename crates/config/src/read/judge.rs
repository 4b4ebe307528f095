//! What each option is worth here, as the registry says: refused ones, unknown keys, plugins.
//!
//! What an option means is not its business: [`crate::assemble`] knows that.

use std::collections::BTreeSet;

use crate::{
    gather::{Directive, Given},
    problem::Problem,
    registry::{self, Entry, Kind, Status},
    suggest, value,
};

/// Unknown keys that get a suggestion; more are not typos.
const SUGGESTIONS_MAX: usize = 40;

/// Plugins looked at in one line.
const PLUGINS_MAX: usize = 100;

/// Options whose being switched off is worth a word, since it changes nothing here.
const ALWAYS_ON: [&str; 3] = ["master", "enable-threads", "need-app"];

/// Problems of all directives; `asked` are the keys that values asked for.
pub(super) fn judge(directives: &[Directive], asked: &BTreeSet<String>) -> Vec<Problem> {
    let strict = directives.iter().rev().find(|directive| directive.key == "strict");
    let strict = strict.is_some_and(|directive| value::boolean(directive.value.as_deref()));
    let mut problems = Vec::new();
    let mut told: BTreeSet<&str> = BTreeSet::new();
    let mut suggestions = 0;
    for directive in directives.iter().filter(|directive| directive.given != Given::Placeholder) {
        match registry::lookup(&directive.key) {
            Some(entry) => {
                problems.extend(known(entry, directive));
                problems.extend(comment_behind(entry, directive));
                if matches!(entry.name, "plugin" | "plugins" | "need-plugin" | "need-plugins") {
                    problems.extend(plugins(directive));
                }
            }
            // Declared by `declare-option`, or the end of a block by uWSGI's short word.
            None if directive.given == Given::Done || directive.key == "end" => {}
            None if asked.contains(&directive.key) && !strict => {}
            None => {
                if told.insert(&directive.key) {
                    suggestions += 1;
                    problems.push(unknown(directive, strict, suggestions <= SUGGESTIONS_MAX));
                }
            }
        }
    }
    problems
}

fn known(entry: &Entry, directive: &Directive) -> Option<Problem> {
    let name = entry.name;
    let at = directive.key_at.clone();
    match entry.status {
        Status::Accepted { why, .. } if ALWAYS_ON.contains(&name) && switched_off(entry, directive) => {
            let message = format!("switching `{name}` off changes nothing: {why}");
            Some(Problem::warning("always-on", at, message).hint("remove the line"))
        }
        Status::Supported { .. } | Status::Accepted { differs: false, .. } => None,
        _ if switched_off(entry, directive) => None,
        Status::Accepted { differs: true, why } => {
            let message = format!("`{name}` does not do here what it does in uWSGI: {why}");
            Some(Problem::warning("option-differs", at, message).hint("remove the line if that is all the same"))
        }
        Status::Refused { blocks: true, instead } => {
            Some(Problem::error("option-refused", at, format!("`{name}` does not exist here")).hint(instead))
        }
        Status::Refused { blocks: false, instead } => {
            let message = format!("`{name}` does not exist here and is ignored");
            Some(Problem::warning("option-refused", at, message).hint(instead))
        }
    }
}

/// uWSGI knows no comments behind values, and takes `false ; keep` for true.
fn comment_behind(entry: &Entry, directive: &Directive) -> Option<Problem> {
    let text = directive.value.as_deref().filter(|_| entry.kind == Kind::Boolean || entry.name == "die-on-term")?;
    let word = value::before_comment(text)?;
    let message =
        format!("`{text}` is taken for `{word}` with a comment; uWSGI takes it for true, whatever the word is");
    let problem = Problem::warning("inline-comment", directive.value_at.clone(), message);
    Some(problem.hint("a comment stands on a line of its own"))
}

/// `vhost = false` and `idle = 0` ask for nothing.
fn switched_off(entry: &Entry, directive: &Directive) -> bool {
    match entry.kind {
        Kind::Boolean => !value::boolean(directive.value.as_deref()),
        Kind::Number => directive.value.as_deref() == Some("0"),
        Kind::List | Kind::Text | Kind::Logic | Kind::Own => false,
    }
}

fn unknown(directive: &Directive, strict: bool, suggest: bool) -> Problem {
    let key = &directive.key;
    let at = directive.key_at.clone();
    let nearest = if suggest { suggest::nearest(key) } else { None };
    let hint = match nearest {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("if it is a placeholder or read from `uwsgi.opt`, write `set-ph = {key}=…`"),
    };
    let problem = if strict {
        Problem::error("strict-mode", at, format!("[strict-mode] unknown config directive: {key}"))
    } else {
        Problem::warning("unknown-option", at, format!("`{key}` is not an option; it is kept as a placeholder"))
    };
    problem.hint(hint)
}

fn plugins(directive: &Directive) -> impl Iterator<Item = Problem> + '_ {
    let names =
        directive.value.as_deref().unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
    names.take(PLUGINS_MAX).filter_map(|name| {
        let at = directive.value_at.clone();
        match plugin(name) {
            Plugin::BuiltIn => None,
            Plugin::Refused { what, instead } => {
                Some(Problem::error("plugin-refused", at, format!("the plugin `{name}` is for {what}")).hint(instead))
            }
            Plugin::Unknown => {
                let message = format!("the plugin `{name}` is not known; nothing is loaded for it");
                Some(Problem::warning("unknown-plugin", at, message).hint("remove it if the app needs nothing of it"))
            }
        }
    })
}

enum Plugin {
    BuiltIn,
    Refused { what: &'static str, instead: &'static str },
    Unknown,
}

/// Whether `if-plugin` finds it.
pub(crate) fn is_built_in_plugin(name: &str) -> bool {
    matches!(plugin(name), Plugin::BuiltIn)
}

fn plugin(name: &str) -> Plugin {
    let name = name.rsplit('/').next().unwrap_or(name).trim_end_matches(".so").trim_end_matches("_plugin");
    let refused = |what, instead| Plugin::Refused { what, instead };
    match name {
        "python2" | "python27" | "python26" => {
            refused("Python 2, which is not hosted", "port the app to Python 3; CPython 3.9 and newer are hosted")
        }
        _ if name.starts_with("python") => Plugin::BuiltIn,
        // What uWSGI's default build embeds, as far as what it is for is here (its buildconf/base.ini), and `gevent3`, `echo`.
        "0" | "gevent" | "gevent3" | "http" | "corerouter" | "logfile" | "cheaper_busyness" | "echo" | "nagios"
        | "ping" | "signal" | "sslrouter" | "rpc" | "spooler" | "syslog" | "rsyslog" | "logsocket"
        | "router_redirect" | "router_rewrite" | "router_static" | "router_basicauth" => Plugin::BuiltIn,
        "rack" | "fiber" | "rbthreads" => refused("Ruby, which is not served", "serve the app with Puma"),
        _ if name.starts_with("ruby") || name.starts_with("rack") => {
            refused("Ruby, which is not served", "serve the app with Puma")
        }
        _ if name.starts_with("php") => refused("PHP, which is not served", "serve the app with php-fpm"),
        "psgi" | "coroae" | "perl" => refused("Perl, which is not served", "serve the app with Starman"),
        _ if name.starts_with("lua") => refused("Lua, which is not served", "serve the app with OpenResty"),
        "cgi" => refused("CGI scripts, which are not run", "run them with fcgiwrap"),
        "jvm" | "jwsgi" | "ring" => refused("Java, which is not served", "serve the app with a servlet container"),
        "mono" => refused(".NET, which is not served", "serve the app with Kestrel"),
        "v8" => refused("JavaScript, which is not served", "serve the app with Node.js"),
        "gccgo" | "go" => refused("Go, which is not served", "a Go app serves itself with net/http"),
        "pypy" | "pypy3" => refused("PyPy, which is not hosted", "use CPython 3.9 or newer"),
        "greenlet" | "asyncio" | "asyncio3" | "tornado" | "tornado3" | "ugreen" => {
            refused("another asynchronous mode than gevent", "say `gevent = 100`, or remove it and raise `threads`")
        }
        _ => Plugin::Unknown,
    }
}
