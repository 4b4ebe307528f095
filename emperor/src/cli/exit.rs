//! Exit codes, told apart so that a pipeline knows what to do next. `docs/exit-codes.md` says the same.

use std::process::ExitCode;

/// Shown below `--help`.
pub(super) const HELP: &str = "\
Exit codes:
  0  done
  1  wrong usage, or an internal error
  2  a vassal file has errors
  3  the operation failed; what served before serves on
  4  the operation failed and nothing of the vassal serves
  5  not done within the time given; it goes on
  6  a later operation took its place
  7  not authorised
  8  the emperor cannot be reached
  9  there is no such vassal
  10 there is nothing to confirm";

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// Done.
    Done = 0,
    /// Wrong usage, or an internal error.
    Usage = 1,
    /// A vassal file has errors.
    ConfigInvalid = 2,
    /// The operation failed; what served serves on.
    FailedServing = 3,
    /// The operation failed and nothing serves.
    FailedDown = 4,
    /// Not done in time.
    TimedOut = 5,
    /// A later operation took its place.
    Superseded = 6,
    /// Not authorised.
    NotAuthorised = 7,
    /// The emperor cannot be reached.
    Unreachable = 8,
    /// No such vassal.
    NoSuchVassal = 9,
    /// Nothing to confirm.
    NothingToConfirm = 10,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// A command that did not do what was asked: why, for a person and for a program.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    /// Without the program's name.
    pub(super) sentence: String,
}

impl Failure {
    pub(super) fn new(exit: Exit, sentence: impl ToString) -> Failure {
        Failure { exit, sentence: sentence.to_string() }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::new(Exit::Usage, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_exit_code() {
        for exit in [
            Exit::Done,
            Exit::Usage,
            Exit::ConfigInvalid,
            Exit::FailedServing,
            Exit::FailedDown,
            Exit::TimedOut,
            Exit::Superseded,
            Exit::NotAuthorised,
            Exit::Unreachable,
            Exit::NoSuchVassal,
        ] {
            assert!(HELP.contains(&format!("\n  {}  ", exit as u8)), "{exit:?}");
        }
    }
}
