//! The scoreboard: one sealed memfd per generation that its workers write and that its master and the brain map.
//!
//! Layout: a [`Header`], then [`Header::slots`] slots of [`Slot`], then, where there are several apps, [`Header::apps`] of
//! [`AppCounters`] for each worker. A worker thread owns the slot that [`slot_index`]
//! names. A place of a worker has two halves, for even and odd spawns, so that a successor that starts beside its
//! predecessor never shares a slot with it, and counters are never reset: the requests of worker 3 are the sum of
//! both halves. Everything is atomic; a reader copies the request in flight under the slot's sequence number.
//! Mapping is `empery-sys`'s.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// First eight bytes of a scoreboard: "EMPSCORE".
pub const MAGIC: u64 = u64::from_le_bytes(*b"EMPSCORE");

/// Version of this layout.
pub const VERSION: u32 = 2;

/// How much of a request's head a slot keeps, in bytes.
pub const HEAD_MAX_BYTES: usize = 2048;

/// Most apps of a vassal that are counted one by one.
pub const APPS_MAX: u32 = 4096;

/// The first cache lines of a scoreboard.
#[repr(C, align(64))]
pub struct Header {
    /// [`MAGIC`].
    pub magic: AtomicU64,
    /// [`VERSION`].
    pub version: AtomicU32,
    /// `processes` of the generation.
    pub processes: AtomicU32,
    /// `threads` of each worker.
    pub threads: AtomicU32,
    /// Number of slots: 2 x processes x threads.
    pub slots: AtomicU32,
    /// The generation's number.
    pub generation: AtomicU64,
    /// Signals of uWSGI's that came to the master or left it; it and the two below are the master's, as uWSGI counts them
    /// (core/signal.c).
    pub routed_signals: AtomicU64,
    /// Signals that could not be delivered.
    pub unrouted_signals: AtomicU64,
    /// Seconds in which all workers were busy, with `enable-metrics`.
    pub overloaded: AtomicU64,
    /// How many apps each worker counts one by one; 0 where there is one app, and in scoreboards of earlier versions.
    pub apps: AtomicU32,
}

/// What a worker counts of one of several apps, by all its threads.
#[repr(C)]
pub struct AppCounters {
    /// Requests that the app was called for.
    pub requests: AtomicU64,
    /// What it has raised.
    pub exceptions: AtomicU64,
    /// How long it took to load it, in milliseconds.
    pub load_ms: AtomicU64,
}

/// What one worker thread counts and what it is doing.
#[repr(C, align(64))]
pub struct Slot {
    /// Counters of this slot since the generation began.
    pub counters: Counters,
    /// What runs in this slot.
    pub state: SlotState,
    /// The beginning of the head of the request in flight, in eight-byte little-endian words, as it came off the wire.
    pub head: [AtomicU64; HEAD_MAX_BYTES / 8],
}

/// Counters, two cache lines: what every request counts is in the first.
#[repr(C, align(64))]
pub struct Counters {
    /// Finished requests.
    pub requests: AtomicU64,
    /// Requests that ended in an exception of the app.
    pub exceptions: AtomicU64,
    /// Answers with a status of 500 and above.
    pub errors_5xx: AtomicU64,
    /// Answers with a status from 400 to 499.
    pub errors_4xx: AtomicU64,
    /// Bytes sent, heads included.
    pub tx_bytes: AtomicU64,
    /// Time spent inside requests, in microseconds.
    pub running_us: AtomicU64,
    /// Reads from a client that failed, or timed out, inside a request.
    pub read_errors: AtomicU64,
    /// Writes to a client that failed, or timed out.
    pub write_errors: AtomicU64,
    /// Finished requests that were answered with a static file, or refused one.
    pub static_requests: AtomicU64,
    /// Requests that routes answered, without the app.
    pub routed_requests: AtomicU64,
    /// In the slot of the first thread: signals of uWSGI's that the worker has run.
    pub signals: AtomicU64,
}

