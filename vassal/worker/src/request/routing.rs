//! A request on its way through the routes of its app: what they ask of it, and what becomes of it.

mod htpasswd;

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt, path::Path, sync::atomic::Ordering};

use empery_rules::routes::{Answer, Arithmetic, Effect, Fact, Host, Outcome, PathIs, Prepared};
use empery_sys::process;
use pyo3::prelude::*;

use super::{
    After, Tools,
    account::Began,
    error_page, log_variables,
    request_line::{Answered, Spoken},
    rules::Routed,
    static_file,
    vars::Vars,
    whole::{self, WholeAnswer},
    wsgi::Request,
};
use crate::{
    os,
    serve::Serving,
    signals,
    static_files::{
        answer::{self, Part},
        range::Span,
    },
    uwsgi_module::{control, metrics},
    worker::Worker,
};

/// What routes see.
struct Asking<'a, 'py> {
    py: Python<'py>,
    worker: &'static Worker,
    sight: Sight<'a>,
    routed: &'a Routed,
    began: Began,
    /// Status and bytes of the body of the answer, when there is one.
    answer: Option<(u16, u64)>,
}

/// Where they look for variables.
#[derive(Clone, Copy)]
pub(super) enum Sight<'a> {
    /// In what came.
    Vars(Vars<'a>),
    /// In what was kept of it.
    Kept(&'a [(Vec<u8>, Vec<u8>)]),
}

/// An answer that is about to go out.
pub(super) struct Answering<'a> {
    pub(super) status: u16,
    pub(super) body_bytes: u64,
    pub(super) sight: Sight<'a>,
    pub(super) began: Began,
}

impl Host for Asking<'_, '_> {
    fn variable(&self, name: &[u8]) -> Option<Vec<u8>> {
        match &self.sight {
            Sight::Vars(vars) => vars.find(name).map(std::borrow::Cow::into_owned),
            Sight::Kept(kept) => self
                .routed
                .variable(name)
                .or_else(|| kept.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())),
        }
    }

    fn own(&self, name: &[u8]) -> Option<Vec<u8>> {
        match &self.sight {
            Sight::Vars(vars) => self
                .routed
                .own(name)
                .or_else(|| Vars { routed: None, ..*vars }.find(name).map(std::borrow::Cow::into_owned)),
            // As the app was given them.
            Sight::Kept(_) => self.routed.own(name).or_else(|| self.variable(name)),
        }
    }

    fn set(&mut self, name: &[u8], value: Vec<u8>) {
        self.routed.set(name, value);
    }

    fn add(&mut self, name: &[u8], value: Vec<u8>) {
        self.routed.add(name, value);
    }

    fn status(&self) -> u16 {
        self.answer.map_or(0, |(status, _)| status)
    }

    fn fact(&self, fact: Fact) -> Vec<u8> {
        let now_us = || os::realtime_ns() / 1000;
        let number: u64 = match fact {
            Fact::Worker => self.worker.reference.worker.0.into(),
            Fact::Pid => u64::from(self.worker.pid.unsigned_abs()),
            // Another one each time (random(4)).
            Fact::Uuid => {
                return fs::read("/proc/sys/kernel/random/uuid").unwrap_or_default().trim_ascii().to_vec();
            }
            Fact::Status => self.status().into(),
            Fact::TookUs => now_us().saturating_sub(self.began.unix_us),
            Fact::BodyBytes => self.answer.map_or(0, |(_, body_bytes)| body_bytes),
            Fact::BeganUs => self.began.unix_us,
            Fact::UnixS => now_us() / 1_000_000,
            Fact::UnixUs => now_us(),
        };
        number.to_string().into_bytes()
    }

    fn http_time(&self, in_s: u64) -> Vec<u8> {
        os::http_date((os::realtime_ns() / 1_000_000_000).saturating_add(in_s)).into_bytes()
    }

    fn mime(&self, path: &[u8]) -> Vec<u8> {
        type_of(path).unwrap_or_default().as_bytes().to_vec()
    }

    fn is_path(&self, path: &[u8], is: PathIs) -> bool {
        let path = Path::new(OsStr::from_bytes(path));
        match is {
            PathIs::There => path.exists(),
            PathIs::File => path.is_file(),
            PathIs::Directory => path.is_dir(),
            PathIs::Link => path.is_symlink(),
            PathIs::Executable => nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok(),
        }
    }

    fn knows(&self, file: &str, user: &[u8], password: &[u8]) -> bool {
        htpasswd::knows(self.py, file, user, password).unwrap_or_else(|why| {
            self.worker.log(&format!("nobody is let in by {file}: {why}"));
            false
        })
    }

    fn metric(&self, name: &str) -> i64 {
        metrics::value(name)
    }

    fn change_metric(&mut self, name: &[u8], how: Option<Arithmetic>, by: i64) -> bool {
        std::str::from_utf8(name).is_ok_and(|name| metrics::count(name, how, by))
    }

    fn carry_out(&mut self, effect: Effect) {
        let mut said = self.routed.said();
        match effect {
            Effect::Signal(signal) => {
                if let Err(error) = signals::raise(signal) {
                    self.worker.log(&format!("signal {signal} is not raised: the master does not hear: {error}"));
                }
            }
            Effect::Alarm { name, message } => {
                self.worker.say(&control::alarm_raised(&String::from_utf8_lossy(&name), &message));
            }
            Effect::Log(text) => self.worker.log(&printable(&text)),
            Effect::DoNotLog => said.has_no_line = true,
            Effect::LogVariable { name, value } => match self.answer {
                None => said.log_variables.push((name, value)),
                Some(_) => log_variables::set(self.began.monotonic_ns, name.as_bytes(), &value),
            },
            Effect::AddHeader(header) => said.add.push(header),
            Effect::RemoveHeader(name) => said.remove.push(name),
            Effect::Limit(seconds) => said.limit_s = Some(seconds),
            Effect::Title(text) => process::set_title(&printable(&text)),
        }
    }
}

