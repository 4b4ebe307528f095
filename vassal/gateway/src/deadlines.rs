//! How long a client may keep a connection without a request in flight, how long it may refuse to take what is written or
//! has no room for it, and how many requests it may take back. Watched from beside the connection: a request costs two stores, and a timer runs only now and then.
//!
//! How long a body may take is the workers' business, who wait for it, but for its beginning: see [`crate::upload`].

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use empery_wire::limits::ANSWER_MIN_BYTES_PER_S;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    time::Instant,
};

use crate::{
    floor::{Floor, Guest},
    limits::{BODY_BEGUN_BYTES, CONNECTION_BEGUN_BYTES, TAKEN_BACK_MAX},
};

/// What happens on a connection. Moments are ms since it began, from 1 on; 0 is "not now".
pub(crate) struct Activity {
    began: Instant,
    in_flight: AtomicU32,
    idle_since_ms: AtomicU64,
    /// Since when a request head has been coming.
    head_since_ms: AtomicU64,
    /// Since when the client has not taken what is written.
    stuck_since_ms: AtomicU64,
    /// Answers whose next part waits for the client to have room for it: over HTTP/2 nothing is written then.
    offered: AtomicU32,
    /// Since when none of them was taken, and how much had been written then.
    offered_since_ms: AtomicU64,
    offered_at_bytes: AtomicU64,
    written_bytes: AtomicU64,
    /// Requests that the client took back before they were answered, less those that were answered.
    taken_back: AtomicU32,
    flooded: Notify,
    /// The head that is coming is refused for that.
    is_late: AtomicBool,
    /// What comes is no HTTP any more.
    speaks_another_protocol: AtomicBool,
    heads: Heads,
    floor: Arc<Floor>,
}

/// Which bytes from a client that is idle are the beginning of a request's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heads {
    /// All: HTTP/1.1.
    Each,
    /// The first only: on an HTTP/2 connection pings and window updates go back and forth between requests.
    First,
}

/// What a connection's time is up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing yet: look again then.
    Later(Instant),
    /// It is idle for too long: say goodbye.
    Idle,
    /// A head is not complete in time: say so.
    Late,
    /// The client takes nothing, or has not even begun as it should: cut it.
    Stuck,
}

/// The longest waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waits {
    /// For a client to take what is written.
    pub(crate) client: Duration,
    /// For a whole head.
    pub(crate) head: Duration,
    /// For the next request.
    pub(crate) idle: Duration,
}

impl Activity {
    /// A connection begins, with the head of its first request.
    pub(crate) fn new(heads: Heads, floor: Arc<Floor>) -> Arc<Self> {
        Arc::new(Self {
            heads,
            began: Instant::now(),
            in_flight: AtomicU32::new(0),
            idle_since_ms: AtomicU64::new(1),
            head_since_ms: AtomicU64::new(1),
            stuck_since_ms: AtomicU64::new(0),
            offered: AtomicU32::new(0),
            offered_since_ms: AtomicU64::new(0),
            offered_at_bytes: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
            taken_back: AtomicU32::new(0),
            flooded: Notify::new(),
            is_late: AtomicBool::new(false),
            speaks_another_protocol: AtomicBool::new(false),
            floor,
        })
    }

    /// A request is here, until what this answers with is dropped.
    pub(crate) fn request(self: &Arc<Self>) -> InFlight {
        self.head_since_ms.store(0, Relaxed);
        if self.in_flight.fetch_add(1, Relaxed) == 0 {
            self.floor.busy();
        }
        InFlight { activity: Arc::clone(self), is_answered: false, is_offered: false }
    }

    /// How much of the body of one of its requests must be here before that is passed on, in bytes: more than nothing.
    pub(crate) fn begun_bytes(&self) -> usize {
        let in_flight = usize::try_from(self.in_flight.load(Relaxed)).unwrap_or(usize::MAX);
        BODY_BEGUN_BYTES.min(CONNECTION_BEGUN_BYTES / in_flight.max(1)).max(1)
    }

    /// The head that is coming has taken too long.
    pub(crate) fn refuse_late(&self) {
        self.is_late.store(true, Relaxed);
    }

    /// See [`Self::refuse_late`].
    pub(crate) fn is_late(&self) -> bool {
        self.is_late.load(Relaxed)
    }

    /// The client was told that it may speak the protocol that it wanted to.
    pub(crate) fn change_protocol(&self) {
        self.speaks_another_protocol.store(true, Relaxed);
    }

    /// See [`Self::change_protocol`].
    pub(crate) fn speaks_another_protocol(&self) -> bool {
        self.speaks_another_protocol.load(Relaxed)
    }

    /// Until the client has taken back so many requests that it can mean no good (CVE-2023-44487).
    pub(crate) async fn flooded(&self) {
        self.flooded.notified().await;
    }

    /// Until the client has not taken what is written for too long: of a connection whose requests nobody counts any more.
    pub(crate) async fn stuck(&self, waits: Waits) {
        loop {
            match self.due(waits) {
                Due::Late | Due::Stuck => return,
                Due::Later(at) => tokio::time::sleep_until(at).await,
                Due::Idle => tokio::time::sleep(waits.client).await,
            }
        }
    }

