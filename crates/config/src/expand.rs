//! The passes over values once everything is read: `$(NAME)` from the environment, `@(FILE)` from a file, then `%(key)`
//! from the first option or placeholder of that name anywhere (uWSGI: `uwsgi_apply_config_pass`,
//! `uwsgi_manage_placeholder`).
//!
//! A value that holds placeholders itself is expanded further, however deep; a text that does not come to an end is a
//! problem. All work is bounded.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use crate::{
    facts::{Facts, FileError, Files, Reader},
    gather::Directive,
    problem::{Origin, Problem, Severity},
    source::Source,
    value,
};

/// Longest value after expansion, in bytes.
const VALUE_MAX_BYTES: usize = 64 * 1024;
/// Most replacements in one value.
const REPLACEMENTS_MAX: usize = 1000;
/// Most bytes looked at and moved for one entry.
const WORK_MAX_BYTES: usize = 64 * 1024 * 1024;
/// Options of the app and its Python whose values an emperor needs not know: what it may not read or run for them is left to the
/// vassal's master. Sorted.
const LEFT_TO_THE_MASTER: [&str; 15] = [
    "callable",
    "env",
    "eval",
    "file",
    "home",
    "module",
    "pp",
    "pyargv",
    "pyhome",
    "python-path",
    "pythonpath",
    "venv",
    "virtualenv",
    "wsgi",
    "wsgi-file",
];
/// What looking at one placeholder costs beside its bytes.
const PLACEHOLDER_COST_BYTES: usize = 256;

/// What the passes found out.
#[derive(Debug, Default)]
pub(crate) struct Expanded {
    /// Values that could not be expanded, and variables that are not there.
    pub(crate) problems: Vec<Problem>,
    /// Every key some value asked for: unknown keys among them are placeholders, not typos.
    pub(crate) asked: BTreeSet<String>,
}

/// What values are expanded with.
pub(crate) struct Machine<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) files: &'a dyn Files,
    /// What `early-envdir` makes of the environment.
    pub(crate) early: BTreeMap<String, Option<String>>,
}

impl Machine<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        self.early.get(name).map_or_else(|| self.facts.environment.get(name).cloned(), Clone::clone)
    }

    /// What `@(NAME)` is: the content of a file, one line break at its end left out.
    fn content(&self, name: &str, directive: &Directive) -> Result<String, Box<Problem>> {
        let at = &directive.value_at;
        let source = Source::of(name, at)?;
        let is_left = self.files.reader() == Reader::Planner && is_left_to_the_master(&directive.key);
        let content = match source {
            Source::Command(_) if is_left => {
                let message = format!("`@({name})` is run by the vassal's master, as its user and not as the emperor");
                let problem = Problem::warning("run-by-the-vassal", at.clone(), message);
                return Err(Box::new(
                    problem.hint("its output is to be there within seconds, at every start and reload"),
                ));
            }
            Source::Command(command) => self.files.run_for_value(command),
            Source::File(_) | Source::Descriptor(_) => source.read(&self.facts.working_directory, self.files),
        };
        let text = content
            .and_then(|content| String::from_utf8(content).map_err(|_| FileError::Other("it is not UTF-8".to_owned())));
        match text {
            Ok(text) => Ok(text.strip_suffix(['\n', '\r']).map_or_else(|| text.clone(), str::to_owned)),
            Err(error) => {
                let problem =
                    Problem::error("file-not-read", at.clone(), format!("`@({name})` could not be read: {error}"));
                // The vassal reads it with rights of its own; nothing else of the emperor's hangs on it.
                let severity = if is_left { Severity::Warning } else { Severity::Error };
                let hint = "a relative path is taken from the working directory; the whole content is the value";
                Err(Box::new(Problem { severity, ..problem.hint(hint) }))
            }
        }
    }
}

fn is_left_to_the_master(key: &str) -> bool {
    LEFT_TO_THE_MASTER.binary_search(&key).is_ok()
}

/// The passes. Work is counted over all of them.
#[derive(Default)]
pub(crate) struct Expander {
    expanded: Expanded,
    work: usize,
    /// What stands in values in place of what is left to the vassal's master.
    left: Vec<String>,
}

