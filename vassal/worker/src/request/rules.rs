//! What the configuration says about single requests, ready to be followed; None of it costs an app that has no such rules more
//! than a look whether there are any.

use std::sync::{Mutex, MutexGuard, PoisonError};

use empery_control::boot::AppBoot;
use empery_rules::{
    headers::{Collect, Headers},
    routes::{Broken, Prepared, Routes},
};

use super::{
    head::{AnswerHead, HeaderKind},
    log_variables,
    request_line::{Address, Spoken},
};

/// See the module.
pub(crate) struct Rules {
    /// Before the app.
    pub(super) request: Prepared,
    /// When the status is known.
    pub(super) error: Prepared,
    /// Before the head goes out.
    pub(super) response: Prepared,
    /// When the answer is out.
    pub(super) last: Prepared,
    headers: Headers,
}

/// What has been said of one request: by its routes, and by the headers of its answer that are collected.
#[derive(Default)]
pub(crate) struct Routed(Mutex<Said>);

/// See [`Routed`].
#[derive(Default)]
pub(super) struct Said {
    /// Variables that are otherwise than what came.
    vars: Vec<(Vec<u8>, Vec<u8>)>,
    /// Those that are laid over them (`addvar`).
    added: Vec<(Vec<u8>, Vec<u8>)>,
    /// Headers for its answer, `NAME: VALUE`.
    pub(super) add: Vec<Vec<u8>>,
    /// Names of those that are left out.
    pub(super) remove: Vec<Vec<u8>>,
    /// For its line.
    pub(super) log_variables: Vec<(String, Vec<u8>)>,
    pub(super) has_no_line: bool,
    /// How long it may take.
    pub(super) limit_s: Option<u64>,
}

impl Routed {
    /// All of it.
    pub(super) fn said(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A variable that is otherwise than what came.
    pub(super) fn variable(&self, name: &[u8]) -> Option<Vec<u8>> {
        let said = self.said();
        in_list(&said.added, name).or_else(|| in_list(&said.vars, name))
    }

    /// One that is otherwise than what came, and not merely laid over it.
    pub(super) fn own(&self, name: &[u8]) -> Option<Vec<u8>> {
        in_list(&self.said().vars, name)
    }

    /// Changes a variable.
    pub(super) fn set(&self, name: &[u8], value: Vec<u8>) {
        let mut said = self.said();
        said.added.retain(|(known, _)| known != name);
        put(&mut said.vars, name, value);
    }

    /// Lays one over what is there.
    pub(super) fn add(&self, name: &[u8], value: Vec<u8>) {
        put(&mut self.said().added, name, value);
    }
}

impl Said {
    /// All variables that are otherwise; of those of one name the last counts.
    pub(super) fn variables(&self) -> impl Iterator<Item = &(Vec<u8>, Vec<u8>)> {
        self.vars.iter().chain(&self.added)
    }
}

fn in_list(vars: &[(Vec<u8>, Vec<u8>)], name: &[u8]) -> Option<Vec<u8>> {
    vars.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
}

fn put(vars: &mut Vec<(Vec<u8>, Vec<u8>)>, name: &[u8], value: Vec<u8>) {
    match vars.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = value,
        None => vars.push((name.to_vec(), value)),
    }
}

/// What of a request line routes have changed.
pub(super) struct Changed {
    method: Option<Vec<u8>>,
    uri: Option<Vec<u8>>,
    remote_addr: Option<Vec<u8>>,
    remote_user: Option<Vec<u8>>,
}

impl Routed {
    /// What the line of the request says otherwise.
    pub(super) fn of_line(&self) -> Changed {
        Changed {
            method: self.own(b"REQUEST_METHOD"),
            uri: self.own(b"REQUEST_URI"),
            remote_addr: self.own(b"REMOTE_ADDR"),
            remote_user: self.own(b"REMOTE_USER"),
        }
    }

    /// The app is called, or another answer given: from now on the app's own words count.
    pub(super) fn begin(&self, began_ns: u64) {
        for (name, value) in &self.said().log_variables {
            log_variables::set(began_ns, name.as_bytes(), value);
        }
    }
}

