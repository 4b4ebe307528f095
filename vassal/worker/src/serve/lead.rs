//! The lead: what the one thread does that holds it. It waits on epoll, and turns events into requests for itself.

use std::collections::VecDeque;

use super::{
    Next, Phase, Serving,
    again::Again,
    connection::{Coming, Connection},
    drain::Handovers,
    frozen::Frozen,
    now_ms,
    orphan::Orphan,
    slab::{NEVER_MS, Place},
};
use crate::{
    epoll::{Events, NO_EVENTS},
    os,
};

/// Token of the line to the master.
pub(super) const LINE: u64 = SPECIAL;
/// Token of the counter that wakes the leader.
pub(super) const WAKE: u64 = SPECIAL | 1;
/// Token of the letterbox.
pub(super) const LETTERBOX: u64 = SPECIAL | 2;
/// Tokens of listeners: this and their index.
pub(super) const LISTENER: u64 = SPECIAL | 1 << 62;
/// What has this bit is no connection's.
pub(super) const SPECIAL: u64 = 1 << 63;

/// How much is received at once, in bytes.
pub(super) const RECEIVE_BYTES: usize = 16 * 1024;

/// How much of an unread body is thrown away at once, in bytes.
const REST_BYTES: usize = 256 * 1024;

/// The token of a connection.
pub(super) fn token(place: Place) -> u64 {
    u64::from(place.use_number) << 32 | u64::from(place.index)
}

/// The place that a connection's token names.
pub(super) fn place(token: u64) -> Place {
    Place { index: token as u32, use_number: (token >> 32) as u32 }
}

/// Whether new connections are taken.
pub(super) enum Gate {
    /// Not yet, or not any more.
    Closed,
    /// Yes.
    Open,
    /// Not until then: there were no descriptors left.
    Paused { until_ms: u64 },
    /// Not until then: siblings have fewer connections.
    Yields { until_ms: u64 },
    /// Not until its turn comes ([`Turn::Listener`]): nobody could serve another request.
    Full,
}

/// Whose turn it is next.
pub(super) enum Turn {
    /// What this connection has sent is looked at.
    Connection(Place),
    /// A connection is taken from the listener of this index.
    Listener(usize),
}

/// What only the leader touches.
pub(crate) struct Lead {
    events: Box<Events>,
    /// Tokens of events not looked at yet: connections, then listeners, so that what was begun is finished first.
    pub(super) pending: VecDeque<u64>,
    heard: Heard,
    pub(super) again: Again,
    pub(super) gate: Gate,
    /// Nobody can serve another request now.
    pub(super) is_full: bool,
    /// What a frozen worker leaves alone.
    pub(super) frozen: Frozen,
    /// There were no descriptors or no memory for the last new connection; said once in the log.
    pub(super) is_starved: bool,
    pub(super) handovers: Handovers,
    pub(super) orphan: Option<Orphan>,
}

impl Lead {
    pub(super) fn new() -> Self {
        Self {
            events: Box::new(NO_EVENTS),
            pending: VecDeque::new(),
            heard: Heard::default(),
            again: Again::new(),
            gate: Gate::Closed,
            is_full: false,
            frozen: Frozen::default(),
            is_starved: false,
            handovers: Handovers::default(),
            orphan: None,
        }
    }
}

/// When something is due.
pub(super) struct Due {
    /// In so many ms; None is never.
    pub(super) in_ms: Option<u64>,
    /// As seen at this moment, in ms of the monotonic clock.
    pub(super) seen_ms: u64,
}

/// Up to when everybody was heard. While the leader is inside the app nobody is; whoever spoke in time meanwhile is not late.
#[derive(Default)]
struct Heard {
    until_ms: u64,
    /// When epoll was first asked of what it has told since then.
    asked_ms: u64,
    /// So many events, one call's room after the other.
    told: usize,
}

impl Heard {
    /// Epoll was asked and told of so many; the next time it is asked, these were looked at. What had no room comes before what
    /// was told already, so that after as many as there are `connections` none is left out.
    fn told(&mut self, asked_ms: u64, number: usize, connections: impl FnOnce() -> usize) {
        if self.told == 0 {
            self.asked_ms = asked_ms;
        }
        self.told += number;
        if number < NO_EVENTS.len() || self.told > connections() {
            self.until_ms = self.asked_ms;
            self.told = 0;
        }
    }
}