impl Expander {
    /// Expands the values from directive number `from` on, in place. Where the first value stands that was changed.
    pub(crate) fn expand(
        &mut self,
        directives: &mut [Directive],
        from: usize,
        machine: &Machine<'_>,
    ) -> Option<Origin> {
        let mut changed = None;
        let is_open = |directive: &Directive| directive.given.is_open();
        for (at, directive) in directives.iter_mut().enumerate().skip(from).filter(|(_, one)| is_open(one)) {
            if self.replace(directive, '$', |name| machine.variable(name)) {
                changed.get_or_insert(at);
            }
            self.missing_variable(directive);
            self.file_contents(directive, machine);
        }
        // The first of each name; the values in it are kept up to date while the pass goes on, as uWSGI's are.
        let mut first: BTreeMap<String, (usize, String)> = BTreeMap::new();
        for (at, directive) in directives.iter().enumerate() {
            if let Some(value) = &directive.value
                && directive.given.can_be_found()
                && !first.contains_key(&directive.key)
            {
                self.work += value.len();
                first.insert(directive.key.clone(), (at, value.clone()));
            }
        }
        for (at, directive) in directives.iter_mut().enumerate().skip(from).filter(|(_, one)| is_open(one)) {
            let mut asked = BTreeSet::new();
            let mut has_groups = false;
            let is_new = self.replace(directive, '%', |key| {
                let mut get = |name: &str| {
                    asked.insert(name.to_owned());
                    first.get(name).map(|(_, value)| value.clone())
                };
                has_groups |= group(key).is_some();
                if key.contains(' ') { Some(calculate_groups(key, &mut get)) } else { get(key) }
            });
            self.expanded.asked.append(&mut asked);
            if has_groups {
                let message = format!(
                    "the value of `{}` has parentheses in a calculation, which uWSGI takes for parts of names",
                    directive.key
                );
                let problem = Problem::warning("nested-arithmetic", directive.value_at.clone(), message);
                let hint = "they are calculated first; for uWSGI give the inner part a name with `set-ph`";
                self.expanded.problems.push(problem.hint(hint));
            }
            if let (true, Some(value)) = (is_new, &directive.value)
                && let Some((_, first)) = first.get_mut(&directive.key).filter(|(position, _)| *position == at)
            {
                first.clone_from(value);
            }
            if is_new && !is_left_to_the_master(&directive.key) {
                self.needs_what_is_left(directive);
            }
            if is_new {
                changed = Some(changed.map_or(at, |first: usize| first.min(at)));
            }
        }
        changed.map(|at| directives[at].value_at.clone())
    }

    /// What was found out.
    pub(crate) fn finish(self) -> Expanded {
        self.expanded
    }

    /// True when the value is another now.
    fn replace(&mut self, directive: &mut Directive, symbol: char, get: impl FnMut(&str) -> Option<String>) -> bool {
        let found = directive.value.as_deref().and_then(|value| self.value(value, symbol, directive, get));
        match found {
            Some(value) => {
                directive.value = Some(value);
                true
            }
            None => false,
        }
    }

    fn file_contents(&mut self, directive: &mut Directive, machine: &Machine<'_>) {
        let mut problems: Vec<Problem> = Vec::new();
        let place = Directive { value: None, ..directive.clone() };
        let mut left = Vec::new();
        self.replace(directive, '@', |name| match machine.content(name, &place) {
            Ok(content) => Some(content),
            Err(problem) => {
                if problem.severity == Severity::Warning {
                    left.push(format!("@({name})"));
                }
                if problems.is_empty() {
                    problems.push(*problem);
                }
                None
            }
        });
        self.left.append(&mut left);
        self.expanded.problems.append(&mut problems);
    }

    /// A value of which the emperor must know more than a placeholder in it lets it know.
    fn needs_what_is_left(&mut self, directive: &Directive) {
        let value = directive.value.as_deref().unwrap_or_default();
        let Some(left) = self.left.iter().find(|left| value.contains(left.as_str())) else { return };
        let message = format!("`{}` must be known to the emperor, and `{left}` in it is not", directive.key);
        let problem = Problem::error("file-not-read", directive.value_at.clone(), message);
        self.expanded.problems.push(problem.hint("write what it is, or into a file that the emperor may read"));
    }

    /// The value with every `symbol(name)` replaced that `get` knows; None when there is nothing to replace, or it cannot be.
    fn value(
        &mut self,
        value: &str,
        symbol: char,
        directive: &Directive,
        mut get: impl FnMut(&str) -> Option<String>,
    ) -> Option<String> {
        if self.work > WORK_MAX_BYTES || !value.contains(&[symbol, '('].iter().collect::<String>()) {
            return None;
        }
        let mut text = value.to_owned();
        let mut scan = Scan::default();
        let mut replacements = 0;
        while let Some(found) = scan.next(&text, symbol) {
            self.work += PLACEHOLDER_COST_BYTES + found.key.len();
            let Some(content) = get(&text[found.key.clone()]) else { continue };
            replacements += 1;
            self.work += text.len() + content.len();
            if replacements > REPLACEMENTS_MAX
                || text.len() + content.len() > VALUE_MAX_BYTES
                || self.work > WORK_MAX_BYTES
            {
                self.expanded.problems.push(endless(directive));
                return None;
            }
            text.replace_range(found.key.start - 2..=found.key.end, &content);
            scan = Scan { at: found.again_from, ..Scan::default() };
        }
        Some(text)
    }

    fn missing_variable(&mut self, directive: &Directive) {
        let Some(value) = directive.value.as_deref() else { return };
        let Some((_, rest)) = value.split_once("$(") else { return };
        let Some((name, _)) = rest.split_once(')').filter(|(name, _)| !name.is_empty()) else { return };
        let message = format!("the environment has no variable `{name}`; the text stays as it is");
        let problem = Problem::warning("unset-variable", directive.value_at.clone(), message);
        self.expanded.problems.push(problem.hint("set it in the environment of the emperor, or write the value"));
    }
}

