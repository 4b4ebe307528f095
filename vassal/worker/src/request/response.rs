//! The answer of the app on its way to the client: how far it is, the framing of the body, and what has been sent. What
//! the head says is [`super::head`]. Knows nothing of how the app is called.

use std::{io, os::fd::RawFd, sync::Arc};

use empery_wire::fastcgi::record;
use pyo3::{
    exceptions::{PyAssertionError, PyOSError},
    prelude::*,
    types::PyDict,
};

use super::{
    beside::Beside,
    error_page,
    framing::{Asked, Cut, Framing, Tail, Whole},
    head::{AnswerHead, HeaderKind},
    patience::Patience,
    reply_rules::{Instead, Reply},
    request_line::Answered,
    send::{send_all, send_known, send_last},
};
use crate::{
    os,
    serve::{farewell::Owed, outgoing::FileSpan},
    stray,
    uwsgi_module::websocket::WebSocket,
};

/// Bodies up to this size are copied behind their chunk's size instead of being sent as pieces.
const CHUNK_COPIED_BYTES: usize = 8 * 1024;

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// `start_response` was not called.
    Nothing,
    /// It was; nothing was sent.
    Started,
    /// The head is out.
    Sent(Framing),
}

/// The answer.
pub(crate) struct Response {
    asked: Asked,
    patience: Patience,
    phase: Phase,
    pub(crate) status: u16,
    head: AnswerHead,
    /// Whether the connection is of use after this answer.
    pub(super) keeps: bool,
    /// The line of the Date header to add.
    pub(super) date: Vec<u8>,
    pub(super) head_bytes: u64,
    pub(super) body_bytes: u64,
    /// The client is gone.
    pub(super) client_is_gone: bool,
    /// Until something was sent: whoever else may answer the client.
    owed: Option<&'static Owed>,
    pub(super) used_sendfile: bool,
    /// The app wanted to send more than its Content-Length.
    pub(super) too_long: bool,
    /// Made when the head goes out: whether the client may still be sending.
    pub(crate) input: Option<Py<super::input::Input>>,
    out: Vec<u8>,
    /// All of the answer is known: nobody waits for the client to take it.
    is_known: bool,
    /// What may be left to the loop of the item by which the Content-Length is reached.
    pub(super) tail: Tail,
    /// What is sent now ends where the Content-Length ends.
    is_last: bool,
    /// FastCGI has been told that the request is over.
    has_ended: bool,
    /// What FastCGI asks for beside the request.
    beside: Option<Arc<Beside>>,
    /// What the client did not take at once of such an answer, or of the last piece of another.
    unsent: Vec<u8>,
    unsent_file: Option<FileSpan>,
    /// What is changed about it.
    reply: Option<Box<Reply>>,
    /// The app wants its line in the log, whatever is logged else.
    pub(crate) is_logged: bool,
    /// What the app was called with.
    pub(crate) environ: Option<Py<PyDict>>,
    /// The connection has become one.
    pub(crate) websocket: Option<Box<WebSocket>>,
    /// What came behind a request that asks for another protocol: the beginning of that.
    pub(crate) ahead: Vec<u8>,
}

impl Response {
    pub(super) fn new() -> Self {
        let asked = Asked::of_nobody();
        Self {
            asked,
            patience: Patience::none(),
            phase: Phase::Nothing,
            status: 500,
            head: AnswerHead::default(),
            keeps: false,
            date: Vec::new(),
            head_bytes: 0,
            body_bytes: 0,
            client_is_gone: false,
            owed: None,
            used_sendfile: false,
            too_long: false,
            input: None,
            out: Vec::new(),
            is_known: false,
            tail: Tail::Code,
            is_last: false,
            has_ended: false,
            beside: None,
            unsent: Vec::new(),
            unsent_file: None,
            reply: None,
            is_logged: false,
            environ: None,
            websocket: None,
            ahead: Vec::new(),
        }
    }

