//! The emperor itself: its alarms, its processes, where it reads, and the way out.

use askama::Template;
use axum::{Extension, extract::State, response::Response};

use super::{Frame, html, words};
use crate::{Realm, guard::Caller};

#[derive(Template)]
#[template(path = "about.html")]
struct Page {
    frame: Frame,
    alarms: Vec<String>,
    facts: Vec<(&'static str, String)>,
}

pub(super) async fn page(State(realm): State<Realm>, Extension(caller): Extension<Caller>) -> Response {
    let snapshot = realm.now();
    let facts = vec![
        ("Version", snapshot.version.clone()),
        ("Watched", snapshot.watched.join(", ")),
        ("Keeper", format!("pid {}", snapshot.keeper_pid)),
        ("Brain", format!("pid {}", snapshot.brain_pid)),
        ("Database", if realm.history().is_some() { "open" } else { "not open" }.to_owned()),
        ("As of", words::exactly(snapshot.at_unix_ms)),
    ];
    html(&Page { frame: Frame::new(&snapshot, &caller), alarms: snapshot.alarms.clone(), facts })
}
