//! What is wrong with a configuration, where, and what to do about it.

mod codes;
mod render;

use serde::{Deserialize, Serialize};

pub use codes::CODES;
pub use render::{Colour, render};

/// Whether the configuration can be run in spite of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It cannot be run.
    Error,
    /// It runs; the owner should know.
    Warning,
}

/// A place in a file or on the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The file as it was named, `command line` or `environment`.
    pub file: String,
    /// From 1; 0 when there is no line.
    pub line: u32,
    /// From 1, in characters; 0 when there is no column.
    pub column: u32,
    /// Length of what is meant, in characters.
    pub length: u32,
}

/// One problem. Its `code` is stable and documented in `docs/options.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// See [`Severity`].
    pub severity: Severity,
    /// A stable word, such as `unknown-option`, `option-refused`, `bad-address`.
    pub code: String,
    /// Where.
    pub origin: Origin,
    /// The text of that line, when there is one.
    pub source: Option<String>,
    /// One sentence: what is wrong and what was expected.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Problem {
    /// Something that keeps the configuration from running.
    pub(crate) fn error(code: &str, origin: Origin, message: impl Into<String>) -> Problem {
        Problem {
            severity: Severity::Error,
            code: code.to_owned(),
            origin,
            source: None,
            message: message.into(),
            hint: None,
        }
    }

    /// Something the owner should know.
    pub(crate) fn warning(code: &str, origin: Origin, message: impl Into<String>) -> Problem {
        Problem { severity: Severity::Warning, ..Problem::error(code, origin, message) }
    }

    /// With what to do about it.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Problem {
        Problem { hint: Some(hint.into()), ..self }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.line, self.column) {
            (0, _) => write!(f, "{}", self.file),
            (line, 0) => write!(f, "{}:{line}", self.file),
            (line, column) => write!(f, "{}:{line}:{column}", self.file),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_reads_as_file_line_and_column() {
        let origin = |line, column| Origin { file: "a.ini".into(), line, column, length: 1 }.to_string();
        assert_eq!([origin(0, 0), origin(3, 0), origin(3, 9)], ["a.ini", "a.ini:3", "a.ini:3:9"]);
    }
}
