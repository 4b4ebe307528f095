//! What was lost, killed or odd: one row each, kept long enough to be asked about after a holiday.

use empery_control::link::Severity;
use empery_lifecycle::ids::{GenerationId, VassalName, WorkerId, WorkerRef};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use crate::{
    Reader, StoreError,
    integer::{signed, unsigned},
};

/// An incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// Whose; None when it is about the emperor itself.
    pub vassal: Option<VassalName>,
    /// Unix ms.
    pub at_unix_ms: u64,
    /// How much it matters.
    pub severity: Severity,
    /// A stable word.
    pub code: String,
    /// One sentence first, evidence below it.
    pub text: String,
    /// The worker it is about.
    pub worker: Option<WorkerRef>,
}

/// Once, however often it is said: a master repeats what the last brain may not have written down.
pub(crate) async fn record(connection: &mut SqliteConnection, incident: &Incident) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO incidents (vassal, at_unix_ms, severity, code, text, generation, worker, spawn) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 \
         WHERE NOT EXISTS (SELECT 1 FROM incidents WHERE vassal IS ?1 AND at_unix_ms = ?2 AND code = ?4 AND text = ?5)",
    )
    .bind(incident.vassal.as_ref().map(VassalName::as_str))
    .bind(signed(incident.at_unix_ms))
    .bind(match incident.severity {
        Severity::Warning => "warning",
        Severity::Incident => "incident",
    })
    .bind(&incident.code)
    .bind(&incident.text)
    .bind(incident.worker.map(|worker| signed(worker.generation.0)))
    .bind(incident.worker.map(|worker| worker.worker.0))
    .bind(incident.worker.map(|worker| worker.spawn))
    .execute(connection)
    .await
    .map_err(|error| StoreError::sort("recording an incident", &error))?;
    Ok(())
}

impl Reader {
    /// The newest incidents of a vassal, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn incidents(&self, vassal: &VassalName, limit: u32) -> Result<Vec<Incident>, StoreError> {
        let rows = sqlx::query("SELECT * FROM incidents WHERE vassal = ? ORDER BY id DESC LIMIT ?")
            .bind(vassal.as_str())
            .bind(limit)
            .fetch_all(&self.pool)
            .await
            .map_err(|error| StoreError::sort("reading incidents", &error))?;
        Ok(rows.iter().map(|row| incident(row, Some(vassal.clone()))).collect())
    }

    /// The newest incidents of the emperor itself, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn incidents_of_emperor(&self, limit: u32) -> Result<Vec<Incident>, StoreError> {
        let rows = sqlx::query("SELECT * FROM incidents WHERE vassal IS NULL ORDER BY id DESC LIMIT ?")
            .bind(limit)
            .fetch_all(&self.pool)
            .await
            .map_err(|error| StoreError::sort("reading incidents", &error))?;
        Ok(rows.iter().map(|row| incident(row, None)).collect())
    }
}

fn incident(row: &SqliteRow, vassal: Option<VassalName>) -> Incident {
    let worker = || {
        Some(WorkerRef {
            generation: GenerationId(unsigned(row.get::<Option<i64>, _>("generation")?)),
            worker: WorkerId(row.get::<Option<u32>, _>("worker")?),
            spawn: row.get::<Option<u32>, _>("spawn")?,
        })
    };
    Incident {
        vassal,
        at_unix_ms: unsigned(row.get("at_unix_ms")),
        severity: if row.get::<&str, _>("severity") == "warning" { Severity::Warning } else { Severity::Incident },
        code: row.get("code"),
        text: row.get("text"),
        worker: worker(),
    }
}
