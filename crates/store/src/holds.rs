//! Vassals that an operator stopped and that stay stopped, over restarts and edits.

use empery_lifecycle::ids::VassalName;
use sqlx::{Row, SqliteConnection};

use crate::{
    Reader, StoreError,
    integer::{signed, unsigned},
};

/// An operator's "stay stopped".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Which vassal.
    pub vassal: VassalName,
    /// Who said so.
    pub actor: String,
    /// Since when, unix ms.
    pub since_unix_ms: u64,
}

pub(crate) async fn set(connection: &mut SqliteConnection, hold: &Hold) -> Result<(), StoreError> {
    sqlx::query("INSERT OR REPLACE INTO holds (vassal, actor, since_unix_ms) VALUES (?, ?, ?)")
        .bind(hold.vassal.as_str())
        .bind(&hold.actor)
        .bind(signed(hold.since_unix_ms))
        .execute(connection)
        .await
        .map_err(|error| StoreError::sort("recording a hold", &error))?;
    Ok(())
}

pub(crate) async fn lift(connection: &mut SqliteConnection, name: &VassalName) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM holds WHERE vassal = ?")
        .bind(name.as_str())
        .execute(connection)
        .await
        .map_err(|error| StoreError::sort("lifting a hold", &error))?;
    Ok(())
}

impl Reader {
    /// Every hold, in the order of names.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        let rows = sqlx::query("SELECT vassal, actor, since_unix_ms FROM holds ORDER BY vassal")
            .fetch_all(&self.pool)
            .await
            .map_err(|error| StoreError::sort("reading holds", &error))?;
        // A name that is none any more can hold nothing.
        Ok(rows
            .iter()
            .filter_map(|row| {
                let vassal = VassalName::new(row.get::<String, _>("vassal")).ok()?;
                Some(Hold { vassal, actor: row.get("actor"), since_unix_ms: unsigned(row.get("since_unix_ms")) })
            })
            .collect())
    }
}
