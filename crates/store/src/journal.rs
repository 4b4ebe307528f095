//! The journal beside the database (SQLite's write-ahead log). It is written back into the file after every thousand pages, but
//! never past what somebody still reads (<https://www.sqlite.org/wal.html>, "Avoiding Excessively Large WAL Files"): a
//! reader that never ends lets it grow without bound. It is looked at before every batch of writes.

use std::path::PathBuf;

use sqlx::SqliteConnection;

use crate::StoreError;

/// Where it is, and how large it may become.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    max_bytes: u64,
}

impl Journal {
    pub(crate) fn new(path: PathBuf, max_bytes: u64) -> Journal {
        Journal { path, max_bytes }
    }

    /// What is wrong with it. Writes back what can be, when it is too large; waits for nobody.
    pub(crate) async fn trouble(&self, connection: &mut SqliteConnection) -> Option<StoreError> {
        if self.bytes() <= self.max_bytes {
            return None;
        }
        // The answer says less than the frames that are left: with nobody reading, the next write begins at the front, and
        // `journal_size_limit` gives the rest of the file back.
        let told: Result<(i64, i64, i64), _> =
            sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(connection).await;
        match told {
            Ok((_, frames, written_back)) if frames == written_back => None,
            Ok(_) | Err(_) => Some(StoreError::Journal { path: self.path.clone(), mib: self.bytes() >> 20 }),
        }
    }

    fn bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |journal| journal.len())
    }
}
