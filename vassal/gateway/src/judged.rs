//! A client's stream of HTTP/1.1 of which only what may be served is handed on, unchanged: every head, and the framing of
//! every body, is judged as it is where there is no TLS ([`empery_wire`]), before hyper reads any of it. What is refused is
//! answered here in the same words; nothing behind it is read as a request.
//!
//! It also ends connections gently: while a client still sends what nobody reads, closing would reset the connection before the
//! client has read its answer (RFC 9112, 9.6).

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use empery_wire::{Bad, Limits, Parsed, chunked::Decoder, framing::Body, http, limits::REST_MAX_MS, refusal::refusal};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use crate::{deadlines::Activity, limits::RECEIVE_BYTES};

/// See the module.
pub(crate) struct Judged<S> {
    stream: S,
    activity: Arc<Activity>,
    /// Who sends it, for the log.
    peer: SocketAddr,
    limits: Limits,
    /// What was received and is not handed on yet: from `start` on, of which the part before `cleared` may be.
    held: Vec<u8>,
    start: usize,
    cleared: usize,
    part: Part,
    /// Everything that was written is on its way.
    is_flushed: bool,
    /// We have said our end.
    is_shut: bool,
    /// How long what still comes is thrown away.
    rest: Option<Pin<Box<Sleep>>>,
}

/// What the next bytes belong to.
enum Part {
    /// A request's head.
    Head,
    /// A body, of which so much is left.
    Length { left: u64 },
    /// A chunked body.
    Chunked(Decoder),
    /// Another protocol.
    Other,
    /// Nothing: this is said, and then the end.
    Refused { answer: Vec<u8>, written: usize },
}

impl Part {
    /// How many of these bytes belong to this body. Behind its end comes the next head.
    fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = match self {
            Part::Length { left } => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                taken
            }
            Part::Chunked(decoder) => {
                decoder.pass(bytes).map_err(|bad| io::Error::new(io::ErrorKind::InvalidData, bad.0))?
            }
            Part::Head | Part::Other | Part::Refused { .. } => bytes.len(),
        };
        let is_over = match self {
            Part::Length { left } => *left == 0,
            Part::Chunked(decoder) => decoder.is_done(),
            Part::Head | Part::Other | Part::Refused { .. } => false,
        };
        if is_over {
            *self = Part::Head;
        }
        Ok(taken)
    }
}

impl<S> Judged<S> {
    /// Judges what this client sends.
    pub(crate) fn new(stream: S, activity: Arc<Activity>, peer: SocketAddr, limits: Limits) -> Self {
        Self {
            stream,
            activity,
            peer,
            limits,
            held: Vec::new(),
            start: 0,
            cleared: 0,
            part: Part::Head,
            is_flushed: true,
            is_shut: false,
            rest: None,
        }
    }

    /// Looks at a head. False when more of it must come.
    fn judge_head(&mut self) -> bool {
        if self.activity.speaks_another_protocol() {
            self.part = Part::Other;
            return true;
        }
        let bytes = &self.held[self.start..];
        let bad = match http::parse(bytes, &self.limits) {
            Parsed::Head { head, consumed } => {
                self.part = match head.body {
                    Body::Length(0) | Body::Records { .. } => Part::Head,
                    Body::Length(left) => Part::Length { left },
                    Body::Chunked => Part::Chunked(Decoder::default()),
                };
                self.cleared = self.start + consumed;
                return true;
            }
            Parsed::NeedMore if self.activity.is_late() && !bytes.is_empty() => {
                Bad::new(408, "the request did not come within socket-timeout")
            }
            Parsed::NeedMore => {
                if !bytes.is_empty() {
                    // It may have come with what was before it.
                    self.activity.head_comes();
                }
                return false;
            }
            Parsed::Bad(bad) => bad,
        };
        crate::log::say(&format!(
            "invalid HTTP request from {}: {} ({}), skip",
            self.peer.ip(),
            bad.reason,
            bad.status
        ));
        self.part = Part::Refused { answer: refusal(bad, b""), written: 0 };
        true
    }

    /// Hands on what may be.
    fn hand_on(&mut self, room: &mut ReadBuf<'_>) {
        let length = (self.cleared - self.start).min(room.remaining());
        room.put_slice(&self.held[self.start..self.start + length]);
        self.start += length;
        if self.start == self.held.len() {
            self.held.clear();
            (self.start, self.cleared) = (0, 0);
        }
    }
}

impl<S: AsyncRead + Unpin> Judged<S> {
    /// Receives more of a head; 0 is the end.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.held.drain(..self.start);
        (self.start, self.cleared) = (0, 0);
        let before = self.held.len();
        self.held.resize(before + RECEIVE_BYTES, 0);
        let mut room = ReadBuf::new(&mut self.held[before..]);
        let received = Pin::new(&mut self.stream).poll_read(context, &mut room);
        let length = room.filled().len();
        self.held.truncate(before + length);
        received.map_ok(|()| length)
    }

    /// Receives more of a body, where it is asked for.
    fn poll_body(&mut self, context: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = room.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, room))?;
        let own = self.part.take(&room.filled()[before..])?;
        self.held.extend_from_slice(&room.filled()[before + own..]);
        room.set_filled(before + own);
        Poll::Ready(Ok(()))
    }

    /// Throws away what comes, until it ends or the time is up.
    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let rest = self.rest.get_or_insert_with(|| Box::pin(sleep(Duration::from_millis(REST_MAX_MS))));
        if rest.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        self.held = vec![0; RECEIVE_BYTES];
        loop {
            let mut room = ReadBuf::new(&mut self.held);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut room)) {
                Ok(()) if !room.filled().is_empty() => {}
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Judged<S> {
    /// Says why a request is refused, behind all answers to those before it.
    fn poll_refuse(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_flushed {
            // Whoever flushes wakes us.
            return Poll::Pending;
        }
        let Part::Refused { answer, written } = &mut self.part else { return Poll::Ready(Ok(())) };
        while *written < answer.len() {
            match ready!(Pin::new(&mut self.stream).poll_write(context, &answer[*written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => *written += bytes,
            }
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Judged<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.start < this.cleared {
                this.hand_on(room);
                return Poll::Ready(Ok(()));
            }
            match this.part {
                Part::Head => {
                    if !this.judge_head() && ready!(this.poll_receive(context))? == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                Part::Refused { .. } => return this.poll_refuse(context),
                Part::Length { .. } | Part::Chunked(_) | Part::Other if this.start < this.held.len() => {
                    this.cleared = this.start + this.part.take(&this.held[this.start..])?;
                }
                Part::Length { .. } | Part::Chunked(_) | Part::Other => return this.poll_body(context, room),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Judged<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.is_flushed = false;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        if !std::mem::replace(&mut self.is_flushed, true) && matches!(self.part, Part::Refused { .. }) {
            context.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.is_shut {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            this.is_shut = true;
        }
        match this.part {
            Part::Head | Part::Other => Poll::Ready(Ok(())),
            Part::Length { .. } | Part::Chunked(_) | Part::Refused { .. } => this.poll_rest(context).map(Ok),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.is_flushed = false;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
