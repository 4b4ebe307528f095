//! `emperor status`: the fleet in a table, or everything about one vassal.

use std::time::{SystemTime, UNIX_EPOCH};

use empery_control::{
    fleet::{FleetSnapshot, OperationView, VassalSnapshot, WorkerSnapshot},
    link::WorkerPhase,
};
use empery_lifecycle::fleet::{OperationEnd, Verb};
use serde::Deserialize;

use super::{
    Running,
    client::{Client, segment},
    exit::{Exit, Failure},
    print::{self, say},
};

/// Widest column of names.
const NAME_WIDTH_MAX: usize = 40;

/// How many incidents are shown of one vassal.
const INCIDENTS: usize = 3;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// A vassal: the name of its file. Without it the whole fleet is shown.
    name: Option<String>,
    /// Print JSON, as the API answers it.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    running: Running,
}

pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let client = Client::new(&options.running)?;
    let path = options
        .name
        .as_ref()
        .map_or_else(|| "/api/v1/vassals".to_owned(), |name| format!("/api/v1/vassals/{}", segment(name)));
    let answer = client.get(&path)?;
    if options.json {
        print::document(&answer.text());
    } else if options.name.is_some() {
        vassal(&answer.json()?);
        incidents(&client, &path);
    } else {
        fleet(&answer.json()?);
    }
    Ok(Exit::Done)
}

fn fleet(fleet: &FleetSnapshot) {
    let loyal = fleet.vassals.iter().filter(|vassal| vassal.state == "loyal").count();
    say!(
        "emperor {} of {}: {} vassals, {loyal} loyal, {:.1} requests/s, {}",
        fleet.version,
        fleet.watched.join(", "),
        fleet.vassals.len(),
        fleet.numbers.requests_per_s,
        print::memory(fleet.numbers.rss_bytes)
    );
    for alarm in &fleet.alarms {
        say!("! {alarm}");
    }
    if fleet.vassals.is_empty() {
        return;
    }
    let width = fleet.vassals.iter().map(|vassal| vassal.name.as_str().chars().count()).max().unwrap_or(0);
    // One long name is not to push every other row out of sight.
    let width = width.clamp(6, NAME_WIDTH_MAX);
    say!(
        "\n{:width$}  {:9}  {:>3}  {:>7}  {:>8}  {:>9}  SUMMARY",
        "VASSAL",
        "STATE",
        "GEN",
        "WORKERS",
        "REQ/S",
        "MEMORY"
    );
    for vassal in &fleet.vassals {
        let generation = vassal.generation.map_or_else(|| "-".to_owned(), |generation| generation.to_string());
        say!(
            "{:width$}  {:9}  {generation:>3}  {:>7}  {:>8.1}  {:>9}  {}",
            vassal.name.as_str(),
            word(vassal),
            vassal.numbers.workers,
            vassal.numbers.requests_per_s,
            print::memory(vassal.numbers.rss_bytes),
            vassal.summary
        );
    }
}

/// What it does, in one word.
fn word(vassal: &VassalSnapshot) -> &str {
    if vassal.frozen { "frozen" } else { &vassal.state }
}

