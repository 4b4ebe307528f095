//! The connections that no thread holds, and when each has waited long enough.
//!
//! A connection is taken out to be served and put back after, so it belongs to one thread at a time. Deadlines lie in
//! a wheel of coarse slots: a later deadline only changes a number, and the entry on the wheel moves on when its slot
//! comes up. So a request on a kept-alive connection costs the wheel nothing.

use std::{io, os::fd::RawFd};

use super::connection::Connection;

/// Width of a slot of the wheel, in ms: how late a deadline may be seen.
const SLOT_MS: u64 = 250;

/// Never, on the monotonic clock in ms: a client that waits must not be taken for one that has nothing to say.
pub(super) const NEVER_MS: u64 = u64::MAX / 2;

/// Slots of the wheel; a deadline further away is looked at once per turn.
const SLOTS: u64 = 256;

/// The place of a connection: its index and how often the index was used, so that an old event never finds a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) index: u32,
    pub(crate) use_number: u32,
}

struct Entry {
    use_number: u32,
    used: bool,
    connection: Option<Box<Connection>>,
    /// The descriptor that epoll may know, also while a thread has the connection.
    raw: RawFd,
    /// Epoll was told to forget it while a thread had the connection.
    is_muted: bool,
    /// It was given to another worker under this number.
    parted: Option<u64>,
    deadline_ms: u64,
    /// The slot of its entry on the wheel that counts; others are left-overs.
    hangs_at: Option<u64>,
}

/// All of them.
pub(crate) struct Slab {
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// Indices.
    wheel: Vec<Vec<u32>>,
    turned_to: u64,
    /// Nothing hangs before this slot: the search for the next deadline, made before each wait, begins here.
    empty_until: u64,
    hanging: usize,
}

impl Slab {
    pub(crate) fn new(now_ms: u64) -> Self {
        let wheel = (0..SLOTS).map(|_| Vec::new()).collect();
        let turned_to = now_ms / SLOT_MS;
        Self { entries: Vec::new(), free: Vec::new(), wheel, turned_to, empty_until: turned_to, hanging: 0 }
    }

