//! What is wrong with a configuration, where, and what to do about it.

use serde::{Deserialize, Serialize};

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
