//! Collects the directives of an entry: follows `ini`, `include`, sections and `set` at the place where they stand, as
//! uWSGI's immediate options do. Values are not expanded yet, and nothing is judged but what concerns reading.
//!
//! Bounded whatever the files say: depth, number of inclusions and total size have limits.

use std::{collections::BTreeMap, rc::Rc};

use crate::{
    facts::{Facts, FileError, Files},
    ini,
    magic::{FileNames, Magic, Resolve, absolute},
    problem::{Origin, Problem},
    registry,
};

/// Deepest nesting of files.
const INCLUDE_DEPTH_MAX: usize = 32;
/// Most files and sections read for one entry.
const INCLUDES_MAX: usize = 256;
/// Most bytes read for one entry, magic variables replaced.
const TEXT_MAX_BYTES: usize = 8 * 1024 * 1024;

/// Whether a directive takes part in the passes that follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Given {
    /// An option or an unknown key: expanded and applied.
    Option,
    /// By `set-ph`: only ever looked up.
    Placeholder,
    /// Done already while reading (`ini`, `set`): not expanded, as in uWSGI.
    Done,
}

/// One `key = value`, wherever it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directive {
    pub(crate) key: String,
    /// None for an option without a value on the command line.
    pub(crate) value: Option<String>,
    pub(crate) key_at: Origin,
    pub(crate) value_at: Origin,
    pub(crate) given: Given,
}

/// Options that act while a file is read; `$(NAME)` and `%(key)` mean nothing in them.
const IMMEDIATE: [&str; 34] = [
    "ini",
    "include",
    "config",
    "xml",
    "xmlconfig",
    "yaml",
    "yml",
    "json",
    "js",
    "set",
    "set-ph",
    "set-placeholder",
    "plugin",
    "plugins",
    "need-plugin",
    "need-plugins",
    "plugin-dir",
    "plugins-dir",
    "listen",
    "umask",
    "flock",
    "flock2",
    "stop",
    "reload",
    "declare-option",
    "declare-option2",
    "strict",
    "early-envdir",
    "exit",
    "spooler-processes",
    "immediate-uid",
    "immediate-gid",
    "fallback-config",
    "command-mode",
];

/// Everything an entry holds, in order.
pub(crate) struct Gathered {
    pub(crate) directives: Vec<Directive>,
    pub(crate) problems: Vec<Problem>,
    /// The texts of the files by the name shown in origins, to quote lines from.
    pub(crate) sources: BTreeMap<String, Rc<[u8]>>,
}

/// The collector. Feed it with [`Gatherer::file`] and [`Gatherer::add`].
pub(crate) struct Gatherer<'a> {
    facts: &'a Facts,
    files: &'a dyn Files,
    gathered: Gathered,
    /// Contents by absolute path: a file is read once, and `ini = :section` sees the same bytes.
    contents: BTreeMap<String, Rc<[u8]>>,
    first: Option<FileNames>,
    last_ini: Option<(String, String)>,
    open: Vec<(String, String)>,
    includes: usize,
    bytes: usize,
}