/// A text from the network, without what would forge lines or steer a terminal.
fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

/// Follows the routes before the app. They see the path as `manage-script-name` makes it, as in uWSGI (core/protocol.c,
/// `uwsgi_parse_vars`).
pub(super) fn follow(py: Python<'_>, tools: &Tools, vars: &Vars<'_>, routed: &Routed) -> Outcome {
    let Some(rules) = tools.serving.rules.as_ref() else { return Outcome::GoOn };
    if let (Some(mounts), Some(path_info)) = (tools.mounts, vars.find(b"PATH_INFO"))
        && let Some((script_name, rest)) = mounts.split(&path_info)
    {
        routed.set(b"SCRIPT_NAME", script_name.into());
        routed.set(b"PATH_INFO", rest.to_vec());
    }
    let sight = Sight::Vars(Vars { routed: Some(routed), ..*vars });
    let mut asking = Asking { py, worker: tools.worker, sight, routed, began: Began::now(), answer: None };
    rules.request.follow(&mut asking)
}

/// Follows those of an answer that is about to go out.
pub(super) fn follow_answer(py: Python<'_>, routes: &Prepared, answering: &Answering<'_>, routed: &Routed) -> Outcome {
    let Some(worker) = Worker::here().filter(|_| !routes.is_empty()) else { return Outcome::GoOn };
    let &Answering { status, body_bytes, sight, began } = answering;
    let answer = Some((status, body_bytes));
    let mut asking = Asking { py, worker, sight, routed, began, answer };
    routes.follow(&mut asking)
}

/// The type of a file by its name; None when that does not say it.
pub(super) fn type_of(path: &[u8]) -> Option<&'static str> {
    Serving::here()?.static_files.as_ref()?.type_of(path)
}

