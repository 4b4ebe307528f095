//! Damage that shows while the database is written: a table that is not looked through at every start, or that broke since. It
//! is noted in a file beside the database, and the next start moves both aside.

use std::path::{Path, PathBuf};

use crate::{StoreError, open::with_suffix};

/// What follows the database's name in that of the note.
pub(crate) const SUFFIX: &str = ".damaged";

/// The note of one database.
#[derive(Debug)]
pub(crate) struct Damage {
    note: PathBuf,
    is_noted: bool,
}

impl Damage {
    /// Of the database of this path.
    pub(crate) fn of(database: &Path) -> Damage {
        Damage { note: with_suffix(database, SUFFIX), is_noted: false }
    }

    /// What an earlier writer found.
    pub(crate) fn noted(&self) -> Option<String> {
        std::fs::read_to_string(&self.note).ok()
    }

    /// Notes it, once, when it is one.
    pub(crate) fn see(&mut self, outcome: &Result<(), StoreError>) {
        let Err(StoreError::Corrupt { cause, .. }) = outcome else { return };
        if self.is_noted {
            return;
        }
        match std::fs::write(&self.note, cause.as_bytes()) {
            Ok(()) => self.is_noted = true,
            Err(error) => tracing::warn!(path = %self.note.display(), %error, "the damage cannot be noted"),
        }
    }
}