    /// Ready for another request.
    pub(super) fn reset(
        &mut self,
        asked: Asked,
        patience: Patience,
        date: &[u8],
        input: Option<Py<super::input::Input>>,
        owed: Option<&'static Owed>,
        beside: Option<Arc<Beside>>,
    ) {
        self.asked = asked;
        self.beside = beside;
        self.owed = owed;
        self.patience = patience;
        self.phase = Phase::Nothing;
        self.status = 500;
        self.head.clear();
        self.keeps = asked.client_keeps;
        self.date.clear();
        self.date.extend_from_slice(date);
        self.head_bytes = 0;
        self.body_bytes = 0;
        self.client_is_gone = false;
        self.used_sendfile = false;
        self.too_long = false;
        self.input = input;
        self.is_known = false;
        self.tail = Tail::Code;
        self.is_last = false;
        self.has_ended = false;
        self.reply = None;
        self.is_logged = false;
        self.websocket = None;
        self.ahead.clear();
    }

    /// It is not all the app's.
    pub(super) fn change(&mut self, reply: Reply) {
        self.reply = Some(Box::new(reply));
    }

    /// The descriptor of the connection; -1 when the request is over.
    pub(crate) fn fd(&self) -> RawFd {
        self.asked.fd
    }

    /// What was sent is all that the client gets: what it did not take at once of that, too.
    pub(crate) fn disconnect(&mut self, py: Python<'_>) {
        let unsent = std::mem::take(&mut self.unsent);
        if !unsent.is_empty() {
            // Who takes no more gets no more.
            let _ = send_all(py, self.asked.fd, [&unsent, b"", b""], &mut self.patience);
        }
        if self.unsent_file.is_none() {
            os::shut_down_sending(self.asked.fd);
        }
        self.keeps = false;
        self.client_is_gone = true;
    }

    /// Sends bytes as they are, a head of the app's own making first: the connection ends behind them.
    pub(crate) fn send_raw(&mut self, py: Python<'_>, bytes: &[u8]) -> Result<(), Cut> {
        if !self.is_sent() {
            self.status = 200;
            self.keeps = false;
            self.phase = Phase::Sent(Framing::Close);
        }
        self.body_bytes += bytes.len() as u64;
        self.put(py, [bytes, b"", b""])
    }

    /// The request is over: late calls of `write` reach nobody.
    pub(super) fn finish_with_request(&mut self) {
        self.asked.fd = -1;
        self.client_is_gone = true;
        self.input = None;
        self.environ = None;
    }

    pub(super) fn is_started(&self) -> bool {
        self.phase != Phase::Nothing
    }

    pub(super) fn is_sent(&self) -> bool {
        matches!(self.phase, Phase::Sent(_))
    }

    /// Takes the status; `line` is `200 OK`.
    pub(super) fn start(&mut self, status: u16, line: &[u8]) {
        self.status = status;
        self.phase = Phase::Started;
        self.head.start(self.asked.before_status(), line);
    }

    /// `start_response` failed: it was as if not called.
    pub(super) fn unstart(&mut self) {
        self.phase = Phase::Nothing;
        self.status = 500;
        self.head.clear();
    }

    /// Takes a checked header. An error is a sentence about the app.
    pub(super) fn header(&mut self, kind: HeaderKind, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
        if self.reply.as_ref().is_some_and(|reply| !reply.shows(name, value)) {
            return Ok(());
        }
        self.head.header(kind, name, value)
    }

    /// What is written down about it.
    pub(super) fn answered(&self) -> Answered {
        Answered {
            status: self.status,
            headers_number: self.head.headers_number(),
            head_bytes: self.head_bytes,
            body_bytes: self.body_bytes,
            used_sendfile: self.used_sendfile,
            write_errors: self.client_is_gone.into(),
            read_errors: 0,
            is_asked_for: self.is_logged,
        }
    }

    fn has_body(&self) -> bool {
        !self.asked.is_head && !matches!(self.status, 204 | 304)
    }

