//! Whatever was asked for and took time, with its phases, verdict, boot output and traceback: the deployments.

use empery_control::fleet::OperationView;
use empery_lifecycle::{
    fleet::{OperationEnd, Verb},
    generations::FailureReason,
    ids::{GenerationId, OperationId, VassalName},
};
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, sqlite::SqliteRow};

use crate::{
    Reader, StoreError,
    integer::{signed, unsigned},
};

const READING: &str = "reading operations";

pub(crate) async fn record(connection: &mut SqliteConnection, view: &OperationView) -> Result<(), StoreError> {
    let doing = "recording an operation";
    let unwritable = |error| StoreError::unreadable(doing, &error);
    let phases = serde_json::to_string(&view.phases).map_err(unwritable)?;
    let end = view.end.as_ref().map(serde_json::to_string).transpose().map_err(unwritable)?;
    sqlx::query(
        "INSERT OR REPLACE INTO operations (id, vassal, verb, actor, revision, generation, phase, phases, end, \
         began_unix_ms, ended_unix_ms, boot_output) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(signed(view.id.0))
    .bind(view.vassal.as_str())
    .bind(verb_word(view.verb))
    .bind(&view.actor)
    .bind(view.revision.map(signed))
    .bind(view.generation.map(signed))
    .bind(&view.phase)
    .bind(phases)
    .bind(end)
    .bind(signed(view.began_unix_ms))
    .bind(view.ended_unix_ms.map(signed))
    .bind(&view.boot_output)
    .execute(connection)
    .await
    .map_err(|error| StoreError::sort(doing, &error))?;
    Ok(())
}

/// See [`crate::Store::abandon_unfinished`].
pub(crate) async fn abandon(
    connection: &mut SqliteConnection,
    still_running: &[OperationId],
    at_unix_ms: u64,
) -> Result<(), StoreError> {
    let doing = "ending abandoned operations";
    let end = OperationEnd::Failed {
        reason: FailureReason::Setup {
            sentence: "the emperor was started anew before it saw how this ended".to_owned(),
        },
        still_serving: false,
    };
    let end = serde_json::to_string(&end).map_err(|error| StoreError::unreadable(doing, &error))?;
    let mut statement = QueryBuilder::<Sqlite>::new("UPDATE operations SET phase = 'done', end = ");
    statement.push_bind(end).push(", ended_unix_ms = ").push_bind(signed(at_unix_ms)).push(" WHERE end IS NULL");
    if !still_running.is_empty() {
        statement.push(" AND id NOT IN (");
        let mut ids = statement.separated(", ");
        for id in still_running {
            ids.push_bind(signed(id.0));
        }
        statement.push(")");
    }
    statement.build().execute(connection).await.map_err(|error| StoreError::sort(doing, &error))?;
    Ok(())
}

impl Reader {
    /// The highest number ever given to an operation; 0 when there was none.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn last_operation_id(&self) -> Result<OperationId, StoreError> {
        let id: Option<i64> = sqlx::query_scalar("SELECT max(id) FROM operations")
            .fetch_one(&self.pool)
            .await
            .map_err(|error| StoreError::sort(READING, &error))?;
        Ok(OperationId(id.map_or(0, unsigned)))
    }

    /// The highest generation an operation of this vassal ever made.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn last_generation(&self, vassal: &VassalName) -> Result<Option<GenerationId>, StoreError> {
        let generation: Option<i64> = sqlx::query_scalar("SELECT max(generation) FROM operations WHERE vassal = ?")
            .bind(vassal.as_str())
            .fetch_one(&self.pool)
            .await
            .map_err(|error| StoreError::sort(READING, &error))?;
        Ok(generation.map(|number| GenerationId(unsigned(number))))
    }

    /// One operation.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn operation(&self, id: OperationId) -> Result<Option<OperationView>, StoreError> {
        let row = sqlx::query("SELECT * FROM operations WHERE id = ?")
            .bind(signed(id.0))
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| StoreError::sort(READING, &error))?;
        row.as_ref().map(view).transpose()
    }

    /// The newest operations of a vassal, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn operations(&self, vassal: &VassalName, limit: u32) -> Result<Vec<OperationView>, StoreError> {
        let rows = sqlx::query("SELECT * FROM operations WHERE vassal = ? ORDER BY id DESC LIMIT ?")
            .bind(vassal.as_str())
            .bind(limit)
            .fetch_all(&self.pool)
            .await
            .map_err(|error| StoreError::sort(READING, &error))?;
        rows.iter().map(view).collect()
    }

    /// For each vassal its newest operation that deployed or tried to: what the fleet page shows after a restart.
    /// One that does not read back, as another version has written it, is left out.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn latest_deployments(&self) -> Result<Vec<OperationView>, StoreError> {
        let rows = sqlx::query("SELECT * FROM operations WHERE id IN (SELECT max(id) FROM operations WHERE verb IN ('reload', 'start') GROUP BY vassal)")
            .fetch_all(&self.pool)
            .await
            .map_err(|error| StoreError::sort(READING, &error))?;
        let readable = rows.iter().map(view).filter_map(|row| row.inspect_err(skipped).ok());
        Ok(readable.collect())
    }
}

fn skipped(error: &StoreError) {
    tracing::warn!(%error, "an operation of the history is left out");
}

fn view(row: &SqliteRow) -> Result<OperationView, StoreError> {
    let odd = |what: String| StoreError::Failed { doing: READING, cause: what.into() };
    let unreadable = |error| StoreError::unreadable(READING, &error);
    let verb: String = row.get("verb");
    let end: Option<String> = row.get("end");
    let optional = |column: &str| row.get::<Option<i64>, _>(column).map(unsigned);
    Ok(OperationView {
        id: OperationId(unsigned(row.get("id"))),
        vassal: VassalName::new(row.get::<String, _>("vassal")).map_err(|error| odd(error.to_string()))?,
        verb: verb_of(&verb).ok_or_else(|| odd(format!("\"{verb}\" is no verb")))?,
        actor: row.get("actor"),
        revision: optional("revision"),
        generation: optional("generation"),
        phase: row.get("phase"),
        phases: serde_json::from_str(row.get("phases")).map_err(unreadable)?,
        end: end.as_deref().map(serde_json::from_str).transpose().map_err(unreadable)?,
        began_unix_ms: unsigned(row.get("began_unix_ms")),
        ended_unix_ms: optional("ended_unix_ms"),
        boot_output: row.get("boot_output"),
    })
}

fn verb_word(verb: Verb) -> &'static str {
    match verb {
        Verb::Reload => "reload",
        Verb::Stop => "stop",
        Verb::Start => "start",
        Verb::Freeze => "freeze",
        Verb::Resume => "resume",
    }
}

fn verb_of(word: &str) -> Option<Verb> {
    [Verb::Reload, Verb::Stop, Verb::Start, Verb::Freeze, Verb::Resume]
        .into_iter()
        .find(|verb| verb_word(*verb) == word)
}
