//! Conditions and loops: `if-…`, `for…` and their ends (core/config.c). Each line of a block is tried by itself: a loop
//! repeats line by line, and `%(_)` in a value is the item or what was tested.
//!
//! Blocks do not nest, as in uWSGI: the first end of any kind ends the block. `else`, which only uWSGI 2.1 has, is taken.

use std::rc::Rc;

use super::{Directive, Gatherer};
use crate::{
    facts::{FileError, FileKind},
    glob,
    magic::absolute,
    problem::Problem,
    read::is_built_in_plugin,
    value,
};

/// Most directives that loops of one entry may make.
const REPEATED_MAX: usize = 50_000;
/// Most bytes they may have.
const REPEATED_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Largest pattern of `if-hostname-match`, compiled, in bytes.
const PATTERN_MAX_BYTES: usize = 256 * 1024;
/// What stands for the item.
const ITEM: &str = "%(_)";
/// Every end ends every block.
const ENDS: [&str; 5] = ["end", "endfor", "endif", "end-if", "end-for"];

/// Where reading is with regard to blocks.
#[derive(Debug, Default)]
pub(super) struct State {
    block: Option<Rc<Block>>,
    /// A line of a block is being taken: what it includes is not conditional again.
    running: bool,
    repeated: usize,
    repeated_bytes: usize,
}

/// An open block.
#[derive(Debug)]
struct Block {
    opener: Directive,
    /// What each line of it is taken with.
    turns: Turns,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Loop,
    Condition,
}

#[derive(Debug)]
enum Turns {
    /// For each of these items.
    Items(Vec<String>),
    /// Once; None leaves `%(_)` as it is.
    Once(Option<String>),
    Never,
    /// As an option or variable is at each line: a line of the block may change it, and uWSGI looks again.
    Compared,
}

