//! The whole way from an entry (a file, a command line) to a configuration.

mod judge;

use std::{collections::BTreeMap, path::PathBuf, rc::Rc};

use crate::{
    assemble::assemble,
    command_line::{self, COMMAND_LINE},
    expand::expand,
    facts::{Facts, Files},
    gather::{Directive, Gatherer, shown_name},
    problem::{Origin, Problem, Severity},
    vassal::VassalConfig,
};

/// Most problems told; a file with more has one trouble, not hundreds.
const PROBLEMS_MAX: usize = 200;
/// Longest line quoted with a problem, in bytes.
const QUOTE_MAX_BYTES: usize = 4096;
/// What origins of `UWSGI_…` variables name as their file.
const ENVIRONMENT: &str = "environment";

/// `UWSGI_…` variables that are no options (core/utils.c:1595).
const NOT_OPTIONS: [&str; 8] = [
    "UWSGI_RELOADS",
    "UWSGI_VASSALS_DIR",
    "UWSGI_EMPEROR_FD",
    "UWSGI_BROODLORD_NUM",
    "UWSGI_EMPEROR_FD_CONFIG",
    "UWSGI_EMPEROR_PROXY",
    "UWSGI_JAIL_PID",
    "UWSGI_ORIGINAL_PROC_NAME",
];

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A vassal file that somebody has read already.
    File {
        /// As `%p` sees it.
        path: String,
        /// Its bytes.
        content: Vec<u8>,
    },
    /// uWSGI's command line without the program's name: `--http :9090 --wsgi-file foobar.py`, `app.ini`, `--ini app.ini:section`.
    /// `UWSGI_…` variables of the environment are options before it.
    Arguments(Vec<String>),
}

/// What a command line asks for. A vassal file always asks to be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Serve the app.
    Serve,
    /// `emperor = DIR`, once or more: be an emperor of these directories.
    Emperor(Vec<String>),
    /// `--show-config`: print [`crate::show::show`] of the configuration, then serve, as uWSGI does.
    ShowConfig,
    /// `--reload PIDFILE`.
    Reload(PathBuf),
    /// `--stop PIDFILE`.
    Stop(PathBuf),
    /// `--connect-and-read ADDRESS`.
    ConnectAndRead(String),
    /// `--version`.
    Version,
    /// `--help`, `--usage`.
    Help,
    /// `--dump-options`.
    DumpOptions,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What is asked for.
    pub command: Command,
    /// The configuration: there exactly when no problem is an error and the command has to do with serving
    /// ([`Command::Serve`], [`Command::ShowConfig`], [`Command::Emperor`]).
    pub config: Option<VassalConfig>,
    /// Errors first, then warnings, each in the order they were found.
    pub problems: Vec<Problem>,
}

/// Reads an entry.
pub fn read(entry: &Entry, facts: &Facts, files: &dyn Files) -> Outcome {
    let mut gatherer = Gatherer::new(facts, files);
    match entry {
        Entry::File { path, content } => gatherer.file(path, content),
        Entry::Arguments(arguments) => {
            environment_options(facts, &mut gatherer);
            command_line::read(arguments, &mut gatherer);
        }
    }
    let mut gathered = gatherer.finish();
    let expanded = expand(&mut gathered.directives, facts);
    let mut problems = gathered.problems;
    problems.extend(expanded.problems);
    problems.extend(judge::judge(&gathered.directives, &expanded.asked));
    let command = command(&gathered.directives, entry, &mut problems);
    let serves = matches!(command, Command::Serve | Command::ShowConfig | Command::Emperor(_));
    let name = match entry {
        Entry::File { path, .. } => shown_name(path, facts),
        Entry::Arguments(_) => COMMAND_LINE,
    };
    let config = serves.then(|| assemble(gathered.directives, name, facts, &command, &mut problems));
    // Under an emperor the identity is the emperor's to know and to tell about.
    let nobody_named = config.as_ref().is_some_and(|config| config.uid.is_none());
    if facts.uid == 0
        && nobody_named
        && matches!((entry, &command), (Entry::Arguments(_), Command::Serve | Command::ShowConfig))
    {
        let at = Origin { file: name.to_owned(), ..Origin::default() };
        let problem = Problem::warning("runs-as-root", at, "no `uid` is named, so the app runs as root");
        problems.push(problem.hint("write `uid = NAME` and `gid = NAME`"));
    }
    let refused = problems.iter().any(|problem| problem.severity == Severity::Error);
    Outcome { command, config: config.filter(|_| !refused), problems: told(problems, &gathered.sources) }
}