impl<'a> Gatherer<'a> {
    pub(crate) fn new(facts: &'a Facts, files: &'a dyn Files) -> Gatherer<'a> {
        let gathered = Gathered { directives: Vec::new(), problems: Vec::new(), sources: BTreeMap::new() };
        Gatherer {
            facts,
            files,
            gathered,
            contents: BTreeMap::new(),
            first: None,
            last_ini: None,
            open: Vec::new(),
            includes: 0,
            bytes: 0,
        }
    }

    /// Reads a file whose content is known already.
    pub(crate) fn file(&mut self, path: &str, content: &[u8]) {
        let whole = absolute(&self.facts.working_directory, path);
        self.contents.insert(whole, Rc::from(content));
        let origin = Origin { file: shown_name(path, self.facts).to_owned(), ..Origin::default() };
        let given = shown_name(path, self.facts).to_owned();
        match other_format(path) {
            Some(format) => self.problem(format_not_read(format, origin)),
            None => self.ini(&given, None, &origin),
        }
    }

    /// Makes a text known under a name that origins use.
    pub(crate) fn source(&mut self, name: &str, text: &str) {
        self.gathered.sources.insert(name.to_owned(), Rc::from(text.as_bytes()));
    }

    /// What was collected.
    pub(crate) fn finish(self) -> Gathered {
        self.gathered
    }

    pub(crate) fn problem(&mut self, problem: Problem) {
        self.gathered.problems.push(problem);
    }

    /// Takes one directive, and does at once what must be done while reading.
    pub(crate) fn add(&mut self, key: String, value: Option<String>, key_at: Origin, value_at: Origin) {
        let given = if IMMEDIATE.contains(&key.as_str()) { Given::Done } else { Given::Option };
        self.gathered.directives.push(Directive {
            key: key.clone(),
            value: value.clone(),
            key_at,
            value_at: value_at.clone(),
            given,
        });
        let text = value.unwrap_or_default();
        match key.as_str() {
            "ini" => self.ini_option(&text, &value_at),
            "include" | "config" => self.include(&text, &value_at),
            "xml" | "xmlconfig" => self.problem(format_not_read("XML", value_at)),
            "yaml" | "yml" => self.problem(format_not_read("YAML", value_at)),
            "json" | "js" => self.problem(format_not_read("JSON", value_at)),
            "set" => match text.split_once('=') {
                Some((key, value)) => {
                    self.add(key.trim().to_owned(), Some(value.trim_start().to_owned()), value_at.clone(), value_at)
                }
                None => self.problem(bad_set("set", value_at)),
            },
            "set-ph" | "set-placeholder" => self.set_placeholder(&key, &text, value_at),
            _ => {}
        }
    }

    fn set_placeholder(&mut self, option: &str, text: &str, at: Origin) {
        let Some((key, value)) = text.split_once('=') else { return self.problem(bad_set(option, at)) };
        let key = key.trim();
        if registry::lookup(key).is_some() {
            let message = format!("you cannot use `{key}` as a placeholder, it is already available as an option");
            return self.problem(
                Problem::error("placeholder-is-option", at, message)
                    .hint(format!("write `{key} = {value}`, or use another name")),
            );
        }
        self.gathered.directives.push(Directive {
            key: key.to_owned(),
            value: Some(value.trim_start().to_owned()),
            key_at: at.clone(),
            value_at: at,
            given: Given::Placeholder,
        });
    }

    /// `include = FILE`, a file named on the command line: the suffix tells the format.
    pub(crate) fn include(&mut self, value: &str, at: &Origin) {
        if let Some(format) = other_format(value) {
            return self.problem(format_not_read(format, at.clone()));
        }
        let (path, section) = split_section(value);
        if path.ends_with(".ini") {
            return self.ini(path, section, at);
        }
        let message = format!(
            "unable to load configuration from `{value}`: its name ends in none of .ini, .xml, .yml, .yaml, .json, .js"
        );
        self.problem(
            Problem::error("bad-include", at.clone(), message).hint("write `ini = FILE` for an INI file of any name"),
        );
    }

    fn ini_option(&mut self, value: &str, at: &Origin) {
        match split_section(value) {
            ("", section) => match self.last_ini.clone() {
                Some((given, _)) => self.ini(&given, section, at),
                None => {
                    let message = format!("`{value}` names a section of the last file, but no file has been read");
                    self.problem(Problem::error("bad-include", at.clone(), message).hint("write `file.ini:section`"));
                }
            },
            (path, section) => self.ini(path, section, at),
        }
    }

    fn ini(&mut self, given: &str, section: Option<&str>, at: &Origin) {
        if let Some(problem) = unreadable_kind(given, at) {
            return self.problem(problem);
        }
        let asked = section.filter(|name| !name.is_empty()).unwrap_or("uwsgi");
        let path = absolute(&self.facts.working_directory, given);
        let place = (path.clone(), asked.to_owned());
        if self.open.contains(&place) {
            let message = format!("section `{asked}` of `{given}` is being read already: it includes itself");
            return self
                .problem(Problem::error("include-cycle", at.clone(), message).hint("remove one of the inclusions"));
        }
        self.includes += 1;
        if self.open.len() >= INCLUDE_DEPTH_MAX || self.includes > INCLUDES_MAX {
            let message = format!("too many inclusions: at most {INCLUDE_DEPTH_MAX} deep and {INCLUDES_MAX} in all");
            return self.problem(Problem::error("too-many-includes", at.clone(), message));
        }
        let content = match self.content(&path) {
            Ok(content) => content,
            Err(error) => {
                let message = format!("`{given}` could not be read: {error}");
                let hint =
                    format!("a relative path is taken from the working directory, {}", self.facts.working_directory);
                return self.problem(Problem::error("file-not-read", at.clone(), message).hint(hint));
            }
        };
        let resolve = if self.first.is_some() { Resolve::Links } else { Resolve::Nothing };
        let names = FileNames::of(given, section, resolve, self.facts, self.files);
        let first = self.first.get_or_insert_with(|| names.clone()).clone();
        self.last_ini = Some((given.to_owned(), path));
        self.gathered.sources.insert(given.to_owned(), content.clone());
        let magic = Magic::new(&names, &first, self.facts);
        let left = TEXT_MAX_BYTES.saturating_sub(self.bytes);
        let Ok(found) = ini::read(given, &content, asked, &magic, left) else {
            let message = format!(
                "the configuration is too long: at most {TEXT_MAX_BYTES} bytes with its magic variables replaced"
            );
            return self.problem(Problem::error("too-long", at.clone(), message));
        };
        self.bytes += content.len();
        if found.pairs.is_empty() && found.problems.is_empty() {
            let origin = Origin { file: given.to_owned(), ..Origin::default() };
            let message = format!("there is no section `[{asked}]` in {given}, or it is empty");
            self.problem(
                Problem::warning("missing-section", origin, message)
                    .hint("a section line ends with `]`; nothing may follow it"),
            );
        }
        self.gathered.problems.extend(found.problems);
        self.open.push(place);
        for pair in found.pairs {
            self.add(pair.key, Some(pair.value), pair.key_at, pair.value_at);
        }
        self.open.pop();
    }

    fn content(&mut self, path: &str) -> Result<Rc<[u8]>, FileError> {
        if let Some(content) = self.contents.get(path) {
            return Ok(content.clone());
        }
        let content: Rc<[u8]> = Rc::from(self.files.read(path)?);
        self.contents.insert(path.to_owned(), content.clone());
        Ok(content)
    }
}

