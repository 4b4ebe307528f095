//! The line that is logged for a request, in exactly the shape of uWSGI 2.0 (core/logging.c, `uwsgi_logit_simple`):
//! log parsers of the world know it.

use std::io::Write;

use crate::{os, worker::Worker};

/// Longest line: what a pipe takes in one piece (PIPE_BUF, pipe(7)).
const LINE_MAX_BYTES: usize = 4096;

/// What a request says about itself.
pub(super) struct Spoken<'b> {
    pub(super) method: &'b [u8],
    pub(super) uri: &'b [u8],
    pub(super) protocol: &'b [u8],
    pub(super) remote_addr: &'b [u8],
    pub(super) remote_user: &'b [u8],
    pub(super) forwarded_for: &'b [u8],
    /// CGI variables.
    pub(super) vars_number: usize,
    /// Length of the head.
    pub(super) head_bytes: usize,
}

/// What became of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers_number: u32,
    pub(super) head_bytes: u64,
    pub(super) body_bytes: u64,
    pub(super) used_sendfile: bool,
}

/// The line, and what is made once a second for it.
#[derive(Default)]
pub(super) struct Lines {
    at_unix_s: u64,
    ctime: String,
    line: Vec<u8>,
}

impl Lines {
    /// Writes the line when this answer is one to log.
    pub(super) fn write(
        &mut self,
        worker: &Worker,
        core: u32,
        spoken: &Spoken<'_>,
        answered: &Answered,
        started_unix_s: u64,
        took_us: u64,
    ) {
        let boot = worker.boot;
        let status = answered.status;
        let wanted =
            boot.log_requests || (boot.log_4xx && (400..500).contains(&status)) || (boot.log_5xx && status >= 500);
        if !wanted {
            return;
        }
        if self.at_unix_s != started_unix_s || self.ctime.is_empty() {
            self.at_unix_s = started_unix_s;
            self.ctime = os::ctime(started_unix_s);
        }
        let requests = worker.requests.load(std::sync::atomic::Ordering::Relaxed);
        let total = worker.scoreboard.totals().requests;
        let address = if boot.log_x_forwarded_for && !spoken.forwarded_for.is_empty() {
            spoken.forwarded_for
        } else {
            spoken.remote_addr
        };
        self.line.clear();
        let _ = write!(self.line, "[pid: {}|app: 0|req: {requests}/{total}] ", worker.pid);
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
        let _ = write!(self.line, " => generated {} bytes in {} msecs", answered.body_bytes, took_us / 1000);
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
        os::write_stderr(&self.line);
    }
}

/// A text from the network, without what would forge lines or steer a terminal.
fn put(line: &mut Vec<u8>, text: &[u8], most: usize) {
    let text = &text[..text.len().min(most)];
    line.extend(text.iter().map(|byte| if byte.is_ascii_control() { b'?' } else { *byte }));
}
