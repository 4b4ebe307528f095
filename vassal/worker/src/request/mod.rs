//! One request: from the bytes of its head to the last byte of the answer. Protocols differ in [`http`], [`uwsgi`], [`fastcgi`] and
//! [`scgi`] only; what is between environ and answer is [`wsgi`].

mod account;
mod beside;
mod body;
mod buffered;
mod cached;
mod cgi;
mod environ;
pub(crate) mod error_page;
pub(crate) mod fastcgi;
mod file_wrapper;
mod framing;
mod head;
mod held;
pub(crate) mod http;
mod http_rules;
mod input;
mod known;
pub(crate) mod log_variables;
mod names;
mod path_info;
mod patience;
mod recalled;
mod records;
mod repeated;
mod reply;
mod reply_rules;
mod request_line;
mod response;
mod routing;
pub(crate) mod rules;
pub(crate) mod scgi;
mod send;
mod start_response;
mod static_file;
pub(crate) mod uwsgi;
mod vars;
mod who;
mod whole;
mod wsgi;

pub(crate) use held::Chunks;
pub(crate) use http::refuse_slow;
pub(crate) use start_response::StartResponse;

use empery_control::scoreboard::Slot;
use empery_wire::{
    Limits,
    forwarded::Trusted,
    limits::{GATEWAY_HEADERS_MAX, GATEWAY_HEADERS_MAX_BYTES, HEADERS_MAX},
};
use pyo3::prelude::*;

use crate::{
    attend,
    mounts::{self, Mounts},
    serve::{Serving, farewell::Owed, outgoing::Outgoing},
    uwsgi_module,
    worker::Worker,
};

/// What becomes of the connection.
pub(crate) enum After {
    /// The head is not whole yet: what came is kept.
    NeedMore,
    /// The head is whole; the app is called when so many bytes are in the buffer, or the client has ended.
    NeedBody {
        /// Head and body.
        bytes: usize,
    },
    /// It waits for the next request, of which these bytes have come already.
    Keep {
        /// They.
        leftover: Vec<u8>,
    },
    /// The rest of the answer is known; the loop sends it as the client takes it.
    Send(Outgoing),
    /// The answer is out but the client may be sending still.
    Rest,
    /// It is closed.
    Close,
    /// It is reset: the client has a part of an answer and must not take it for the whole.
    Reset,
}

/// What a thread keeps from request to request, so that it is made once.
pub(crate) struct Tools {
    pub(crate) serving: &'static Serving,
    pub(crate) worker: &'static Worker,
    pub(crate) core: u32,
    /// Its slot of the scoreboard.
    slot: &'static Slot,
    app: Py<PyAny>,
    /// Those beside it; None when there are none.
    mounts: Option<&'static Mounts>,
    /// Which of these the request in flight went to, by its number.
    answering: Option<u32>,
    /// What the app wants called after each request.
    after_request: Option<Py<PyAny>>,
    /// Whether any request may get a line in the log that the app does not ask for.
    may_log: bool,
    limits: Limits,
    /// The same for the gateway, which adds to what it has let through.
    gateway_limits: Limits,
    trusted: Trusted,
    names: names::Names,
    templates: environ::Templates,
    start_response: Py<StartResponse>,
    known: known::KnownHeaders,
    last_uri: known::LastText,
    dates: reply::Dates,
    lines: request_line::Lines,
    scratch: Vec<u8>,
}

impl Tools {
    pub(crate) fn new(py: Python<'_>, serving: &'static Serving, app: Py<PyAny>, core: u32) -> PyResult<Self> {
        let worker = serving.worker;
        let boot = worker.boot;
        let limits = Limits {
            head_max_bytes: boot.head_max_bytes as usize,
            headers_max: HEADERS_MAX,
            body_max_bytes: boot.body_max_bytes,
        };
        Ok(Self {
            serving,
            worker,
            core,
            slot: worker.slot(core),
            app,
            mounts: mounts::here(),
            answering: None,
            after_request: uwsgi_module::after_request(py)?,
            may_log: boot.may_log_requests(),
            limits,
            gateway_limits: Limits {
                head_max_bytes: limits.head_max_bytes.saturating_add(GATEWAY_HEADERS_MAX_BYTES),
                headers_max: limits.headers_max + GATEWAY_HEADERS_MAX,
                ..limits
            },
            trusted: Trusted::new(
                boot.trusted_proxies
                    .as_ref()
                    .map(|networks| networks.iter().map(|network| (network.address, network.prefix_bits)).collect()),
            ),
            names: names::Names::new(py),
            templates: environ::Templates::new(py, boot, core)?,
            start_response: renewed(py, serving, core)?,
            known: known::KnownHeaders::default(),
            last_uri: known::LastText::default(),
            dates: reply::Dates::default(),
            lines: request_line::Lines::default(),
            scratch: Vec::new(),
        })
    }

    /// Whether the line of a request has what X-Forwarded-For says (`log-x-forwarded-for`); with `trusted-proxies` it has what
    /// a trusted one says, as the app does.
    fn logs_forwarded_for(&self) -> bool {
        self.worker.boot.log_x_forwarded_for && !self.trusted.is_said()
    }

    /// What this thread owes to its client.
    fn owed(&self) -> &'static Owed {
        &self.serving.owed[self.core as usize]
    }

    /// Leaves nothing of a request that panicked.
    pub(crate) fn after_panic(&mut self, py: Python<'_>) {
        self.owed().end();
        self.slot.end();
        attend::spare_the_next(py, self.worker, self.core);
        // What could not be made stays as it is: the next request finds it shared and tries again.
        let _ = self.renew(py);
    }

    /// The app has kept the old one.
    fn renew(&mut self, py: Python<'_>) -> PyResult<()> {
        self.start_response = renewed(py, self.serving, self.core)?;
        Ok(())
    }
}

/// A new one for a thread, which the `uwsgi` module finds.
fn renewed(py: Python<'_>, serving: &Serving, core: u32) -> PyResult<Py<StartResponse>> {
    let fresh = Py::new(py, StartResponse::new())?;
    serving.set_answer_of(core, fresh.clone_ref(py));
    Ok(fresh)
}
