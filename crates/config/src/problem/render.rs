//! Problems as a person reads them: file, line, the text of the line, a mark under what is meant, and the hint.
//!
//! For `emperor check`, `vassal`'s stderr and the dashboard's plain text. JSON has [`Problem`] itself.

use std::fmt;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, SourceCode,
    SourceSpan, SpanContents, ThemeCharacters, ThemeStyles,
};

use super::{Problem, Severity};

/// Whether the text may carry terminal colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// A terminal.
    Ansi,
    /// A file, a pipe, a page.
    Plain,
}

/// The problems, one after the other; empty when there are none.
#[must_use]
pub fn render(problems: &[Problem], colour: Colour) -> String {
    let styles = match colour {
        Colour::Ansi => ThemeStyles::ansi(),
        Colour::Plain => ThemeStyles::none(),
    };
    let theme = GraphicalTheme { characters: ThemeCharacters::unicode(), styles };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(100).without_syntax_highlighting();
    let mut text = String::new();
    for problem in problems {
        let shown = Shown { problem, source: OneLine::of(problem) };
        if handler.render_report(&mut text, &shown).is_err() {
            // Only a line that miette cannot measure ends here; the reader still gets what it is about.
            text.push_str(&format!("{}: {}\n", problem.origin, problem.message));
        }
    }
    text
}

#[derive(Debug)]
struct Shown<'a> {
    problem: &'a Problem,
    source: Option<OneLine<'a>>,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source {
            Some(_) => f.write_str(&self.problem.message),
            None => write!(f, "{}: {}", self.problem.origin, self.problem.message),
        }
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.problem.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.problem.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.hint.as_ref().map(|hint| Box::new(hint) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let source = self.source.as_ref()?;
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(None, source.meant))))
    }
}

/// The line a problem stands on, which knows its number although the lines before it are not there.
#[derive(Debug)]
struct OneLine<'a> {
    file: &'a str,
    line: usize,
    text: &'a str,
    meant: SourceSpan,
}

impl<'a> OneLine<'a> {
    fn of(problem: &'a Problem) -> Option<OneLine<'a>> {
        let text = problem.source.as_deref()?;
        let line = problem.origin.line.checked_sub(1)? as usize;
        let offset_of =
            |characters: usize| text.char_indices().nth(characters).map_or(text.len(), |(offset, _)| offset);
        let from = problem.origin.column.saturating_sub(1) as usize;
        let start = offset_of(from);
        let end = offset_of(from.saturating_add(problem.origin.length as usize));
        Some(OneLine { file: &problem.origin.file, line, text, meant: (start, end - start).into() })
    }
}

impl SourceCode for OneLine<'_> {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        _before: usize,
        _after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        if span.offset() + span.len() > self.text.len() {
            return Err(MietteError::OutOfBounds);
        }
        let whole = SourceSpan::from((0, self.text.len()));
        Ok(Box::new(MietteSpanContents::new_named(
            self.file.to_owned(),
            self.text.as_bytes(),
            whole,
            self.line,
            self.text.get(..span.offset()).map_or(0, |before| before.chars().count()),
            self.line + 1,
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Origin;

    fn problem() -> Problem {
        let origin = Origin { file: "app.ini".into(), line: 3, column: 3, length: 9 };
        let problem = Problem::warning("unknown-option", origin, "`procceses` is not an option")
            .hint("did you mean `processes`?");
        Problem { source: Some("  procceses = 4".into()), ..problem }
    }

    #[test]
    fn a_problem_shows_its_file_line_column_text_and_hint() {
        let text = render(&[problem()], Colour::Plain);
        for part in ["app.ini:3:3", "procceses = 4", "did you mean `processes`?", "unknown-option", "──"] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn a_problem_without_a_line_names_its_file() {
        let text = render(&[Problem { source: None, ..problem() }], Colour::Plain);
        assert!(text.contains("app.ini:3:3: `procceses`"), "{text}");
    }

    #[test]
    fn colours_come_only_when_asked_for() {
        assert!(render(&[problem()], Colour::Ansi).contains('\u{1b}'));
    }

    #[test]
    fn a_mark_beyond_the_end_of_the_line_is_no_trouble() {
        let mut wide = problem();
        wide.origin.column = 400;
        wide.origin.length = 9;
        assert!(render(&[wide], Colour::Plain).contains("procceses = 4"));
    }
}