/// What runs in a slot, one cache line (and one for the peer).
#[repr(C, align(64))]
pub struct SlotState {
    /// Odd while the fields below and the head are being written: a reader tries again (a seqlock).
    pub sequence: AtomicU64,
    /// CLOCK_MONOTONIC at the start of the request in flight, in nanoseconds; 0 when idle. harakiri is counted from it.
    pub started_monotonic_ns: AtomicU64,
    /// CLOCK_REALTIME at the start of the request in flight, in milliseconds since 1970.
    pub started_unix_ms: AtomicU64,
    /// Pid of the process that owns the slot now; 0 before the first.
    pub pid: AtomicU32,
    /// Its spawn number.
    pub spawn: AtomicU32,
    /// Length of the kept head, in bytes, and the protocol it is in: `length | protocol << 32` (see [`HeadKind`]).
    pub head_kind_and_length: AtomicU64,
    /// `requests` of this slot when the process that owns it now started (uWSGI's `delta_requests` is the difference).
    pub requests_at_spawn: AtomicU64,
    /// Mean time of a request as uWSGI keeps it: (old + new) / 2, in microseconds.
    pub avg_rt_us: AtomicU64,
    /// When the process was forked, unix s.
    pub spawned_unix_s: AtomicU64,
    /// The peer: an IPv6 address (IPv4 mapped) in two big-endian words; both 0 for a unix socket.
    pub peer: [AtomicU64; 2],
    /// The peer's port.
    pub peer_port: AtomicU32,
    /// Process-wide flags of the owner: see [`FLAG_ACCEPTING`].
    pub flags: AtomicU32,
    /// Connections of the owner, in the slot of its first thread: workers see by it who should get the next one.
    pub connections: AtomicU32,
    /// In the slot of the first thread, written by the master: the number of the last time it asked for the stacks.
    pub stacks_asked: AtomicU32,
    /// `threading.get_ident()` of the thread; 0 before it serves, and in scoreboards of earlier versions.
    pub thread_ident: AtomicU64,
    /// Written by the master: [`Self::started_monotonic_ns`] of a request that is to be ended; the worker sets it back.
    pub struck_ns: AtomicU64,
    /// [`Self::started_monotonic_ns`] of the request that has set a limit of its own (`uwsgi.set_user_harakiri`).
    pub limited_ns: AtomicU64,
    /// CLOCK_MONOTONIC of the end of that limit, in nanoseconds.
    pub limit_ends_ns: AtomicU64,
}

/// Bit of [`SlotState::flags`]: the gate of the worker is open.
pub const FLAG_ACCEPTING: u32 = 1;

/// Which protocol the kept head is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadKind {
    /// Nothing kept.
    None,
    /// Text, as HTTP/1.1 sends it.
    Http,
    /// The block of a uwsgi packet: pairs of 16-bit lengths and bytes.
    Uwsgi,
}

impl HeadKind {
    /// As the upper half of [`SlotState::head_kind_and_length`].
    #[must_use]
    pub fn code(self) -> u64 {
        match self {
            HeadKind::None => 0,
            HeadKind::Http => 1,
            HeadKind::Uwsgi => 2,
        }
    }

    /// From the upper half; anything unknown is nothing.
    #[must_use]
    pub fn from_code(code: u64) -> Self {
        match code {
            1 => HeadKind::Http,
            2 => HeadKind::Uwsgi,
            _ => HeadKind::None,
        }
    }
}

/// Number of slots of a generation.
#[must_use]
pub fn slots(processes: u32, threads: u32) -> u32 {
    2 * processes * threads
}

/// Length of a scoreboard, in bytes.
#[must_use]
pub fn length_bytes(processes: u32, threads: u32, apps: u32) -> usize {
    let apps = processes as usize * apps as usize * size_of::<AppCounters>();
    size_of::<Header>() + slots(processes, threads) as usize * size_of::<Slot>() + apps
}

