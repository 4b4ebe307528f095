//! `envdir` and `early-envdir`: a directory with a file for each variable (daemontools' envdir; core/utils.c:
//! `uwsgi_envdir`). An empty file removes the variable; blanks at the end do not count; NUL bytes are line breaks.

use crate::{
    facts::{FileKind, Files, Reader},
    magic::absolute,
    problem::{Origin, Problem, Severity},
};

/// Most variables of one directory.
const VARIABLES_MAX: usize = 1000;

/// What a directory says.
pub(crate) struct Variables {
    /// In the order of names; None removes.
    pub(crate) variables: Vec<(String, Option<String>)>,
    pub(crate) problems: Vec<Problem>,
}

/// Reads the directory.
pub(crate) fn read(directory: &str, working_directory: &str, files: &dyn Files, at: &Origin) -> Variables {
    let path = absolute(working_directory, directory);
    let mut found = Variables { variables: Vec::new(), problems: Vec::new() };
    let mut failed = |what: &str, error: &dyn std::fmt::Display| {
        let message = format!("`{what}` could not be read: {error}");
        let problem = Problem::error("file-not-read", at.clone(), message)
            .hint("`envdir` names a directory with one file for each variable");
        // The vassal reads it itself, with rights of its own.
        let severity = if files.reader() == Reader::Planner { Severity::Warning } else { Severity::Error };
        found.problems.push(Problem { severity, ..problem });
    };
    let mut names = match files.list(&path) {
        Ok(names) => names,
        Err(error) => {
            failed(directory, &error);
            return found;
        }
    };
    names.sort();
    for name in names.into_iter().filter(|name| !name.starts_with('.')).take(VARIABLES_MAX) {
        let file = format!("{path}/{name}");
        if files.kind(&file) != Some(FileKind::File) {
            continue;
        }
        match files.read(&file).map(variable) {
            Ok(Ok(value)) => found.variables.push((name, value)),
            Ok(Err(error)) => failed(&file, &error),
            Err(error) => failed(&file, &error),
        }
    }
    found
}

/// What the content of a file makes of its variable.
fn variable(content: Vec<u8>) -> Result<Option<String>, &'static str> {
    if content.is_empty() {
        return Ok(None);
    }
    let text = String::from_utf8(content).map_err(|_| "it is not UTF-8")?;
    Ok(Some(text.trim_end_matches(['\n', '\r', '\t', ' ']).replace('\0', "\n")))
}
