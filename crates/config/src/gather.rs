//! Collects the directives of an entry: follows included files, sections, `set`, conditions and loops at the place where
//! they stand, as uWSGI's immediate options do. Values are not expanded yet, and nothing is judged but what concerns
//! reading.
//!
//! Bounded whatever the files say: depth, number of inclusions, repetitions and total size have limits.

mod custom;
mod include;
mod injected;
mod lists;
mod logic;
mod set;

use std::{collections::BTreeMap, rc::Rc};

use crate::{
    facts::{Facts, Files},
    magic::FileNames,
    problem::{Origin, Problem},
};

pub(crate) use include::shown_name;

/// Whether a directive takes part in the passes that follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Given {
    /// An option or an unknown key: expanded and applied.
    Option,
    /// By `set-ph`: only ever looked up.
    Placeholder,
    /// Done already while reading (`ini`, `set`): not expanded, as in uWSGI.
    Done,
    /// What an option of one's own stands for, which uWSGI applies at once, before every option that waits for the end of
    /// reading; no condition and no placeholder finds it.
    Early,
    /// The same of one that was declared only later: applied where it stands.
    InPlace,
}

impl Given {
    /// Whether its value is still to be expanded.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Given::Option | Given::Early | Given::InPlace)
    }

    /// Whether conditions and placeholders find it.
    pub(crate) fn can_be_found(self) -> bool {
        !matches!(self, Given::Early | Given::InPlace)
    }
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

/// Options that act while a file is read; `$(NAME)` and `%(key)` mean nothing in them. Sorted.
const IMMEDIATE: [&str; 90] = [
    "autoload",
    "blacklist",
    "command-mode",
    "config",
    "connect-and-read",
    "declare-option",
    "declare-option2",
    "dlopen",
    "early-envdir",
    "else",
    "end-blacklist",
    "end-for",
    "end-if",
    "end-whitelist",
    "endfor",
    "endif",
    "exit",
    "extract",
    "fallback-config",
    "flock",
    "flock-wait",
    "flock-wait2",
    "flock2",
    "for",
    "for-glob",
    "for-readline",
    "for-times",
    "help",
    "ienv",
    "if-dir",
    "if-directory",
    "if-env",
    "if-exists",
    "if-file",
    "if-hostname",
    "if-hostname-match",
    "if-not-dir",
    "if-not-env",
    "if-not-exists",
    "if-not-file",
    "if-not-hostname",
    "if-not-hostname-match",
    "if-not-opt",
    "if-not-plugin",
    "if-not-reload",
    "if-opt",
    "if-plugin",
    "if-reload",
    "ifdir",
    "ifenv",
    "ifexists",
    "ifplugin",
    "immediate-gid",
    "immediate-uid",
    "include",
    "ini",
    "ini-paste",
    "ini-paste-logged",
    "inject-after",
    "inject-before",
    "iprint",
    "js",
    "json",
    "listen",
    "need-plugin",
    "need-plugins",
    "pause",
    "pcre-jit",
    "plugin",
    "plugin-dir",
    "plugins",
    "plugins-dir",
    "reload",
    "resolve",
    "resume",
    "set",
    "set-ph",
    "set-placeholder",
    "signal",
    "spooler-processes",
    "stop",
    "strict",
    "suspend",
    "umask",
    "usage",
    "whitelist",
    "xml",
    "xmlconfig",
    "yaml",
    "yml",
];

/// Everything an entry holds, in order.
pub(crate) struct Gathered {
    pub(crate) directives: Vec<Directive>,
    pub(crate) problems: Vec<Problem>,
    /// The texts of the files by the name shown in origins, to quote lines from.
    pub(crate) sources: BTreeMap<String, Rc<[u8]>>,
    /// What `early-envdir` adds to the environment, or takes from it.
    pub(crate) early_environment: Vec<(String, Option<String>)>,
}

/// The collector. Feed it with [`Gatherer::file`] and [`Gatherer::add`].
pub(crate) struct Gatherer<'a> {
    facts: &'a Facts,
    files: &'a dyn Files,
    gathered: Gathered,
    /// Contents by [`crate::source::Source::name`]: a file is read once, and `ini = :section` sees the same bytes.
    contents: BTreeMap<String, Rc<[u8]>>,
    /// The first value of each key, for `if-opt`.
    firsts: BTreeMap<String, Option<String>>,
    first: Option<FileNames>,
    last_ini: Option<String>,
    /// The vassal's file, as it is called, when it is an emperor's.
    vassal: Option<String>,
    open: Vec<(String, String)>,
    includes: usize,
    bytes: usize,
    logic: logic::State,
    lists: lists::Lists,
    custom: custom::Customs,
    /// `inherit` is being followed: what stands before it has been expanded.
    inherits: bool,
    /// `inject-before` and `inject-after`: texts put around each file that follows.
    injected: injected::Injected,
}

