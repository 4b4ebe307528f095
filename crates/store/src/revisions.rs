//! What vassal files said, each content numbered from 1 within its vassal.

use empery_control::fleet::ProblemView;
use empery_lifecycle::ids::{RevisionId, VassalName};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use crate::{
    Reader, StoreError,
    integer::{signed, unsigned},
};

/// One content of a vassal file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Whose.
    pub vassal: VassalName,
    /// Its number.
    pub revision: RevisionId,
    /// SHA-256 of the content, in hex.
    pub sha256: String,
    /// The file, byte for byte.
    pub content: Vec<u8>,
    /// What is wrong with it, errors first.
    pub problems: Vec<ProblemView>,
    /// When it was first seen, unix ms.
    pub seen_unix_ms: u64,
    /// What the file looked like besides its content, as the brain wrote it down.
    pub facts: Option<String>,
}

/// A revision in a list: without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionEntry {
    /// Its number.
    pub revision: RevisionId,
    /// SHA-256 of the content, in hex.
    pub sha256: String,
    /// When it was first seen, unix ms.
    pub seen_unix_ms: u64,
}

/// The newest revision of a vassal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatestRevision {
    /// Whose.
    pub vassal: VassalName,
    /// Its number.
    pub revision: RevisionId,
    /// SHA-256 of the content, in hex.
    pub sha256: String,
    /// See [`Revision::facts`].
    pub facts: Option<String>,
}

pub(crate) async fn record(connection: &mut SqliteConnection, revision: &Revision) -> Result<(), StoreError> {
    let doing = "recording a revision";
    let problems = serde_json::to_string(&revision.problems).map_err(|error| StoreError::unreadable(doing, &error))?;
    sqlx::query("INSERT OR REPLACE INTO revisions (vassal, revision, sha256, content, problems, seen_unix_ms, facts) VALUES (?, ?, ?, ?, ?, ?, ?)")
        .bind(revision.vassal.as_str())
        .bind(signed(revision.revision.0))
        .bind(&revision.sha256)
        .bind(&revision.content)
        .bind(problems)
        .bind(signed(revision.seen_unix_ms))
        .bind(&revision.facts)
        .execute(connection)
        .await
        .map_err(|error| StoreError::sort(doing, &error))?;
    Ok(())
}

impl Reader {
    /// The newest revision of every vassal ever seen: from these the brain numbers on after a restart.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn latest_revisions(&self) -> Result<Vec<LatestRevision>, StoreError> {
        let doing = "reading revisions";
        let rows = sqlx::query(
            "SELECT vassal, max(revision) AS revision, sha256, facts FROM revisions GROUP BY vassal ORDER BY vassal",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(|error| StoreError::sort(doing, &error))?;
        // A name that is none any more was written by somebody else: it has no file either.
        Ok(rows
            .iter()
            .filter_map(|row| {
                let vassal = VassalName::new(row.get::<String, _>("vassal")).ok()?;
                Some(LatestRevision {
                    vassal,
                    revision: RevisionId(unsigned(row.get("revision"))),
                    sha256: row.get("sha256"),
                    facts: row.get("facts"),
                })
            })
            .collect())
    }

    /// The newest revisions of a vassal, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn revisions(&self, vassal: &VassalName, limit: u32) -> Result<Vec<RevisionEntry>, StoreError> {
        let rows = sqlx::query(
            "SELECT revision, sha256, seen_unix_ms FROM revisions WHERE vassal = ? ORDER BY revision DESC LIMIT ?",
        )
        .bind(vassal.as_str())
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map_err(|error| StoreError::sort("reading revisions", &error))?;
        Ok(rows.iter().map(entry).collect())
    }

    /// One revision with its content.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn revision(&self, vassal: &VassalName, revision: RevisionId) -> Result<Option<Revision>, StoreError> {
        let doing = "reading a revision";
        let row = sqlx::query(
            "SELECT revision, sha256, content, problems, seen_unix_ms, facts FROM revisions WHERE vassal = ? AND revision = ?",
        )
        .bind(vassal.as_str())
        .bind(signed(revision.0))
        .fetch_optional(&self.pool)
        .await
        .map_err(|error| StoreError::sort(doing, &error))?;
        let Some(row) = row else { return Ok(None) };
        let problems =
            serde_json::from_str(row.get("problems")).map_err(|error| StoreError::unreadable(doing, &error))?;
        let RevisionEntry { revision, sha256, seen_unix_ms } = entry(&row);
        Ok(Some(Revision {
            vassal: vassal.clone(),
            revision,
            sha256,
            content: row.get("content"),
            problems,
            seen_unix_ms,
            facts: row.get("facts"),
        }))
    }
}

fn entry(row: &SqliteRow) -> RevisionEntry {
    RevisionEntry {
        revision: RevisionId(unsigned(row.get("revision"))),
        sha256: row.get("sha256"),
        seen_unix_ms: unsigned(row.get("seen_unix_ms")),
    }
}
