//! Following routes: which rules hold, in order, and what comes of them. Goes forward only, so it ends. What it asks of a request and
//! what it does besides is [`Host`]'s.

use regex::bytes::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use super::{
    Action, Arithmetic, BasicAuth, Condition, FileAnswer, Known, PathIs, Rule, Step, When, condition,
    template::{Filled, Template, from_base64},
};
use crate::status;

/// The request, and the worker that has it.
pub trait Host {
    /// A variable of the request, as it is by now.
    fn variable(&self, name: &[u8]) -> Option<Vec<u8>>;
    /// One as it came or as an action of its own has set it: what `route-…` and `basicauth` look at, which `addvar` does not
    /// change (in uWSGI 2.0 they look into the request, not into its variables).
    fn own(&self, name: &[u8]) -> Option<Vec<u8>>;
    /// Changes one.
    fn set(&mut self, name: &[u8], value: Vec<u8>);
    /// Lays one over what is there, for the app and for templates.
    fn add(&mut self, name: &[u8], value: Vec<u8>);
    /// The status of the answer; 0 while there is none.
    fn status(&self) -> u16;
    /// Something that is known.
    fn fact(&self, fact: Fact) -> Vec<u8>;
    /// The time in so many seconds, as HTTP writes it.
    fn http_time(&self, in_s: u64) -> Vec<u8>;
    /// The type of a file of this name; nothing when its name does not say it.
    fn mime(&self, path: &[u8]) -> Vec<u8>;
    /// What a path is on disk.
    fn is_path(&self, path: &[u8], is: PathIs) -> bool;
    /// Whether a file of htpasswd(1) has this user with this password.
    fn knows(&self, file: &str, user: &[u8], password: &[u8]) -> bool;
    /// A metric; 0 when there is none of this name.
    fn metric(&self, name: &str) -> i64;
    /// Counts a metric with a number, or with `None` sets it; false when that cannot be done.
    fn change_metric(&mut self, name: &[u8], how: Option<Arithmetic>, by: i64) -> bool;
    /// Does something that decides nothing.
    fn carry_out(&mut self, effect: Effect);
}

/// What may be asked for in a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// `uwsgi[wid]`.
    Worker,
    /// `uwsgi[pid]`.
    Pid,
    /// `uwsgi[uuid]`: another one each time.
    Uuid,
    /// `uwsgi[status]`.
    Status,
    /// `uwsgi[rtime]`: µs since the request came.
    TookUs,
    /// `uwsgi[rsize]`: bytes of the body of the answer.
    BodyBytes,
    /// `uwsgi[sor]`: when it came, unix µs.
    BeganUs,
    /// `time[unix]`.
    UnixS,
    /// `time[micros]`.
    UnixUs,
}

/// What is done beside deciding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A line for the log.
    Log(Vec<u8>),
    /// No line is written for this request.
    DoNotLog,
    /// What `%(NAME)` of its line is.
    LogVariable {
        /// The name.
        name: String,
        /// The value.
        value: Vec<u8>,
    },
    /// A header, `NAME: VALUE`, for the answer.
    AddHeader(Vec<u8>),
    /// One that is left out of it.
    RemoveHeader(Vec<u8>),
    /// It may take so many seconds.
    Limit(u64),
    /// The title of the process.
    Title(Vec<u8>),
    /// A signal is raised.
    Signal(u8),
    /// So is an alarm.
    Alarm {
        /// Its name.
        name: Vec<u8>,
        /// What is the matter.
        message: Vec<u8>,
    },
}

/// What comes of routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The app is called.
    GoOn,
    /// The connection is closed without an answer.
    Close,
    /// This is the answer.
    Answer(Answer),
    /// A path of a file leads out of where the configuration put what the client says: 403.
    Climbs,
    /// A file is served as `static-map` serves it; 404 when it is not there.
    Static(Vec<u8>),
    /// So is one as it is.
    File {
        /// Its path.
        path: Vec<u8>,
        /// The status line.
        status: Vec<u8>,
        /// Its type.
        content_type: Vec<u8>,
    },
}

/// An answer of routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status line behind the protocol: `302 Found`.
    pub status: Vec<u8>,
    /// Names and values.
    pub headers: Vec<(&'static str, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the connection ends with it.
    pub closes: bool,
}

