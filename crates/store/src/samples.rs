//! Minutes of numbers. Written in one batch a minute; a vassal that counted nothing needs no row.

use empery_lifecycle::ids::VassalName;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use crate::{
    Reader, StoreError,
    integer::{signed, unsigned},
    vassals::{self, ROWS_PER_STATEMENT},
};

/// One minute of one vassal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Whose.
    pub vassal: VassalName,
    /// When the minute began, unix s.
    pub minute_unix_s: u64,
    /// Requests finished in it.
    pub requests: u64,
    /// Of these, answered with a status of 500 and above.
    pub errors_5xx: u64,
    /// Of these, ended in an exception.
    pub exceptions: u64,
    /// Bytes sent in it.
    pub tx_bytes: u64,
    /// Time spent inside requests, all threads together, in us.
    pub busy_us: u64,
    /// Most threads inside a request at one sampling.
    pub busy_threads_peak: u32,
    /// Of so many.
    pub threads: u32,
    /// Workers that served at the end of it.
    pub workers: u32,
    /// Resident sets at the end of it, in bytes.
    pub rss_bytes: u64,
}

pub(crate) async fn append(connection: &mut SqliteConnection, minute: &[Sample]) -> Result<(), StoreError> {
    for rows in minute.chunks(ROWS_PER_STATEMENT) {
        let Some(at_unix_s) = rows.first().map(|sample| sample.minute_unix_s) else {
            continue;
        };
        vassals::ensure(connection, rows.iter().map(|sample| &sample.vassal), at_unix_s * 1_000).await?;
        let mut statement = QueryBuilder::<Sqlite>::new(
            "INSERT OR REPLACE INTO samples (vassal_id, minute_unix_s, requests, errors_5xx, exceptions, tx_bytes, busy_us, \
             busy_threads_peak, threads, workers, rss_bytes) ",
        );
        statement.push_values(rows, |mut row, sample| {
            row.push("(SELECT id FROM vassals WHERE name = ")
                .push_bind_unseparated(sample.vassal.as_str())
                .push_unseparated(")")
                .push_bind(signed(sample.minute_unix_s))
                .push_bind(signed(sample.requests))
                .push_bind(signed(sample.errors_5xx))
                .push_bind(signed(sample.exceptions))
                .push_bind(signed(sample.tx_bytes))
                .push_bind(signed(sample.busy_us))
                .push_bind(sample.busy_threads_peak)
                .push_bind(sample.threads)
                .push_bind(sample.workers)
                .push_bind(signed(sample.rss_bytes));
        });
        statement
            .build()
            .execute(&mut *connection)
            .await
            .map_err(|error| StoreError::sort("recording samples", &error))?;
    }
    Ok(())
}

impl Reader {
    /// The minutes of a vassal since then, oldest first. A minute that is not there counted nothing.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn samples(&self, vassal: &VassalName, since_unix_s: u64) -> Result<Vec<Sample>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM samples WHERE vassal_id = (SELECT id FROM vassals WHERE name = ?) AND minute_unix_s >= ? ORDER BY minute_unix_s",
        )
        .bind(vassal.as_str())
        .bind(signed(since_unix_s))
        .fetch_all(&self.pool)
        .await
        .map_err(|error| StoreError::sort("reading samples", &error))?;
        Ok(rows
            .iter()
            .map(|row| Sample {
                vassal: vassal.clone(),
                minute_unix_s: unsigned(row.get("minute_unix_s")),
                requests: unsigned(row.get("requests")),
                errors_5xx: unsigned(row.get("errors_5xx")),
                exceptions: unsigned(row.get("exceptions")),
                tx_bytes: unsigned(row.get("tx_bytes")),
                busy_us: unsigned(row.get("busy_us")),
                busy_threads_peak: row.get("busy_threads_peak"),
                threads: row.get("threads"),
                workers: row.get("workers"),
                rss_bytes: unsigned(row.get("rss_bytes")),
            })
            .collect())
    }
}
