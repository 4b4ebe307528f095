//! The whole way from an entry (a file, a command line) to a configuration.

use crate::{
    facts::{Facts, Files},
    problem::Problem,
    vassal::VassalConfig,
};

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A vassal file that somebody has read already.
    File {
        /// As `%p` sees it.
        path: String,
        /// Its bytes.
        content: Vec<u8>,
    },
    /// uWSGI's command line without the program's name: `--http :9090 --wsgi-file foobar.py`, `app.ini`, `--ini app.ini:section`.
    Arguments(Vec<String>),
}

/// What came of it. `config` is there exactly when no problem is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The configuration.
    pub config: Option<VassalConfig>,
    /// Errors first, then warnings, each in the order of the text.
    pub problems: Vec<Problem>,
}

/// Reads an entry.
pub fn read(_entry: &Entry, _facts: &Facts, _files: &dyn Files) -> Outcome {
    todo!()
}