/// Every `UWSGI_NAME=value` is `name = value`, in the environment's order.
fn environment_options(facts: &Facts, gatherer: &mut Gatherer<'_>) {
    for (name, value) in facts.environment.iter().filter(|(name, _)| !NOT_OPTIONS.contains(&name.as_str())) {
        if let Some(option) = name.strip_prefix("UWSGI_") {
            let key = option.to_lowercase().replace('_', "-");
            let at = Origin { file: ENVIRONMENT.to_owned(), ..Origin::default() };
            gatherer.add(key, Some(value.clone()), at.clone(), at);
        }
    }
}

/// The last word of the command line that is more than an option; in a file such words are refused.
fn command(directives: &[Directive], entry: &Entry, problems: &mut Vec<Problem>) -> Command {
    let mut command = Command::Serve;
    let mut emperor = Vec::new();
    for directive in directives {
        let value = directive.value.clone().unwrap_or_default();
        let asked = match directive.key.as_str() {
            "emperor" => {
                emperor.push(value);
                continue;
            }
            "show-config" => Command::ShowConfig,
            "reload" => Command::Reload(PathBuf::from(value)),
            "stop" => Command::Stop(PathBuf::from(value)),
            "connect-and-read" => Command::ConnectAndRead(value),
            "version" => Command::Version,
            "help" | "usage" => Command::Help,
            "dump-options" => Command::DumpOptions,
            _ => continue,
        };
        match (&asked, directive.key_at.file.as_str()) {
            (_, COMMAND_LINE) => command = asked,
            (Command::ShowConfig, _) => {}
            _ => {
                let message = format!("`{}` is for the command line; in a file it would end the vassal", directive.key);
                problems.push(Problem::error("command-line-only", directive.key_at.clone(), message).hint("remove it"));
            }
        }
    }
    match (entry, emperor.is_empty(), &command) {
        (_, true, _) => command,
        (Entry::Arguments(_), false, Command::Serve | Command::ShowConfig) => Command::Emperor(emperor),
        (Entry::Arguments(_), false, _) => command,
        (Entry::File { path, .. }, false, _) => {
            let origin = directives
                .iter()
                .find(|directive| directive.key == "emperor")
                .map(|directive| directive.key_at.clone());
            let message = "an emperor inside a vassal file is not started";
            let problem = Problem::error("option-refused", origin.unwrap_or_default(), message);
            problems.push(problem.hint(format!("start it by itself: `vassal {path}` or `emperor run --vassals DIR`")));
            command
        }
    }
}

/// The problems as they are told: with their lines quoted, errors first, and not without end.
fn told(mut problems: Vec<Problem>, sources: &BTreeMap<String, Rc<[u8]>>) -> Vec<Problem> {
    problems.sort_by_key(|problem| problem.severity);
    if problems.len() > PROBLEMS_MAX {
        let more = problems.len() - PROBLEMS_MAX;
        problems.truncate(PROBLEMS_MAX);
        let file = problems.first().map(|problem| problem.origin.file.clone()).unwrap_or_default();
        let origin = Origin { file, ..Origin::default() };
        problems.push(Problem::warning("more-problems", origin, format!("and {more} more problems")));
    }
    for problem in &mut problems {
        problem.source = quote(&problem.origin, sources);
    }
    problems
}

fn quote(origin: &Origin, sources: &BTreeMap<String, Rc<[u8]>>) -> Option<String> {
    let number = origin.line.checked_sub(1)?;
    let line = sources.get(&origin.file)?.split(|byte| *byte == b'\n').nth(number as usize)?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    (line.len() <= QUOTE_MAX_BYTES).then(|| String::from_utf8_lossy(line).into_owned())
}

#[cfg(test)]
mod tests;
