//! Which vassals were ever seen, and when last. Not which exist: the directory says that.

use empery_lifecycle::ids::VassalName;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use crate::{StoreError, integer::signed};

/// Rows per statement: far below SQLite's 32,766 variables, and measured to be fast enough.
pub(crate) const ROWS_PER_STATEMENT: usize = 250;

pub(crate) async fn record_seen(
    connection: &mut SqliteConnection,
    names: &[VassalName],
    at_unix_ms: u64,
) -> Result<(), StoreError> {
    for names in names.chunks(ROWS_PER_STATEMENT) {
        insert(
            connection,
            names.iter(),
            at_unix_ms,
            " ON CONFLICT (name) DO UPDATE SET last_seen_unix_ms = excluded.last_seen_unix_ms",
        )
        .await?;
    }
    Ok(())
}

/// Makes sure that each name has a number.
pub(crate) async fn ensure<'n>(
    connection: &mut SqliteConnection,
    names: impl Iterator<Item = &'n VassalName>,
    at_unix_ms: u64,
) -> Result<(), StoreError> {
    insert(connection, names, at_unix_ms, " ON CONFLICT (name) DO NOTHING").await
}

async fn insert<'n>(
    connection: &mut SqliteConnection,
    names: impl Iterator<Item = &'n VassalName>,
    at_unix_ms: u64,
    on_conflict: &'static str,
) -> Result<(), StoreError> {
    let mut statement =
        QueryBuilder::<Sqlite>::new("INSERT INTO vassals (name, first_seen_unix_ms, last_seen_unix_ms) ");
    statement.push_values(names, |mut row, name| {
        row.push_bind(name.as_str()).push_bind(signed(at_unix_ms)).push_bind(signed(at_unix_ms));
    });
    statement.push(on_conflict);
    statement.build().execute(connection).await.map_err(|error| StoreError::sort("recording the vassals", &error))?;
    Ok(())
}
