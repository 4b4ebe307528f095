//! How long each table remembers. `docs/state.md` says the same to operators; [`crate::Store::prune`] enforces it.

use sqlx::SqliteConnection;

use crate::{StoreError, integer::signed};

/// Revisions kept of each vassal, the newest.
pub const REVISIONS_PER_VASSAL: u32 = 50;

/// Operations kept of each vassal, the newest.
pub const OPERATIONS_PER_VASSAL: u32 = 500;

/// Incidents kept of each vassal, the newest; as many about the emperor itself.
pub const INCIDENTS_PER_VASSAL: u32 = 1_000;

/// How long operations and incidents are kept, and everything of a vassal whose file is gone (holds excepted: they stay
/// until they are lifted), in days.
pub const HISTORY_DAYS: u64 = 90;

/// How long minutes of numbers are kept, in days.
pub const SAMPLES_DAYS: u64 = 14;

/// A day, in ms.
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// What is forgotten, in order: each statement takes `?1` = unix ms before which history is old, `?2` = unix s before
/// which samples are old, and the counts above as `?3` (revisions), `?4` (operations), `?5` (incidents).
/// The newest operation of all stays whatever happens: numbers go on from it.
const FORGET: [&str; 9] = [
    // Everything of a vassal that has had no file for long.
    "DELETE FROM revisions WHERE vassal IN (SELECT name FROM vassals WHERE last_seen_unix_ms < ?1)",
    "DELETE FROM samples WHERE vassal_id IN (SELECT id FROM vassals WHERE last_seen_unix_ms < ?1)",
    "DELETE FROM vassals WHERE last_seen_unix_ms < ?1",
    // Old minutes: by vassal, so that the clustered key is used and nothing else is read.
    "DELETE FROM samples WHERE vassal_id IN (SELECT id FROM vassals) AND minute_unix_s < ?2",
    "DELETE FROM revisions WHERE (vassal, revision) IN (SELECT vassal, revision FROM (SELECT vassal, revision, \
     row_number() OVER (PARTITION BY vassal ORDER BY revision DESC) AS place FROM revisions) WHERE place > ?3)",
    "DELETE FROM operations WHERE began_unix_ms < ?1 AND end IS NOT NULL AND id NOT IN \
     (SELECT max(id) FROM operations WHERE vassal IN (SELECT name FROM vassals) GROUP BY vassal) \
     AND id <> (SELECT max(id) FROM operations)",
    "DELETE FROM operations WHERE id IN (SELECT id FROM (SELECT id, \
     row_number() OVER (PARTITION BY vassal ORDER BY id DESC) AS place FROM operations) WHERE place > ?4)",
    "DELETE FROM incidents WHERE at_unix_ms < ?1",
    "DELETE FROM incidents WHERE id IN (SELECT id FROM (SELECT id, \
     row_number() OVER (PARTITION BY vassal ORDER BY id DESC) AS place FROM incidents) WHERE place > ?5)",
];

pub(crate) async fn prune(connection: &mut SqliteConnection, now_unix_ms: u64) -> Result<(), StoreError> {
    let history = now_unix_ms.saturating_sub(HISTORY_DAYS * DAY_MS);
    let samples_unix_s = now_unix_ms.saturating_sub(SAMPLES_DAYS * DAY_MS) / 1_000;
    for statement in FORGET {
        sqlx::query(statement)
            .bind(signed(history))
            .bind(signed(samples_unix_s))
            .bind(REVISIONS_PER_VASSAL)
            .bind(OPERATIONS_PER_VASSAL)
            .bind(INCIDENTS_PER_VASSAL)
            .execute(&mut *connection)
            .await
            .map_err(|error| StoreError::sort("forgetting old history", &error))?;
    }
    Ok(())
}
