//! The whole way from an entry (a file, a command line) to a configuration.

mod judge;

use std::{collections::BTreeMap, path::PathBuf, rc::Rc};

use crate::{
    assemble::{Environment, assemble},
    command_line::{self, COMMAND_LINE},
    emperor::Emperor,
    environment_files,
    expand::{Expanded, Expander, Machine},
    facts::{Facts, Files},
    gather::{Directive, Gatherer, Given, shown_name},
    magic::absolute,
    problem::{Origin, Problem, Severity},
    vassal::VassalConfig,
};

pub(crate) use judge::is_built_in_plugin;

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
    /// `emperor = DIR`: be an emperor of this directory.
    Emperor(Emperor),
    /// `--show-config`: print [`crate::show::show`] of the configuration, then serve, as uWSGI does.
    ShowConfig,
    /// `--reload PIDFILE`.
    Reload(PathBuf),
    /// `--stop PIDFILE`.
    Stop(PathBuf),
    /// `--pause`, `--suspend`, `--resume PIDFILE`: one signal for all, as in uWSGI; it changes one into the other.
    Suspend(PathBuf),
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
    /// What `print` and `iprint` say, in order.
    pub prints: Vec<String>,
    /// Errors first, then warnings, each in the order they were found.
    pub problems: Vec<Problem>,
}

/// Reads an entry. When it cannot be run and names a `fallback-config`, that is what comes back, and why.
pub fn read(entry: &Entry, facts: &Facts, files: &dyn Files) -> Outcome {
    let (outcome, fallback) = read_once(entry, facts, files);
    let is_refused = serves(&outcome.command) && outcome.config.is_none();
    match fallback.filter(|_| is_refused) {
        Some(named) => fall_back(entry, outcome, &named, facts, files),
        None => outcome,
    }
}

/// `fallback-config` as it was named.
struct Fallback {
    path: String,
    at: Origin,
}

fn read_once(entry: &Entry, facts: &Facts, files: &dyn Files) -> (Outcome, Option<Fallback>) {
    let mut gatherer = Gatherer::new(facts, files);
    match entry {
        Entry::File { path, content } => gatherer.file(path, content),
        Entry::Arguments(arguments) => {
            environment_options(facts, &mut gatherer);
            command_line::read(arguments, &mut gatherer);
        }
    }
    let expanded = expand_all(&mut gatherer, facts, files);
    let mut gathered = gatherer.finish();
    let mut problems = std::mem::take(&mut gathered.problems);
    problems.extend(expanded.problems);
    problems.extend(judge::judge(&gathered.directives, &expanded.asked));
    let command = command(&gathered.directives, entry, &mut problems);
    let name = match entry {
        Entry::File { path, .. } => shown_name(path, facts),
        Entry::Arguments(_) => COMMAND_LINE,
    };
    let last = |key: &str| gathered.directives.iter().rev().find(|directive| directive.key == key);
    let fallback = last("fallback-config")
        .and_then(|directive| Some(Fallback { path: directive.value.clone()?, at: directive.value_at.clone() }));
    let prints = prints(&gathered.directives);
    let environment = Environment {
        early: std::mem::take(&mut gathered.early_environment),
        directories: directories(&gathered.directives, facts, files, &mut problems),
    };
    let config =
        serves(&command).then(|| assemble(gathered.directives, environment, name, facts, &command, &mut problems));
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
    let config = config.filter(|_| !refused);
    (Outcome { command, config, prints, problems: told(problems, &gathered.sources) }, fallback)
}

fn serves(command: &Command) -> bool {
    matches!(command, Command::Serve | Command::ShowConfig | Command::Emperor(_))
}

/// Expands everything. Files of `inherit` are read after that, as in uWSGI, and what they hold is expanded then.
fn expand_all(gatherer: &mut Gatherer<'_>, facts: &Facts, files: &dyn Files) -> Expanded {
    let mut expander = Expander::default();
    let (mut expanded, mut looked_at) = (0, 0);
    loop {
        let gathered = gatherer.gathered();
        let early = gathered.early_environment.iter().cloned().collect();
        let machine = Machine { facts, files, early };
        let changed = expander.expand(&mut gathered.directives, expanded, &machine);
        if let Some(at) = changed.filter(|_| expanded > 0) {
            let message = "placeholders in an inherited file are replaced here; uWSGI leaves them as they stand";
            gathered.problems.push(Problem::warning("inherit-expanded", at, message));
        }
        let is_inherit = |directive: &Directive| directive.key == "inherit" && directive.given.is_open();
        let Some(next) = gathered.directives[looked_at..].iter().position(is_inherit) else {
            return expander.finish();
        };
        looked_at += next + 1;
        let directive = gathered.directives[looked_at - 1].clone();
        expanded = gatherer.inherit(directive.value.as_deref().unwrap_or_default(), &directive.value_at);
    }
}

