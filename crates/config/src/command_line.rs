//! uWSGI's command line, which getopt_long(3) reads: long options with unique abbreviations, short ones that may be
//! joined, and configuration files.
//!
//! One difference: `--master=true` is taken, where getopt_long refuses a value for an option without one.

use crate::{
    gather::Gatherer,
    problem::{Origin, Problem},
    registry::{self, Argument, Entry, Since},
    suggest,
};

/// What origins of the command line name as their file.
pub(crate) const COMMAND_LINE: &str = "command line";

/// Feeds the arguments to `gatherer`, in order; files without an option come last, as in uWSGI.
pub(crate) fn read(arguments: &[String], gatherer: &mut Gatherer<'_>) {
    let shown = Shown::new(arguments);
    gatherer.source(COMMAND_LINE, &shown.text);
    let mut files = Vec::new();
    let mut at = 0;
    while at < arguments.len() {
        let argument = arguments[at].as_str();
        at += 1;
        let next = Next { value: arguments.get(at).map(String::as_str), place: shown.place(at) };
        let here = shown.place(at - 1);
        let used_next = match argument {
            "--" => {
                files.extend((at..arguments.len()).map(|rest| (arguments[rest].as_str(), shown.place(rest))));
                break;
            }
            _ if argument.starts_with("--") => long(&argument[2..], &here, &next, gatherer),
            _ if argument.len() > 1 && argument.starts_with('-') => shorts(&argument[1..], &here, &next, gatherer),
            _ => {
                files.push((argument, here));
                false
            }
        };
        at += usize::from(used_next);
    }
    for (file, place) in files {
        // uWSGI keeps arguments in brackets for itself: what it renames its processes to.
        if !file.starts_with('[') {
            gatherer.include(file, &place);
        }
    }
}

/// The argument after the one being read.
struct Next<'a> {
    value: Option<&'a str>,
    place: Origin,
}

/// One long option without its dashes. True when the next argument was its value.
fn long(text: &str, here: &Origin, next: &Next<'_>, gatherer: &mut Gatherer<'_>) -> bool {
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    let (name, argument) = match gatherer.argument_of_custom(name) {
        Some(argument) => (name, argument),
        None => match find(name) {
            Ok(entry) => (entry.name, entry.argument),
            Err(problem) => {
                gatherer.problem(problem.at(here.clone()));
                return false;
            }
        },
    };
    if let Some(value) = value {
        gatherer.add(name.to_owned(), Some(value.to_owned()), here.clone(), here.clone());
        return false;
    }
    give((name, argument), here, next, gatherer)
}

/// Joined short options: `-Mp 4`, `-p4`. True when the next argument was a value.
fn shorts(text: &str, here: &Origin, next: &Next<'_>, gatherer: &mut Gatherer<'_>) -> bool {
    let mut rest = text.chars();
    while let Some(letter) = rest.next() {
        let Some(entry) = registry::by_short(letter) else {
            let message = format!("unknown option `-{letter}`");
            gatherer
                .problem(Problem::error("unknown-argument", here.clone(), message).hint("`--help` lists the options"));
            return false;
        };
        let joined = rest.as_str();
        match entry.argument {
            Argument::No => gatherer.add(entry.name.to_owned(), None, here.clone(), here.clone()),
            Argument::Optional | Argument::Required if !joined.is_empty() => {
                gatherer.add(entry.name.to_owned(), Some(joined.to_owned()), here.clone(), here.clone());
                return false;
            }
            Argument::Optional | Argument::Required => return give((entry.name, entry.argument), here, next, gatherer),
        }
    }
    false
}

/// Adds an option whose value, if it must have one, is the next argument. True when that was used.
fn give((name, argument): (&str, Argument), here: &Origin, next: &Next<'_>, gatherer: &mut Gatherer<'_>) -> bool {
    match (argument, next.value) {
        (Argument::Required, None) => {
            let message = format!("`--{name}` requires an argument");
            gatherer.problem(
                Problem::error("missing-argument", here.clone(), message).hint(format!("write `--{name} VALUE`")),
            );
            false
        }
        (Argument::Required, Some(value)) => {
            gatherer.add(name.to_owned(), Some(value.to_owned()), here.clone(), next.place.clone());
            true
        }
        (Argument::No | Argument::Optional, _) => {
            gatherer.add(name.to_owned(), None, here.clone(), here.clone());
            false
        }
    }
}

/// Why a name leads to no option.
enum NotFound<'a> {
    Unknown(&'a str),
    Ambiguous(&'a str, Vec<&'static str>),
}

impl NotFound<'_> {
    fn at(&self, origin: Origin) -> Problem {
        match self {
            NotFound::Unknown(name) => {
                let hint = match suggest::nearest(name) {
                    Some(nearest) => format!("did you mean `--{nearest}`?"),
                    None => "`--help` lists the options".to_owned(),
                };
                Problem::error("unknown-argument", origin, format!("unrecognized option `--{name}`")).hint(hint)
            }
            NotFound::Ambiguous(name, candidates) => {
                let message = format!("option `--{name}` is ambiguous; it begins {} options", candidates.len());
                let shown: Vec<String> = candidates.iter().take(5).map(|name| format!("`--{name}`")).collect();
                Problem::error("unknown-argument", origin, message)
                    .hint(format!("write the whole name, for example {}", shown.join(", ")))
            }
        }
    }
}

/// An exact name, else the only option of uWSGI 2.0 that begins so.
fn find(name: &str) -> Result<&'static Entry, NotFound<'_>> {
    if let Some(entry) = registry::lookup(name) {
        return Ok(entry);
    }
    let begins = |entry: &&Entry| entry.since == Since::Uwsgi20 && entry.name.starts_with(name);
    let candidates: Vec<&'static Entry> = registry::all().iter().filter(begins).collect();
    match candidates.as_slice() {
        _ if name.is_empty() => Err(NotFound::Unknown(name)),
        [] => Err(NotFound::Unknown(name)),
        [only] => Ok(only),
        several => Err(NotFound::Ambiguous(name, several.iter().map(|entry| entry.name).collect())),
    }
}

/// The command line as one line of text, to point into.
struct Shown {
    text: String,
    places: Vec<Origin>,
}

impl Shown {
    fn new(arguments: &[String]) -> Shown {
        let mut shown = Shown { text: String::new(), places: Vec::new() };
        let mut column = 1;
        for argument in arguments {
            let argument = argument.replace(['\n', '\r'], " ");
            let length = u32::try_from(argument.chars().count()).unwrap_or(u32::MAX);
            shown.places.push(Origin { file: COMMAND_LINE.to_owned(), line: 1, column, length });
            column = column.saturating_add(length).saturating_add(1);
            if !shown.text.is_empty() {
                shown.text.push(' ');
            }
            shown.text.push_str(&argument);
        }
        shown
    }

    fn place(&self, at: usize) -> Origin {
        self.places.get(at).cloned().unwrap_or_else(|| Origin {
            file: COMMAND_LINE.to_owned(),
            line: 1,
            ..Origin::default()
        })
    }
}

#[cfg(test)]
mod tests;
