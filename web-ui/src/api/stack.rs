//! What a worker is doing at this moment: the stack of each of its threads.

use axum::{
    Json,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use empery_control::stacks::WorkerStacks;
use empery_lifecycle::ids::{VassalName, WorkerId};
use serde::{Deserialize, Serialize};

use crate::{Realm, problem::Problem};

#[derive(Serialize)]
struct Told<'s> {
    #[serde(flatten)]
    stacks: &'s WorkerStacks,
    text: String,
}

/// Which process of a worker.
#[derive(Deserialize)]
pub(crate) struct Process {
    pid: Option<i32>,
}

pub(super) async fn stack(
    State(realm): State<Realm>,
    Path((name, worker)): Path<(String, String)>,
    Query(process): Query<Process>,
) -> Result<Response, Problem> {
    let stacks = ask(&realm, &name, &worker, &process).await?;
    Ok(Json(Told { text: stacks.text(), stacks: &stacks }).into_response())
}

/// Asks the worker's master, for the API and the page.
pub(crate) async fn ask(realm: &Realm, name: &str, worker: &str, process: &Process) -> Result<WorkerStacks, Problem> {
    let name = VassalName::new(name.to_owned()).map_err(|_| Problem::unknown_vassal(name))?;
    let number = worker.parse().map_err(|_| Problem::unknown_worker(name.as_str(), worker))?;
    Ok(realm.stacks(name, WorkerId(number), process.pid).await?)
}
