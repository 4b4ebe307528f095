//! What the database remembers of a vassal, also of one whose file is gone.

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use empery_lifecycle::ids::VassalName;
use empery_store::Reader;
use serde::Deserialize;
use serde_json::json;

use crate::{Realm, problem::Problem};

/// Rows of one answer, unless asked otherwise, and at most.
const ROWS: u32 = 50;
const ROWS_MAX: u32 = 500;

#[derive(Deserialize)]
pub(super) struct Limit {
    limit: Option<u32>,
}

impl Limit {
    fn rows(&self) -> u32 {
        self.limit.unwrap_or(ROWS).min(ROWS_MAX)
    }
}

#[derive(Deserialize)]
pub(super) struct Since {
    since_unix_s: Option<u64>,
}

pub(super) async fn operations(
    State(realm): State<Realm>,
    Path(name): Path<String>,
    Query(limit): Query<Limit>,
) -> Result<Response, Problem> {
    let (reader, name) = asked(&realm, name)?;
    let operations = reader.operations(&name, limit.rows()).await?;
    Ok(Json(json!({ "operations": operations })).into_response())
}

pub(super) async fn incidents(
    State(realm): State<Realm>,
    Path(name): Path<String>,
    Query(limit): Query<Limit>,
) -> Result<Response, Problem> {
    let (reader, name) = asked(&realm, name)?;
    let incidents: Vec<_> = reader
        .incidents(&name, limit.rows())
        .await?
        .into_iter()
        .map(|incident| {
            json!({ "at_unix_ms": incident.at_unix_ms, "severity": incident.severity, "code": incident.code,
                    "text": incident.text, "worker": incident.worker })
        })
        .collect();
    Ok(Json(json!({ "incidents": incidents })).into_response())
}

/// Without their content: vassal files hold secrets, and whoever may read them reads the files.
pub(super) async fn revisions(
    State(realm): State<Realm>,
    Path(name): Path<String>,
    Query(limit): Query<Limit>,
) -> Result<Response, Problem> {
    let (reader, name) = asked(&realm, name)?;
    let revisions: Vec<_> = reader
        .revisions(&name, limit.rows())
        .await?
        .into_iter()
        .map(|entry| json!({ "revision": entry.revision, "sha256": entry.sha256, "seen_unix_ms": entry.seen_unix_ms }))
        .collect();
    Ok(Json(json!({ "revisions": revisions })).into_response())
}

/// Minutes, oldest first; the last hour unless asked otherwise.
pub(super) async fn samples(
    State(realm): State<Realm>,
    Path(name): Path<String>,
    Query(since): Query<Since>,
) -> Result<Response, Problem> {
    let (reader, name) = asked(&realm, name)?;
    let an_hour_ago = ((realm.now_unix_ms)() / 1_000).saturating_sub(3_600);
    let samples: Vec<_> = reader
        .samples(&name, since.since_unix_s.unwrap_or(an_hour_ago))
        .await?
        .into_iter()
        .map(|minute| {
            json!({ "minute_unix_s": minute.minute_unix_s, "requests": minute.requests, "errors_5xx": minute.errors_5xx,
                    "exceptions": minute.exceptions, "tx_bytes": minute.tx_bytes, "busy_us": minute.busy_us,
                    "busy_threads_peak": minute.busy_threads_peak, "threads": minute.threads, "workers": minute.workers,
                    "rss_bytes": minute.rss_bytes })
        })
        .collect();
    Ok(Json(json!({ "samples": samples })).into_response())
}

fn asked(realm: &Realm, name: String) -> Result<(Reader, VassalName), Problem> {
    let name = VassalName::new(name.clone()).map_err(|_| Problem::unknown_vassal(&name))?;
    let no_history = || {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no-history",
            "the database is not open: see the emperor's alarms",
        )
    };
    Ok((realm.history().ok_or_else(no_history)?, name))
}
