//! The dashboard: pages that work without JavaScript, kept current by `live.js` where there is some. Everything that
//! changes is a form sent with POST; everything shown that came from a file, an app or a person is escaped by askama.

mod about;
mod act;
mod fleet;
mod sign_in;
mod stack;
mod vassal;
mod words;

use askama::Template;
use axum::{
    Router,
    http::StatusCode,
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use empery_control::fleet::FleetSnapshot;

use crate::{Realm, guard::Caller, problem::Problem};

/// Pages for those who are not signed in yet.
pub(crate) fn open_routes() -> Router<Realm> {
    Router::new().route("/login", get(sign_in::form).post(sign_in::submit))
}

/// Pages for those who are.
pub(crate) fn routes() -> Router<Realm> {
    Router::new()
        .route("/", get(fleet::page))
        .route("/about", get(about::page))
        .route("/live/fleet", get(fleet::live))
        .route("/vassals", get(|| async { Redirect::permanent("/") }))
        .route("/vassals/{name}", get(vassal::page))
        .route("/vassals/{name}/reload", post(act::reload))
        .route("/vassals/{name}/stop", post(act::stop))
        .route("/vassals/{name}/start", post(act::start))
        .route("/vassals/{name}/workers/{id}/stack", get(stack::page))
        .route("/vassals/{name}/retry", post(act::retry))
        .route("/vassals/{name}/freeze", post(act::freeze))
        .route("/vassals/{name}/resume", post(act::resume))
        .route("/live/vassals/{name}", get(vassal::live))
        .route("/removals/confirm", post(act::confirm_removals))
        .route("/logout", post(sign_in::sign_out))
}

/// What every page of a signed-in person shows around its own matter.
struct Frame {
    version: String,
    alarms: usize,
    /// Carried by every form; empty over the control socket, where nobody else can send one.
    form_token: String,
}

impl Frame {
    fn new(snapshot: &FleetSnapshot, caller: &Caller) -> Frame {
        let form_token = match caller {
            Caller::Session { form_token, .. } => form_token.clone(),
            Caller::Token | Caller::Local { .. } => String::new(),
        };
        Frame { version: snapshot.version.clone(), alarms: snapshot.alarms.len(), form_token }
    }
}

fn html(template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => Problem::failed(format!("the page could not be written: {error}")).into_response(),
    }
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'p> {
    title: &'static str,
    problem: &'p Problem,
    request_id: &'p str,
}

/// A problem as a page, for [`crate::guard`].
pub(crate) fn problem(problem: &Problem, request_id: &str) -> Response {
    let title = match problem.status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "Not allowed",
        status => status.canonical_reason().unwrap_or("Problem"),
    };
    match (ProblemPage { title, problem, request_id }).render() {
        Ok(text) => problem.dressed(Html(text).into_response()),
        Err(_) => problem.json(request_id),
    }
}
