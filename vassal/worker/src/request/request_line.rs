//! The line that is logged for a request, in exactly the shape of uWSGI 2.0 (core/logging.c, `uwsgi_logit_simple`), which log
//! parsers of the world know; as `log-format` says; or as a JSON object (`log-json`).

mod format;

use std::{io::Write, net::IpAddr};

use empery_control::boot::{AppBoot, REQUEST_LINE_MARK};
use empery_sys::process;

use super::{account::Began, vars::Vars};
use crate::{mounts, os, worker::Worker};

/// Longest line: what a pipe takes in one piece (PIPE_BUF, pipe(7)).
const LINE_MAX_BYTES: usize = 4096;

/// What a request says about itself.
#[derive(Clone, Copy)]
pub(super) struct Spoken<'b> {
    pub(super) method: &'b [u8],
    pub(super) uri: &'b [u8],
    pub(super) protocol: &'b [u8],
    pub(super) remote_addr: Address<'b>,
    pub(super) remote_user: &'b [u8],
    /// What X-Forwarded-For says, where nobody is said to be trusted.
    pub(super) forwarded_for: &'b [u8],
    /// CGI variables.
    pub(super) vars_number: usize,
    /// Length of the head.
    pub(super) head_bytes: usize,
    /// Everything else.
    pub(super) vars: &'b Vars<'b>,
}

/// The address of a client.
#[derive(Clone, Copy)]
pub(super) enum Address<'b> {
    /// As a text.
    Said(&'b [u8]),
    /// It becomes one when there is a line; None on a unix socket.
    Known(Option<IpAddr>),
}

/// What became of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers_number: u32,
    pub(super) head_bytes: u64,
    pub(super) body_bytes: u64,
    pub(super) used_sendfile: bool,
    pub(super) write_errors: u64,
    pub(super) read_errors: u64,
    /// The app wants the line (`uwsgi.log_this_request`).
    pub(super) is_asked_for: bool,
}

impl Answered {
    /// Without an answer.
    pub(super) const fn nothing() -> Self {
        Self {
            status: 0,
            headers_number: 0,
            head_bytes: 0,
            body_bytes: 0,
            used_sendfile: false,
            write_errors: 0,
            read_errors: 0,
            is_asked_for: false,
        }
    }
}

/// All that a line tells.
struct Told<'b> {
    worker: &'b Worker,
    core: u32,
    /// Which of several apps answered, by its number.
    app: Option<u32>,
    /// Whose request it was.
    address: &'b [u8],
    spoken: &'b Spoken<'b>,
    answered: &'b Answered,
    began: Began,
    took_us: u64,
}

/// The line, and what is made once a second for it.
#[derive(Default)]
pub(super) struct Lines {
    at_unix_s: u64,
    ctime: String,
    times: format::Times,
    line: Vec<u8>,
}

impl Lines {
    /// Writes the line when this answer is one to log.
    pub(super) fn write(
        &mut self,
        worker: &Worker,
        (core, app): (u32, Option<u32>),
        spoken: &Spoken<'_>,
        answered: &Answered,
        began: Began,
        took_us: u64,
    ) {
        let boot = worker.boot;
        if !is_wanted(boot, answered, took_us) {
            return;
        }
        self.line.clear();
        let made: String;
        let address = match spoken.remote_addr {
            _ if boot.log_x_forwarded_for && !spoken.forwarded_for.is_empty() => spoken.forwarded_for,
            Address::Said(text) => text,
            Address::Known(address) => {
                made = address.map(|address| address.to_string()).unwrap_or_default();
                made.as_bytes()
            }
        };
        if boot.request_log.marked {
            let mut mark = [0; 4];
            self.line.extend_from_slice(REQUEST_LINE_MARK.encode_utf8(&mut mark).as_bytes());
        }
        let told = Told { worker, core, app, address, spoken, answered, began, took_us };
        match &boot.request_log.format {
            _ if boot.request_log.json => self.put_json(&told),
            Some(format) => format::put_line(&mut self.line, format, &mut self.times, &told),
            None => self.put_plain(&told),
        }
        worker.log.write(worker.reference.worker.0, &self.line);
    }

