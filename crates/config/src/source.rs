//! Where the text of a configuration or of `@(NAME)` comes from, by its name: a file, a command, a descriptor; and why it
//! comes from nowhere else.

use crate::{
    facts::{FileError, Files},
    magic::absolute,
    problem::{Origin, Problem},
};

/// The scheme of what a command prints.
const EXEC: &str = "exec://";
/// The scheme of what a descriptor gives until its end.
const DESCRIPTOR: &str = "fd://";
/// Standard input, as uWSGI names it.
const STANDARD_INPUT: &str = "-";

/// A name taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source<'n> {
    /// A path, relative to the working directory.
    File(&'n str),
    /// `exec://COMMAND`.
    Command(&'n str),
    /// `fd://N`; 0 is `-`, too.
    Descriptor(i32),
}

impl<'n> Source<'n> {
    /// What `name` means.
    ///
    /// # Errors
    /// A problem that says why nothing of this kind is read.
    pub(crate) fn of(name: &'n str, at: &Origin) -> Result<Source<'n>, Box<Problem>> {
        if name == STANDARD_INPUT {
            return Ok(Source::Descriptor(0));
        }
        if let Some(command) = name.strip_prefix(EXEC) {
            return Ok(Source::Command(command));
        }
        if let Some(number) = name.strip_prefix(DESCRIPTOR) {
            let number = number.parse().ok().filter(|number| *number >= 0);
            let expected = || refused(name, at, "expected the number of a descriptor", "write `fd://3`");
            return number.map(Source::Descriptor).ok_or_else(expected);
        }
        let (why, instead) = match name.split_once("://") {
            None => return Ok(Source::File(name)),
            Some(("http" | "https", _)) => (
                "what comes over the network would decide what runs, unsigned",
                "fetch it into a file before the start, and include that",
            ),
            Some(("emperor", _)) => ("the emperor gives a vassal its file itself", "name the file"),
            Some(("sym" | "data" | "section" | "call" | "callint", _)) => {
                ("it names something inside uWSGI's own program", "put the text into a file")
            }
            Some(_) => ("it is no scheme that is known", "put the text into a file"),
        };
        Err(refused(name, at, why, instead))
    }

    /// One name for one text: an absolute path, or the scheme with what follows.
    pub(crate) fn name(&self, working_directory: &str) -> String {
        match self {
            Source::File(path) => absolute(working_directory, path),
            Source::Command(command) => format!("{EXEC}{command}"),
            Source::Descriptor(number) => format!("{DESCRIPTOR}{number}"),
        }
    }

    /// The text.
    ///
    /// # Errors
    /// When it cannot be had.
    pub(crate) fn read(&self, working_directory: &str, files: &dyn Files) -> Result<Vec<u8>, FileError> {
        match self {
            Source::File(path) => files.read(&absolute(working_directory, path)),
            Source::Command(command) => files.run(command),
            Source::Descriptor(number) => files.read_descriptor(*number),
        }
    }

    /// What to tell when it could not be read. `named` is how it was called.
    pub(crate) fn not_read(&self, named: &str, error: &FileError, working_directory: &str, at: &Origin) -> Problem {
        match self {
            Source::File(_) => {
                let hint = format!("a relative path is taken from the working directory, {working_directory}");
                Problem::error("file-not-read", at.clone(), format!("`{named}` could not be read: {error}")).hint(hint)
            }
            Source::Command(_) => {
                let message = format!("the command of `{named}` gave no configuration: {error}");
                Problem::error("scheme-refused", at.clone(), message)
                    .hint("let a unit write what it prints into a file, and include that")
            }
            Source::Descriptor(_) => {
                let message = format!("`{named}` gave no configuration: {error}");
                Problem::error("scheme-refused", at.clone(), message).hint("put the text into a file")
            }
        }
    }
}

/// Whether this is the name of no file: such a thing has no path, no directory and no inode.
pub(crate) fn is_no_file(name: &str) -> bool {
    name == STANDARD_INPUT || name.contains("://")
}

fn refused(name: &str, at: &Origin, why: &str, instead: &str) -> Box<Problem> {
    let message = format!("no configuration is read from `{name}`: {why}");
    Box::new(Problem::error("scheme-refused", at.clone(), message).hint(instead))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_file_a_command_a_descriptor_or_a_problem() {
        let of = |name: &'static str| Source::of(name, &Origin::default());
        assert_eq!(of("a/b.ini"), Ok(Source::File("a/b.ini")));
        assert_eq!(of("exec://cat x"), Ok(Source::Command("cat x")));
        assert_eq!([of("-"), of("fd://0"), of("fd://37")], [0, 0, 37].map(|number| Ok(Source::Descriptor(number))));
        for name in ["fd://", "fd://x", "fd://-1", "http://h/a.ini", "sym://s", "data://0", "emperor://x", "ftp://h"] {
            let problem = of(name).unwrap_err();
            assert_eq!(problem.code, "scheme-refused", "{name}");
            assert!(problem.message.contains(name) && problem.hint.is_some(), "{problem:?}");
        }
    }
}