/// The slot of a thread (counted from 0) of a worker (counted from 1) in its n-th spawn.
#[must_use]
pub fn slot_index(processes: u32, threads: u32, worker: u32, spawn: u32, thread: u32) -> u32 {
    ((spawn & 1) * processes + (worker - 1)) * threads + thread
}

/// Sums of counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// See [`Counters::requests`].
    pub requests: u64,
    /// See [`Counters::exceptions`].
    pub exceptions: u64,
    /// See [`Counters::errors_5xx`].
    pub errors_5xx: u64,
    /// See [`Counters::errors_4xx`].
    pub errors_4xx: u64,
    /// See [`Counters::tx_bytes`].
    pub tx_bytes: u64,
    /// See [`Counters::running_us`].
    pub running_us: u64,
    /// See [`Counters::read_errors`].
    pub read_errors: u64,
    /// See [`Counters::write_errors`].
    pub write_errors: u64,
}

impl Totals {
    /// Adds the counters of a slot.
    pub fn add_slot(&mut self, counters: &Counters) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.add(&Totals {
            requests: read(&counters.requests),
            exceptions: read(&counters.exceptions),
            errors_5xx: read(&counters.errors_5xx),
            errors_4xx: read(&counters.errors_4xx),
            tx_bytes: read(&counters.tx_bytes),
            running_us: read(&counters.running_us),
            read_errors: read(&counters.read_errors),
            write_errors: read(&counters.write_errors),
        });
    }

    /// Adds other sums. They end at the highest number: a vassal may write anything into its counters.
    pub fn add(&mut self, other: &Totals) {
        self.requests = self.requests.saturating_add(other.requests);
        self.exceptions = self.exceptions.saturating_add(other.exceptions);
        self.errors_5xx = self.errors_5xx.saturating_add(other.errors_5xx);
        self.errors_4xx = self.errors_4xx.saturating_add(other.errors_4xx);
        self.tx_bytes = self.tx_bytes.saturating_add(other.tx_bytes);
        self.running_us = self.running_us.saturating_add(other.running_us);
        self.read_errors = self.read_errors.saturating_add(other.read_errors);
        self.write_errors = self.write_errors.saturating_add(other.write_errors);
    }
}

/// A copy of the request in flight in a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// See [`SlotState::started_monotonic_ns`].
    pub started_monotonic_ns: u64,
    /// See [`SlotState::started_unix_ms`].
    pub started_unix_ms: u64,
    /// The protocol of `head`.
    pub kind: HeadKind,
    /// The beginning of its head.
    pub head: Vec<u8>,
    /// The peer's address and port; None on a unix socket.
    pub peer: Option<std::net::SocketAddr>,
}

impl Slot {
    /// Says that a request begins. Only the owner of the slot calls this.
    pub fn begin(
        &self,
        started_monotonic_ns: u64,
        started_unix_ms: u64,
        kind: HeadKind,
        head: &[u8],
        peer: Option<std::net::SocketAddr>,
    ) {
        let state = &self.state;
        let sequence = state.sequence.load(Ordering::Relaxed);
        state.sequence.store(sequence | 1, Ordering::Relaxed);
        std::sync::atomic::fence(Ordering::Release);
        let kept = &head[..head.len().min(HEAD_MAX_BYTES)];
        let (words, rest) = kept.as_chunks::<8>();
        for (place, word) in self.head.iter().zip(words) {
            place.store(u64::from_le_bytes(*word), Ordering::Relaxed);
        }
        if let Some(place) = self.head.get(words.len()) {
            let last = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
            place.store(last, Ordering::Relaxed);
        }
        state.head_kind_and_length.store(kept.len() as u64 | kind.code() << 32, Ordering::Relaxed);
        let (high, low, port) = peer.map_or((0, 0, 0), |peer| {
            let bits = match peer.ip() {
                std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
                std::net::IpAddr::V6(v6) => v6.to_bits(),
            };
            ((bits >> 64) as u64, bits as u64, u32::from(peer.port()))
        });
        state.peer[0].store(high, Ordering::Relaxed);
        state.peer[1].store(low, Ordering::Relaxed);
        state.peer_port.store(port, Ordering::Relaxed);
        state.started_unix_ms.store(started_unix_ms, Ordering::Relaxed);
        state.started_monotonic_ns.store(started_monotonic_ns.max(1), Ordering::Relaxed);
        state.sequence.store((sequence | 1).wrapping_add(1), Ordering::Release);
    }

