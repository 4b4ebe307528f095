//! Answers whose every byte is known: sent by the loop as fast as the client takes them, so that a slow reader holds no
//! thread. How an answer is made is not its business, nor is what an app has yet to give: that needs a thread.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use empery_wire::limits::{ANSWER_MIN_BYTES_PER_S, ANSWERS_HELD_MAX_BYTES};

use super::{Serving, connection::Connection, now_ms, slab::Place};
use crate::os;

/// How much one connection is sent before others have their turn, in bytes.
const TURN_BYTES: usize = 1024 * 1024;

/// What is left of an answer.
pub(crate) struct Outgoing {
    /// First these.
    pub(crate) bytes: Vec<u8>,
    /// Then a part of a file.
    pub(crate) file: Option<FileSpan>,
    /// And when the client has them.
    pub(crate) then: Then,
}

/// A part of a file.
pub(crate) struct FileSpan {
    /// Ours alone.
    pub(crate) fd: OwnedFd,
    /// From here, in bytes.
    pub(crate) offset: u64,
    /// So many bytes.
    pub(crate) left: u64,
}

/// What becomes of a connection whose answer is out.
pub(crate) enum Then {
    /// It waits for the next request, of which these bytes have come already.
    Keep {
        /// They.
        leftover: Vec<u8>,
    },
    /// More of the same answer follows.
    Send(Box<Outgoing>),
    /// The client may be sending still.
    Rest,
    /// It is closed.
    Close,
}

/// What lies in the memory of this process for clients that take their answers slowly, in bytes.
static HELD_BYTES: AtomicUsize = AtomicUsize::new(0);

/// A part of it, until dropped.
struct Held(usize);

impl Held {
    fn new(bytes: usize) -> Self {
        HELD_BYTES.fetch_add(bytes, Relaxed);
        Self(bytes)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD_BYTES.fetch_sub(self.0, Relaxed);
    }
}

/// How much more a thread may leave to the loop, in bytes.
pub(crate) fn room_bytes() -> usize {
    ANSWERS_HELD_MAX_BYTES.saturating_sub(HELD_BYTES.load(Relaxed))
}

/// An answer under way.
pub(crate) struct Sending {
    outgoing: Outgoing,
    _held: Held,
    /// Of `outgoing.bytes`.
    sent_bytes: usize,
    /// Given to the kernel.
    given_bytes: u64,
    /// Of these, what the client had taken when the deadline was set.
    taken_bytes: u64,
    /// When the client must have taken more, on the monotonic clock in ms.
    pub(super) deadline_ms: u64,
}

/// How far one turn came.
enum Turn {
    Finished,
    /// The client takes no more now, or others have waited long enough.
    Unfinished,
}

impl Sending {
    /// Sends what the client takes now.
    fn go_on(&mut self, socket: i32) -> io::Result<Turn> {
        let turn_ends = self.given_bytes + TURN_BYTES as u64;
        while self.given_bytes < turn_ends {
            let sent = match self.send_next(socket) {
                Ok(0) => return Ok(Turn::Finished),
                Ok(sent) => sent,
                Err(error) if os::would_block(&error) => return Ok(Turn::Unfinished),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => return Err(error),
            };
            self.given_bytes += sent as u64;
        }
        Ok(Turn::Unfinished)
    }

    /// 0 when nothing is left. A file that has become shorter is an error: the client was promised more.
    fn send_next(&mut self, socket: i32) -> io::Result<usize> {
        let bytes = &self.outgoing.bytes[self.sent_bytes..];
        if !bytes.is_empty() {
            let bytes = &bytes[..bytes.len().min(TURN_BYTES)];
            let sent = match self.outgoing.file {
                Some(FileSpan { left: 1.., .. }) => os::send_ahead(socket, bytes)?,
                _ => os::send(socket, [bytes, b"", b""])?,
            };
            self.sent_bytes += sent;
            return Ok(sent);
        }
        let Some(file) = self.outgoing.file.as_mut().filter(|file| file.left > 0) else { return Ok(0) };
        let mut offset = i64::try_from(file.offset).map_err(io::Error::other)?;
        let most = usize::try_from(file.left).unwrap_or(usize::MAX).min(TURN_BYTES);
        let sent = os::send_file(socket, file.fd.as_raw_fd(), &mut offset, most)?;
        if sent == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.offset += sent as u64;
        file.left -= sent as u64;
        Ok(sent)
    }

    /// Whether the client has taken enough since the deadline was set; then it is set anew. What lies in the kernel's buffer was not taken: a
    /// buffer of megabytes would make every reader look fast, and then dead.
    fn is_taken(&mut self, socket: i32, within_ms: u64) -> bool {
        let taken = self.given_bytes.saturating_sub(os::unsent_bytes(socket));
        let enough = taken.saturating_sub(self.taken_bytes) * 1000 >= ANSWER_MIN_BYTES_PER_S * within_ms;
        self.taken_bytes = taken;
        self.deadline_ms = now_ms() + within_ms;
        enough
    }
}

impl Serving {
    /// Sends an answer, now or as the client takes it.
    pub(super) fn send(&self, place: Place, mut connection: Box<Connection>, outgoing: Outgoing) {
        let deadline_ms = now_ms() + self.worker.boot.write_timeout_ms;
        let held = Held::new(outgoing.bytes.len());
        connection.sending = Some(Box::new(Sending {
            outgoing,
            _held: held,
            sent_bytes: 0,
            given_bytes: 0,
            taken_bytes: 0,
            deadline_ms,
        }));
        self.send_on(place, connection);
    }

    /// The client takes more, or is gone.
    pub(super) fn send_on(&self, place: Place, mut connection: Box<Connection>) {
        let socket = connection.raw();
        let Some(mut sending) = connection.sending.take() else { return self.put_back(place, connection) };
        match sending.go_on(socket) {
            Ok(Turn::Unfinished) => {
                connection.sending = Some(sending);
                self.put_back(place, connection);
            }
            Ok(Turn::Finished) => self.answered(place, connection, sending.outgoing.then),
            // It has a part of an answer and must not take it for the whole.
            Err(_) => self.reset(place, connection),
        }
    }

    /// The deadline of an answer has come; a client that goes on taking it gets another.
    pub(super) fn sent_in_time(&self, place: Place, mut connection: Box<Connection>) {
        let socket = connection.raw();
        let within_ms = self.worker.boot.write_timeout_ms;
        if connection.sending.as_mut().is_some_and(|sending| sending.is_taken(socket, within_ms)) {
            self.put_back(place, connection);
        } else {
            self.reset(place, connection);
        }
    }

    /// The answer is out.
    pub(super) fn answered(&self, place: Place, mut connection: Box<Connection>, then: Then) {
        match then {
            Then::Keep { leftover } => {
                connection.requests += 1;
                connection.has_continued = false;
                if !self.keeps_connections() {
                    self.close(place, connection);
                } else if leftover.is_empty() {
                    self.put_back(place, connection);
                } else {
                    connection.received = leftover;
                    self.put_ready(place, connection);
                }
            }
            Then::Send(next) => self.send(place, connection, *next),
            Then::Rest => {
                connection.expect_the_rest();
                self.put_back(place, connection);
            }
            Then::Close => self.close(place, connection),
        }
    }
}