    /// A place for a connection that is being served.
    pub(crate) fn reserve(&mut self) -> Place {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry {
                use_number: 0,
                used: false,
                connection: None,
                raw: -1,
                is_muted: false,
                parted: None,
                deadline_ms: 0,
                hangs_at: None,
            });
            (self.entries.len() - 1) as u32
        });
        let entry = &mut self.entries[index as usize];
        entry.used = true;
        entry.is_muted = false;
        entry.parted = None;
        Place { index, use_number: entry.use_number }
    }

    /// Takes the connection out to serve it; None when it is gone or being served.
    pub(crate) fn take(&mut self, place: Place) -> Option<Box<Connection>> {
        self.entry(place)?.connection.take()
    }

    /// Puts it back to wait until the deadline.
    pub(crate) fn put(&mut self, place: Place, connection: Box<Connection>, deadline_ms: u64) {
        let Some(entry) = self.entry(place) else { return };
        entry.raw = connection.raw();
        entry.connection = Some(connection);
        entry.deadline_ms = deadline_ms;
        self.hang(place.index);
    }

    /// The connection, when no thread has it.
    pub(crate) fn look(&mut self, place: Place) -> Option<&Connection> {
        self.entry(place).filter(|entry| entry.parted.is_none())?.connection.as_deref()
    }

    /// The first connection from this index on that `which` names.
    pub(crate) fn find(&self, from: usize, which: impl Fn(&Connection) -> bool) -> Option<Place> {
        let (index, entry) = self.entries.iter().enumerate().skip(from).find(|(_, entry)| {
            entry.used && entry.parted.is_none() && entry.connection.as_deref().is_some_and(&which)
        })?;
        Some(Place { index: index as u32, use_number: entry.use_number })
    }

    /// Another worker gets this connection; epoll does not know it any more. Nothing else may be done with it before
    /// [`Self::take_parted`].
    pub(crate) fn mark_parted(&mut self, place: Place, token: u64) {
        if let Some(entry) = self.entry(place) {
            entry.parted = Some(token);
        }
    }

    /// Takes out what was given to other workers, and frees the places.
    pub(crate) fn take_parted(&mut self) -> Vec<(u64, Box<Connection>)> {
        let mut out = Vec::new();
        for index in 0..self.entries.len() {
            let entry = &mut self.entries[index];
            if let Some(token) = entry.parted.take()
                && let Some(mut connection) = entry.connection.take()
            {
                connection.watched = None;
                connection.is_shared();
                let place = Place { index: index as u32, use_number: entry.use_number };
                out.push((token, connection));
                self.forget(place);
            }
        }
        out
    }

    /// A thread has the connection and its events are of no use meanwhile: `forget` takes its descriptor out of epoll.
    pub(crate) fn mute(&mut self, place: Place, forget: impl Fn(RawFd) -> io::Result<()>) {
        if let Some(entry) = self.entry(place).filter(|entry| entry.connection.is_none() && !entry.is_muted) {
            entry.is_muted = forget(entry.raw).is_ok();
        }
    }

    /// Whether its events were given up meanwhile; they are to be asked for again.
    pub(crate) fn unmute(&mut self, place: Place) -> bool {
        self.entry(place).is_some_and(|entry| std::mem::take(&mut entry.is_muted))
    }

    /// Frees the place of a connection that was taken out and is gone.
    pub(crate) fn forget(&mut self, place: Place) {
        if let Some(entry) = self.entry(place) {
            entry.used = false;
            entry.use_number = (entry.use_number + 1) & USE_NUMBER_MASK;
            self.free.push(place.index);
        }
    }

    fn entry(&mut self, place: Place) -> Option<&mut Entry> {
        self.entries.get_mut(place.index as usize).filter(|entry| entry.used && entry.use_number == place.use_number)
    }

    /// Makes sure that the wheel comes to it not long after its deadline.
    fn hang(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        let slot = (entry.deadline_ms / SLOT_MS + 1).clamp(self.turned_to + 1, self.turned_to + SLOTS - 1);
        if entry.hangs_at.is_some_and(|at| at <= slot) {
            return;
        }
        if entry.hangs_at.replace(slot).is_none() {
            self.hanging += 1;
        }
        self.empty_until = self.empty_until.min(slot);
        self.wheel[(slot % SLOTS) as usize].push(index);
    }

    /// Takes out one connection whose deadline has passed at that moment, which may lie back a while.
    pub(crate) fn expired(&mut self, now_ms: u64) -> Option<(Place, Box<Connection>)> {
        let now_slot = now_ms / SLOT_MS;
        if self.hanging == 0 {
            self.turned_to = self.turned_to.max(now_slot);
            return None;
        }
        loop {
            while let Some(index) = self.wheel[(self.turned_to % SLOTS) as usize].pop() {
                let turned_to = self.turned_to;
                let entry = &mut self.entries[index as usize];
                if entry.hangs_at != Some(turned_to) {
                    continue;
                }
                entry.hangs_at = None;
                self.hanging -= 1;
                if !entry.used {
                    continue;
                }
                if entry.deadline_ms <= now_ms
                    && let Some(connection) = entry.connection.take()
                {
                    return Some((Place { index, use_number: entry.use_number }, connection));
                }
                if entry.connection.is_some() {
                    self.hang(index);
                }
            }
            if self.turned_to >= now_slot {
                return None;
            }
            self.turned_to += 1;
        }
    }

    /// How long until the wheel must be looked at; None when nothing waits.
    pub(crate) fn wait_ms(&mut self, now_ms: u64) -> Option<u64> {
        if self.hanging == 0 {
            return None;
        }
        let slot = (self.turned_to.max(self.empty_until)..self.turned_to + SLOTS)
            .find(|slot| !self.wheel[(slot % SLOTS) as usize].is_empty())?;
        self.empty_until = slot;
        Some((slot * SLOT_MS).saturating_sub(now_ms).max(1))
    }

    /// Takes out every connection that `which` names, but for those that were given away.
    pub(crate) fn take_all(&mut self, which: impl Fn(&Connection) -> bool) -> Vec<(Place, Box<Connection>)> {
        let mut out = Vec::new();
        for (index, entry) in self.entries.iter_mut().enumerate() {
            if entry.parted.is_none()
                && entry.connection.as_deref().is_some_and(&which)
                && let Some(connection) = entry.connection.take()
            {
                out.push((Place { index: index as u32, use_number: entry.use_number }, connection));
            }
        }
        out
    }

    /// Takes out those that have been idle for longest, at most so many; those that were never asked anything come last.
    pub(crate) fn take_oldest_idle(&mut self, most: usize) -> Vec<(Place, Box<Connection>)> {
        let mut idle: Vec<(bool, u64, u32)> = Vec::new();
        for (index, entry) in self.entries.iter().enumerate() {
            // What was given away is another worker's, and what waits for its turn has sent something.
            let may_go =
                |connection: &&Connection| entry.parted.is_none() && connection.is_idle() && !connection.has_its_turn;
            if let Some(connection) = entry.connection.as_deref().filter(may_go) {
                idle.push((connection.requests == 0, connection.waits_since_ms, index as u32));
            }
        }
        if idle.len() > most {
            idle.select_nth_unstable(most);
            idle.truncate(most);
        }
        let mut out = Vec::with_capacity(idle.len());
        for (_, _, index) in idle {
            let entry = &mut self.entries[index as usize];
            let place = Place { index, use_number: entry.use_number };
            out.extend(entry.connection.take().map(|connection| (place, connection)));
        }
        out
    }

    /// Connections that exist, held by a thread or not.
    pub(crate) fn count(&self) -> usize {
        self.entries.len() - self.free.len()
    }
}

/// Bits of a use number: what fits into a token beside the index.
pub(crate) const USE_NUMBER_MASK: u32 = 0x3fff_ffff;