/// The way through a text from one `symbol(key)` to the next, as `uwsgi_apply_config_pass` goes it: a symbol inside an open
/// parenthesis begins anew, so that the innermost comes first, and what it is replaced by is looked at again together with
/// what was left open before it.
#[derive(Default)]
struct Scan {
    at: usize,
    /// Where the first symbol stands that no other text has followed.
    chain_from: Option<usize>,
    place: Place,
}

#[derive(Default)]
enum Place {
    #[default]
    Text,
    Symbol,
    Key {
        from: usize,
        depth: usize,
    },
}

/// A key between its parentheses.
struct Found {
    key: Range<usize>,
    /// Where to look on when it is replaced.
    again_from: usize,
}

impl Scan {
    fn next(&mut self, text: &str, symbol: char) -> Option<Found> {
        for byte in text.bytes().skip(self.at) {
            let at = self.at;
            self.at += 1;
            self.place = match (&self.place, byte) {
                (_, byte) if char::from(byte) == symbol => {
                    self.chain_from.get_or_insert(at);
                    Place::Symbol
                }
                (Place::Symbol, b'(') => Place::Key { from: at + 1, depth: 0 },
                (Place::Key { from, depth }, b'(') => Place::Key { from: *from, depth: depth + 1 },
                (Place::Key { from, depth: 0 }, b')') => {
                    let key = *from..at;
                    self.place = Place::Text;
                    let again_from = self.chain_from.take().unwrap_or(key.start - 2);
                    if key.is_empty() {
                        continue;
                    }
                    return Some(Found { key, again_from });
                }
                (Place::Key { from, depth }, b')') => Place::Key { from: *from, depth: depth - 1 },
                (Place::Key { from, depth }, _) => Place::Key { from: *from, depth: *depth },
                (Place::Text | Place::Symbol, _) => {
                    self.chain_from = None;
                    Place::Text
                }
            };
        }
        None
    }
}

fn endless(directive: &Directive) -> Problem {
    let message =
        format!("the value of `{}` does not come to an end when its placeholders are replaced", directive.key);
    Problem::error("placeholder-loop", directive.value_at.clone(), message)
        .hint(format!("a placeholder may not contain itself, and a value may have at most {VALUE_MAX_BYTES} bytes"))
}

/// Where in `%(2 * (a + 1))` a group stands that is to be calculated first: uWSGI knows none and takes `(a` for a name. What
/// holds no operator is no group: a name may have parentheses.
fn group(key: &str) -> Option<Range<usize>> {
    let mut opened = Vec::new();
    for (at, byte) in key.bytes().enumerate() {
        match byte {
            b'(' => opened.push(at),
            b')' => {
                let from = opened.pop()?;
                let inside = &key[from + 1..at];
                if inside.split(' ').any(|word| ["+", "-", "*", "/"].contains(&word)) {
                    return Some(from..at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// [`calculate`] with groups.
fn calculate_groups(key: &str, get: &mut impl FnMut(&str) -> Option<String>) -> String {
    let mut key = key.to_owned();
    while let Some(found) = group(&key) {
        let value = calculate(&key[found.start + 1..found.end - 1], get);
        key.replace_range(found, &value);
        if key.len() > VALUE_MAX_BYTES {
            break;
        }
    }
    calculate(&key, get)
}

/// `%(a b + 1)`: words one after the other, put together unless an operator stands between; names that do not exist are
/// empty; 64-bit integers; division by zero is 0.
fn calculate(key: &str, get: &mut impl FnMut(&str) -> Option<String>) -> String {
    let mut result = String::new();
    let mut operator = None;
    for word in key.split(' ').filter(|word| !word.is_empty()) {
        match word {
            "+" | "-" | "*" | "/" => operator = Some(word),
            "++" => result = integer(&result).wrapping_add(1).to_string(),
            "--" => result = integer(&result).wrapping_sub(1).to_string(),
            _ => {
                let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
                let found = if is_number { word.to_owned() } else { get(word).unwrap_or_default() };
                match operator.take() {
                    None => result.push_str(&found),
                    Some(operator) => result = compute(integer(&result), operator, integer(&found)).to_string(),
                }
            }
        }
        // Longer than any value may be: the caller refuses it.
        if result.len() > VALUE_MAX_BYTES {
            break;
        }
    }
    result
}

fn compute(left: i64, operator: &str, right: i64) -> i64 {
    match operator {
        "+" => left.wrapping_add(right),
        "-" => left.wrapping_sub(right),
        "*" => left.wrapping_mul(right),
        _ => left.checked_div(right).unwrap_or(0),
    }
}

fn integer(text: &str) -> i64 {
    value::number(Some(text)).value
}

#[cfg(test)]
mod tests;
