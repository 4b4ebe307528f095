//! New connections. Workers share the listeners: `EPOLLEXCLUSIVE` wakes few of them, and a listener that is taken out
//! of epoll and put back goes to the end of the kernel's queue of sleepers, so that connections are spread evenly.

use std::{
    os::fd::{AsFd, AsRawFd, RawFd},
    sync::atomic::Ordering,
};

use empery_control::{boot::AppListener, process::Process, scoreboard::Slot};

use super::{
    Next, Serving,
    connection::Connection,
    lead::{Gate, LISTENER, Lead, Turn},
};
use crate::{epoll::Watch, os};

/// How long a connection on which nothing comes stays with the kernel, in s: the shortest there is. What only connects, as
/// some health checks do, costs no worker anything, and the deadline for a head is not put off by more than this.
const DEFERRED_S: i32 = 1;

/// How long nothing is accepted after descriptors or memory ran out, in ms.
const PAUSE_MS: u64 = 100;

/// How many idle connections are closed at once when descriptors become scarce: one each time would mean looking through
/// all of them for each new client.
const EVICTED_AT_ONCE: usize = 32;

/// How long a worker with many more connections than a sibling leaves new ones to it, in ms.
const YIELD_MS: u64 = 1;

/// How many more are many: this, or an eighth of what the sibling has.
const MANY_MORE_MIN: u32 = 4;

/// Which part of the descriptors is left to the app, and at least how many.
const LEFT_TO_APP_PART: u64 = 16;
const LEFT_TO_APP_MIN: u64 = 16;

/// The first descriptor number that connections should leave to the app.
pub(super) fn first_scarce_descriptor() -> std::io::Result<RawFd> {
    let (limit, _) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)?;
    let left = (limit / LEFT_TO_APP_PART).max(LEFT_TO_APP_MIN).min(limit / 2);
    Ok(RawFd::try_from(limit - left).unwrap_or(RawFd::MAX))
}

/// Tells the kernel what the connections of the listeners are like. What another generation has told it is overwritten.
pub(super) fn prepare(listeners: &[AppListener], process: &Process) {
    for listener in listeners {
        os::no_delay(listener.fd);
        os::buffers(listener.fd, process.send_buffer_bytes, process.receive_buffer_bytes);
        os::keepalive(listener.fd, process.keepalive);
        if process.fast_open > 0 {
            os::fast_open(listener.fd, process.fast_open.cast_signed());
        }
        os::defer_accept(listener.fd, if listener.defer_accept { DEFERRED_S } else { 0 });
    }
}

impl Serving {
    /// Registers the listeners.
    pub(super) fn open_gate(&self, lead: &mut Lead) {
        if matches!(lead.gate, Gate::Open) {
            return;
        }
        for (index, listener) in self.worker.boot.listeners.iter().enumerate() {
            if !listener.workers.is_empty() && !listener.workers.contains(&self.worker.reference.worker.0) {
                continue;
            }
            if let Err(error) = self.epoll.add(listener.fd, Watch::Exclusive, LISTENER | index as u64) {
                self.worker.log(&format!("{} cannot be watched: {error}", listener.key));
            }
        }
        lead.gate = Gate::Open;
        self.worker.show_flags(empery_control::scoreboard::FLAG_ACCEPTING);
    }

    /// Takes the listeners out of epoll.
    pub(super) fn close_gate(&self, lead: &mut Lead, gate: Gate) {
        if matches!(lead.gate, Gate::Open) {
            self.unwatch_listeners();
        }
        lead.gate = gate;
        self.worker.show_flags(0);
    }

    fn unwatch_listeners(&self) {
        for listener in &self.worker.boot.listeners {
            let _ = self.epoll.remove(listener.fd);
        }
    }

    /// Lets siblings see how many connections there are here.
    pub(super) fn show_connections(&self) {
        if self.worker.boot.processes > 1 {
            let number = u32::try_from(self.slab().count()).unwrap_or(u32::MAX);
            self.worker.slot(0).state.connections.store(number, Ordering::Relaxed);
        }
    }

