//! A frozen worker: nothing is accepted and no request is begun; what has begun is finished. Clients wait in the queues of
//! the listeners, and on open connections in their sockets, which are left alone until somebody resumes the vassal.

use super::{
    Phase, Serving,
    connection::{Coming, Connection},
    lead::{Gate, Lead, Turn},
    slab::{NEVER_MS, Place},
};

/// What is left alone.
#[derive(Default)]
pub(super) struct Frozen {
    /// Since when is of no interest: whether.
    is_frozen: bool,
    /// The master opened the gate, before or since.
    was_opened: bool,
    /// Connections on which a request waits.
    parked: Vec<Place>,
}

impl Frozen {
    /// Whether what this connection has to say must wait: it is a request that the app has not seen, or a part of one.
    pub(super) fn holds(&self, connection: &Connection) -> bool {
        self.is_frozen && connection.coming == Coming::Request
    }
}

impl Serving {
    /// The master opens the gate.
    pub(super) fn open_gate_unless_frozen(&self, lead: &mut Lead) {
        lead.frozen.was_opened = true;
        if !lead.frozen.is_frozen {
            self.open_gate(lead);
        }
    }

    /// Accepts nothing and begins nothing. One that leaves finishes what it has, or its mercy would be over before.
    pub(super) fn freeze(&self, lead: &mut Lead) {
        if self.phase() != Phase::Serving {
            return;
        }
        lead.frozen.was_opened |= !matches!(lead.gate, Gate::Closed);
        lead.frozen.is_frozen = true;
        self.close_gate(lead, Gate::Closed);
    }

    /// Goes on with those who wait.
    pub(super) fn resume(&self, lead: &mut Lead) {
        lead.frozen.is_frozen = false;
        for place in std::mem::take(&mut lead.frozen.parked) {
            let taken = self.slab().take(place);
            match taken {
                Some(connection) if connection.has_its_turn => self.put_ready(place, connection),
                Some(mut connection) => {
                    // Its time begins anew.
                    connection.waits_since_ms = 0;
                    self.put_back(place, connection);
                }
                None => {}
            }
        }
        if lead.frozen.was_opened && self.phase() == Phase::Serving {
            self.open_gate(lead);
        }
    }

    /// Leaves those alone that have sent requests ahead.
    pub(super) fn park_ready(&self, lead: &mut Lead) {
        if !lead.frozen.is_frozen {
            return;
        }
        for turn in std::mem::take(&mut *self.ready()) {
            // The gate is closed: no listener waits.
            let Turn::Connection(place) = turn else { continue };
            let taken = self.slab().take(place);
            if let Some(connection) = taken {
                self.park(lead, place, connection);
            }
        }
    }

    /// Leaves a connection alone that has something to say.
    pub(super) fn park(&self, lead: &mut Lead, place: Place, mut connection: Box<Connection>) {
        if connection.watched.take().is_some() {
            let _ = self.epoll.remove(connection.raw());
        }
        self.slab().put(place, connection, NEVER_MS);
        lead.frozen.parked.push(place);
    }
}
