//! New connections. Workers share the listeners: `EPOLLEXCLUSIVE` wakes few of them, and a listener that is taken out
//! of epoll and put back goes to the end of the kernel's queue of sleepers, so that connections are spread evenly.

use std::os::fd::AsFd;

use super::{
    Next, Serving,
    connection::Connection,
    lead::{Gate, LISTENER, Lead},
};
use crate::{epoll::Watch, os};

/// How long nothing is accepted after descriptors or memory ran out, in ms.
const PAUSE_MS: u64 = 100;

impl Serving {
    /// Registers the listeners.
    pub(super) fn open_gate(&self, lead: &mut Lead) {
        if matches!(lead.gate, Gate::Open) {
            return;
        }
        for (index, listener) in self.worker.boot.listeners.iter().enumerate() {
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
            for listener in &self.worker.boot.listeners {
                let _ = self.epoll.remove(listener.fd);
            }
        }
        lead.gate = gate;
        self.worker.show_flags(0);
    }

    pub(super) fn reopen(&self, lead: &mut Lead, now_ms: u64) {
        if matches!(lead.gate, Gate::Paused { until_ms } if until_ms <= now_ms) {
            self.open_gate(lead);
        }
    }

    pub(super) fn reopens_in_ms(&self, lead: &Lead, now_ms: u64) -> Option<u64> {
        match lead.gate {
            Gate::Paused { until_ms } => Some(until_ms.saturating_sub(now_ms)),
            Gate::Closed | Gate::Open => None,
        }
    }

    /// Takes one connection; its first bytes are often there already.
    pub(super) fn accept(&self, lead: &mut Lead, index: usize, buffer: &mut Vec<u8>) -> Option<Next> {
        let Gate::Open = lead.gate else { return None };
        let listener = self.worker.boot.listeners.get(index)?;
        match os::accept(listener.fd) {
            Ok((fd, peer)) => {
                lead.is_starved = false;
                self.go_to_the_end(listener.fd, index);
                if listener.from_gateway && !os::is_own_user(fd.as_fd()) {
                    // Everybody may connect to an abstract name (unix(7)); only this vassal's gateway is believed.
                    return None;
                }
                let place = self.slab().reserve();
                self.receive_request(place, Box::new(Connection::new(fd, index, peer)), buffer)
            }
            Err(error) => {
                if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)) {
                    if !std::mem::replace(&mut lead.is_starved, true) {
                        self.worker
                            .log(&format!("accepting on {}: {error}; trying again until it works", listener.key));
                    }
                    self.close_gate(lead, Gate::Paused { until_ms: super::now_ms() + PAUSE_MS });
                }
                // Else a sibling has taken it, or the client is gone again.
                None
            }
        }
    }

    fn go_to_the_end(&self, listener: i32, index: usize) {
        if self.worker.boot.processes > 1 {
            let again = self
                .epoll
                .remove(listener)
                .and_then(|()| self.epoll.add(listener, Watch::Exclusive, LISTENER | index as u64));
            if let Err(error) = again {
                self.worker.log(&format!("a listener cannot be watched again: {error}"));
            }
        }
    }
}
