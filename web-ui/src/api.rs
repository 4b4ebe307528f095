//! The REST API. Reading is answered from the snapshot; what takes time is passed to the brain and answered with an
//! operation to wait for. The shape of every answer stands in `/openapi.json`; the table here and that
//! file are compared by a test.

mod events;
mod history;
pub(crate) mod stack;

use std::time::Duration;

use axum::{
    Extension, Json, Router,
    extract::{Path, Query, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use empery_control::fleet::{FleetSnapshot, Numbers, OperationView};
use empery_lifecycle::{
    fleet::Verb,
    ids::{OperationId, VassalName},
};
use serde::{Deserialize, Serialize};

use crate::{Realm, duration::parse_wait, guard::Caller, logs, metrics, problem::Problem, realm::find};

/// Lines of a log when the caller names no number.
const LOG_LINES: usize = 200;

/// The OpenAPI document, kept by hand.
const OPENAPI: &str = include_str!("../openapi.json");

/// A route as the OpenAPI document describes it, and what answers it.
type Route = (&'static str, &'static str, MethodRouter<Realm>);

/// Routes anybody may call.
fn open_table() -> [Route; 3] {
    [
        ("get", "/healthz", get(|| async { "ok\n" })),
        ("get", "/readyz", get(ready)),
        ("get", "/openapi.json", get(openapi)),
    ]
}

/// Routes that need a caller.
fn table() -> [Route; 22] {
    [
        ("get", "/metrics", get(scrape)),
        ("get", "/api/v1/vassals", get(fleet)),
        ("get", "/api/v1/vassals/{name}", get(vassal)),
        ("post", "/api/v1/vassals/{name}/reload", post(reload)),
        ("post", "/api/v1/vassals/{name}/stop", post(stop)),
        ("post", "/api/v1/vassals/{name}/start", post(start)),
        ("post", "/api/v1/vassals/{name}/retry", post(retry)),
        ("post", "/api/v1/vassals/{name}/freeze", post(freeze)),
        ("post", "/api/v1/vassals/{name}/resume", post(resume)),
        ("get", "/api/v1/vassals/{name}/logs", get(log)),
        ("get", "/api/v1/vassals/{name}/workers/{id}/stack", get(stack::stack)),
        ("get", "/api/v1/vassals/{name}/operations", get(history::operations)),
        ("get", "/api/v1/vassals/{name}/incidents", get(history::incidents)),
        ("get", "/api/v1/vassals/{name}/revisions", get(history::revisions)),
        ("get", "/api/v1/vassals/{name}/samples", get(history::samples)),
        ("get", "/api/v1/operations/{id}", get(operation)),
        ("post", "/api/v1/removals/confirm", post(confirm_removals)),
        ("post", "/api/v1/upgrade", post(begin_upgrade)),
        ("get", "/api/v1/upgrade", get(upgrade)),
        ("get", "/api/v1/stats", get(stats)),
        ("get", "/api/v1/events", get(events::stream)),
        ("post", "/api/v1/login-links", post(login_link)),
    ]
}

/// See [`open_table`].
pub(crate) fn open_routes() -> Router<Realm> {
    routed(open_table())
}

/// See [`table`].
pub(crate) fn routes() -> Router<Realm> {
    routed(table())
}

fn routed(table: impl IntoIterator<Item = Route>) -> Router<Realm> {
    table.into_iter().fold(Router::new(), |router, (_, path, answer)| router.route(path, answer))
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], OPENAPI).into_response()
}

/// Ready once the vassals directory was read for the first time.
async fn ready(State(realm): State<Realm>) -> Result<&'static str, Problem> {
    if realm.has_looked() { Ok("ready\n") } else { Err(Problem::starting()) }
}

async fn scrape(State(realm): State<Realm>) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE))], metrics::render(&realm.now()))
        .into_response()
}

/// Boot outputs stay out of the list: 16 KiB for each vassal.
async fn fleet(State(realm): State<Realm>) -> Json<FleetSnapshot> {
    let mut snapshot = FleetSnapshot::clone(&realm.now());
    for deployment in snapshot.vassals.iter_mut().filter_map(|vassal| vassal.last_deployment.as_mut()) {
        deployment.boot_output = None;
    }
    Json(snapshot)
}