/// What `print` and `iprint` say, in order.
fn prints(directives: &[Directive]) -> Vec<String> {
    let said = directives.iter().filter(|directive| matches!(directive.key.as_str(), "print" | "iprint"));
    said.map(|directive| directive.value.clone().unwrap_or_default()).collect()
}

/// What all `envdir` make of the environment.
fn directories(
    directives: &[Directive],
    facts: &Facts,
    files: &dyn Files,
    problems: &mut Vec<Problem>,
) -> Vec<(String, Option<String>)> {
    let mut variables = Vec::new();
    for directive in directives.iter().filter(|directive| directive.key == "envdir") {
        let directory = directive.value.as_deref().unwrap_or_default();
        let found = environment_files::read(directory, &facts.working_directory, files, &directive.value_at);
        problems.extend(found.problems);
        variables.extend(found.variables);
    }
    variables
}

/// uWSGI starts itself again with the fallback when its exit code is 1. Here the file is looked at in its place.
fn fall_back(entry: &Entry, outcome: Outcome, named: &Fallback, facts: &Facts, files: &dyn Files) -> Outcome {
    let mut told = Vec::new();
    let other = match entry {
        Entry::Arguments(_) => Ok(Entry::Arguments(vec![named.path.clone()])),
        Entry::File { .. } => {
            let path = absolute(&facts.working_directory, &named.path);
            files.read(&path).map(|content| Entry::File { path, content })
        }
    };
    let second = match other {
        Ok(other) => read_once(&other, facts, files).0,
        Err(error) => {
            let message = format!("the fallback `{}` could not be read: {error}", named.path);
            told.push(Problem::error("file-not-read", named.at.clone(), message));
            Outcome { config: None, problems: Vec::new(), ..outcome.clone() }
        }
    };
    if second.config.is_some() {
        let message = format!("the configuration cannot be run; `{}` is run in its place", named.path);
        told.push(Problem::warning("fallback-used", named.at.clone(), message));
        told.extend(outcome.problems.into_iter().map(|problem| Problem { severity: Severity::Warning, ..problem }));
    } else {
        told.extend(outcome.problems);
    }
    told.extend(second.problems);
    told.sort_by_key(|problem| problem.severity);
    Outcome { problems: told, ..second }
}

/// Every `UWSGI_NAME=value` is `name = value`, in the environment's order.
fn environment_options(facts: &Facts, gatherer: &mut Gatherer<'_>) {
    let in_order: Vec<&String> = match &facts.environment_order[..] {
        [] => facts.environment.keys().collect(),
        order => order.iter().collect(),
    };
    for name in in_order.into_iter().filter(|name| !NOT_OPTIONS.contains(&name.as_str())) {
        if let (Some(option), Some(value)) = (name.strip_prefix("UWSGI_"), facts.environment.get(name)) {
            let key = option.to_lowercase().replace('_', "-");
            let at = Origin { file: ENVIRONMENT.to_owned(), ..Origin::default() };
            gatherer.add(key, Some(value.clone()), at.clone(), at);
        }
    }
}

/// The last word of the command line that is more than an option; in a file such words are refused.
fn command(directives: &[Directive], entry: &Entry, problems: &mut Vec<Problem>) -> Command {
    let mut command = Command::Serve;
    for directive in directives {
        let value = directive.value.clone().unwrap_or_default();
        let asked = match directive.key.as_str() {
            "show-config" => Command::ShowConfig,
            "reload" => Command::Reload(PathBuf::from(value)),
            "stop" => Command::Stop(PathBuf::from(value)),
            "pause" | "suspend" | "resume" => Command::Suspend(PathBuf::from(value)),
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
    let emperor = directives
        .iter()
        .find(|directive| directive.key == "emperor" && directive.given != Given::Placeholder)
        .map(|directive| directive.key_at.clone());
    match (entry, emperor, &command) {
        (Entry::Arguments(_), Some(_), Command::Serve | Command::ShowConfig) => {
            Emperor::of(directives, problems).map_or(command, Command::Emperor)
        }
        (Entry::File { path, .. }, Some(at), _) => {
            let message = "an emperor inside a vassal file is not started";
            let problem = Problem::error("option-refused", at, message);
            problems.push(problem.hint(format!("start it by itself: `vassal {path}` or `emperor run --vassals DIR`")));
            command
        }
        (_, _, _) => command,
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
