//! The fleet page: what needs attention first, then everything else, in the order of names.

use std::sync::Arc;

use askama::Template;
use axum::{Extension, extract::State, response::Response};
use empery_control::fleet::{FleetSnapshot, VassalSnapshot};

use super::{
    Frame, html,
    words::{self, Badge, Past},
};
use crate::{Realm, guard::Caller};

#[derive(Template)]
#[template(path = "fleet.html")]
struct Page {
    frame: Frame,
    fleet: Fleet,
}

#[derive(Template)]
#[template(path = "fleet_live.html")]
struct Live {
    fleet: Fleet,
}

/// The live part.
struct Fleet {
    directory: String,
    alarms: Vec<String>,
    /// Vassals that are to be stopped when somebody says so.
    removals_doubted: usize,
    /// Vassals that run binaries which have been replaced.
    outdated: usize,
    /// Carried by the form.
    form_token: String,
    vassals: usize,
    loyal: usize,
    rate: String,
    errors: String,
    busy_threads: u32,
    threads: u32,
    rss: String,
    /// Those that need attention, then the others; a group without rows is not shown.
    groups: [Group; 2],
}

struct Group {
    title: &'static str,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    segment: String,
    state: Badge,
    frozen: bool,
    outdated: bool,
    summary: String,
    generation: Option<u64>,
    workers: u32,
    busy_threads: u32,
    threads: u32,
    rate: String,
    errors: String,
    any_errors: bool,
    rss: String,
    deployment: Option<Deployment>,
}

struct Deployment {
    verdict: Badge,
    began: Past,
    actor: String,
}

pub(super) async fn page(State(realm): State<Realm>, Extension(caller): Extension<Caller>) -> Response {
    let snapshot = realm.now();
    let frame = Frame::new(&snapshot, &caller);
    let fleet = Fleet::of(&snapshot, (realm.now_unix_ms)(), frame.form_token.clone());
    html(&Page { frame, fleet })
}

pub(super) async fn live(State(realm): State<Realm>, Extension(caller): Extension<Caller>) -> Response {
    let snapshot = realm.now();
    let form_token = Frame::new(&snapshot, &caller).form_token;
    html(&Live { fleet: Fleet::of(&snapshot, (realm.now_unix_ms)(), form_token) })
}

impl Fleet {
    fn of(snapshot: &Arc<FleetSnapshot>, now_unix_ms: u64, form_token: String) -> Fleet {
        let (urgent, calm): (Vec<_>, Vec<_>) = snapshot.vassals.iter().partition(|vassal| needs_attention(vassal));
        let rows =
            |vassals: Vec<&VassalSnapshot>| vassals.into_iter().map(|vassal| Row::of(vassal, now_unix_ms)).collect();
        let calm_title = if urgent.is_empty() { "Vassals" } else { "Everything else" };
        let numbers = snapshot.numbers;
        Fleet {
            directory: snapshot.watched.join(", "),
            alarms: snapshot.alarms.clone(),
            removals_doubted: snapshot.removals_doubted.len(),
            outdated: snapshot.vassals.iter().filter(|vassal| vassal.outdated).count(),
            form_token,
            vassals: snapshot.vassals.len(),
            loyal: snapshot.vassals.iter().filter(|vassal| vassal.state == "loyal").count(),
            rate: words::rate(numbers.requests_per_s),
            errors: words::count(numbers.errors_5xx_total),
            busy_threads: numbers.busy_threads,
            threads: numbers.threads,
            rss: words::bytes(numbers.rss_bytes),
            groups: [
                Group { title: "Needs attention", rows: rows(urgent) },
                Group { title: calm_title, rows: rows(calm) },
            ],
        }
    }
}

/// Whether somebody should look at it: it does not serve though it should, or what it serves is not what its file says.
fn needs_attention(vassal: &VassalSnapshot) -> bool {
    matches!(vassal.state.as_str(), "refused" | "cursed")
        || vassal.problems.iter().any(|problem| problem.severity == "error")
        || vassal.last_deployment.as_ref().is_some_and(|deployment| deployment.failure().is_some())
}

impl Row {
    fn of(vassal: &VassalSnapshot, now_unix_ms: u64) -> Row {
        let numbers = vassal.numbers;
        Row {
            name: vassal.name.to_string(),
            segment: words::segment(vassal.name.as_str()),
            state: Badge::of_state(&vassal.state),
            frozen: vassal.frozen,
            outdated: vassal.outdated,
            summary: vassal.summary.clone(),
            generation: vassal.generation,
            workers: numbers.workers,
            busy_threads: numbers.busy_threads,
            threads: numbers.threads,
            rate: words::rate(numbers.requests_per_s),
            errors: words::count(numbers.errors_5xx_total),
            any_errors: numbers.errors_5xx_total > 0,
            rss: words::bytes(numbers.rss_bytes),
            deployment: vassal.last_deployment.as_ref().map(|view| Deployment {
                verdict: Badge::of_operation(view),
                began: Past::new(view.began_unix_ms, now_unix_ms),
                actor: view.actor.clone(),
            }),
        }
    }
}