/// How an entry's file is called in problems and by `%o`: by the name it has in the working directory, when it is there.
pub(crate) fn shown_name<'a>(path: &'a str, facts: &Facts) -> &'a str {
    let inside = path.strip_prefix(facts.working_directory.trim_end_matches('/'));
    inside.and_then(|rest| rest.strip_prefix('/')).unwrap_or(path)
}

/// The last colon parts file and section (core/ini.c:94-110).
fn split_section(value: &str) -> (&str, Option<&str>) {
    value.rsplit_once(':').map_or((value, None), |(path, section)| (path, Some(section)))
}

fn other_format(path: &str) -> Option<&'static str> {
    let (_, suffix) = path.rsplit_once('.')?;
    match suffix {
        "xml" => Some("XML"),
        "yml" | "yaml" => Some("YAML"),
        "json" | "js" => Some("JSON"),
        _ => None,
    }
}

fn unreadable_kind(given: &str, at: &Origin) -> Option<Problem> {
    if given == "-" {
        let message = "a configuration from standard input is not read";
        return Some(Problem::error("bad-include", at.clone(), message).hint("put it into a file"));
    }
    let (scheme, _) = given.split_once("://")?;
    let message =
        format!("configurations from `{scheme}://` are not read: nothing is run or fetched to understand a file");
    Some(Problem::error("scheme-refused", at.clone(), message).hint("put the text into a file"))
}

fn format_not_read(format: &str, at: Origin) -> Problem {
    let message = format!("{format} is not read yet; it comes with a later release");
    Problem::error("format-not-read", at, message)
        .hint("write the same options as INI: `[uwsgi]` and one `key = value` per line")
}

fn bad_set(option: &str, at: Origin) -> Problem {
    Problem::error("bad-value", at, format!("`{option}` expects `key=value`"))
        .hint(format!("write `{option} = key=value`"))
}

#[cfg(test)]
mod tests;
