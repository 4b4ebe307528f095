//! The ways in which uWSGI's emperor is started, said as `emperor run`: `emperor --emperor DIR` and `emperor emperor.ini` with
//! `emperor = DIR` in it, with whatever of uWSGI's options stands beside it. What `emperor run` knows itself may stand there
//! as well; the rest is read as uWSGI reads it.

use std::ffi::{OsStr, OsString};

use clap::{CommandFactory, Parser};
use empery_config::{
    emperor::{Emperor, flag_of},
    problem::{Colour, Problem, Severity, render},
    read::{self, Command, Entry, Outcome},
};

use super::{
    Line, Verb,
    machine::{self, Disk},
    run,
};

/// The command line as clap is to read it.
pub(super) fn translated(typed: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let mut words = typed.into_iter();
    let program = words.next().unwrap_or_else(|| "emperor".into());
    let rest: Vec<OsString> = words.collect();
    if !rest.first().is_some_and(|first| is_uwsgi_s(first)) {
        return Ok(std::iter::once(program).chain(rest).collect());
    }
    let (own, uwsgi_s) = parted(rest)?;
    let outcome = read(uwsgi_s);
    if matches!(outcome.command, Command::Emperor(_)) && !outcome.problems.is_empty() {
        eprint!("{}", render(&outcome.problems, Colour::Plain));
    }
    let Emperor { vassals, flags } = emperor_of(outcome)?;
    let watched = vassals.into_iter().flat_map(|named| ["--vassals".to_owned(), named]);
    let words = watched.chain(flags).map(OsString::from);
    Ok([program, "run".into()].into_iter().chain(words).chain(own).collect())
}

/// Whether a first word is no verb of ours: an option, or a configuration file.
fn is_uwsgi_s(first: &OsStr) -> bool {
    let Some(first) = first.to_str() else { return false };
    let file = first.split(':').next().unwrap_or_default();
    match first {
        "-h" | "--help" | "-V" | "--version" => false,
        _ => first.starts_with('-') || empery_control::places::counts(file),
    }
}

/// The words of `emperor run`, and uWSGI's. What both have (`emperor-stats`) is read as uWSGI reads it.
fn parted(words: Vec<OsString>) -> Result<(Vec<OsString>, Vec<String>), String> {
    let line = Line::command();
    let run = line.get_subcommands().find(|verb| verb.get_name() == "run");
    let own = |name: &str| {
        let mut options = run.iter().flat_map(|run| run.get_arguments());
        options.find(|option| option.get_long() == Some(name)).filter(|_| flag_of(name).is_none())
    };
    let (mut ours, mut uwsgi_s) = (Vec::new(), Vec::new());
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        let text = word.to_str().ok_or_else(|| format!("{} is not UTF-8", word.display()))?;
        let (name, value) = match text.strip_prefix("--").map(|text| text.split_once('=').unwrap_or((text, ""))) {
            Some((name, value)) => (name, value),
            None => ("", ""),
        };
        let next = words.peek().and_then(|next| next.to_str()).unwrap_or_default();
        // `listen` is an address here and the length of a queue in uWSGI.
        let is_a_queue = name == "listen" && if value.is_empty() { next } else { value }.parse::<u32>().is_ok();
        match own(name).filter(|_| !is_a_queue) {
            None => uwsgi_s.push(text.to_owned()),
            Some(option) => {
                let takes_next = option.get_action().takes_values() && !text.contains('=');
                let needs_equals = option.is_require_equals_set();
                ours.push(word);
                ours.extend(words.next_if(|_| takes_next && !needs_equals));
            }
        }
    }
    Ok((ours, uwsgi_s))
}

/// What uWSGI's words say, `UWSGI_…` variables included. The working directory is that of whoever types.
pub(super) fn read(words: Vec<String>) -> Outcome {
    read::read(&Entry::Arguments(words), &machine::facts(), &Disk)
}

/// What `emperor run` is told of an emperor's file.
///
/// # Errors
/// When it cannot be read, or is none.
pub(super) fn options_of(file: &std::path::Path) -> Result<run::Options, String> {
    options(&emperor_of(read(vec![file.display().to_string()]))?)
}

/// The same of one that has been read.
///
/// # Errors
/// When a value is not what its option takes.
pub(super) fn options(emperor: &Emperor) -> Result<run::Options, String> {
    let watched = emperor.vassals.iter().map(|named| format!("--vassals={named}"));
    let words = ["emperor", "run"].into_iter().map(str::to_owned).chain(watched).chain(emperor.flags.iter().cloned());
    match Line::try_parse_from(words).map_err(|told| told.to_string())?.verb {
        Verb::Run(options) => Ok(options),
        _ => Err("it is no emperor's".to_owned()),
    }
}

fn emperor_of(outcome: Outcome) -> Result<Emperor, String> {
    // Without a directory the words are taken for an app's, which lacks this and that.
    let is_an_app_s = |problem: &&Problem| ["no-app", "no-listener"].contains(&problem.code.as_str());
    let mut errors = outcome.problems.iter().filter(|problem| problem.severity == Severity::Error);
    match (outcome.command, errors.find(|problem| !is_an_app_s(problem))) {
        (_, Some(problem)) => Err(format!("{}: {}", problem.origin, problem.message)),
        (Command::Emperor(emperor), None) => Ok(emperor),
        (_, None) => {
            Err("no directory to watch is named: write `emperor = DIR` into the [uwsgi] section of the file, or say \
                          `--emperor DIR`; `emperor run` has options of its own"
                .to_owned())
        }
    }
}

#[cfg(test)]
mod tests;
