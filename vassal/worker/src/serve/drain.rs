//! Leaving: nothing is accepted, idle connections go to the master for the next generation, requests in flight are
//! finished. Nobody's connection is closed while it is of use to somebody else.

use std::{collections::BTreeMap, os::fd::AsFd, sync::atomic::Ordering};

use empery_control::worker::{self as words, FromWorker};

use empery_failpoint::point;

use super::{
    Phase, Serving,
    connection::Connection,
    lead::{Gate, Lead, RECEIVE_BYTES},
    now_ms,
    slab::Place,
};
use crate::{os, signals};

/// How long the answer about a connection that was passed on may take in a drain while no other answer comes, in ms. Words
/// are lost when descriptors run out on their way; a drain must not wait out its mercy for them. Whoever serves on keeps
/// what may come back: all others may be inside long requests.
const ANSWER_MAX_MS: u64 = 5_000;

/// Connections on their way to another worker. Ours are copies: they are kept until the other side has its own, and
/// are no longer watched, or every byte of the client would wake both.
#[derive(Default)]
pub(super) struct Handovers {
    under_way: BTreeMap<u64, Box<Connection>>,
    /// When the last was passed on or answered for, on the monotonic clock in ms.
    moved_ms: u64,
}

impl Handovers {
    /// Another worker has it: only our copy goes.
    pub(super) fn adopted(&mut self, token: u64) {
        self.moved_ms = now_ms();
        self.under_way.remove(&token);
    }

    /// Nobody wants it: it is ours again.
    fn not_adopted(&mut self, token: u64) -> Option<Box<Connection>> {
        self.moved_ms = now_ms();
        self.under_way.remove(&token)
    }

    /// It is on its way.
    pub(super) fn departed(&mut self, token: u64, connection: Box<Connection>) {
        self.moved_ms = now_ms();
        self.under_way.insert(token, connection);
    }

    /// How long until no answer is waited for any more; None when none is.
    fn gives_up_in_ms(&self, now_ms: u64) -> Option<u64> {
        (!self.under_way.is_empty()).then(|| (self.moved_ms + ANSWER_MAX_MS).saturating_sub(now_ms))
    }

    /// There is no master to pass them on. Some may have been passed on: a copy is closed without a word to the client.
    pub(super) fn forget_all(&mut self) {
        self.under_way.clear();
    }
}

impl Serving {
    /// Begins to leave.
    pub(super) fn drain(&self, lead: &mut Lead) {
        if self.phase() == Phase::Serving {
            self.close_gate(lead, Gate::Closed);
            self.enter(Phase::Draining);
            lead.handovers.moved_ms = now_ms();
            // Nobody resumes a worker that leaves: what waits goes elsewhere or is served.
            self.resume(lead);
            self.give_away_idle(lead);
        }
    }

    /// Gives away what is idle; done when nothing is left, no signal that was delivered before, and no function of one.
    pub(super) fn drain_on(&self, lead: &mut Lead) {
        self.give_away_idle(lead);
        if self.slab().count() == 0
            && lead.handovers.under_way.is_empty()
            && !signals::has_any()
            && self.functions_running.load(Ordering::Acquire) == 0
        {
            self.enter(Phase::Done);
        }
    }

    fn give_away_idle(&self, lead: &mut Lead) {
        let idle = self.slab().take_all(Connection::is_idle);
        for (place, connection) in idle {
            self.hand_over(lead, place, connection);
        }
    }

    /// How long until a drain waits for no answer any more; None when it waits for none.
    pub(super) fn gives_up_in_ms(&self, lead: &Lead, now_ms: u64) -> Option<u64> {
        if self.phase() == Phase::Draining { lead.handovers.gives_up_in_ms(now_ms) } else { None }
    }

    /// What nobody has answered for in all this time is not waited for.
    pub(super) fn give_up_answers(&self, lead: &mut Lead, now_ms: u64) {
        if self.gives_up_in_ms(lead, now_ms) == Some(0) {
            let number = lead.handovers.under_way.len();
            self.worker.log(&format!("{number} idle connections were passed on, and nobody said where they went"));
            lead.handovers.forget_all();
        }
    }

    /// A connection comes back that nobody wants.
    pub(super) fn not_adopted(&self, lead: &mut Lead, token: u64) {
        let Some(connection) = lead.handovers.not_adopted(token) else { return };
        let place = self.slab().reserve();
        if self.phase() == Phase::Serving {
            self.put_back(place, connection);
        } else {
            self.serve_or_close(place, connection);
        }
    }

    /// The end of a connection that nobody takes over: a request that was there before is still answered, and one that has
    /// nothing to say may be closed (RFC 9112 section 9.5).
    fn serve_or_close(&self, place: Place, mut connection: Box<Connection>) {
        match os::receive(connection.raw(), &mut connection.received, RECEIVE_BYTES) {
            Ok(1..) => self.put_ready(place, connection),
            Ok(0) | Err(_) => self.close(place, connection),
        }
    }

    fn hand_over(&self, lead: &mut Lead, place: Place, mut connection: Box<Connection>) {
        let listener = self.worker.boot.listeners.get(connection.listener);
        let about = words::Connection {
            token: self.next_token.fetch_add(1, Ordering::Relaxed),
            listener: listener.map_or_else(String::new, |listener| listener.key.clone()),
            requests: connection.requests,
            protocol: listener.map(|listener| listener.protocol),
            proxied: connection.proxied,
            has_no_proxy_header: connection.has_no_proxy_header
                || listener.is_some_and(|listener| !listener.proxy_protocol),
        };
        if connection.watched.take().is_some() {
            let _ = self.epoll.remove(connection.raw());
        }
        connection.is_shared();
        let token = about.token;
        let word = FromWorker::Handover { token, connection: about };
        match point!("worker.hand-over").and_then(|()| self.worker.line.say(&word, &[connection.fd().as_fd()])) {
            Ok(()) => {
                lead.handovers.departed(token, connection);
                self.slab().forget(place);
            }
            Err(_) => self.serve_or_close(place, connection),
        }
    }
}