    fn put_plain(&mut self, told: &Told<'_>) {
        let &Told { worker, core, app, address, spoken, answered, began, took_us } = told;
        let (status, started_unix_s) = (answered.status, began.unix_s());
        if self.at_unix_s != started_unix_s || self.ctime.is_empty() {
            self.at_unix_s = started_unix_s;
            self.ctime = os::ctime(started_unix_s);
        }
        if worker.boot.request_log.memory {
            let used = process::memory(worker.pid).unwrap_or_default();
            for (name, bytes) in [("address space usage", used.vsz_bytes), ("rss usage", used.rss_bytes)] {
                let _ = write!(self.line, "{{{name}: {bytes} bytes/{}MB}} ", bytes / (1024 * 1024));
            }
        }
        let requests = match (mounts::here(), app) {
            (Some(mounts), Some(number)) => mounts.requests(number),
            _ => worker.requests.load(std::sync::atomic::Ordering::Relaxed),
        };
        let total = worker.scoreboard.totals().requests;
        let app = app.unwrap_or(0);
        let _ = write!(self.line, "[pid: {}|app: {app}|req: {requests}/{total}] ", worker.pid);
        put(&mut self.line, address, 256);
        self.line.extend_from_slice(b" (");
        put(&mut self.line, spoken.remote_user, 256);
        // uWSGI counts keys and values.
        let _ =
            write!(self.line, ") {{{} vars in {} bytes}} [{}] ", spoken.vars_number * 2, spoken.head_bytes, self.ctime);
        put(&mut self.line, spoken.method, 64);
        self.line.push(b' ');
        let room = LINE_MAX_BYTES - 256 - self.line.len();
        put(&mut self.line, spoken.uri, room);
        let (took, unit) = if worker.boot.request_log.micros { (took_us, "micros") } else { (took_us / 1000, "msecs") };
        let _ = write!(self.line, " => generated {} bytes in {took} {unit}", answered.body_bytes);
        if answered.used_sendfile {
            self.line.extend_from_slice(b" via sendfile()");
        }
        self.line.extend_from_slice(b" (");
        put(&mut self.line, spoken.protocol, 16);
        let _ = writeln!(
            self.line,
            " {status}) {} headers in {} bytes (1 switches on core {core})",
            answered.headers_number, answered.head_bytes
        );
    }

    fn put_json(&mut self, told: &Told<'_>) {
        let &Told { worker, core, address, spoken, answered, began, took_us, .. } = told;
        let line = &mut self.line;
        let time = os::rfc3339(began.unix_s());
        let _ = write!(
            line,
            "{REQUEST_LINE_MARK}{{\"time\":\"{time}\",\"kind\":\"request\",\"pid\":{},\"core\":{core}",
            worker.pid
        );
        for (name, text, most) in [
            ("address", address, 64),
            ("user", spoken.remote_user, 64),
            ("method", spoken.method, 32),
            // Each byte may become six, and the whole is to stay below PIPE_BUF.
            ("uri", spoken.uri, 448),
            ("protocol", spoken.protocol, 16),
        ] {
            let _ = write!(line, ",\"{name}\":\"");
            put_escaped(line, text, most);
            line.push(b'"');
        }
        let _ = writeln!(
            line,
            ",\"status\":{},\"bytes\":{},\"head_bytes\":{},\"us\":{took_us}}}",
            answered.status, answered.body_bytes, answered.head_bytes
        );
    }
}

fn is_wanted(boot: &AppBoot, answered: &Answered, took_us: u64) -> bool {
    let (status, more) = (answered.status, &boot.request_log);
    boot.log_requests
        || answered.is_asked_for
        || (boot.log_4xx && (400..500).contains(&status))
        || (boot.log_5xx && status >= 500)
        || (more.slow_ms > 0 && took_us / 1000 >= more.slow_ms)
        || (more.big_bytes > 0 && answered.body_bytes >= more.big_bytes)
        || (more.zero && answered.body_bytes == 0)
}

/// A text in JSON (RFC 8259, section 7): a byte that is no ASCII is the character of that number, as in WSGI.
fn put_escaped(line: &mut Vec<u8>, text: &[u8], most: usize) {
    for byte in &text[..text.len().min(most)] {
        match byte {
            b'"' | b'\\' => line.extend([b'\\', *byte]),
            0x20..0x7f => line.push(*byte),
            _ => {
                let _ = write!(line, "\\u{:04x}", byte);
            }
        }
    }
}

/// A text from the network, without what would forge lines or steer a terminal.
fn put(line: &mut Vec<u8>, text: &[u8], most: usize) {
    let text = &text[..text.len().min(most)];
    line.extend(text.iter().map(|byte| if byte.is_ascii_control() { b'?' } else { *byte }));
}
