//! `harakiri`: a request that runs longer than this costs its worker its life. Read from the scoreboard, so neither
//! the worker nor the app can forget it. While nothing runs, nothing can be overdue before a whole limit from now,
//! so that is when this looks again.

use std::{sync::atomic::Ordering, time::Duration};

use empery_control::{
    link::Severity,
    scoreboard::{HeadKind, InFlight},
};
use empery_lifecycle::{ids::WorkerRef, moment::Moment};

use super::{Supervisor, generation::Generation};
use crate::{clock, log};

/// A request that has run too long.
struct Overdue {
    worker: WorkerRef,
    pid: i32,
    thread: usize,
    request: InFlight,
    limit_s: u32,
}

impl Supervisor {
    /// A generation with a limit serves (or none does any more).
    pub(super) fn arm_harakiri(&mut self) {
        let limits = self.generations.values().map(limit);
        self.harakiri_at = limits.flatten().min().map(|limit| clock::now().after(limit));
    }

    /// Kills whoever is overdue, and finds out when to look again.
    pub(super) fn harakiri(&mut self, now: Moment) {
        let mut overdue = Vec::new();
        let mut next: Option<Moment> = None;
        for generation in self.generations.values() {
            if let Some(limit) = limit(generation) {
                let look = look_at(generation, limit, now, &mut overdue);
                next = Some(next.map_or(look, |next| next.min(look)));
            }
        }
        self.harakiri_at = next;
        for overdue in overdue {
            self.strike(&overdue);
        }
    }

    fn strike(&mut self, overdue: &Overdue) {
        let Overdue { worker, pid, thread, request, limit_s } = overdue;
        let Some(generation) = self.generations.get_mut(&worker.generation) else { return };
        let Some(handle) = generation.workers.get_mut(worker).filter(|handle| handle.condemned.is_none()) else {
            return;
        };
        let what = request_line(request);
        handle.condemned = Some(format!("harakiri after {limit_s} s in {what}"));
        *generation.harakiris.entry(worker.worker).or_default() += 1;
        let (id, peer) = (worker.worker.0, request.peer.map_or_else(|| "-".to_owned(), |peer| peer.ip().to_string()));
        // The lines of uWSGI, which people search their logs for.
        log::say(&format!("*** HARAKIRI ON WORKER {id} (pid: {pid}, try: 1, graceful: no) ***"));
        log::say(&format!("HARAKIRI !!! worker {id} status !!!"));
        log::say(&format!("HARAKIRI [core {thread}] {peer} - {what} since {}", request.started_unix_ms / 1000));
        log::say(&format!("HARAKIRI !!! end of worker {id} status !!!"));
        self.notice(
            Severity::Incident,
            "harakiri",
            format!("worker {id} (pid: {pid}) was killed: {what} ran longer than {limit_s} s"),
            Some(*worker),
        );
        self.kill(*worker);
    }
}

fn limit(generation: &Generation) -> Option<Duration> {
    let limit_s = generation.revision.config.request.harakiri_s;
    (limit_s > 0).then(|| Duration::from_secs(limit_s.into()))
}

/// Collects what is overdue; answers when the next thing can be.
fn look_at(generation: &Generation, limit: Duration, now: Moment, overdue: &mut Vec<Overdue>) -> Moment {
    let mut next = now.after(limit);
    for (worker, handle) in &generation.workers {
        let Some(pid) = handle.pid.filter(|_| handle.condemned.is_none() && handle.exit.is_none()) else { continue };
        for (thread, slot) in generation.slots_of(*worker).enumerate() {
            let slot = generation.scoreboard.slot(slot);
            if i64::from(slot.state.pid.load(Ordering::Relaxed)) != i64::from(pid) {
                continue;
            }
            let Some(request) = slot.in_flight() else { continue };
            let due = Moment(request.started_monotonic_ns).after(limit);
            if due <= now {
                let limit_s = generation.revision.config.request.harakiri_s;
                overdue.push(Overdue { worker: *worker, pid, thread, request, limit_s });
            } else {
                next = next.min(due);
            }
        }
    }
    next
}

/// `METHOD URI` of a request, without what could garble a terminal.
fn request_line(request: &InFlight) -> String {
    let vars = match request.kind {
        HeadKind::Http => empery_wire::vars::of_http(&request.head),
        HeadKind::Uwsgi => empery_wire::vars::of_uwsgi(&request.head),
        HeadKind::None => Vec::new(),
    };
    let value = |name: &str| {
        let found = vars.iter().find_map(|var| var.strip_prefix(name)?.strip_prefix('=')).unwrap_or("-");
        found.chars().filter(|letter| !letter.is_control()).take(1024).collect::<String>()
    };
    format!("{} {}", value("REQUEST_METHOD"), value("REQUEST_URI"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_line_is_found_in_both_protocols() {
        let http = InFlight {
            started_monotonic_ns: 1,
            started_unix_ms: 1,
            kind: HeadKind::Http,
            head: b"GET /slow?x=1 HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
            peer: None,
        };
        assert_eq!(request_line(&http), "GET /slow?x=1");
        let block = b"\x0e\0REQUEST_METHOD\x04\0POST\x0b\0REQUEST_URI\x02\0/u".to_vec();
        assert_eq!(request_line(&InFlight { kind: HeadKind::Uwsgi, head: block, ..http }), "POST /u");
    }
}