async fn vassal(State(realm): State<Realm>, Path(name): Path<String>) -> Result<Response, Problem> {
    let snapshot = realm.now();
    let vassal = find(&snapshot, &name).ok_or_else(|| realm.absent(&name))?;
    Ok(Json(vassal).into_response())
}

#[derive(Deserialize)]
struct Wait {
    wait: Option<String>,
}

async fn reload(
    realm: State<Realm>,
    name: Path<String>,
    wait: Query<Wait>,
    caller: Extension<Caller>,
) -> Result<Response, Problem> {
    ask(realm, name, wait, caller, Verb::Reload).await
}

async fn stop(
    realm: State<Realm>,
    name: Path<String>,
    wait: Query<Wait>,
    caller: Extension<Caller>,
) -> Result<Response, Problem> {
    ask(realm, name, wait, caller, Verb::Stop).await
}

async fn start(
    realm: State<Realm>,
    name: Path<String>,
    wait: Query<Wait>,
    caller: Extension<Caller>,
) -> Result<Response, Problem> {
    ask(realm, name, wait, caller, Verb::Start).await
}

async fn freeze(
    realm: State<Realm>,
    name: Path<String>,
    wait: Query<Wait>,
    caller: Extension<Caller>,
) -> Result<Response, Problem> {
    ask(realm, name, wait, caller, Verb::Freeze).await
}

async fn resume(
    realm: State<Realm>,
    name: Path<String>,
    wait: Query<Wait>,
    caller: Extension<Caller>,
) -> Result<Response, Problem> {
    ask(realm, name, wait, caller, Verb::Resume).await
}

/// 409 when it waits for no back-off.
async fn retry(
    State(realm): State<Realm>,
    Path(name): Path<String>,
    Query(Wait { wait }): Query<Wait>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let name = VassalName::new(name.clone()).map_err(|_| Problem::unknown_vassal(&name))?;
    let wait = wait.as_deref().map(parse_wait).transpose()?;
    let view = realm.retry(name, caller.actor()).await?;
    waited(&realm, view, wait).await
}

async fn waited(realm: &Realm, mut view: OperationView, wait: Option<Duration>) -> Result<Response, Problem> {
    if let Some(at_most) = wait {
        view = realm.operations.wait(view.id, at_most).await.unwrap_or(view);
    }
    Ok(operation_answer(&view))
}

async fn ask(
    State(realm): State<Realm>,
    Path(name): Path<String>,
    Query(Wait { wait }): Query<Wait>,
    Extension(caller): Extension<Caller>,
    verb: Verb,
) -> Result<Response, Problem> {
    let name = VassalName::new(name.clone()).map_err(|_| Problem::unknown_vassal(&name))?;
    // Before anything is begun: a wait that cannot be read must not leave an operation behind.
    let wait = wait.as_deref().map(parse_wait).transpose()?;
    let view = realm.ask(name, verb, caller.actor()).await?;
    waited(&realm, view, wait).await
}

/// 200 when it has ended, well or not: the body says how. 202 and where to ask again while it runs.
fn operation_answer(view: &OperationView) -> Response {
    let status = if view.end.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let place = [(header::LOCATION, format!("/api/v1/operations/{}", view.id))];
    (status, place, Json(view)).into_response()
}

async fn operation(
    State(realm): State<Realm>,
    Path(id): Path<String>,
    Query(Wait { wait }): Query<Wait>,
) -> Result<Response, Problem> {
    let unknown = || Problem::unknown_operation(&id);
    let number = OperationId(id.parse().map_err(|_| unknown())?);
    let wait = wait.as_deref().map(parse_wait).transpose()?.unwrap_or_default();
    if let Some(view) = realm.operations.wait(number, wait).await {
        return Ok(operation_answer(&view));
    }
    let Some(reader) = realm.history() else { return Err(unknown()) };
    let view = reader.operation(number).await?.ok_or_else(unknown)?;
    Ok(operation_answer(&view))
}

#[derive(Serialize)]
struct Confirmed {
    vassals: Vec<VassalName>,
}

/// 202: they are being drained and stopped; each is an operation of its own.
async fn confirm_removals(
    State(realm): State<Realm>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let vassals = realm.confirm_removals(caller.actor()).await?;
    Ok((StatusCode::ACCEPTED, Json(Confirmed { vassals })).into_response())
}