    /// Settles the framing and finishes the head. `whole` is the length of the body when all of it is known.
    fn finish_head(&mut self, py: Python<'_>, whole: Option<u64>) -> Framing {
        let asked = self.asked;
        if let Some(reply) = &self.reply {
            reply.add_to(&mut self.head);
        }
        if self.status == 101 {
            return self.finish_last_head();
        }
        let whole = if self.has_body() { whole } else { None };
        let length = self.head.content_length.or(whole);
        let framing = match length {
            _ if !self.has_body() => Framing::NoBody,
            Some(left) => Framing::Length { left },
            None if asked.is_http && asked.minor_version == 1 => Framing::Chunked,
            None => Framing::Close,
        };
        // RFC 9110 section 8.6: never with 204.
        if let (Some(length), true) = (length, self.status != 204) {
            self.head.length(length);
        }
        if framing == Framing::Chunked {
            self.head.line(&[b"Transfer-Encoding: chunked\r\n"]);
        }
        self.keeps &= (framing != Framing::Close || asked.records.is_some()) && !self.head.closes;
        if let Some(input) = &self.input {
            match input.bind(py).try_borrow_mut() {
                Ok(mut input) => self.keeps &= input.is_here(),
                // Another thread of the app reads it.
                Err(_) => self.keeps = false,
            }
        }
        if asked.is_http {
            self.head.date(&self.date);
            if !self.keeps {
                self.head.line(&[b"Connection: close\r\n"]);
            } else if asked.minor_version == 0 {
                self.head.line(&[b"Connection: keep-alive\r\n"]);
            }
        }
        self.head.end();
        self.head_bytes = self.head.bytes().len() as u64;
        framing
    }

    /// The same for 101: what follows is another protocol's, to the end of the connection.
    fn finish_last_head(&mut self) -> Framing {
        self.keeps = false;
        self.head.change_protocol();
        self.head.end();
        self.head_bytes = self.head.bytes().len() as u64;
        Framing::Close
    }

    /// Whether the client speaks a protocol in which it can be asked to change that, and has asked for it (RFC 9110 section 7.8).
    pub(super) fn may_change_protocol(&self, py: Python<'_>) -> bool {
        let asked = &self.asked;
        let Some(environ) = self.environ.as_ref().map(|environ| environ.bind(py)) else { return false };
        let header = |name: &str| -> Option<String> { environ.get_item(name).ok()??.extract().ok() };
        let wants_it = |options: String| options.split(',').any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
        !asked.is_cgi
            && asked.records.is_none()
            && (!asked.is_http || asked.minor_version == 1)
            && header("HTTP_UPGRADE").is_some_and(|protocol| !protocol.is_empty())
            && header("HTTP_CONNECTION").is_some_and(wants_it)
    }

    /// Whether the client waits for a WebSocket, as far as HTTP says so here.
    pub(crate) fn may_be_websocket(&self, py: Python<'_>) -> bool {
        let asked = self.environ.as_ref().and_then(|environ| environ.bind(py).get_item("HTTP_UPGRADE").ok()?);
        let asked: Option<String> = asked.and_then(|asked| asked.extract().ok());
        let is_it = |protocol: &str| protocol.trim().eq_ignore_ascii_case("websocket");
        !self.asked.is_http || asked.is_some_and(|asked| asked.split(',').any(is_it))
    }

    /// Whether the head that is taken says which protocol comes next.
    pub(super) fn names_a_protocol(&self) -> bool {
        self.head.names_a_protocol()
    }

    /// Sends the only item there is. What the client does not take at once of it is left to the loop, as far as there is room.
    pub(super) fn send_whole(&mut self, py: Python<'_>, body: &[u8]) -> Result<(), Cut> {
        if let Some(instead) = self.instead(py) {
            return self.send_instead(py, instead);
        }
        self.is_known = true;
        if self.phase == Phase::Started {
            let framing = self.finish_head(py, Some(body.len() as u64));
            self.phase = Phase::Sent(framing);
            return self.send_first(py, framing, body);
        }
        self.send(py, body)
    }

    /// What routes put in the place of the app's answer, whose head is known and not out yet.
    fn instead(&mut self, py: Python<'_>) -> Option<Instead> {
        if self.phase != Phase::Started {
            return None;
        }
        self.reply.as_mut()?.ask(py, self.status, self.body_bytes)
    }

    /// Sends that, and nothing of what the app gives.
    fn send_instead(&mut self, py: Python<'_>, instead: Instead) -> Result<(), Cut> {
        let Instead::Answer(answer) = instead else {
            self.client_is_gone = true;
            return Err(Cut::Client);
        };
        self.start(answer.number, &answer.status);
        for (name, value) in &answer.headers {
            // They say nothing of the length, about which alone there could be an error.
            let _ = self.header(HeaderKind::of(name.as_bytes()), name.as_bytes(), value);
        }
        self.head.closes |= answer.closes;
        self.is_known = true;
        let framing = self.finish_head(py, Some(answer.body.len() as u64));
        self.phase = Phase::Sent(framing);
        let result = self.send_first(py, framing, &answer.body);
        self.phase = Phase::Sent(Framing::NoBody);
        result
    }

