//! The requests in flight in a worker, as the scoreboard shows them, in words for people.

use std::sync::atomic::Ordering;

use empery_control::{
    scoreboard::{HeadKind, InFlight, Slot, slot_index},
    stacks::RequestView,
};
use empery_lifecycle::{ids::WorkerRef, moment::Moment};
use empery_sys::scoreboard::Scoreboard;

/// Longest part of a request that is told, in characters.
const PART_MAX_CHARS: usize = 1024;

/// One serving thread of a worker.
pub(super) struct Serving<'g> {
    /// Its number, from 0.
    pub(super) core: u32,
    /// Its slot.
    pub(super) slot: &'g Slot,
    /// What it is inside.
    pub(super) request: Option<InFlight>,
}

impl Serving<'_> {
    /// `threading.get_ident()`; None when it is not known.
    pub(super) fn ident(&self) -> Option<u64> {
        Some(self.slot.state.thread_ident.load(Ordering::Relaxed)).filter(|ident| *ident != 0)
    }

    /// The request in words.
    pub(super) fn view(&self, now: Moment) -> Option<RequestView> {
        let request = self.request.as_ref()?;
        let number = self.slot.counters.requests.load(Ordering::Relaxed).saturating_add(1);
        Some(view(request, self.core, number, now))
    }
}

/// The slots of one process of a worker; none, when there is no such worker.
pub(super) fn slots_of(board: &Scoreboard, worker: WorkerRef) -> impl Iterator<Item = u32> + use<> {
    let (processes, threads) = (board.processes(), board.threads());
    let WorkerRef { worker, spawn, .. } = worker;
    let its = if (1..=processes).contains(&worker.0) { 0..threads } else { 0..0 };
    its.map(move |thread| slot_index(processes, threads, worker.0, spawn, thread))
}

/// The threads of this process; none, when its slots belong to another by now.
pub(super) fn serving_of(board: &Scoreboard, worker: WorkerRef, pid: i32) -> Vec<Serving<'_>> {
    let slots = slots_of(board, worker).map(|slot| board.slot(slot));
    (0..)
        .zip(slots)
        .filter(|(_, slot)| i64::from(slot.state.pid.load(Ordering::Relaxed)) == i64::from(pid))
        .map(|(core, slot)| Serving { core, slot, request: slot.in_flight() })
        .collect()
}

/// Since when a thread has been inside a request, in ns of the monotonic clock; 0 when it is inside none.
pub(super) fn began_ns(board: &Scoreboard, slot: u32) -> u64 {
    board.slot(slot).state.started_monotonic_ns.load(Ordering::Relaxed)
}

/// Whether any thread of the worker is inside a request.
pub(super) fn serves(board: &Scoreboard, worker: WorkerRef) -> bool {
    slots_of(board, worker).any(|slot| began_ns(board, slot) > 0)
}

/// A request in words, without what could garble a terminal.
fn view(request: &InFlight, core: u32, number: u64, now: Moment) -> RequestView {
    let vars = match request.kind {
        HeadKind::Http => empery_wire::vars::of_http(&request.head),
        HeadKind::Uwsgi => empery_wire::vars::of_uwsgi(&request.head),
        HeadKind::None => Vec::new(),
    };
    let value = |name: &str| {
        let found = vars.iter().find_map(|var| var.strip_prefix(name)?.strip_prefix('='))?;
        Some(found.chars().filter(|letter| !letter.is_control()).take(PART_MAX_CHARS).collect::<String>())
    };
    let or_dash = |name: &str| value(name).unwrap_or_else(|| "-".to_owned());
    let age = now.since(Moment(request.started_monotonic_ns));
    RequestView {
        method: or_dash("REQUEST_METHOD"),
        uri: or_dash("REQUEST_URI"),
        peer: request.peer.map(|peer| peer.ip().to_string()),
        age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
        core,
        number,
        request_id: value("HTTP_X_REQUEST_ID"),
    }
}

#[cfg(test)]
mod tests {
    use empery_lifecycle::ids::{GenerationId, WorkerId};

    use super::*;

    #[test]
    fn a_worker_that_there_cannot_be_has_no_slots() {
        let (board, _descriptor) = Scoreboard::create(GenerationId(1), 2, 3, 1).unwrap();
        let of = |worker, spawn| {
            let worker = WorkerRef { generation: GenerationId(1), worker: WorkerId(worker), spawn };
            slots_of(&board, worker).collect::<Vec<_>>()
        };
        assert_eq!((of(2, 0), of(1, 3)), (vec![3, 4, 5], vec![6, 7, 8]));
        assert_eq!((of(0, 0), of(3, 0)), (Vec::new(), Vec::new()));
    }

    #[test]
    fn the_request_line_is_found_in_both_protocols() {
        let http = InFlight {
            started_monotonic_ns: 1_000_000,
            started_unix_ms: 1,
            kind: HeadKind::Http,
            head: b"GET /slow?x=1 HTTP/1.1\r\nHost: h\r\nX-Request-ID: a\x1b7\r\n\r\n".to_vec(),
            peer: None,
        };
        let seen = view(&http, 2, 5, Moment(1_251_000_000));
        assert_eq!(seen.sentence(), "GET /slow?x=1 (1.2 s, thread 2, request id a7)");
        let block = b"\x0e\0REQUEST_METHOD\x04\0POST\x0b\0REQUEST_URI\x02\0/u".to_vec();
        let seen = view(&InFlight { kind: HeadKind::Uwsgi, head: block, ..http }, 0, 1, Moment(0));
        assert_eq!((seen.method.as_str(), seen.uri.as_str(), seen.age_ms), ("POST", "/u", 0));
    }
}