/// The earlier of two moments; None is never.
fn sooner(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

impl Serving {
    /// Looks at what is there, without waiting.
    pub(super) fn look(&self, lead: &mut Lead, buffer: &mut Vec<u8>) -> Option<Next> {
        loop {
            if self.leave_asked.swap(false, std::sync::atomic::Ordering::AcqRel) {
                self.drain(lead);
            }
            match self.phase() {
                Phase::Serving => {}
                Phase::Draining => self.drain_on(lead),
                Phase::Done => return Some(Next::End),
            }
            if self.phase() == Phase::Done {
                return Some(Next::End);
            }
            while let Some(token) = lead.pending.pop_front() {
                let next = match token {
                    LINE => {
                        self.listen_to_master(lead);
                        None
                    }
                    WAKE => {
                        os::lower(&self.wake);
                        None
                    }
                    LETTERBOX => Some(Next::Raised),
                    _ if token & LISTENER == LISTENER => self.accept(lead, (token & !LISTENER) as usize, buffer),
                    _ => self.receive(lead, place(token), buffer),
                };
                if next.is_some() {
                    return next;
                }
            }
            self.park_ready(lead);
            if lead.is_full || self.ready().is_empty() {
                break;
            }
            // Others have waited as long: what is due comes first, and what epoll knows the next time. Clients that send ahead
            // without end would keep the leader from ever waiting.
            let due = match self.see_to_deadlines(lead) {
                Ok(due) => due,
                Err(next) => return Some(next),
            };
            if let Some(next) = self.take_events(lead, Some(0), due.seen_ms) {
                return Some(next);
            }
            let turn = self.ready().pop_front();
            let place = match turn {
                Some(Turn::Connection(place)) => place,
                Some(Turn::Listener(index)) => {
                    if let Some(next) = self.accept_in_turn(lead, index, buffer) {
                        return Some(next);
                    }
                    continue;
                }
                None => continue,
            };
            let taken = self.slab().take(place);
            if let Some(mut connection) = taken {
                connection.has_its_turn = false;
                connection.waits_since_ms = due.seen_ms;
                if connection.received.is_empty() {
                    if let Some(next) = self.receive_request(place, connection, buffer) {
                        return Some(next);
                    }
                    continue;
                }
                *buffer = std::mem::take(&mut connection.received);
                return Some(Next::Serve(place, connection));
            }
        }
        None
    }

    /// Waits for events, or until something is due.
    pub(super) fn wait(&self, lead: &mut Lead) -> Option<Next> {
        match self.see_to_deadlines(lead) {
            Ok(due) => self.take_events(lead, due.in_ms, due.seen_ms),
            Err(next) => Some(next),
        }
    }

    /// Does what is due, and says when something is again.
    pub(super) fn see_to_deadlines(&self, lead: &mut Lead) -> Result<Due, Next> {
        let now = now_ms();
        let expires_in_ms = self.expire(lead.heard.until_ms, now);
        self.reopen(lead, now);
        self.seek_master(lead, now);
        self.give_up_answers(lead, now);
        if self.phase() == Phase::Draining {
            // What was closed just now may have been the last.
            self.drain_on(lead);
            if self.phase() == Phase::Done {
                return Err(Next::End);
            }
        }
        let in_ms = sooner(expires_in_ms, self.reopens_in_ms(lead, now));
        let in_ms = sooner(in_ms, self.seeks_in_ms(lead, now));
        Ok(Due { in_ms: sooner(in_ms, self.gives_up_in_ms(lead, now)), seen_ms: now })
    }

    /// Takes what epoll knows, or will know within so many ms; `seen_ms` is when the deadlines were seen to.
    pub(super) fn take_events(&self, lead: &mut Lead, timeout_ms: Option<u64>, seen_ms: u64) -> Option<Next> {
        match self.gather(lead, timeout_ms) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Some(Next::Signalled),
            Err(error) => {
                self.worker.log(&format!("epoll_wait: {error}"));
                self.enter(Phase::Done);
                Some(Next::End)
            }
            Ok(number) => {
                lead.heard.told(seen_ms, number, || self.slab().count());
                None
            }
        }
    }

    fn gather(&self, lead: &mut Lead, timeout_ms: Option<u64>) -> std::io::Result<usize> {
        let Lead { events, pending, again, .. } = lead;
        again.waited();
        let mut listeners = [0; 8];
        let mut listeners_number = 0;
        let number = self.epoll.wait(events, timeout_ms, |token| {
            if token == LINE {
                // Whoever is to leave begins nothing that came after it was told so.
                pending.push_front(token);
            } else if token & LISTENER == LISTENER && listeners_number < listeners.len() {
                listeners[listeners_number] = token;
                listeners_number += 1;
            } else {
                pending.push_back(token);
            }
        })?;
        for listener in &listeners[..listeners_number] {
            pending.push_back(*listener);
        }
        Ok(number)
    }

    /// A connection has something to say.
    fn receive(&self, lead: &mut Lead, place: Place, buffer: &mut Vec<u8>) -> Option<Next> {
        let mut slab = self.slab();
        let Some(connection) = slab.take(place) else {
            // A thread has it that lost the lead. Its events would come for as long as that takes; a reset cannot be masked.
            slab.mute(place, |raw| self.epoll.remove(raw));
            return None;
        };
        drop(slab);
        if connection.sending.is_some() {
            self.send_on(place, connection);
            return None;
        }
        match connection.coming {
            Coming::Request if lead.is_full => {
                self.wait_for_its_turn(place, connection);
                None
            }
            // What it sends meanwhile stays with the kernel, or a client that sends ahead would fill the memory.
            Coming::Request if connection.has_its_turn => {
                self.slab().put(place, connection, NEVER_MS);
                None
            }
            Coming::Request if lead.frozen.holds(&connection) => {
                self.park(lead, place, connection);
                None
            }
            Coming::Request => self.receive_request(place, connection, buffer),
            Coming::Rest => {
                self.throw_away(place, connection, buffer);
                None
            }
        }
    }

    /// Leaves what it has sent with the kernel until somebody can serve it.
    fn wait_for_its_turn(&self, place: Place, mut connection: Box<Connection>) {
        // Its events would come for as long as that takes.
        if connection.watched.take().is_some() {
            let _ = self.epoll.remove(connection.raw());
        }
        if connection.has_its_turn {
            self.slab().put(place, connection, NEVER_MS);
        } else {
            self.put_ready(place, connection);
        }
    }

    /// Receives into the buffer, behind what the connection has sent before.
    pub(super) fn receive_request(
        &self,
        place: Place,
        mut connection: Box<Connection>,
        buffer: &mut Vec<u8>,
    ) -> Option<Next> {
        buffer.clear();
        buffer.extend_from_slice(&connection.received);
        let most = connection.wanted_bytes.saturating_sub(buffer.len()).max(RECEIVE_BYTES);
        match os::receive(connection.raw(), buffer, most) {
            // Requests sent ahead are still to be served, and the app is to see that its body ends too early.
            Ok(0) if !connection.received.is_empty() => {
                connection.has_ended = true;
                return Some(self.look_at(place, connection));
            }
            Ok(0) => self.close(place, connection),
            Ok(_) if buffer.len() < connection.wanted_bytes => {
                connection.received = buffer.as_slice().into();
                self.put_back(place, connection);
            }
            Ok(_) => {
                if connection.received.is_empty() {
                    connection.waits_since_ms = 0;
                }
                return Some(self.look_at(place, connection));
            }
            Err(error) if os::would_block(&error) => self.put_back(place, connection),
            Err(_) => self.close(place, connection),
        }
        None
    }

    /// What was received is in the buffer.
    fn look_at(&self, place: Place, mut connection: Box<Connection>) -> Next {
        connection.received = Vec::new();
        connection.wanted_bytes = 0;
        Next::Serve(place, connection)
    }

    fn throw_away(&self, place: Place, connection: Box<Connection>, buffer: &mut Vec<u8>) {
        buffer.clear();
        match os::receive(connection.raw(), buffer, REST_BYTES) {
            Ok(0) => self.close(place, connection),
            Ok(_) => self.put_back(place, connection),
            Err(error) if os::would_block(&error) => self.put_back(place, connection),
            Err(_) => self.close(place, connection),
        }
    }

    /// Ends the waiting for those whose time was over at that moment; when the next one's may be.
    fn expire(&self, at_ms: u64, now_ms: u64) -> Option<u64> {
        loop {
            let mut slab = self.slab();
            let Some((place, connection)) = slab.expired(at_ms) else { return slab.wait_ms(now_ms) };
            drop(slab);
            if connection.sending.is_some() {
                self.sent_in_time(place, connection);
                continue;
            }
            if connection.coming == Coming::Request && !connection.received.is_empty() {
                crate::request::refuse_slow(self, &connection);
            }
            self.close(place, connection);
        }
    }
}