    /// Answers for an app that failed before it had sent anything; tells nothing about the inside.
    pub(super) fn send_failure(&mut self, py: Python<'_>, status: u16, phrase: &str) -> Result<(), Cut> {
        self.start(status, format!("{status} {phrase}").as_bytes());
        let (kind, body) = error_page::or(status, &format!("{phrase}\n"));
        self.head.line(&[b"Content-Type: ", kind.as_bytes(), b"\r\n"]);
        self.head.closes = true;
        self.send_whole(py, &body)
    }

    /// Sends a piece of the body. Nothing is sent for an empty one, not even the head (PEP 3333, "The start_response() Callable"),
    /// but that of 101, for which the client waits before it says anything.
    pub(super) fn send(&mut self, py: Python<'_>, body: &[u8]) -> Result<(), Cut> {
        match self.phase {
            Phase::Nothing => {
                Err(Cut::App(PyAssertionError::new_err("the app gave a body before it called start_response")))
            }
            _ if body.is_empty() && (self.status != 101 || self.is_sent()) => Ok(()),
            Phase::Started => {
                if let Some(instead) = self.instead(py) {
                    return self.send_instead(py, instead);
                }
                let framing = self.finish_head(py, None);
                self.phase = Phase::Sent(framing);
                self.send_first(py, framing, body)
            }
            Phase::Sent(framing) => self.send_framed(py, framing, b"", body),
        }
    }

    fn send_first(&mut self, py: Python<'_>, framing: Framing, body: &[u8]) -> Result<(), Cut> {
        let head = std::mem::take(&mut self.head);
        let result = self.send_framed(py, framing, head.bytes(), body);
        self.head = head;
        result
    }

    fn send_framed(&mut self, py: Python<'_>, framing: Framing, head: &[u8], body: &[u8]) -> Result<(), Cut> {
        match framing {
            Framing::NoBody => self.put(py, [head, b"", b""]),
            Framing::Close => {
                self.body_bytes += body.len() as u64;
                self.put(py, [head, body, b""])
            }
            Framing::Length { left } => {
                let fits = body.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                self.too_long |= fits < body.len();
                self.body_bytes += fits as u64;
                self.phase = Phase::Sent(Framing::Length { left: left - fits as u64 });
                self.is_last = left == fits as u64;
                self.put(py, [head, &body[..fits], b""])
            }
            Framing::Chunked => {
                self.body_bytes += body.len() as u64;
                let mut out = std::mem::take(&mut self.out);
                out.clear();
                out.extend_from_slice(head);
                if !body.is_empty() {
                    // An empty chunk would be the last.
                    out.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
                }
                let result = if body.is_empty() {
                    self.put(py, [&out, b"", b""])
                } else if body.len() <= CHUNK_COPIED_BYTES {
                    out.extend_from_slice(body);
                    out.extend_from_slice(b"\r\n");
                    self.put(py, [&out, b"", b""])
                } else {
                    self.put(py, [&out, body, b"\r\n"])
                };
                self.out = out;
                result
            }
        }
    }

    fn put(&mut self, py: Python<'_>, pieces: [&[u8]; 3]) -> Result<(), Cut> {
        if self.client_is_gone || stray::is_child() {
            return Err(Cut::Client);
        }
        if self.owed.take().is_some_and(|owed| !owed.claim()) {
            self.client_is_gone = true;
            return Err(Cut::Client);
        }
        if let Some(request_id) = self.asked.records {
            return self.put_records(py, request_id, pieces);
        }
        self.put_bytes(py, pieces)
    }