fn vassal(vassal: &VassalSnapshot) {
    let line = |name: &str, value: String| say!("  {name:12} {value}");
    let or_none = |number: Option<u64>| number.map_or_else(|| "none".to_owned(), |number| number.to_string());
    say!("{} is {}: {}", vassal.name, word(vassal), vassal.summary);
    if vassal.frozen {
        line("frozen", format!("until `emperor resume {}`", vassal.name));
    }
    if vassal.outdated {
        line("binaries", "older than what is installed: a reload or `emperor upgrade` brings the new ones".to_owned());
    }
    line("generation", or_none(vassal.generation));
    line(
        "revision",
        format!("{} serves, {} in the file", or_none(vassal.serving_revision), or_none(vassal.file_revision)),
    );
    line("listens on", if vassal.listeners.is_empty() { "nothing".to_owned() } else { vassal.listeners.join(", ") });
    if let Some(pid) = vassal.master_pid {
        line("master", format!("pid {pid}, {}", vassal.identity.as_deref().unwrap_or("unknown ids")));
    }
    if let Some(python) = &vassal.python {
        line("python", python.clone());
    }
    if let Some(since) = vassal.loyal_since_unix_ms {
        line("serving for", print::span(now_unix_ms().saturating_sub(since) / 1_000));
    }
    let numbers = &vassal.numbers;
    line(
        "requests",
        format!(
            "{} ({:.1}/s, mean {:.1} ms), {} with status 5xx, {} exceptions",
            numbers.requests_total,
            numbers.requests_per_s,
            numbers.mean_ms,
            numbers.errors_5xx_total,
            numbers.exceptions_total
        ),
    );
    line(
        "busy",
        format!("{} of {} threads, {}", numbers.busy_threads, numbers.threads, print::memory(numbers.rss_bytes)),
    );
    if let Some(log) = &vassal.log_file {
        line("log", log.clone());
    }
    for worker in &vassal.workers {
        line("worker", worker_line(worker));
    }
    if let Some(deployment) = &vassal.last_deployment {
        last_deployment(deployment);
    }
    for problem in &vassal.problems {
        say!();
        print::problem(problem);
    }
}

/// What was lost, killed or odd of late, with the evidence of the last.
fn incidents(client: &Client, vassal: &str) {
    let read = client.get(&format!("{vassal}/incidents?limit={INCIDENTS}"));
    // Without a database there is nothing to show, and the alarms say why.
    let Ok(Recent { incidents }) = read.and_then(|answer| answer.json()) else { return };
    for (place, incident) in incidents.iter().enumerate() {
        if place == 0 {
            say!("\nlast incidents:");
        }
        let ago = print::span(now_unix_ms().saturating_sub(incident.at_unix_ms) / 1_000);
        let mut lines = incident.text.lines();
        say!("  {ago} ago, {}: {}", incident.code, lines.next().unwrap_or_default());
        if place == 0 {
            lines.for_each(|line| say!("    {line}"));
        }
    }
}

/// The answer of the API, as far as it is shown.
#[derive(Deserialize)]
struct Recent {
    incidents: Vec<Incident>,
}

#[derive(Deserialize)]
struct Incident {
    at_unix_ms: u64,
    code: String,
    text: String,
}

fn worker_line(worker: &WorkerSnapshot) -> String {
    let phase = match worker.view.phase {
        WorkerPhase::Booting => "booting",
        WorkerPhase::Serving => "serving",
        WorkerPhase::Draining => "draining",
        WorkerPhase::Orphan => "serving, of an earlier master",
    };
    format!(
        "{} of generation {}: {phase}, pid {}, {} requests, {} of {} threads busy, {}",
        worker.view.worker.worker.0,
        worker.view.worker.generation,
        worker.view.pid,
        worker.requests,
        worker.busy_threads,
        worker.threads,
        print::memory(worker.rss_bytes)
    )
}

fn last_deployment(view: &OperationView) {
    let verb = match view.verb {
        Verb::Reload => "reload",
        Verb::Stop => "stop",
        Verb::Start => "start",
        Verb::Freeze => "freeze",
        Verb::Resume => "resume",
    };
    let ago = print::span(now_unix_ms().saturating_sub(view.began_unix_ms) / 1_000);
    let how = match &view.end {
        None => format!("is {}", view.phase),
        Some(OperationEnd::Succeeded) => format!(
            "succeeded in {} ms",
            view.ended_unix_ms.unwrap_or(view.began_unix_ms).saturating_sub(view.began_unix_ms)
        ),
        Some(OperationEnd::Superseded) => "was superseded".to_owned(),
        Some(OperationEnd::Failed { still_serving: true, .. }) => "failed; what served before serves on".to_owned(),
        Some(OperationEnd::Failed { still_serving: false, .. }) => "failed; nothing serves".to_owned(),
    };
    say!("\nlast deployment: {verb} by {} {ago} ago (operation {}) {how}", view.actor, view.id);
    let phases: Vec<String> =
        view.phases.iter().map(|phase| format!("{} {} ms", phase.phase, phase.after_ms)).collect();
    say!("  phases: {}", phases.join(", "));
    if let Some(reason) = view.failure() {
        print::failure(reason, view.boot_output.as_deref());
    }
}

fn now_unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
