//! The last word to a client whose worker is about to be killed: 504, if nothing was sent to it yet. The thread that has
//! its request is inside the app, and C code may hold Python's lock for ever: so a native signal handler says it, on the
//! main thread. It allocates nothing and waits for nothing.
//!
//! Who may speak to the client, the app or the handler, is settled by one atomic: whoever comes second is silent.

use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, Ordering};

use super::SERVING;
use crate::{alarm, os};

/// Nobody waits for an answer that this could give.
const CLOSED: u8 = 0;
/// There is no limit that could make it necessary; `uwsgi.set_user_harakiri` makes it [`OPEN`].
const IDLE: u8 = 1;
/// Nothing was sent, and the handler may answer.
const OPEN: u8 = 2;
/// The handler is answering.
const TELLING: u8 = 3;
/// It has answered.
const TOLD: u8 = 4;

const HTTP: &[u8] =
    b"HTTP/1.1 504 Gateway Timeout\r\nContent-Type: text/plain\r\nContent-Length: 16\r\nConnection: close\r\n\r\n";
const CGI: &[u8] = b"Status: 504 Gateway Timeout\r\nContent-Type: text/plain\r\nContent-Length: 16\r\n\r\n";
const BODY: &[u8] = b"Gateway Timeout\n";

/// How an answer is written.
#[derive(Clone, Copy)]
pub(crate) struct Manner {
    /// With `Status:` for HTTP's status line.
    pub(crate) is_cgi: bool,
    /// To a HEAD.
    pub(crate) is_head: bool,
    /// In records of this FastCGI request.
    pub(crate) records: Option<u16>,
}

impl Manner {
    fn code(self) -> u32 {
        let records = self.records.map_or(0, |request_id| u32::from(request_id) << 16 | 4);
        records | u32::from(self.is_cgi) << 1 | u32::from(self.is_head)
    }
}

/// What one thread owes to the client of the request it is inside.
pub(crate) struct Owed {
    fd: AtomicI32,
    manner: AtomicU32,
    state: AtomicU8,
}

impl Owed {
    /// Nothing.
    pub(crate) const fn nothing() -> Self {
        Self { fd: AtomicI32::new(-1), manner: AtomicU32::new(0), state: AtomicU8::new(CLOSED) }
    }

    /// A request begins; whether it has a limit is known of most.
    pub(crate) fn begin(&self, fd: i32, manner: Manner, has_limit: bool) {
        self.fd.store(fd, Ordering::Relaxed);
        self.manner.store(manner.code(), Ordering::Relaxed);
        self.state.store(if has_limit { OPEN } else { IDLE }, Ordering::Release);
    }

    /// The request has got a limit. Called by its own thread.
    pub(crate) fn limit(&self) {
        if self.state.load(Ordering::Relaxed) == IDLE {
            self.state.store(OPEN, Ordering::Release);
        }
    }

    /// The app has something for the client, or the request is over. False when the client was answered already.
    pub(crate) fn claim(&self) -> bool {
        loop {
            match self.state.load(Ordering::Acquire) {
                CLOSED => return true,
                IDLE => {
                    self.state.store(CLOSED, Ordering::Relaxed);
                    return true;
                }
                // On another thread: it is over at once, and before it is the connection must stay open.
                TELLING => std::thread::yield_now(),
                TOLD => return false,
                _ => {
                    if self.state.compare_exchange(OPEN, CLOSED, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                        return true;
                    }
                }
            }
        }
    }

    /// The request is over. False when its client was answered by the handler.
    pub(crate) fn end(&self) -> bool {
        let is_ours = self.claim();
        self.state.store(CLOSED, Ordering::Relaxed);
        is_ours
    }

    /// In the handler. `is_meant` says whether the thread is inside the request still that is to be answered.
    fn tell(&self, is_meant: impl Fn() -> bool) {
        if self.state.compare_exchange(OPEN, TELLING, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            // Another may have begun before that; now none begins or ends.
            if !is_meant() {
                self.state.store(OPEN, Ordering::Release);
                return;
            }
            let (fd, manner) = (self.fd.load(Ordering::Relaxed), self.manner.load(Ordering::Relaxed));
            let (head, body) = (if manner & 2 != 0 { CGI } else { HTTP }, if manner & 1 != 0 { b"" } else { BODY });
            // A client that is gone, or takes nothing, learns nothing.
            let _ = match manner & 4 {
                0 => os::send(fd, [head, body, b""]),
                _ => {
                    let request_id = (manner >> 16) as u16;
                    let begin = record(6, request_id, head.len() + body.len());
                    let end = record(3, request_id, 8);
                    let mut whole = [0_u8; 256];
                    let pieces = [&begin[..], head, body, &end[..], &[0; 8]];
                    let length = pieces.iter().fold(0, |at, piece| {
                        whole[at..at + piece.len()].copy_from_slice(piece);
                        at + piece.len()
                    });
                    os::send(fd, [&whole[..length], b"", b""])
                }
            };
            os::shut_down_sending(fd);
            self.state.store(TOLD, Ordering::Release);
        }
    }
}

/// The header of a FastCGI record (section 3.3 of the specification) whose content is short.
fn record(kind: u8, request_id: u16, content_bytes: usize) -> [u8; 8] {
    let [high, low] = request_id.to_be_bytes();
    [1, kind, high, low, 0, content_bytes as u8, 0, 0]
}

/// Takes the signal, if it is free.
pub(crate) fn install() -> Option<i32> {
    let number = libc::SIGRTMIN() + 9;
    alarm::catch_if_default(number, on_signal).unwrap_or(false).then_some(number)
}

extern "C" fn on_signal(_: libc::c_int) {
    let error_number = alarm::error_number();
    if let Some(serving) = SERVING.get()
        && alarm::process_id() == serving.worker.pid
    {
        for (core, owed) in (0..).zip(&serving.owed) {
            let state = &serving.worker.slot(core).state;
            let struck = state.struck_ns.load(Ordering::Acquire);
            let is_meant = || struck == state.started_monotonic_ns.load(Ordering::Acquire);
            if struck != 0 && is_meant() {
                owed.tell(is_meant);
                // The master sees by it that this was done.
                state.struck_ns.store(0, Ordering::Release);
            }
        }
    }
    alarm::set_error_number(error_number);
}