    fn put_records(&mut self, py: Python<'_>, request_id: u16, pieces: [&[u8]; 3]) -> Result<(), Cut> {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        if let Some(beside) = &self.beside {
            out.append(&mut beside.hold());
        }
        record::stdout(request_id, pieces, &mut out);
        // An answer that is too short must not look whole.
        let is_short = matches!(self.phase, Phase::Sent(Framing::Length { left: 1.. }));
        if self.is_known && !is_short && !std::mem::replace(&mut self.has_ended, true) {
            record::end(request_id, record::Status::Complete, &mut out);
        }
        let result = self.put_bytes(py, [&out, b"", b""]);
        self.out = out;
        if let Some(beside) = self.beside.as_ref().filter(|_| self.unsent.is_empty()) {
            beside.release();
        }
        result
    }

    /// What is left to be sent of an answer that is known whole.
    pub(super) fn take_unsent(&mut self) -> (Vec<u8>, Option<FileSpan>) {
        let mut unsent = std::mem::take(&mut self.unsent);
        if let Some(beside) = self.beside.take() {
            unsent.append(&mut beside.hold());
        }
        (unsent, self.unsent_file.take())
    }

    fn put_bytes(&mut self, py: Python<'_>, pieces: [&[u8]; 3]) -> Result<(), Cut> {
        if pieces.iter().all(|piece| piece.is_empty()) {
            return Ok(());
        }
        let result = if self.is_known || !self.unsent.is_empty() {
            send_known(py, self.asked.fd, pieces, &mut self.patience, &mut self.unsent)
        } else if self.is_last {
            send_last(py, self.asked.fd, pieces, self.tail.left(), &mut self.patience, &mut self.unsent)
        } else {
            send_all(py, self.asked.fd, pieces, &mut self.patience)
        };
        self.sent(result)
    }

    fn sent(&mut self, result: io::Result<()>) -> Result<(), Cut> {
        result.map_err(|_| {
            self.client_is_gone = true;
            Cut::Client
        })
    }

    /// Gives a file away to be sent from `offset`; `length` bytes of it are there. The app may close its own descriptor.
    pub(super) fn send_file(&mut self, py: Python<'_>, file: RawFd, offset: i64, length: u64) -> Result<(), Cut> {
        if let Some(instead) = self.instead(py) {
            return self.send_instead(py, instead);
        }
        self.is_known = true;
        if self.phase == Phase::Started {
            let framing = self.finish_head(py, Some(length));
            self.phase = Phase::Sent(framing);
            self.send_first(py, framing, b"")?;
        }
        let Phase::Sent(Framing::Length { left }) = self.phase else { return Ok(()) };
        if stray::is_child() {
            return Err(Cut::Client);
        }
        let most = left.min(length);
        let fd = os::duplicate(file).map_err(|error| Cut::App(error.into()))?;
        self.unsent_file = Some(FileSpan { fd, offset: offset as u64, left: most });
        self.used_sendfile = true;
        self.body_bytes += most;
        self.phase = Phase::Sent(Framing::Length { left: left - most });
        Ok(())
    }

    /// Whether a file can be given to the kernel: its length is what frames it.
    pub(super) fn may_send_file(&self) -> bool {
        self.phase == Phase::Started && self.has_body() && self.asked.records.is_none()
    }

    /// Whether the body is of any use, now that the head is out.
    pub(super) fn wants_more(&self) -> bool {
        !matches!(self.phase, Phase::Sent(Framing::NoBody)) && !self.client_is_gone && !self.too_long
    }

    /// The app has given everything. Says whether the client has a whole answer.
    pub(super) fn finish(&mut self, py: Python<'_>) -> Result<Whole, Cut> {
        if self.phase == Phase::Nothing {
            return Err(Cut::App(PyAssertionError::new_err("the app returned without calling start_response")));
        }
        if let Some(instead) = self.instead(py) {
            self.send_instead(py, instead)?;
        } else if self.phase == Phase::Started {
            let framing = self.finish_head(py, Some(0));
            self.phase = Phase::Sent(framing);
            self.send_first(py, framing, b"")?;
        }
        match self.phase {
            Phase::Sent(Framing::Length { left }) if left > 0 => Ok(Whole::Short { by: left }),
            Phase::Sent(Framing::Chunked) => {
                self.is_known = true;
                self.put(py, [b"0\r\n\r\n", b"", b""]).map(|()| Whole::Yes)
            }
            _ if self.asked.records.is_some() => {
                self.is_known = true;
                self.put(py, [b"", b"", b""]).map(|()| Whole::Yes)
            }
            _ => Ok(Whole::Yes),
        }
    }

    /// For `write()`: an exception the app can catch.
    pub(crate) fn write(&mut self, py: Python<'_>, body: &[u8]) -> PyResult<()> {
        self.send(py, body).map_err(|cut| match cut {
            Cut::Client => PyOSError::new_err("write error: the client is gone"),
            Cut::App(error) => error,
        })
    }
}