    /// Whether a sibling that serves has so many fewer that the next ones are rather for it: the kernel gives them to
    /// whoever happens to run.
    fn has_many_more_than_a_sibling(&self) -> bool {
        let state = |slot: &Slot| slot.state.connections.load(Ordering::Relaxed);
        let ours = state(self.worker.slot(0));
        ours > MANY_MORE_MIN && self.a_sibling(|slot| ours > state(slot) + MANY_MORE_MIN.max(state(slot) / 8))
    }

    pub(super) fn reopen(&self, lead: &mut Lead, now_ms: u64) {
        if matches!(lead.gate, Gate::Paused { until_ms } | Gate::Yields { until_ms } if until_ms <= now_ms) {
            self.open_gate(lead);
        }
    }

    pub(super) fn reopens_in_ms(&self, lead: &Lead, now_ms: u64) -> Option<u64> {
        match lead.gate {
            Gate::Paused { until_ms } | Gate::Yields { until_ms } => Some(until_ms.saturating_sub(now_ms)),
            Gate::Closed | Gate::Open | Gate::Full => None,
        }
    }

    /// Takes one connection; its first bytes are often there already.
    pub(super) fn accept(&self, lead: &mut Lead, index: usize, buffer: &mut Vec<u8>) -> Option<Next> {
        let Gate::Open = lead.gate else { return None };
        if lead.is_full {
            self.unwatch_listeners();
            lead.gate = Gate::Full;
            self.ready().push_back(Turn::Listener(index));
            return None;
        }
        let listener = self.worker.boot.listeners.get(index)?;
        match os::accept(listener.fd) {
            Ok((fd, peer)) => {
                lead.is_starved = false;
                if self.has_many_more_than_a_sibling() {
                    self.unwatch_listeners();
                    lead.gate = Gate::Yields { until_ms: super::now_ms() + YIELD_MS };
                } else if self.worker.boot.processes > 1 {
                    self.go_to_the_end(listener.fd, index);
                } else if lead.again.took_one() {
                    lead.pending.push_back(LISTENER | index as u64);
                }
                if listener.from_gateway && !os::is_own_user(fd.as_fd()) {
                    // Everybody may connect to an abstract name (unix(7)); only this vassal's gateway is believed.
                    return None;
                }
                if fd.as_raw_fd() >= self.first_scarce_descriptor {
                    self.evict();
                }
                let place = self.slab().reserve();
                self.show_connections();
                self.receive_request(place, Box::new(Connection::new(fd, index, peer)), buffer)
            }
            Err(error) => {
                if error.raw_os_error() == Some(libc::EMFILE) {
                    // Those that were left to the app are gone as well: a new process has all of them.
                    self.worker.recycling.out_of_descriptors(self.worker);
                }
                if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)) {
                    if self.evict() {
                        return None;
                    }
                    if !std::mem::replace(&mut lead.is_starved, true) {
                        self.worker
                            .log(&format!("accepting on {}: {error}; trying again until it works", listener.key));
                    }
                    self.close_gate(lead, Gate::Paused { until_ms: super::now_ms() + PAUSE_MS });
                }
                // Else a sibling has taken it, or the client is gone again.
                lead.again.in_vain();
                None
            }
        }
    }

    /// Takes one connection, if the gate was left open, as often as others have their turn.
    pub(super) fn accept_in_turn(&self, lead: &mut Lead, index: usize, buffer: &mut Vec<u8>) -> Option<Next> {
        if let Gate::Full = lead.gate {
            self.open_gate(lead);
        }
        self.accept(lead, index, buffer)
    }

    /// Closes the connections that have been idle for longest (RFC 9112 section 9.5 allows it). False when none is idle.
    pub(super) fn evict(&self) -> bool {
        let oldest = self.slab().take_oldest_idle(EVICTED_AT_ONCE);
        let found = !oldest.is_empty();
        for (place, connection) in oldest {
            self.close(place, connection);
        }
        found
    }

    /// Lets siblings go first with the next. Before this one is answered: whatever comes from then on wakes a sibling only.
    fn go_to_the_end(&self, listener: RawFd, index: usize) {
        let again = self
            .epoll
            .remove(listener)
            .and_then(|()| self.epoll.add(listener, Watch::Exclusive, LISTENER | index as u64));
        if let Err(error) = again {
            self.worker.log(&format!("a listener cannot be watched again: {error}"));
        }
    }
}