/// Follows those that come when the answer is out; it is too late for them to give another.
pub(super) fn follow_last(tools: &Tools, spoken: &Spoken<'_>, answered: &Answered, began: Began) {
    let (Some(rules), Some(routed)) = (tools.serving.rules.as_ref(), spoken.vars.routed) else { return };
    if rules.last.is_empty() {
        return;
    }
    Python::attach(|py| {
        let answer = Some((answered.status, answered.body_bytes));
        let sight = Sight::Vars(*spoken.vars);
        let mut asking = Asking { py, worker: tools.worker, sight, routed, began, answer };
        rules.last.follow(&mut asking);
    });
}

/// Answers a request as its routes have it; None when it is for the app.
pub(super) fn answer(py: Python<'_>, tools: &mut Tools, request: &Request<'_>, outcome: Outcome) -> Option<After> {
    let began = Began::now();
    let after = match outcome {
        Outcome::GoOn => return None,
        Outcome::Close => whole::nothing(py, tools, request, began),
        Outcome::Answer(answer) => send(py, tools, request, &answer, began),
        Outcome::Climbs => not_served(py, tools, request, "403 Forbidden", began),
        Outcome::Static(path) => match static_file::of_path(py, tools, request, &path) {
            Some(after) => after,
            None => not_served(py, tools, request, "404 Not Found", began),
        },
        Outcome::File { path, status, content_type } => match open(&path) {
            Some((file, length)) => {
                let lines = [b"Content-Type: ", &content_type[..], b"\r\n"].concat();
                let whole = WholeAnswer {
                    status: number_of(&status),
                    status_line: &status,
                    lines: &lines,
                    length: Some(length),
                    text: b"",
                    file: Some(file),
                    closes: false,
                };
                whole::send(py, tools, request, whole, began)
            }
            None => not_served(py, tools, request, "404 Not Found", began),
        },
    };
    tools.worker.slot(tools.core).counters.routed_requests.fetch_add(1, Ordering::Relaxed);
    Some(after)
}

fn open(path: &[u8]) -> Option<(answer::File, u64)> {
    let file = fs::File::open(OsStr::from_bytes(path)).ok()?;
    let facts = file.metadata().ok().filter(fs::Metadata::is_file)?;
    let span = Span { offset: 0, length: facts.len() };
    Some((
        answer::File { fd: file.into(), parts: vec![Part { before: Vec::new(), span }], end: Vec::new() },
        facts.len(),
    ))
}

/// A whole file, when it is one that can be read.
pub(super) fn read(path: &[u8]) -> Option<Vec<u8>> {
    fs::read(OsStr::from_bytes(path)).ok()
}

/// An answer that says no more than its status, or shows the page for it.
pub(super) fn plain(status: &str) -> Answer {
    let (kind, body) = error_page::or(number_of(status.as_bytes()), status.get(4..).unwrap_or_default());
    Answer { status: status.into(), headers: vec![("Content-Type", kind.into())], body, closes: false }
}

pub(super) fn not_served(
    py: Python<'_>,
    tools: &mut Tools,
    request: &Request<'_>,
    status: &str,
    began: Began,
) -> After {
    send(py, tools, request, &plain(status), began)
}

fn send(py: Python<'_>, tools: &mut Tools, request: &Request<'_>, answer: &Answer, began: Began) -> After {
    let lines = lines_of(&answer.headers);
    let whole = WholeAnswer {
        status: number_of(&answer.status),
        status_line: &answer.status,
        lines: &lines,
        length: Some(answer.body.len() as u64),
        text: &answer.body,
        file: None,
        closes: answer.closes,
    };
    whole::send(py, tools, request, whole, began)
}

/// Headers as lines of a head.
pub(super) fn lines_of(headers: &[(&'static str, Vec<u8>)]) -> Vec<u8> {
    headers.iter().flat_map(|(name, value)| [name.as_bytes(), b": ", value, b"\r\n"].concat()).collect()
}

/// The number at the beginning of a status line.
pub(super) fn number_of(status_line: &[u8]) -> u16 {
    std::str::from_utf8(status_line).ok().and_then(|text| text.get(..3)?.parse().ok()).unwrap_or(200)
}