    /// What is due now.
    pub(crate) fn due(&self, waits: Waits) -> Due {
        let now = self.now_ms();
        let over = |since: u64, wait: Duration| since != 0 && now.saturating_sub(since) >= as_ms(wait);
        let head = self.head_since_ms.load(Relaxed);
        let idle = self.in_flight.load(Relaxed) == 0;
        if over(self.stuck_since_ms.load(Relaxed), waits.client)
            || (self.offered.load(Relaxed) > 0 && over(self.offered_since_ms.load(Relaxed), self.patience(waits)))
        {
            return Due::Stuck;
        }
        if idle && over(head, waits.head) {
            return match self.heads {
                Heads::Each => Due::Late,
                Heads::First => Due::Stuck,
            };
        }
        if idle && over(self.idle_since_ms.load(Relaxed), waits.idle) {
            return Due::Idle;
        }
        // A wait that begins right now is not over before that.
        let end = |(since, wait): (u64, Duration)| (since != 0).then(|| since.saturating_add(as_ms(wait)));
        let begun = [(self.stuck_since_ms.load(Relaxed), waits.client), (head, waits.head)].into_iter().filter_map(end);
        let from = begun.min().unwrap_or(now.saturating_add(as_ms(waits.client.min(waits.head))));
        let idle_at = self.idle_since_ms.load(Relaxed).saturating_add(as_ms(waits.idle));
        // One that is busy now may be idle a moment later, and its wait begins then.
        let at = from.min(if idle { idle_at } else { now.saturating_add(as_ms(waits.idle)) });
        Due::Later(self.began + Duration::from_millis(at.max(now + 1)))
    }

    /// How long an answer may wait for its client: longer for one that takes something, be it slowly.
    fn patience(&self, waits: Waits) -> Duration {
        let taken = self.written_bytes.load(Relaxed).saturating_sub(self.offered_at_bytes.load(Relaxed));
        waits.client.saturating_add(Duration::from_secs(taken / ANSWER_MIN_BYTES_PER_S))
    }

    fn note_offer(&self) {
        self.offered_since_ms.store(self.now_ms(), Relaxed);
        self.offered_at_bytes.store(self.written_bytes.load(Relaxed), Relaxed);
    }

    fn now_ms(&self) -> u64 {
        as_ms(self.began.elapsed()) + 1
    }
}

fn as_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A request in flight.
pub(crate) struct InFlight {
    activity: Arc<Activity>,
    is_answered: bool,
    is_offered: bool,
}

impl InFlight {
    /// There is an answer.
    pub(crate) fn answered(&mut self) {
        self.is_answered = true;
        let less = |count: u32| count.checked_sub(1);
        // At zero it stays: what was answered long ago is no licence.
        let _ = self.activity.taken_back.fetch_update(Relaxed, Relaxed, less);
    }

    /// It outlives its client's connection as HTTP knows it: a guest for as long as it is there.
    pub(crate) fn stays(&self) -> Guest {
        self.activity.floor.enter()
    }

    /// A part of the answer waits for the client.
    pub(crate) fn offered(&mut self) {
        if !std::mem::replace(&mut self.is_offered, true) && self.activity.offered.fetch_add(1, Relaxed) == 0 {
            self.activity.note_offer();
        }
    }

    /// The client has room for the next part.
    pub(crate) fn taken(&mut self) {
        if std::mem::replace(&mut self.is_offered, false) {
            self.activity.offered.fetch_sub(1, Relaxed);
            self.activity.note_offer();
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.taken();
        let activity = &self.activity;
        if !self.is_answered && activity.taken_back.fetch_add(1, Relaxed) >= TAKEN_BACK_MAX {
            activity.flooded.notify_one();
        }
        activity.idle_since_ms.store(activity.now_ms(), Relaxed);
        if activity.in_flight.fetch_sub(1, Relaxed) == 1 {
            activity.floor.rests();
        }
    }
}

/// A stream whose reads and writes are noted.
pub(crate) struct Noted<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S> Noted<S> {
    /// Notes what happens on this stream.
    pub(crate) fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }

    fn count(&self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = written {
            self.activity.written_bytes.fetch_add(*bytes as u64, Relaxed);
        }
    }

    fn wrote<T>(&self, written: &Poll<T>) {
        let stuck = &self.activity.stuck_since_ms;
        match (written, stuck.load(Relaxed)) {
            (Poll::Ready(_), 0) => {}
            (Poll::Ready(_), _) => stuck.store(0, Relaxed),
            (Poll::Pending, 0) => stuck.store(self.activity.now_ms(), Relaxed),
            (Poll::Pending, _) => {}
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Noted<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = room.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, room);
        let activity = &self.activity;
        if room.filled().len() > before
            && activity.heads == Heads::Each
            && activity.in_flight.load(Relaxed) == 0
            && activity.head_since_ms.load(Relaxed) == 0
        {
            activity.head_since_ms.store(activity.now_ms(), Relaxed);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noted<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.count(&written);
        self.wrote(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.wrote(&flushed);
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.wrote(&shut);
        shut
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.count(&written);
        self.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
