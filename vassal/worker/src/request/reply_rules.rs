//! What the configuration changes about the answer of the app: headers, and `error-route` and `response-route`, which may put
//! another answer in its place as long as nothing is out.

use std::sync::Arc;

use empery_rules::routes::{self, Outcome};
use pyo3::prelude::*;

use super::{
    account::Began,
    head::AnswerHead,
    routing::{self, Answering, Sight},
    rules::{Changes, Routed, Rules},
};

/// See the module.
pub(super) struct Reply {
    rules: &'static Rules,
    routed: Arc<Routed>,
    changes: Changes,
    /// The variables of the request, when there are routes that may ask for them.
    vars: Vec<(Vec<u8>, Vec<u8>)>,
    began: Began,
    is_asked: bool,
}

/// What is sent in the place of an answer.
pub(super) enum Instead {
    /// Nothing: the connection is closed.
    Nothing,
    /// This.
    Answer(Answer),
}

/// An answer of routes, its files read.
pub(super) struct Answer {
    pub(super) number: u16,
    pub(super) status: Vec<u8>,
    pub(super) headers: Vec<(&'static str, Vec<u8>)>,
    pub(super) body: Vec<u8>,
    pub(super) closes: bool,
}

impl Reply {
    pub(super) fn new(rules: &'static Rules, routed: Arc<Routed>, vars: Vec<(Vec<u8>, Vec<u8>)>, began: Began) -> Self {
        let changes = Changes::of(rules, Some(&routed));
        Self { rules, routed, changes, vars, began, is_asked: !rules.has_routes_of_answers() }
    }

    /// Whether the client gets a header of the app.
    pub(super) fn shows(&self, name: &[u8], value: &[u8]) -> bool {
        self.rules.collect(&self.routed, name, value) && !self.changes.removes(name)
    }

    /// Adds what is to be added.
    pub(super) fn add_to(&self, head: &mut AnswerHead) {
        self.changes.add_to(head);
    }

    /// Asks the routes, once.
    pub(super) fn ask(&mut self, py: Python<'_>, status: u16, body_bytes: u64) -> Option<Instead> {
        if std::mem::replace(&mut self.is_asked, true) {
            return None;
        }
        let seen = Answering { status, body_bytes, sight: Sight::Kept(&self.vars), began: self.began };
        let instead = ask(py, self.rules, &seen, &self.routed);
        self.changes.extend(&self.routed);
        instead
    }
}

/// Asks the routes of an answer that is about to go out what is sent in its place; None for the answer itself.
pub(super) fn ask(py: Python<'_>, rules: &Rules, seen: &Answering<'_>, routed: &Routed) -> Option<Instead> {
    let outcome = match routing::follow_answer(py, &rules.error, seen, routed) {
        Outcome::GoOn => routing::follow_answer(py, &rules.response, seen, routed),
        outcome => outcome,
    };
    let answer = match outcome {
        Outcome::GoOn => return None,
        Outcome::Close => return Some(Instead::Nothing),
        Outcome::Answer(answer) => answer,
        Outcome::Climbs => routing::plain("403 Forbidden"),
        Outcome::Static(path) => {
            let content_type = routing::type_of(&path).unwrap_or("application/octet-stream");
            read(&path, b"200 OK", content_type.as_bytes())
        }
        Outcome::File { path, status, content_type } => read(&path, &status, &content_type),
    };
    let routes::Answer { status, headers, body, closes } = answer;
    Some(Instead::Answer(Answer { number: routing::number_of(&status), status, headers, body, closes }))
}

/// A file as an answer; 404 when it cannot be read.
fn read(path: &[u8], status: &[u8], content_type: &[u8]) -> routes::Answer {
    match routing::read(path) {
        Some(body) => {
            let headers = vec![("Content-Type", content_type.to_vec())];
            routes::Answer { status: status.to_vec(), headers, body, closes: false }
        }
        None => routing::plain("404 Not Found"),
    }
}
