//! What stands until somebody says otherwise, besides holds: vassals that are frozen, removals that are doubted.

use empery_lifecycle::ids::VassalName;
use sqlx::{Row, SqliteConnection};

use crate::{Reader, StoreError};

/// What is said of a vassal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// An operator's "accept nothing".
    Frozen,
    /// Its file went with so many others at once that nobody believes it.
    Doubted,
}

impl Mark {
    fn word(self) -> &'static str {
        match self {
            Mark::Frozen => "frozen",
            Mark::Doubted => "doubted",
        }
    }
}

pub(crate) async fn set(connection: &mut SqliteConnection, mark: Mark, name: &VassalName) -> Result<(), StoreError> {
    write(connection, "INSERT OR REPLACE INTO marks (mark, vassal) VALUES (?, ?)", mark, name).await
}

pub(crate) async fn lift(connection: &mut SqliteConnection, mark: Mark, name: &VassalName) -> Result<(), StoreError> {
    write(connection, "DELETE FROM marks WHERE mark = ? AND vassal = ?", mark, name).await
}

async fn write(
    connection: &mut SqliteConnection,
    statement: &'static str,
    mark: Mark,
    name: &VassalName,
) -> Result<(), StoreError> {
    sqlx::query(statement)
        .bind(mark.word())
        .bind(name.as_str())
        .execute(connection)
        .await
        .map_err(|error| StoreError::sort("recording what stands", &error))?;
    Ok(())
}

impl Reader {
    /// Every vassal of which this is said, in the order of names.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn marked(&self, mark: Mark) -> Result<Vec<VassalName>, StoreError> {
        let rows = sqlx::query("SELECT vassal FROM marks WHERE mark = ? ORDER BY vassal")
            .bind(mark.word())
            .fetch_all(&self.pool)
            .await
            .map_err(|error| StoreError::sort("reading what stands", &error))?;
        // A name that is none any more says nothing.
        Ok(rows.iter().filter_map(|row| VassalName::new(row.get::<String, _>("vassal")).ok()).collect())
    }
}
