//! The page of one vassal: what it does, what it was last asked to do and how that went, its workers, the problems of
//! its file, what happened before, and the end of its log.

use std::time::Duration;

use askama::Template;
use axum::{
    Extension,
    extract::{Path, Query, State},
    response::Response,
};
use empery_control::{
    fleet::{OperationView, ProblemView, VassalSnapshot, WorkerSnapshot},
    link::{Severity, WorkerPhase},
};
use empery_lifecycle::ids::OperationId;
use empery_store::Incident;
use serde::Deserialize;

use super::{
    Frame, html,
    words::{self, Badge, Past},
};
use crate::{Realm, api, guard::Caller, problem::Problem, realm::find};

/// Rows of each list of the past.
const PAST_ROWS: u32 = 20;

/// Lines of the log.
const LOG_LINES: usize = 60;

#[derive(Template)]
#[template(path = "vassal.html")]
struct Page {
    frame: Frame,
    /// Of the live part's address.
    query: String,
    vassal: Vassal,
}

#[derive(Template)]
#[template(path = "vassal_live.html")]
struct Live {
    vassal: Vassal,
}

/// The live part.
struct Vassal {
    form_token: String,
    name: String,
    segment: String,
    state: Badge,
    summary: String,
    /// What this page's reader just asked for.
    asked: Option<Operation>,
    can_reload: bool,
    can_stop: bool,
    can_start: bool,
    can_retry: bool,
    can_freeze: bool,
    frozen: bool,
    outdated: bool,
    retry_in: Option<String>,
    facts: Vec<(&'static str, String)>,
    numbers: Vec<(&'static str, String)>,
    busy_threads: u32,
    workers: Vec<Worker>,
    deployment: Option<Operation>,
    /// What was asked for is the last deployment: shown once.
    deployment_is_asked: bool,
    problems: Vec<FileProblem>,
    operations: Vec<Operation>,
    incidents: Vec<ShownIncident>,
    /// What kept the past from being read.
    past_missing: Option<String>,
    log: Result<String, String>,
}

struct Worker {
    number: u32,
    generation: u64,
    pid: i32,
    phase: Badge,
    requests: String,
    busy_threads: u32,
    threads: u32,
    rss: String,
    age: String,
    respawns: u32,
}

struct Operation {
    id: u64,
    verb: &'static str,
    verdict: Badge,
    running: bool,
    actor: String,
    revision: Option<u64>,
    generation: Option<u64>,
    began: Past,
    took: Option<String>,
    phases: Vec<(String, String)>,
    reason: Option<String>,
    still_serving: bool,
    traceback: Option<String>,
    boot_output: Option<String>,
}

struct FileProblem {
    severity: String,
    place: String,
    source: Option<String>,
    /// What stands under the source line: spaces up to the column, then a mark.
    mark: Option<String>,
    message: String,
    hint: Option<String>,
    code: String,
}

struct ShownIncident {
    at: Past,
    severity: &'static str,
    code: String,
    sentence: String,
    evidence: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Asked {
    operation: Option<u64>,
}

pub(super) async fn page(
    State(realm): State<Realm>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let frame = Frame::new(&realm.now(), &caller);
    let vassal = Vassal::read(&realm, &name, &asked, &frame.form_token).await?;
    let query = asked.operation.map(|id| format!("?operation={id}")).unwrap_or_default();
    Ok(html(&Page { frame, query, vassal }))
}

pub(super) async fn live(
    State(realm): State<Realm>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let frame = Frame::new(&realm.now(), &caller);
    Ok(html(&Live { vassal: Vassal::read(&realm, &name, &asked, &frame.form_token).await? }))
}

impl Vassal {
    async fn read(realm: &Realm, name: &str, asked: &Asked, form_token: &str) -> Result<Vassal, Problem> {
        let snapshot = realm.now();
        let vassal = find(&snapshot, name).ok_or_else(|| realm.absent(name))?;
        let now = (realm.now_unix_ms)();
        let asked = match asked.operation {
            Some(id) => look_up(realm, OperationId(id)).await.filter(|view| view.vassal == vassal.name),
            None => None,
        };
        let (operations, incidents, past_missing) = read_past(realm, vassal, now).await;
        let log = api::read_log(realm, name, LOG_LINES).await.map_err(|problem| problem.detail);
        let deployment = vassal.last_deployment.as_ref();
        let held = vassal.state == "held";
        let cursed = vassal.state == "cursed";
        Ok(Vassal {
            form_token: form_token.to_owned(),
            name: vassal.name.to_string(),
            segment: words::segment(name),
            state: Badge::of_state(&vassal.state),
            summary: vassal.summary.clone(),
            deployment_is_asked: asked.is_some()
                && asked.as_ref().map(|view| view.id) == deployment.map(|view| view.id),
            asked: asked.map(|view| Operation::of(&view, now)),
            can_reload: vassal.generation.is_some() && !held,
            can_stop: !held && vassal.state != "refused" || vassal.generation.is_some(),
            can_start: held || vassal.state == "asleep",
            can_retry: cursed,
            can_freeze: !vassal.frozen && vassal.generation.is_some(),
            frozen: vassal.frozen,
            outdated: vassal.outdated,
            retry_in: vassal.retry_at_unix_ms.map(|at| words::span(Duration::from_millis(at.saturating_sub(now)))),
            facts: facts(vassal, now),
            numbers: numbers(vassal),
            busy_threads: vassal.numbers.busy_threads,
            workers: vassal.workers.iter().map(|worker| Worker::of(worker, now)).collect(),
            deployment: deployment.map(|view| Operation::of(view, now)),
            problems: vassal.problems.iter().map(FileProblem::of).collect(),
            operations,
            incidents,
            past_missing,
            log,
        })
    }
}

/// From the board, or from the past.
async fn look_up(realm: &Realm, id: OperationId) -> Option<OperationView> {
    if let Some(view) = realm.operations.get(id) {
        return Some(view);
    }
    // A database that cannot be read is told of where the past is shown.
    realm.history()?.operation(id).await.ok().flatten()
}

async fn read_past(
    realm: &Realm,
    vassal: &VassalSnapshot,
    now: u64,
) -> (Vec<Operation>, Vec<ShownIncident>, Option<String>) {
    let Some(reader) = realm.history() else {
        return (Vec::new(), Vec::new(), Some("the database is not open; the alarms say why".to_owned()));
    };
    let read = async {
        Ok::<_, empery_store::StoreError>((
            reader.operations(&vassal.name, PAST_ROWS).await?,
            reader.incidents(&vassal.name, PAST_ROWS).await?,
        ))
    };
    match read.await {
        Ok((operations, incidents)) => (
            operations.iter().map(|view| Operation::of(view, now)).collect(),
            incidents.into_iter().map(|incident| ShownIncident::of(incident, now)).collect(),
            None,
        ),
        Err(error) => (Vec::new(), Vec::new(), Some(error.to_string())),
    }
}

fn facts(vassal: &VassalSnapshot, now: u64) -> Vec<(&'static str, String)> {
    let number = |number: Option<u64>| number.map_or_else(|| "none".to_owned(), |number| number.to_string());
    let mut facts =
        vec![("Generation", number(vassal.generation)), ("Revision served", number(vassal.serving_revision))];
    if vassal.file_revision != vassal.serving_revision {
        facts.push(("Revision of the file", number(vassal.file_revision)));
    }
    if let Some(since) = vassal.loyal_since_unix_ms {
        facts.push(("Loyal for", words::span(Duration::from_millis(now.saturating_sub(since)))));
    }
    if !vassal.listeners.is_empty() {
        facts.push(("Listens on", vassal.listeners.join(", ")));
    }
    facts.extend(vassal.python.clone().map(|python| ("Python", python)));
    facts.extend(vassal.master_pid.map(|pid| ("Master", format!("pid {pid}"))));
    facts.extend(vassal.identity.clone().map(|identity| ("Runs as", identity)));
    facts
}

fn numbers(vassal: &VassalSnapshot) -> Vec<(&'static str, String)> {
    let numbers = vassal.numbers;
    vec![
        ("requests/s", words::rate(numbers.requests_per_s)),
        ("mean time", format!("{:.1} ms", numbers.mean_ms)),
        ("busy threads", format!("{} of {}", numbers.busy_threads, numbers.threads)),
        ("requests", words::count(numbers.requests_total)),
        ("5xx", words::count(numbers.errors_5xx_total)),
        ("exceptions", words::count(numbers.exceptions_total)),
        ("sent", words::bytes(numbers.tx_bytes_total)),
        ("memory", words::bytes(numbers.rss_bytes)),
    ]
}

impl Worker {
    fn of(worker: &WorkerSnapshot, now_unix_ms: u64) -> Worker {
        let reference = worker.view.worker;
        let phase = match worker.view.phase {
            WorkerPhase::Booting => "starting",
            WorkerPhase::Serving => "serving",
            WorkerPhase::Draining => "draining",
            WorkerPhase::Orphan => "orphan",
        };
        let phase =
            Badge { word: phase.to_owned(), ..Badge::of_state(if phase == "serving" { "loyal" } else { "starting" }) };
        Worker {
            number: reference.worker.0,
            generation: reference.generation.0,
            pid: worker.view.pid,
            phase,
            requests: words::count(worker.requests),
            busy_threads: worker.busy_threads,
            threads: worker.threads,
            rss: words::bytes(worker.rss_bytes),
            age: words::span(Duration::from_secs((now_unix_ms / 1_000).saturating_sub(worker.view.since_unix_s))),
            respawns: reference.spawn,
        }
    }
}

impl ShownIncident {
    fn of(incident: Incident, now_unix_ms: u64) -> ShownIncident {
        let (sentence, evidence) = match incident.text.split_once('\n') {
            Some((sentence, evidence)) => (sentence.to_owned(), Some(evidence.trim_end().to_owned())),
            None => (incident.text, None),
        };
        ShownIncident {
            at: Past::new(incident.at_unix_ms, now_unix_ms),
            severity: match incident.severity {
                Severity::Warning => "warning",
                Severity::Incident => "incident",
            },
            code: incident.code,
            sentence,
            evidence,
        }
    }
}

impl Operation {
    fn of(view: &OperationView, now_unix_ms: u64) -> Operation {
        use empery_lifecycle::fleet::OperationEnd;
        let failure = view.failure();
        let filled = |text: &String| !text.trim().is_empty();
        Operation {
            id: view.id.0,
            verb: words::verb(view.verb),
            verdict: Badge::of_operation(view),
            running: view.end.is_none(),
            actor: view.actor.clone(),
            revision: view.revision,
            generation: view.generation,
            began: Past::new(view.began_unix_ms, now_unix_ms),
            took: view.ended_unix_ms.map(|ended| words::milliseconds(ended.saturating_sub(view.began_unix_ms))),
            phases: view
                .phases
                .iter()
                .map(|phase| (phase.phase.clone(), words::milliseconds(phase.after_ms)))
                .collect(),
            reason: failure.map(words::sentence),
            still_serving: matches!(&view.end, Some(OperationEnd::Failed { still_serving: true, .. })),
            traceback: failure.and_then(words::traceback).map(str::to_owned),
            boot_output: view.boot_output.clone().filter(filled),
        }
    }
}

impl FileProblem {
    fn of(problem: &ProblemView) -> FileProblem {
        let place = match (problem.line, problem.column) {
            (0, _) => problem.file.clone(),
            (line, 0) => format!("{}:{line}", problem.file),
            (line, column) => format!("{}:{line}:{column}", problem.file),
        };
        // A tab stays a tab, or the mark would not stand under its character.
        let mark = problem.source.as_ref().filter(|_| problem.column > 0).map(|source| {
            let before = source.chars().take(problem.column as usize - 1);
            before.map(|c| if c == '\t' { '\t' } else { ' ' }).chain(['^']).collect()
        });
        FileProblem {
            severity: problem.severity.clone(),
            place,
            source: problem.source.clone(),
            mark,
            message: problem.message.clone(),
            hint: problem.hint.clone(),
            code: problem.code.clone(),
        }
    }
}

impl Page {
    /// Whether the page should ask for itself anew where there is no script.
    fn refreshes(&self) -> bool {
        self.vassal.asked.as_ref().is_some_and(|operation| operation.running)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_stands_under_the_column_also_behind_a_tab() {
        let view = ProblemView {
            severity: "error".to_owned(),
            code: "unknown-option".to_owned(),
            file: "shop.ini".to_owned(),
            line: 3,
            column: 3,
            source: Some("\tü = x".to_owned()),
            message: "m".to_owned(),
            hint: None,
        };
        let problem = FileProblem::of(&view);
        assert_eq!((problem.place.as_str(), problem.mark.as_deref()), ("shop.ini:3:3", Some("\t ^")));
    }
}
