//! The page of what one worker is doing at this moment.

use askama::Template;
use axum::{
    Extension,
    extract::{Path, Query, State},
    response::Response,
};
use empery_control::stacks::{Source, ThreadStack, WorkerStacks};

use super::{
    Frame, html,
    words::{milliseconds, segment},
};
use crate::{Realm, api::stack, guard::Caller, problem::Problem};

#[derive(Template)]
#[template(path = "stack.html")]
struct Page {
    frame: Frame,
    name: String,
    segment: String,
    worker: u32,
    generation: u64,
    pid: i32,
    how: String,
    note: Option<String>,
    threads: Vec<Thread>,
}

struct Thread {
    name: String,
    request: Option<String>,
    frames: String,
}

pub(super) async fn page(
    State(realm): State<Realm>,
    Path((name, worker)): Path<(String, String)>,
    Query(process): Query<stack::Process>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let stacks = stack::ask(&realm, &name, &worker, &process).await?;
    let frame = Frame::new(&realm.now(), &caller);
    let how = how(&stacks);
    let segment = segment(&name);
    Ok(html(&Page {
        frame,
        name,
        segment,
        worker: stacks.worker.worker.0,
        generation: stacks.worker.generation.0,
        pid: stacks.pid,
        how,
        note: stacks.note,
        threads: stacks.threads.iter().map(Thread::of).collect(),
    }))
}

fn how(stacks: &WorkerStacks) -> String {
    let took = milliseconds(stacks.took_ms);
    match stacks.source {
        Source::Python => format!("Told by the worker itself, in Python, within {took}."),
        Source::Faulthandler => format!("Written by faulthandler, {took} after it was asked for."),
        Source::Nobody => format!("No stack could be taken within {took}."),
    }
}

impl Thread {
    fn of(thread: &ThreadStack) -> Thread {
        let name = match (&thread.name, thread.core) {
            (Some(name), _) => name.clone(),
            (None, Some(core)) => format!("serving thread {core}"),
            (None, None) => format!("{:#x}", thread.ident),
        };
        let request = thread.request.as_ref().map(empery_control::stacks::RequestView::sentence);
        Thread { name, request, frames: thread.frames_text() }
    }
}
