//! What can go wrong with the database, sorted by what a person has to do about it. Text of SQLite is kept; its codes
//! are told apart here and nowhere else.

use std::{path::PathBuf, sync::Arc};

/// Why the database could not be opened, written or read. Cheap to clone: one failed commit answers many questions.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened or made.
    #[error("cannot open the database {}: {cause}; check that its directory exists and that this user may write there", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// What SQLite or the system said.
        cause: Arc<str>,
    },
    /// Somebody else holds it locked.
    #[error("the database is locked by another program ({doing}); close that program")]
    Locked {
        /// What was tried.
        doing: &'static str,
    },
    /// No room on the disk, or the file reached its largest size.
    #[error("the database or its disk is full ({doing}); make room on the disk that holds the state directory")]
    Full {
        /// What was tried.
        doing: &'static str,
    },
    /// The file or its disk cannot be written.
    #[error("the database cannot be written ({doing}): {cause}")]
    ReadOnly {
        /// What was tried.
        doing: &'static str,
        /// What SQLite said.
        cause: Arc<str>,
    },
    /// What is in the file is no longer a database.
    #[error(
        "the database is damaged ({doing}): {cause}; restart the emperor: it moves the file aside and begins a new one"
    )]
    Corrupt {
        /// What was tried.
        doing: &'static str,
        /// What SQLite said.
        cause: Arc<str>,
    },
    /// A newer version of Empery has changed the file's shape.
    #[error("the database {} was written by a newer version of Empery (its migration {migration} is unknown here); use that version or move the file aside", path.display())]
    Newer {
        /// Which file.
        path: PathBuf,
        /// The unknown migration.
        migration: i64,
    },
    /// The journal grows without bound.
    #[error(
        "the journal {} has grown to {mib} MiB because another program reads the database without an end; close that program \
         (`fuser` names it). Numbers are not recorded and nothing old is forgotten until then",
        path.display()
    )]
    Journal {
        /// Which file.
        path: PathBuf,
        /// How large it is, in MiB.
        mib: u64,
    },
    /// Writes arrive faster than they can be done.
    #[error("the database is too slow: {waiting} writes are waiting already, so this one ({doing}) is not kept")]
    Behind {
        /// What was tried.
        doing: &'static str,
        /// How many wait.
        waiting: usize,
    },
    /// The writer has ended, with the runtime it lived in.
    #[error("the database is closed ({doing})")]
    Closed {
        /// What was tried.
        doing: &'static str,
    },
    /// Anything else.
    #[error("the database failed ({doing}): {cause}")]
    Failed {
        /// What was tried.
        doing: &'static str,
        /// What SQLite said.
        cause: Arc<str>,
    },
}

/// Primary result codes (<https://www.sqlite.org/rescode.html>): the low byte of an extended one.
mod code {
    pub(super) const BUSY: u32 = 5;
    pub(super) const LOCKED: u32 = 6;
    pub(super) const READONLY: u32 = 8;
    pub(super) const CORRUPT: u32 = 11;
    pub(super) const FULL: u32 = 13;
    pub(super) const CANTOPEN: u32 = 14;
    pub(super) const NOTADB: u32 = 26;
    /// SQLITE_IOERR_CORRUPTFS.
    pub(super) const IOERR_CORRUPTFS: u32 = 10 | (33 << 8);
}

impl StoreError {
    /// Sorts an error of sqlx that came up while `doing` something.
    pub(crate) fn sort(doing: &'static str, error: &sqlx::Error) -> StoreError {
        let cause: Arc<str> = error.to_string().into();
        let Some(extended) = result_code(error) else {
            return StoreError::Failed { doing, cause };
        };
        if extended == code::IOERR_CORRUPTFS {
            return StoreError::Corrupt { doing, cause };
        }
        match extended & 0xff {
            code::BUSY | code::LOCKED => StoreError::Locked { doing },
            code::FULL => StoreError::Full { doing },
            code::READONLY | code::CANTOPEN => StoreError::ReadOnly { doing, cause },
            code::CORRUPT | code::NOTADB => StoreError::Corrupt { doing, cause },
            _ => StoreError::Failed { doing, cause },
        }
    }

    /// A text of ours that does not read back: the row was changed by hand or by a newer version.
    pub(crate) fn unreadable(doing: &'static str, error: &serde_json::Error) -> StoreError {
        StoreError::Failed { doing, cause: format!("a stored value cannot be understood: {error}").into() }
    }
}

/// SQLite's extended result code, as sqlx gives it: a number in text.
fn result_code(error: &sqlx::Error) -> Option<u32> {
    error.as_database_error()?.code()?.parse().ok()
}