impl Changed {
    /// Laid over what the request says itself.
    pub(super) fn over<'a>(&'a self, spoken: Spoken<'a>) -> Spoken<'a> {
        Spoken {
            method: self.method.as_deref().unwrap_or(spoken.method),
            uri: self.uri.as_deref().unwrap_or(spoken.uri),
            remote_addr: self.remote_addr.as_deref().map_or(spoken.remote_addr, Address::Said),
            remote_user: self.remote_user.as_deref().unwrap_or(spoken.remote_user),
            ..spoken
        }
    }
}

impl Rules {
    /// Takes a header of the answer as a variable of its request, where that is asked for; whether the client gets it.
    pub(super) fn collect(&self, routed: &Routed, name: &[u8], value: &[u8]) -> bool {
        let is_it = |collect: &&Collect| collect.header.as_bytes().eq_ignore_ascii_case(name);
        let mut is_shown = true;
        for collect in self.headers.collect.iter().filter(is_it) {
            routed.set(collect.variable.as_bytes(), value.to_vec());
            is_shown &= !collect.is_pulled;
        }
        is_shown
    }

    /// Lines of a head that are whole, but for those that become variables only.
    pub(super) fn shown(&self, routed: &Routed, lines: &[u8]) -> Vec<u8> {
        let shows = |line: &&[u8]| {
            let mut parts = line.splitn(2, |byte| *byte == b':');
            let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            self.collect(routed, name, value.trim_ascii())
        };
        lines.split_inclusive(|byte| *byte == b'\n').filter(shows).flatten().copied().collect()
    }

    /// Whether anything is asked when an answer begins.
    pub(super) fn has_routes_of_answers(&self) -> bool {
        !(self.error.is_empty() && self.response.is_empty())
    }

    /// Those of an app; None when it has none.
    ///
    /// # Errors
    /// When a pattern is none. The configuration has been checked, so it is a fault of ours.
    pub(crate) fn new(boot: &AppBoot) -> Result<Option<Rules>, Broken> {
        let routes = &boot.routes;
        if *routes == Routes::default() && boot.headers.is_empty() {
            return Ok(None);
        }
        Ok(Some(Rules {
            request: Prepared::new(&routes.request)?,
            error: Prepared::new(&routes.error)?,
            response: Prepared::new(&routes.response)?,
            last: Prepared::new(&routes.last)?,
            headers: boot.headers.clone(),
        }))
    }
}

/// What is changed about the headers of one answer.
#[derive(Default)]
pub(super) struct Changes {
    add: Vec<Vec<u8>>,
    remove: Vec<Vec<u8>>,
}

impl Changes {
    /// Those of the answer to a request.
    pub(super) fn of(rules: &Rules, routed: Option<&Routed>) -> Changes {
        let mut changes = Changes {
            add: rules.headers.add.iter().map(|header| header.clone().into_bytes()).collect(),
            remove: rules.headers.remove.iter().map(|name| name.clone().into_bytes()).collect(),
        };
        if let Some(routed) = routed {
            changes.extend(routed);
        }
        changes
    }

    /// What else is changed by now.
    pub(super) fn extend(&mut self, routed: &Routed) {
        let mut said = routed.said();
        self.add.append(&mut said.add);
        self.remove.append(&mut said.remove);
    }

    /// Whether a header is left out.
    pub(super) fn removes(&self, name: &[u8]) -> bool {
        self.remove.iter().any(|removed| removed.eq_ignore_ascii_case(name))
    }

    /// Adds what is to be added, also under a name that is left out: what replaces a header of the app is one of these. It frames
    /// nothing: how long a body is the server says.
    pub(super) fn add_to(&self, head: &mut AnswerHead) {
        for header in &self.add {
            let Some(colon) = header.iter().position(|byte| *byte == b':') else { continue };
            let (name, value) = (header[..colon].trim_ascii(), header[colon + 1..].trim_ascii());
            let frames =
                [&b"content-length"[..], b"transfer-encoding"].iter().any(|known| name.eq_ignore_ascii_case(known));
            let is_whole = !name.is_empty() && header.iter().all(|byte| *byte >= b' ' || *byte == b'\t');
            if is_whole && !frames {
                // It says nothing of the length, about which alone there could be an error.
                let _ = head.header(HeaderKind::of(name), name, value);
            }
        }
    }

    /// Puts lines that are whole into a head, but for those that are left out, and adds what is to be added.
    pub(super) fn apply(&self, head: &mut AnswerHead, lines: &[u8]) {
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            if !self.removes(name) {
                head.lines(line);
            }
        }
        self.add_to(head);
    }
}
