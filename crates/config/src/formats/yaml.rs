//! YAML, as core/yaml.c reads it with libyaml: the mapping below the key asked for, each scalar as it is written (`0660`
//! and `no` stay text) and each list as an option repeated.
//!
//! A key with nothing behind it is an option that is switched on; uWSGI passes over it.

use saphyr_parser::{Event, Parser, ScanError, Span, StrInput};

use super::{Pair, Section, nested, no_section, not_of_format, yaml_lines};
use crate::problem::{Origin, Problem, Severity};

/// Deepest nesting that is looked into at all.
const DEPTH_MAX: usize = 64;

/// Adds what the text holds for `section` to `found`.
pub(super) fn read(file: &str, text: &str, section: &str, found: &mut Section) {
    let mut reading = Reading { file, parser: Parser::new_from_str(text), found, depth: 0 };
    match reading.document(section) {
        Ok(true) => {}
        // uWSGI goes on without a word.
        Ok(false) => {
            let missing = no_section("mapping", section, file);
            found.problems.push(Problem { severity: Severity::Warning, ..missing });
        }
        Err(stop) => otherwise(file, text, section, *stop, found),
    }
}

/// A text that is no YAML may be one that works with a uWSGI that knows no YAML, either.
fn otherwise(file: &str, text: &str, section: &str, not_yaml: Problem, found: &mut Section) {
    let Some(pairs) = yaml_lines::read(file, text, section) else { return found.problems.push(not_yaml) };
    let message = format!("{}; it is read line by line, as uWSGI without libyaml does", not_yaml.message);
    found.problems.push(Problem { severity: Severity::Warning, message, ..not_yaml });
    found.pairs = pairs;
}

/// Why reading stopped.
type Stop = Box<Problem>;

struct Reading<'a, 'f> {
    file: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    found: &'f mut Section,
    /// Mappings in one another, below the section.
    depth: usize,
}

impl<'a> Reading<'a, '_> {
    /// True when the section was there.
    fn document(&mut self, section: &str) -> Result<bool, Stop> {
        loop {
            match self.next()? {
                (Event::MappingStart(..), _) => break,
                (Event::StreamEnd | Event::Scalar(..) | Event::SequenceStart(..) | Event::Alias(_), _) => {
                    return Ok(false);
                }
                _ => {}
            }
        }
        let mut seen = false;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::MappingEnd | Event::StreamEnd => return Ok(seen),
                Event::Scalar(key, ..) if key == section => {
                    seen |= self.section(&key, &span)?;
                }
                event => {
                    self.skip(event)?;
                    let (value, _) = self.next()?;
                    self.skip(value)?;
                }
            }
        }
    }

    /// True when it is a mapping.
    fn section(&mut self, name: &str, at: &Span) -> Result<bool, Stop> {
        let (event, _) = self.next()?;
        if !matches!(event, Event::MappingStart(..)) {
            let at = self.place(at);
            self.skip(event)?;
            self.found.problems.push(nested(name, at, "no options"));
            return Ok(true);
        }
        self.options()?;
        Ok(true)
    }

    /// The pairs of a mapping that has begun.
    fn options(&mut self) -> Result<(), Stop> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::MappingEnd | Event::StreamEnd => return Ok(()),
                Event::Scalar(key, ..) => self.option(&key, &span)?,
                event => {
                    let at = self.place(&span);
                    self.skip(event)?;
                    let (value, _) = self.next()?;
                    self.skip(value)?;
                    self.found.problems.push(nested("a key", at, "a list or a mapping"));
                }
            }
        }
    }

    fn option(&mut self, key: &str, at: &Span) -> Result<(), Stop> {
        let key_at = self.place(at);
        let (event, span) = self.next()?;
        match event {
            Event::Scalar(value, style, ..) => {
                let is_bare = value.is_empty() || value == "~";
                if is_bare && style == saphyr_parser::ScalarStyle::Plain {
                    let message = format!("`{key}` has no value; it counts as switched on, where uWSGI passes over it");
                    let problem = Problem::warning("bare-key", key_at.clone(), message);
                    self.found.problems.push(problem.hint(format!("write `{key}: true`")));
                    let value_at = key_at.clone();
                    self.found.pairs.push(Pair { key: key.to_owned(), value: None, key_at, value_at });
                } else {
                    self.pair(key, value.into_owned(), key_at, &span);
                }
            }
            Event::SequenceStart(..) => loop {
                let (event, span) = self.next()?;
                match event {
                    Event::SequenceEnd | Event::StreamEnd => break,
                    Event::Scalar(value, ..) => self.pair(key, value.into_owned(), key_at.clone(), &span),
                    event => self.ignore(key, event, &span)?,
                }
            },
            // uWSGI counts levels and takes every pair of the section for an option (core/yaml.c).
            Event::MappingStart(..) if self.depth < DEPTH_MAX => {
                let message = format!("`{key}` holds a mapping: its pairs are options as if they stood beside it");
                let problem = Problem::warning("nested-value", self.place(&span), message);
                self.found.problems.push(problem.hint("write them one level higher"));
                self.depth += 1;
                self.options()?;
                self.depth -= 1;
            }
            event => self.ignore(key, event, &span)?,
        }
        Ok(())
    }

    fn pair(&mut self, key: &str, value: String, key_at: Origin, value_at: &Span) {
        let value_at = self.place(value_at);
        self.found.pairs.push(Pair { key: key.to_owned(), value: Some(value), key_at, value_at });
    }

    fn ignore(&mut self, key: &str, event: Event<'_>, span: &Span) -> Result<(), Stop> {
        let what = if matches!(event, Event::Alias(_)) { "an alias" } else { "something nested" };
        let at = self.place(span);
        self.found.problems.push(nested(key, at, what));
        self.skip(event)
    }

    /// Reads on to the end of what `event` begins.
    fn skip(&mut self, event: Event<'_>) -> Result<(), Stop> {
        let opens = |event: &Event<'_>| matches!(event, Event::MappingStart(..) | Event::SequenceStart(..));
        let mut depth = usize::from(opens(&event));
        while depth > 0 {
            let (event, span) = self.next()?;
            match event {
                Event::MappingEnd | Event::SequenceEnd => depth -= 1,
                Event::StreamEnd => return Ok(()),
                event => depth += usize::from(opens(&event)),
            }
            if depth > DEPTH_MAX {
                return Err(Box::new(not_of_format("a configuration", self.place(&span), "it is nested too deeply")));
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Stop> {
        match self.parser.next_event() {
            Some(Ok(found)) => Ok(found),
            Some(Err(error)) => Err(Box::new(self.not_yaml(&error))),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn not_yaml(&self, error: &ScanError) -> Problem {
        let at = self.place(&Span::empty(*error.marker()));
        not_of_format("YAML", Origin { length: 1, ..at }, error.info())
    }

    fn place(&self, span: &Span) -> Origin {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let same_line = span.start.line() == span.end.line();
        Origin {
            file: self.file.to_owned(),
            line: number(span.start.line()),
            column: number(span.start.col() + 1),
            length: if same_line { number(span.end.col().saturating_sub(span.start.col())) } else { 1 },
        }
    }
}
