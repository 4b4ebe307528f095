//! How long a client may keep a connection without a request in flight, how long it may refuse to take what is written or
//! has no room for it, and how many requests it may take back. Watched from beside the connection: a request costs two stores, and a timer runs only now and then.
//!
//! How long a body may take is the workers' business, who wait for it, but for its beginning: see [`crate::upload`].

mod in_flight;
mod noted;
mod offers;

pub(crate) use in_flight::InFlight;
pub(crate) use noted::Noted;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use empery_wire::limits::ANSWER_MIN_BYTES_PER_S;
use tokio::{sync::Notify, time::Instant};

use crate::{
    floor::Floor,
    limits::{BODY_BEGUN_BYTES, CONNECTION_BEGUN_BYTES},
};
use offers::Offers;

/// What happens on a connection. Moments are ms since it began, from 1 on; 0 is "not now".
pub(crate) struct Activity {
    began: Instant,
    in_flight: AtomicU32,
    idle_since_ms: AtomicU64,
    /// Since when a request head has been coming.
    head_since_ms: AtomicU64,
    /// Since when the client has not taken what is written.
    stuck_since_ms: AtomicU64,
    offers: Mutex<Offers>,
    written_bytes: AtomicU64,
    /// Requests so far.
    requests: AtomicU64,
    /// Requests that the client took back before they were answered, less those that were answered.
    taken_back: AtomicU32,
    flooded: Notify,
    /// It is closing time; told when the request is here that came before.
    is_last: AtomicBool,
    begun: Notify,
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

impl Waits {
    /// What a client that takes anything takes in the time that it has for that.
    pub(crate) fn least_bytes(&self) -> u64 {
        (ANSWER_MIN_BYTES_PER_S * as_ms(self.client) / 1000).max(1)
    }
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
            offers: Mutex::default(),
            written_bytes: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            taken_back: AtomicU32::new(0),
            flooded: Notify::new(),
            is_last: AtomicBool::new(false),
            begun: Notify::new(),
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
        if self.is_last.load(Relaxed) {
            self.begun.notify_one();
        }
        InFlight::new(Arc::clone(self), self.requests.fetch_add(1, Relaxed))
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

    /// Until no request is on its way whose client has not been told to come elsewhere: over HTTP/1.1 that is told with an answer,
    /// and a connection that is closed now would lose what its client has begun to say.
    pub(crate) async fn may_leave(&self) {
        self.is_last.store(true, Relaxed);
        while self.heads == Heads::Each && self.head_since_ms.load(Relaxed) != 0 {
            self.begun.notified().await;
        }
    }

    /// Whether something that is written has yet to be taken by the client.
    pub(crate) fn has_unsent(&self) -> bool {
        self.stuck_since_ms.load(Relaxed) != 0
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
            || self.offers().any_is_over(now, self.written_bytes(), waits.client)
        {
            return Due::Stuck;
        }
        if idle && over(head, waits.head) {
            return match self.heads {
                Heads::Each => Due::Late,
                Heads::First => Due::Stuck,
            };
        }
        // A head that is coming has the time that heads have.
        let rests = self.heads == Heads::First || head == 0;
        if idle && rests && over(self.idle_since_ms.load(Relaxed), waits.idle) {
            return Due::Idle;
        }
        // A wait that begins right now is not over before that.
        let end = |(since, wait): (u64, Duration)| (since != 0).then(|| since.saturating_add(as_ms(wait)));
        let begun = [(self.stuck_since_ms.load(Relaxed), waits.client), (head, waits.head)].into_iter().filter_map(end);
        let from = begun.min().unwrap_or(now.saturating_add(as_ms(waits.client.min(waits.head))));
        let idle_at = self.idle_since_ms.load(Relaxed).saturating_add(as_ms(waits.idle));
        // One that is busy now may be idle a moment later, and its wait begins then.
        let at = from.min(if idle && rests { idle_at } else { now.saturating_add(as_ms(waits.idle)) });
        Due::Later(self.began + Duration::from_millis(at.max(now + 1)))
    }

    /// How much was written to the client.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Relaxed)
    }

    /// Bytes come, which are a head's when no request is in flight.
    pub(crate) fn head_comes(&self) {
        if self.in_flight.load(Relaxed) == 0 && self.head_since_ms.load(Relaxed) == 0 {
            self.head_since_ms.store(self.now_ms(), Relaxed);
        }
    }

    fn offers(&self) -> MutexGuard<'_, Offers> {
        // Nothing of ours panics while it is held.
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        as_ms(self.began.elapsed()) + 1
    }
}

fn as_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