impl Answer {
    fn new(status: impl Into<Vec<u8>>, body: impl Into<Vec<u8>>) -> Answer {
        Answer { status: status.into(), headers: Vec::new(), body: body.into(), closes: false }
    }

    fn header(mut self, name: &'static str, value: impl Into<Vec<u8>>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }
}

/// Routes ready to be followed.
#[derive(Debug, Default)]
pub struct Prepared {
    steps: Vec<(Step, Option<Regex>)>,
}

/// A pattern is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(String);

/// What a regular expression has found, the whole first.
pub(super) type Groups = Vec<Vec<u8>>;

/// Whether it is found, and what.
pub(super) fn groups_of(pattern: &Regex, text: &[u8], groups: &mut Groups) -> bool {
    groups.clear();
    let Some(found) = pattern.captures(text) else { return false };
    groups.extend(found.iter().map(|group| group.map_or_else(Vec::new, |group| group.as_bytes().to_vec())));
    true
}

enum Next {
    Step,
    Jump(usize),
    End(Outcome),
}

impl Prepared {
    /// Compiles the regular expressions.
    ///
    /// # Errors
    /// When one is none. A configuration has been checked for that.
    pub fn new(steps: &[Step]) -> Result<Prepared, Broken> {
        let pattern_of = |step: &Step| match step {
            Step::Label(_) => None,
            Step::Rule(rule) => match &rule.when {
                When::Found { pattern, .. }
                | When::If(Condition::Regexp { pattern, .. })
                | When::IfNot(Condition::Regexp { pattern, .. }) => Some(pattern.clone()),
                When::Always | When::If(_) | When::IfNot(_) | When::Status(_) => None,
            },
        };
        let compiled =
            |text: String| RegexBuilder::new(&text).unicode(false).build().map_err(|error| Broken(error.to_string()));
        let steps = steps.iter().map(|step| Ok((step.clone(), pattern_of(step).map(compiled).transpose()?)));
        Ok(Prepared { steps: steps.collect::<Result<_, Broken>>()? })
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Follows them.
    pub fn follow(&self, host: &mut impl Host) -> Outcome {
        let mut groups = Groups::new();
        let mut begun: Option<Answer> = None;
        let mut at = 0;
        while let Some((step, pattern)) = self.steps.get(at) {
            let Step::Rule(rule) = step else {
                at += 1;
                continue;
            };
            groups.clear();
            if !holds(&rule.when, pattern.as_ref(), host, &mut groups) {
                at += 1;
                continue;
            }
            match self.act(rule, host, &groups, &mut begun, at) {
                Next::Step => at += 1,
                Next::Jump(to) => at = to,
                // What was begun is not followed by another answer.
                Next::End(Outcome::GoOn | Outcome::Close) if begun.is_some() => break,
                Next::End(outcome) => return outcome,
            }
        }
        begun.map_or(Outcome::GoOn, Outcome::Answer)
    }

    fn act(
        &self,
        rule: &Rule,
        host: &mut impl Host,
        groups: &[Vec<u8>],
        begun: &mut Option<Answer>,
        at: usize,
    ) -> Next {
        let effect = match &rule.action {
            Action::Nothing => return Next::Step,
            Action::Continue => return Next::End(Outcome::GoOn),
            Action::Break => return Next::End(Outcome::Close),
            Action::BreakWith(status) => {
                let answer = Answer::new(status.as_str(), "").header("Content-Type", "text/plain");
                return Next::End(Outcome::Answer(Answer { closes: true, ..answer }));
            }
            Action::Return(number) => {
                let phrase = status::phrase(*number).unwrap_or("Unknown");
                let answer = Answer::new(format!("{number} {phrase}"), phrase).header("Content-Type", "text/plain");
                return Next::End(Outcome::Answer(answer));
            }
            Action::Goto(label) => return self.jump(&label.fill(host, groups), host, at),
            Action::Redirect { to, is_permanent } => {
                let (status, body) =
                    if *is_permanent { ("301 Moved Permanently", "Moved Permanently") } else { ("302 Found", "Moved") };
                let answer = Answer::new(status, body).header("Location", one_line(to.fill(host, groups)));
                return Next::End(Outcome::Answer(answer));
            }
            Action::Static { path, or_next } => {
                let path = path.fill_path(host, groups);
                if *or_next && !host.is_path(path.shown(), PathIs::File) {
                    return Next::Step;
                }
                return Next::End(match path {
                    Filled::Path(path) => Outcome::Static(path),
                    Filled::Climbs(_) => Outcome::Climbs,
                });
            }
            Action::File(file) => return send_file(file, host, groups),
            Action::BasicAuth(auth) => return authenticate(auth, host),
            Action::Begin(status) => {
                *begun = Some(Answer::new(one_line(status.fill(host, groups)), ""));
                return Next::Step;
            }
            Action::Send { text, with_line_end } => {
                let answer = begun.get_or_insert_with(|| Answer::new("200 OK", ""));
                answer.body.extend(text.fill(host, groups));
                if *with_line_end {
                    answer.body.extend_from_slice(b"\r\n");
                }
                return Next::Step;
            }
            Action::Rewrite { to, is_last } => {
                rewrite(&to.fill(host, groups), host);
                return if *is_last { Next::End(Outcome::GoOn) } else { Next::Step };
            }
            Action::Set { name, value } => {
                let value = value.fill(host, groups);
                host.set(name.as_bytes(), value);
                return Next::Step;
            }
            Action::Add { name, value } => {
                let value = value.fill(host, groups);
                host.add(name.as_bytes(), value);
                return Next::Step;
            }
            Action::SetUser(value) => {
                let mut value = value.fill(host, groups);
                value.truncate(value.iter().position(|byte| *byte == b':').unwrap_or(value.len()));
                host.set(b"REMOTE_USER", value);
                return Next::Step;
            }
            Action::FixPathInfo => {
                let mounted = host.variable(b"SCRIPT_NAME").unwrap_or_default().len();
                let path = host.variable(b"PATH_INFO").unwrap_or_default();
                if mounted > 0 {
                    host.set(b"PATH_INFO", path.get(mounted..).unwrap_or_default().to_vec());
                }
                return Next::Step;
            }
            Action::Count { name, how, by } => return count(name, *how, by.as_ref(), host, groups),
            Action::Metric { name, how, by } => {
                let (name, by) = (name.fill(host, groups), condition::number(&by.fill(host, groups)));
                if host.change_metric(&name, *how, by) {
                    return Next::Step;
                }
                let text = format!("[route] the metric `{}` cannot be changed: the request ends", name.escape_ascii());
                host.carry_out(Effect::Log(text.into_bytes()));
                return Next::End(Outcome::Close);
            }
            Action::Signal(number) => Effect::Signal(*number),
            Action::Alarm { name, message } => {
                Effect::Alarm { name: name.fill(host, groups), message: message.fill(host, groups) }
            }
            Action::Log(text) => Effect::Log(text.fill(host, groups)),
            Action::DoNotLog => Effect::DoNotLog,
            Action::LogVariable { name, value } => {
                Effect::LogVariable { name: name.clone(), value: value.fill(host, groups) }
            }
            Action::AddHeader(header) => Effect::AddHeader(one_line(header.fill(host, groups))),
            Action::RemoveHeader(name) => Effect::RemoveHeader(name.fill(host, groups)),
            Action::Limit(seconds) => Effect::Limit(*seconds),
            Action::Title(text) => Effect::Title(text.fill(host, groups)),
        };
        host.carry_out(effect);
        Next::Step
    }

    /// To a label, or to a route by its number from 0.
    fn jump(&self, label: &[u8], host: &mut impl Host, at: usize) -> Next {
        let is_it = |(step, _): &(Step, Option<Regex>)| matches!(step, Step::Label(name) if name.as_bytes() == label);
        let by_number = || usize::try_from(condition::number(label)).ok().filter(|number| *number > 0);
        match self.steps.iter().position(is_it).or_else(by_number) {
            Some(to) if to > at => Next::Jump(to),
            _ => {
                let text = format!("[route] `goto:{}` leads to nothing behind it", label.escape_ascii());
                host.carry_out(Effect::Log(text.into_bytes()));
                Next::End(Outcome::Close)
            }
        }
    }
}

fn holds(when: &When, pattern: Option<&Regex>, host: &impl Host, groups: &mut Groups) -> bool {
    match when {
        When::Always => true,
        When::Found { variable, .. } => {
            let text = host.own(variable.as_bytes()).unwrap_or_default();
            pattern.is_some_and(|pattern| groups_of(pattern, &text, groups))
        }
        When::If(condition) => condition::holds(condition, pattern, host, groups),
        When::IfNot(condition) => !condition::holds(condition, pattern, host, groups),
        When::Status(status) => host.status() == *status,
    }
}

fn send_file(file: &FileAnswer, host: &impl Host, groups: &[Vec<u8>]) -> Next {
    let path = file.path.fill_path(host, groups);
    if file.or_next && !host.is_path(path.shown(), PathIs::File) {
        return Next::Step;
    }
    let Filled::Path(path) = path else { return Next::End(Outcome::Climbs) };
    let by_name = if file.by_name { host.mime(&path) } else { Vec::new() };
    let content_type = if by_name.is_empty() { file.content_type.clone().into_bytes() } else { by_name };
    Next::End(Outcome::File { path, status: one_line(file.status.fill(host, groups)), content_type })
}

/// Who is known already is let through. Without a password, or with something that is none, the client is asked for one, also
/// by `basicauth-next`, which lets only a wrong one through to the next.
fn authenticate(auth: &BasicAuth, host: &mut impl Host) -> Next {
    if host.own(b"REMOTE_USER").is_some_and(|user| !user.is_empty()) {
        return Next::Step;
    }
    let given = host.variable(b"HTTP_AUTHORIZATION").unwrap_or_default();
    let given = given.strip_prefix(b"Basic ").and_then(|text| from_base64(text.trim_ascii()));
    if let Some(given) = given {
        let place = given.iter().position(|byte| *byte == b':');
        let is_right = match (&auth.known, place) {
            (Known::One(known), _) => same(known.as_bytes(), &given) && !known.is_empty(),
            (Known::File(path), Some(place)) => host.knows(path, &given[..place], &given[place + 1..]),
            (Known::File(_), None) => false,
        };
        if is_right {
            host.set(b"REMOTE_USER", given[..place.unwrap_or(given.len())].to_vec());
            return Next::Step;
        }
        if auth.or_next {
            return Next::Step;
        }
    }
    let realm = format!("Basic realm=\"{}\"", auth.realm);
    let answer = Answer::new("401 Authorization Required", "Unauthorized").header("WWW-Authenticate", realm);
    Next::End(Outcome::Answer(answer))
}

/// Takes as long for a wrong text as for a right one.
fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |differs, (left, right)| differs | (left ^ right)) == 0
}