impl<'a> Gatherer<'a> {
    pub(crate) fn new(facts: &'a Facts, files: &'a dyn Files) -> Gatherer<'a> {
        Gatherer {
            facts,
            files,
            gathered: Gathered {
                directives: Vec::new(),
                problems: Vec::new(),
                sources: BTreeMap::new(),
                early_environment: Vec::new(),
            },
            contents: BTreeMap::new(),
            firsts: BTreeMap::new(),
            first: None,
            last_ini: None,
            vassal: None,
            open: Vec::new(),
            includes: 0,
            bytes: 0,
            logic: logic::State::default(),
            lists: lists::Lists::default(),
            custom: custom::Customs::default(),
            inherits: false,
            injected: injected::Injected::default(),
        }
    }

    /// Makes a text known under a name that origins use.
    pub(crate) fn source(&mut self, name: &str, text: &str) {
        self.gathered.sources.insert(name.to_owned(), Rc::from(text.as_bytes()));
    }

    /// What was collected so far, to be expanded in place; [`Gatherer::inherit`] adds to it.
    pub(crate) fn gathered(&mut self) -> &mut Gathered {
        &mut self.gathered
    }

    /// The end of reading: what was collected, in the order in which it is applied.
    pub(crate) fn finish(mut self) -> Gathered {
        self.tell_open_block();
        self.gathered.directives.sort_by_key(|directive| directive.given != Given::Early);
        self.gathered
    }

    pub(crate) fn problem(&mut self, problem: Problem) {
        self.gathered.problems.push(problem);
    }

    /// Takes one directive, and does at once what must be done while reading.
    pub(crate) fn add(&mut self, key: String, value: Option<String>, key_at: Origin, value_at: Origin) {
        if let Some(problem) = self.lists.forbids(&key, &key_at) {
            return self.problem(problem);
        }
        let directive = Directive { key, value, key_at, value_at, given: Given::Option };
        if let Some(directive) = self.through_logic(directive) {
            self.take(directive);
        }
    }

    /// Takes a directive that no condition holds back.
    fn take(&mut self, mut directive: Directive) {
        let can_be_found = directive.given.can_be_found();
        let is_custom = self.custom_of(&directive.key).is_some();
        if is_custom || IMMEDIATE.binary_search(&directive.key.as_str()).is_ok() {
            directive.given = Given::Done;
        }
        if can_be_found && !self.firsts.contains_key(&directive.key) {
            self.firsts.insert(directive.key.clone(), directive.value.clone());
        }
        let acts = directive.given == Given::Done;
        self.gathered.directives.push(directive);
        if acts {
            let directive = self.gathered.directives[self.gathered.directives.len() - 1].clone();
            self.act(&directive);
        }
    }

    fn act(&mut self, directive: &Directive) {
        let Directive { key, value_at, .. } = directive;
        let text = directive.value.as_deref().unwrap_or_default();
        match key.as_str() {
            "ini" | "ini-paste" | "ini-paste-logged" | "xml" | "xmlconfig" | "yaml" | "yml" | "json" | "js" => {
                self.file_option(key, text, value_at);
            }
            "include" | "config" => self.include(text, value_at),
            "inject-before" => self.injected.before.push((text.to_owned(), value_at.clone())),
            "inject-after" => self.injected.after.push((text.to_owned(), value_at.clone())),
            "set" => self.set(text, value_at),
            "set-ph" | "set-placeholder" => self.set_placeholder(key, text, value_at),
            "resolve" => self.resolve(text, value_at),
            "early-envdir" => self.early_envdir(text, value_at),
            "ienv" => self.early_variable(text),
            "declare-option" | "declare-option2" => self.declare(key, text, value_at),
            "blacklist" | "whitelist" | "end-blacklist" | "end-whitelist" => self.lists.set(key, text),
            "exit" => self.exit(directive),
            _ if self.begin_block(directive) => {}
            _ => self.apply_custom(directive),
        }
    }

    fn exit(&mut self, directive: &Directive) {
        let message = "`exit` ends the start here, as the file asks";
        let problem = Problem::error("exit-asked", directive.key_at.clone(), message);
        self.problem(problem.hint("it usually stands in a condition: see what that waits for"));
    }
}

#[cfg(test)]
mod tests;