impl Gatherer<'_> {
    /// What is left to take of a directive once the open block has had its say.
    pub(super) fn through_logic(&mut self, directive: Directive) -> Option<Directive> {
        if self.logic.running {
            return Some(directive);
        }
        let key = directive.key.as_str();
        if ENDS.contains(&key) {
            self.logic.block = None;
        } else if key == "else" {
            self.turn_over(&directive);
            return Some(directive);
        }
        let Some(block) = self.logic.block.clone() else { return Some(directive) };
        let compared = matches!(block.turns, Turns::Compared).then(|| self.comparison(&block.opener));
        let turns = compared.as_ref().unwrap_or(&block.turns);
        if block_of(key).is_some() && matches!(turns, Turns::Never) {
            self.tell_nesting_passed_over(&directive, &block.opener);
        }
        self.logic.running = true;
        match turns {
            Turns::Never | Turns::Compared => {}
            Turns::Once(item) => self.turn(&directive, item.as_deref()),
            Turns::Items(items) => {
                for item in items {
                    if !self.count(&directive, item) {
                        break;
                    }
                    self.turn(&directive, Some(item));
                }
            }
        }
        self.logic.running = false;
        None
    }

    fn turn(&mut self, directive: &Directive, item: Option<&str>) {
        let value = directive.value.as_deref().map(|value| match item {
            Some(item) if value.contains(ITEM) => value.replace(ITEM, item),
            _ => value.to_owned(),
        });
        self.take(Directive { value, ..directive.clone() });
    }

    /// Whether one more repetition is within the limits.
    fn count(&mut self, directive: &Directive, item: &str) -> bool {
        let value = directive.value.as_deref().unwrap_or_default();
        self.logic.repeated += 1;
        self.logic.repeated_bytes += value.len() + value.matches(ITEM).count() * item.len();
        let is_within = self.logic.repeated <= REPEATED_MAX && self.logic.repeated_bytes <= REPEATED_MAX_BYTES;
        if !is_within {
            let message = format!("loops repeat too much: at most {REPEATED_MAX} lines and {REPEATED_MAX_BYTES} bytes");
            self.problem(Problem::error("too-many-repetitions", directive.key_at.clone(), message));
            self.logic.block = None;
        }
        is_within
    }

    /// Whether the directive begins a block; it does so then.
    pub(super) fn begin_block(&mut self, directive: &Directive) -> bool {
        let key = directive.key.as_str();
        let Some(kind) = block_of(key) else { return false };
        if let Some(block) = &self.logic.block {
            let message = format!(
                "recursive logic in options is not supported (option = {key}): the block of line {} is still open",
                block.opener.key_at.line
            );
            self.problem(
                Problem::error("nested-logic", directive.key_at.clone(), message)
                    .hint("end that block first and give the inner one its own, or combine both conditions by a placeholder (`set-ph`)"),
            );
            return true;
        }
        let argument = directive.value.as_deref().unwrap_or_default();
        let turns = match kind {
            Kind::Loop => Turns::Items(self.items(key, argument, directive)),
            Kind::Condition => self.condition(key, argument, directive),
        };
        self.logic.block = Some(Rc::new(Block { opener: directive.clone(), turns, kind }));
        true
    }

    fn items(&mut self, key: &str, argument: &str, directive: &Directive) -> Vec<String> {
        let path = || absolute(&self.facts.working_directory, argument);
        let found = match key {
            "for" => Ok(argument.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()),
            "for-times" => {
                let times = value::number(Some(argument)).value.clamp(0, REPEATED_MAX as i64 + 1);
                Ok((1..=times).map(|number| number.to_string()).collect())
            }
            "for-glob" => Ok(glob::expand(argument, &self.facts.working_directory, self.files)),
            _ => self.files.read(&path()).and_then(|content| match String::from_utf8(content) {
                Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
                Err(_) => Err(FileError::Other("it is not UTF-8".to_owned())),
            }),
        };
        found.unwrap_or_else(|error| {
            let message = format!("`{argument}` could not be read: {error}; its loop has no turns");
            self.problem(Problem::warning("file-not-read", directive.value_at.clone(), message));
            Vec::new()
        })
    }

    fn condition(&mut self, key: &str, argument: &str, directive: &Directive) -> Turns {
        let path = absolute(&self.facts.working_directory, argument);
        let is_kind = |kind: FileKind| self.files.kind(&path) == Some(kind);
        let item = || Some(argument.to_owned());
        let (holds, item) = match key.trim_start_matches("if-").trim_start_matches("not-") {
            "env" | "ifenv" | "opt" => return Turns::Compared,
            "exists" | "ifexists" => (self.files.is_readable(&path), item()),
            "file" => (is_kind(FileKind::File), item()),
            "dir" | "directory" | "ifdir" => (is_kind(FileKind::Directory), item()),
            "hostname" => (self.facts.hostname == argument, item()),
            "hostname-match" => (self.hostname_matches(argument, directive), item()),
            "plugin" | "ifplugin" => (is_built_in_plugin(argument), item()),
            // `if-reload` is what is left; it puts nothing in.
            _ => (self.facts.is_a_reload, None),
        };
        if holds != is_negated(key) { Turns::Once(item) } else { Turns::Never }
    }

    /// `NAME` or `NAME=VALUE`, of an option or a variable, as it is now.
    fn comparison(&self, opener: &Directive) -> Turns {
        let (key, argument) = (opener.key.as_str(), opener.value.as_deref().unwrap_or_default());
        let (name, wanted) = argument.split_once('=').map_or((argument, None), |(name, wanted)| (name, Some(wanted)));
        let found = match key {
            "if-opt" | "if-not-opt" => self.firsts.get(name).cloned().flatten(),
            _ => self.variable(name),
        };
        let holds = match (&found, wanted) {
            (Some(found), Some(wanted)) => found == wanted,
            (found, _) => found.is_some(),
        };
        if holds != is_negated(key) { Turns::Once(found) } else { Turns::Never }
    }

    fn hostname_matches(&mut self, pattern: &str, directive: &Directive) -> bool {
        match regex::RegexBuilder::new(pattern).size_limit(PATTERN_MAX_BYTES).build() {
            Ok(pattern) => pattern.is_match(&self.facts.hostname),
            Err(error) => {
                let cause = error.to_string();
                let cause = cause.lines().last().unwrap_or_default().trim();
                let message = format!("`{pattern}` is not a regular expression that can be used: {cause}");
                self.problem(Problem::error("bad-value", directive.value_at.clone(), message));
                false
            }
        }
    }

    /// `else`: the other case of the condition before it.
    fn turn_over(&mut self, directive: &Directive) {
        let Some(block) = self.logic.block.take() else {
            let message = "`else` follows no condition";
            return self.problem(Problem::error("nested-logic", directive.key_at.clone(), message).hint("remove it"));
        };
        if block.kind == Kind::Loop {
            let message = "`else` in a loop has no meaning";
            return self.problem(Problem::error("nested-logic", directive.key_at.clone(), message).hint("remove it"));
        }
        let message = "`else` is the other case here; uWSGI 2.0 does not know it and takes it for a placeholder";
        self.problem(
            Problem::warning("logic-else", directive.key_at.clone(), message)
                .hint("for uWSGI 2.0 write a second condition, `if-not-…`"),
        );
        let compared = matches!(block.turns, Turns::Compared).then(|| self.comparison(&block.opener));
        let turns = match compared.as_ref().unwrap_or(&block.turns) {
            Turns::Never => Turns::Once(None),
            Turns::Once(_) | Turns::Items(_) | Turns::Compared => Turns::Never,
        };
        self.logic.block = Some(Rc::new(Block { opener: directive.clone(), turns, kind: Kind::Condition }));
    }

    fn tell_nesting_passed_over(&mut self, directive: &Directive, opener: &Directive) {
        let message = format!(
            "`{}` is passed over with the block of line {}, and the next end ends that block: blocks do not nest",
            directive.key, opener.key_at.line
        );
        self.problem(
            Problem::warning("nested-logic", directive.key_at.clone(), message)
                .hint("end the outer block first and give the inner one its own"),
        );
    }

    /// A block without an end makes everything after it conditional.
    pub(super) fn tell_open_block(&mut self) {
        let Some(block) = self.logic.block.take() else { return };
        let end = if block.kind == Kind::Loop { "endfor" } else { "endif" };
        let message = format!("the block of `{}` has no end; everything after it belongs to it", block.opener.key);
        let problem = Problem::warning("open-block", block.opener.key_at.clone(), message);
        self.problem(problem.hint(format!("write `{end} =` behind its last line")));
    }
}

fn block_of(key: &str) -> Option<Kind> {
    match key {
        "for" | "for-glob" | "for-times" | "for-readline" => Some(Kind::Loop),
        "if-env"
        | "ifenv"
        | "if-not-env"
        | "if-opt"
        | "if-not-opt"
        | "if-exists"
        | "ifexists"
        | "if-not-exists"
        | "if-file"
        | "if-not-file"
        | "if-dir"
        | "ifdir"
        | "if-directory"
        | "if-not-dir"
        | "if-reload"
        | "if-not-reload"
        | "if-hostname"
        | "if-not-hostname"
        | "if-hostname-match"
        | "if-not-hostname-match"
        | "if-plugin"
        | "ifplugin"
        | "if-not-plugin" => Some(Kind::Condition),
        _ => None,
    }
}

fn is_negated(key: &str) -> bool {
    key.starts_with("if-not-")
}

#[cfg(test)]
mod tests;
