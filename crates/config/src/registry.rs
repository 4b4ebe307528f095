//! Every option of uWSGI by name, and what Empery does about it.
//!
//! The tables beside this file are the one place where that is said: reading, `--dump-options`, "did you mean" and
//! `docs/options.md` all come from them. Columns: name, short form, argument, kind of value, since, status, text.

use std::sync::LazyLock;

const TABLES: [(&str, &str); 5] = [
    ("uWSGI core", include_str!("registry/core.tsv")),
    ("Python", include_str!("registry/python.tsv")),
    ("HTTP router", include_str!("registry/http.tsv")),
    ("other plugins", include_str!("registry/plugins.tsv")),
    ("Empery's own", include_str!("registry/empery.tsv")),
];

/// What Empery does about an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It works; the text says what it does.
    Supported {
        /// In one sentence.
        meaning: &'static str,
    },
    /// It changes nothing: what it asks for is already so, or has no object here.
    Accepted {
        /// Why nothing needs doing.
        why: &'static str,
        /// Whether something is not as uWSGI has it, so that it is told.
        differs: bool,
    },
    /// It will not work here.
    Refused {
        /// Whether a configuration with it does not run, because running without it would be wrong or unsafe.
        blocks: bool,
        /// What to do instead.
        instead: &'static str,
    },
}

/// Whether a value follows on the command line (getopt_long(3)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument {
    /// Never.
    No,
    /// Only as `--option=value`.
    Optional,
    /// Always.
    Required,
}

/// How uWSGI reads the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Present is true; `false`, `off`, `no` and `0` are false.
    Boolean,
    /// atoi(3) and its wider relatives.
    Number,
    /// Every occurrence counts.
    List,
    /// The last occurrence counts.
    Text,
    /// `if-…`, `for…` and their ends.
    Logic,
    /// A function of its own.
    Own,
}

/// Where an option comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// uWSGI 2.0.
    Uwsgi20,
    /// Only in uWSGI 2.1, which was never released.
    Uwsgi21,
    /// Empery.
    Empery,
}

/// One option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its long name.
    pub name: &'static str,
    /// Its one-letter form on the command line.
    pub short: Option<char>,
    /// Whether a value follows.
    pub argument: Argument,
    /// How the value is read.
    pub kind: Kind,
    /// Where it comes from.
    pub since: Since,
    /// What Empery does about it.
    pub status: Status,
    /// The table it stands in, as a heading.
    pub family: &'static str,
}

impl Entry {
    /// Whether every uWSGI with Python has it: those of other plugins are there only where the plugin is loaded.
    #[must_use]
    pub fn is_in_every_build(&self) -> bool {
        self.family != "other plugins" && self.since != Since::Empery
    }
}

static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let lines = TABLES.iter().flat_map(|(family, table)| table.lines().map(move |line| (*family, line)));
    let mut entries: Vec<Entry> = lines.filter_map(|(family, line)| entry(family, line)).collect();
    entries.sort_by_key(|entry| entry.name);
    entries
});

/// All options, sorted by name.
#[must_use]
pub fn all() -> &'static [Entry] {
    &ENTRIES
}

/// The option of that name; names are case-sensitive and `_` is not `-`.
#[must_use]
pub fn lookup(name: &str) -> Option<&'static Entry> {
    let entries = all();
    entries.binary_search_by_key(&name, |entry| entry.name).ok().map(|at| &entries[at])
}

/// The option with that one-letter form. Where several share it (`-p` is `processes` and `workers`) they mean the same.
#[must_use]
pub fn by_short(short: char) -> Option<&'static Entry> {
    all().iter().find(|entry| entry.short == Some(short))
}

/// One line of a table; None for a line that is not one, which the test of the tables finds.
fn entry(family: &'static str, line: &'static str) -> Option<Entry> {
    let mut cells = line.split('\t');
    let mut next = || cells.next();
    let (name, short, argument, kind, since, status, text) =
        (next()?, next()?, next()?, next()?, next()?, next()?, next()?);
    Some(Entry {
        name,
        short: short.chars().next(),
        argument: match argument {
            "no" => Argument::No,
            "optional" => Argument::Optional,
            "required" => Argument::Required,
            _ => return None,
        },
        kind: match kind {
            "bool" | "bool (inverted)" => Kind::Boolean,
            "int" | "int16" | "int64" | "megabytes" => Kind::Number,
            "list" => Kind::List,
            "string" => Kind::Text,
            "logic" => Kind::Logic,
            "own" | "user" | "group" | "deprecated" => Kind::Own,
            _ => return None,
        },
        since: match since {
            "2.0" => Since::Uwsgi20,
            "2.1" => Since::Uwsgi21,
            "empery" => Since::Empery,
            _ => return None,
        },
        status: match status {
            "supported" => Status::Supported { meaning: text },
            "accepted" => Status::Accepted { why: text, differs: false },
            "accepted-differs" => Status::Accepted { why: text, differs: true },
            "refused" => Status::Refused { blocks: true, instead: text },
            "refused-warns" => Status::Refused { blocks: false, instead: text },
            _ => return None,
        },
        family,
    })
}

#[cfg(test)]
mod tests;