/// 202: the emperor replaces itself, then the vassals that run older binaries are reloaded. GET tells how far it is.
async fn begin_upgrade(State(realm): State<Realm>, Extension(caller): Extension<Caller>) -> Result<Response, Problem> {
    let view = realm.upgrade(caller.actor()).await?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, "/api/v1/upgrade")], Json(view)).into_response())
}

async fn upgrade(State(realm): State<Realm>) -> Result<Response, Problem> {
    let snapshot = realm.now();
    let none = || {
        Problem::new(StatusCode::NOT_FOUND, "no-upgrade", "nobody has asked for an upgrade since the emperor started")
    };
    Ok(Json(snapshot.upgrade.as_ref().ok_or_else(none)?).into_response())
}

#[derive(Serialize)]
struct Stats<'s> {
    at_unix_ms: u64,
    fleet: Numbers,
    vassals: Vec<VassalStats<'s>>,
}

#[derive(Serialize)]
struct VassalStats<'s> {
    name: &'s VassalName,
    state: &'s str,
    generation: Option<u64>,
    #[serde(flatten)]
    numbers: Numbers,
}

async fn stats(State(realm): State<Realm>) -> Response {
    let snapshot = realm.now();
    let vassals = snapshot
        .vassals
        .iter()
        .map(|vassal| VassalStats {
            name: &vassal.name,
            state: &vassal.state,
            generation: vassal.generation,
            numbers: vassal.numbers,
        })
        .collect();
    Json(Stats { at_unix_ms: snapshot.at_unix_ms, fleet: snapshot.numbers, vassals }).into_response()
}

#[derive(Deserialize)]
struct Lines {
    lines: Option<usize>,
}

async fn log(
    State(realm): State<Realm>,
    Path(name): Path<String>,
    Query(Lines { lines }): Query<Lines>,
) -> Result<Response, Problem> {
    let text = read_log(&realm, &name, lines.unwrap_or(LOG_LINES).min(logs::LINES_MAX)).await?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))], text).into_response())
}

/// The end of a vassal's log, for the API and the page.
pub(crate) async fn read_log(realm: &Realm, name: &str, lines: usize) -> Result<String, Problem> {
    let unknown = || realm.absent(name);
    let vassal = find(&realm.now(), name).map(|vassal| vassal.name.clone()).ok_or_else(unknown)?;
    let Some(path) = (realm.log_file_of)(&vassal) else {
        let detail = format!("the log of \"{name}\" is written where the emperor does not read it");
        return Err(Problem::new(StatusCode::NOT_FOUND, "no-log", detail));
    };
    let shown = path.display().to_string();
    logs::tail(path, lines).await.map_err(|error| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "log-unreadable",
            format!("the log {shown} cannot be read: {error}"),
        )
    })
}

/// Over the control socket only: whoever may use it may sign a browser in.
async fn login_link(State(realm): State<Realm>, Extension(caller): Extension<Caller>) -> Result<Response, Problem> {
    let Caller::Local { .. } = caller else {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "control-socket-only",
            "login links are made by `emperor login` on the emperor's host",
        ));
    };
    let link = realm.access.login_link(&realm.base_url).map_err(|error| Problem::failed(error.to_string()))?;
    Ok((StatusCode::CREATED, Json(link)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_openapi_document_describes_every_route_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let mut described = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys().filter(|key| *key != "parameters") {
                described.insert((method.clone(), path.clone()));
            }
        }
        let served: BTreeSet<_> = open_table()
            .into_iter()
            .chain(table())
            .map(|(method, path, _)| (method.to_owned(), path.to_owned()))
            .collect();
        assert_eq!(described, served);
    }

    #[test]
    fn every_reference_of_the_openapi_document_leads_somewhere() {
        fn references(value: &serde_json::Value, found: &mut Vec<String>) {
            match value {
                serde_json::Value::Object(map) => {
                    found.extend(map.get("$ref").and_then(|to| to.as_str()).map(str::to_owned));
                    map.values().for_each(|inner| references(inner, found));
                }
                serde_json::Value::Array(list) => list.iter().for_each(|inner| references(inner, found)),
                _ => {}
            }
        }
        let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 20);
        for reference in found {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
    }
}