fn count(name: &str, how: Arithmetic, by: Option<&Template>, host: &mut impl Host, groups: &[Vec<u8>]) -> Next {
    let Some(value) = host.variable(name.as_bytes()) else { return Next::End(Outcome::Close) };
    let (value, by) = (condition::number(&value), by.map_or(1, |by| condition::number(&by.fill(host, groups))));
    let result = match how {
        Arithmetic::Plus => value.saturating_add(by),
        Arithmetic::Minus => value.saturating_sub(by),
        Arithmetic::Times => value.saturating_mul(by),
        Arithmetic::Divided => value.checked_div(by).unwrap_or(0),
    };
    host.add(name.as_bytes(), result.to_string().into_bytes());
    Next::Step
}

/// `PATH` or `PATH?QUERY`; what the client has asked stays behind the new query.
fn rewrite(to: &[u8], host: &mut impl Host) {
    let mut parts = to.splitn(2, |byte| *byte == b'?');
    let path = parts.next().unwrap_or_default();
    if let Some(query) = parts.next() {
        let asked = host.variable(b"QUERY_STRING").unwrap_or_default();
        let between: &[u8] = if asked.is_empty() { b"" } else { b"&" };
        host.set(b"QUERY_STRING", [query, between, &asked].concat());
    }
    host.set(b"PATH_INFO", decoded(path));
}

/// RFC 3986, section 2.1; what is no such pair stays.
fn decoded(text: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| {
        byte.and_then(|byte| char::from(*byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok())
    };
    let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
    while let Some(byte) = text.get(at) {
        match (byte, digit(text.get(at + 1)), digit(text.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push(high * 16 + low);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

/// Without what would make a second header of it.
fn one_line(mut text: Vec<u8>) -> Vec<u8> {
    text.retain(|byte| !matches!(byte, b'\r' | b'\n' | b'\0'));
    text
}
