//! `inject-before` and `inject-after`: texts that are put around every file that is read after them, as uWSGI glues them onto it,
//! and which of their lines is which.

use std::rc::Rc;

use super::{Gatherer, include::TEXT_MAX_BYTES};
use crate::{
    formats::Section,
    problem::{Origin, Problem},
    source::Source,
};

/// What the two options name, with where they stand.
#[derive(Debug, Default)]
pub(super) struct Injected {
    pub(super) before: Vec<(String, Origin)>,
    pub(super) after: Vec<(String, Origin)>,
}

/// A file with what is injected around it.
pub(super) struct Whole {
    pub(super) text: Rc<[u8]>,
    /// In order; none when nothing is injected.
    parts: Vec<Part>,
}

/// One of the texts that it is made of.
struct Part {
    name: String,
    /// Line breaks before it.
    lines_before: u32,
    /// The first line of the whole that begins in it.
    first_line: u32,
}

impl Whole {
    /// Makes places in the whole those in its parts.
    pub(super) fn places_of(&self, found: &mut Section) {
        if self.parts.is_empty() {
            return;
        }
        found.problems.iter_mut().for_each(|problem| self.place(&mut problem.origin));
        for pair in &mut found.pairs {
            self.place(&mut pair.key_at);
            self.place(&mut pair.value_at);
        }
    }

    fn place(&self, at: &mut Origin) {
        let part = self.parts.iter().rev().find(|part| part.first_line <= at.line);
        if let Some(part) = part.filter(|_| at.line > 0) {
            at.file.clone_from(&part.name);
            at.line -= part.lines_before;
        }
    }
}

impl Gatherer<'_> {
    /// The content of the file called `name` with what is injected around it.
    pub(super) fn with_injected(&mut self, name: &str, content: &Rc<[u8]>) -> Result<Whole, Box<Problem>> {
        if self.injected.before.is_empty() && self.injected.after.is_empty() {
            return Ok(Whole { text: content.clone(), parts: Vec::new() });
        }
        let (before, after) = (self.injected.before.clone(), self.injected.after.clone());
        let mut texts = Vec::new();
        for (given, at) in &before {
            texts.push((given.as_str(), self.injected_text(given, at)?));
        }
        texts.push((name, content.clone()));
        for (given, at) in &after {
            texts.push((given.as_str(), self.injected_text(given, at)?));
        }
        let mut whole = Vec::new();
        let mut lines_before = 0;
        let mut parts = Vec::new();
        for (name, text) in texts {
            // A text that does not end its last line shares it with the next one.
            let is_shared = whole.last().is_some_and(|last| *last != b'\n');
            let first_line = lines_before + 1 + u32::from(is_shared);
            parts.push(Part { name: name.to_owned(), lines_before, first_line });
            let breaks = text.iter().filter(|byte| **byte == b'\n').count();
            lines_before = lines_before.saturating_add(u32::try_from(breaks).unwrap_or(u32::MAX));
            whole.extend_from_slice(&text);
        }
        Ok(Whole { text: Rc::from(whole), parts })
    }

    fn injected_text(&mut self, given: &str, at: &Origin) -> Result<Rc<[u8]>, Box<Problem>> {
        let content = self.content(&Source::of(given, at)?, given, at)?;
        self.gathered.sources.insert(given.to_owned(), content.clone());
        self.bytes += content.len();
        if self.bytes > TEXT_MAX_BYTES {
            let message = format!("the configuration is too long: at most {TEXT_MAX_BYTES} bytes");
            return Err(Box::new(Problem::error("too-long", at.clone(), message)));
        }
        Ok(content)
    }
}