    /// When the limit ends that the request in flight has set itself, on CLOCK_MONOTONIC in ns.
    #[must_use]
    pub fn own_limit_ns(&self) -> Option<u64> {
        let started = self.state.started_monotonic_ns.load(Ordering::Acquire);
        let is_its = started != 0 && self.state.limited_ns.load(Ordering::Acquire) == started;
        is_its.then(|| self.state.limit_ends_ns.load(Ordering::Relaxed))
    }

    /// Says that the request ended. Only the owner of the slot calls this.
    pub fn end(&self) {
        self.state.started_monotonic_ns.store(0, Ordering::Release);
    }

    /// The request in flight, if there is one and it holds still long enough to be copied.
    #[must_use]
    pub fn in_flight(&self) -> Option<InFlight> {
        const TRIES: u32 = 8;
        (0..TRIES).find_map(|_| self.try_in_flight())?
    }

    /// None: try again. Some(None): idle.
    #[allow(clippy::option_option)]
    fn try_in_flight(&self) -> Option<Option<InFlight>> {
        let state = &self.state;
        let before = state.sequence.load(Ordering::Acquire);
        if before & 1 == 1 {
            return None;
        }
        let started_monotonic_ns = state.started_monotonic_ns.load(Ordering::Relaxed);
        if started_monotonic_ns == 0 {
            return Some(None);
        }
        let kind_and_length = state.head_kind_and_length.load(Ordering::Relaxed);
        let length = (kind_and_length as u32 as usize).min(HEAD_MAX_BYTES);
        let mut head = Vec::with_capacity(length + 8);
        for word in &self.head[..length.div_ceil(8)] {
            head.extend_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        head.truncate(length);
        let bits =
            u128::from(state.peer[0].load(Ordering::Relaxed)) << 64 | u128::from(state.peer[1].load(Ordering::Relaxed));
        let port = state.peer_port.load(Ordering::Relaxed) as u16;
        let started_unix_ms = state.started_unix_ms.load(Ordering::Relaxed);
        std::sync::atomic::fence(Ordering::Acquire);
        if state.sequence.load(Ordering::Relaxed) != before {
            return None;
        }
        let peer =
            (bits != 0).then(|| std::net::SocketAddr::new(std::net::Ipv6Addr::from_bits(bits).to_canonical(), port));
        Some(Some(InFlight {
            started_monotonic_ns,
            started_unix_ms,
            kind: HeadKind::from_code(kind_and_length >> 32),
            head,
            peer,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty_slot() -> Box<Slot> {
        let zero = || AtomicU64::new(0);
        Box::new(Slot {
            counters: Counters {
                requests: zero(),
                exceptions: zero(),
                errors_5xx: zero(),
                errors_4xx: zero(),
                tx_bytes: zero(),
                running_us: zero(),
                read_errors: zero(),
                write_errors: zero(),
                static_requests: zero(),
                routed_requests: zero(),
                signals: zero(),
            },
            state: SlotState {
                sequence: zero(),
                started_monotonic_ns: zero(),
                started_unix_ms: zero(),
                pid: AtomicU32::new(0),
                spawn: AtomicU32::new(0),
                head_kind_and_length: zero(),
                requests_at_spawn: zero(),
                avg_rt_us: zero(),
                spawned_unix_s: zero(),
                peer: [zero(), zero()],
                peer_port: AtomicU32::new(0),
                flags: AtomicU32::new(0),
                connections: AtomicU32::new(0),
                stacks_asked: AtomicU32::new(0),
                thread_ident: zero(),
                struck_ns: zero(),
                limited_ns: zero(),
                limit_ends_ns: zero(),
            },
            head: [const { AtomicU64::new(0) }; HEAD_MAX_BYTES / 8],
        })
    }

    #[test]
    fn a_successor_never_shares_a_slot_with_its_predecessor() {
        for (processes, threads) in [(1, 1), (4, 2), (3, 7)] {
            for worker in 1..=processes {
                for thread in 0..threads {
                    for spawn in 0..5 {
                        let here = slot_index(processes, threads, worker, spawn, thread);
                        assert!(here < slots(processes, threads));
                        assert_ne!(here, slot_index(processes, threads, worker, spawn + 1, thread));
                    }
                }
            }
        }
    }

    #[test]
    fn what_begins_is_read_back_and_what_ended_is_not() {
        let slot = empty_slot();
        assert_eq!(slot.in_flight(), None);
        let peer = "192.0.2.7:4711".parse().unwrap();
        slot.begin(5, 6, HeadKind::Http, b"GET /a HTTP/1.1\r\n", Some(peer));
        let seen = slot.in_flight().unwrap();
        assert_eq!((seen.started_monotonic_ns, seen.started_unix_ms, seen.kind), (5, 6, HeadKind::Http));
        assert_eq!((seen.head.as_slice(), seen.peer), (b"GET /a HTTP/1.1\r\n".as_slice(), Some(peer)));
        slot.end();
        assert_eq!(slot.in_flight(), None);
    }

    #[test]
    fn a_limit_of_a_request_does_not_bind_the_next() {
        let slot = empty_slot();
        slot.begin(5, 6, HeadKind::Http, b"", None);
        slot.state.limit_ends_ns.store(9, Ordering::Relaxed);
        slot.state.limited_ns.store(5, Ordering::Release);
        assert_eq!(slot.own_limit_ns(), Some(9));
        slot.end();
        assert_eq!(slot.own_limit_ns(), None);
        slot.begin(7, 8, HeadKind::Http, b"", None);
        assert_eq!(slot.own_limit_ns(), None);
    }

    #[test]
    fn p8_a_slot_whose_owner_was_killed_while_it_wrote_is_read_again_once_its_successor_has_written() {
        let slot = empty_slot();
        slot.begin(5, 6, HeadKind::Http, b"GET /a", None);
        slot.state.sequence.fetch_or(1, Ordering::Relaxed);
        assert_eq!(slot.in_flight(), None, "torn for ever, and nobody waits for it");
        slot.begin(7, 8, HeadKind::Http, b"GET /b", None);
        assert_eq!(slot.in_flight().unwrap().head, b"GET /b");
    }

    #[test]
    fn what_was_added_later_lies_where_earlier_versions_have_zeros() {
        assert_eq!((size_of::<Header>(), size_of::<Counters>(), size_of::<SlotState>()), (64, 128, 128));
        assert_eq!(std::mem::offset_of!(SlotState, connections), 88);
    }

    #[test]
    fn a_head_longer_than_its_place_is_cut() {
        let slot = empty_slot();
        slot.begin(1, 1, HeadKind::Uwsgi, &[7; HEAD_MAX_BYTES + 9], None);
        assert_eq!(slot.in_flight().unwrap().head, vec![7; HEAD_MAX_BYTES]);
    }

    #[test]
    fn a_reader_beside_a_writer_sees_only_whole_requests() {
        let slot = empty_slot();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 1..20_000_u64 {
                    slot.begin(n, n, HeadKind::Http, &[n as u8; 100], None);
                }
                stop.store(true, Ordering::Relaxed);
            });
            while !stop.load(Ordering::Relaxed) {
                if let Some(seen) = slot.in_flight() {
                    assert!(seen.head.iter().all(|byte| *byte == seen.started_unix_ms as u8), "a torn head");
                }
            }
        });
    }
}
