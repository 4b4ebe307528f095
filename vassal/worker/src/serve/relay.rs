//! Who leads, among the threads of a worker. The leader runs the app itself, so a fast app pays for no hand-over; a
//! second thread watches, and takes the lead when the leader has been inside one request for a whole tick. The others
//! wait to become the watcher.
//!
//! What the lead consists of is [`super::lead`]'s; this decides only whose it is. No thread needs Python's lock here: a
//! view that computes is not disturbed by being watched. While no requests come the watcher sleeps too.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use super::{Phase, Serving};
use crate::os::{self, Ready};

/// How long the leader may be inside a request before another takes the lead, in ms.
const TICK_MS: u64 = 1;

/// After so many ticks without a request the watcher sleeps until one begins.
const QUIET_TICKS: u32 = 8;

/// What a thread is to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It leads.
    Leads,
    /// It may come to lead.
    Follows,
}

/// What came of following.
pub(super) enum Followed {
    /// The lead is ours.
    Leads,
    /// A signal came: Python is to look after it.
    Signalled,
    /// There is nothing to lead any more.
    End,
}

/// See the module.
pub(super) struct Relay {
    /// Counts up whenever the leader enters or leaves the app, or the lead is taken: odd while the leader is inside. So
    /// whoever acts on a number that is still there acts on the same request.
    turn: AtomicU64,
    /// Which thread leads.
    leader: AtomicU32,
    /// Whether the watcher sleeps until it is woken.
    watcher_sleeps: AtomicBool,
    /// Wakes the watcher.
    alarm: OwnedFd,
    /// A semaphore: whoever gets it watches.
    baton: OwnedFd,
}

impl Relay {
    /// The first thread leads.
    pub(super) fn new() -> std::io::Result<Self> {
        let baton = os::semaphore()?;
        os::raise(&baton);
        Ok(Self {
            turn: AtomicU64::new(0),
            leader: AtomicU32::new(0),
            watcher_sleeps: AtomicBool::new(false),
            alarm: os::event_counter()?,
            baton,
        })
    }

    /// The leader enters the app. Answers with what it must show to go on leading.
    pub(super) fn enter_app(&self) -> u64 {
        let inside = self.turn.load(Ordering::Relaxed) + 1;
        // Either the watcher sees this before it sleeps, or we see that it sleeps.
        self.turn.store(inside, Ordering::SeqCst);
        if self.watcher_sleeps.load(Ordering::SeqCst) && self.watcher_sleeps.swap(false, Ordering::SeqCst) {
            os::raise(&self.alarm);
        }
        inside
    }

    /// The leader comes back from the app, and leads on unless another has taken the lead.
    pub(super) fn leave_app(&self, inside: u64) -> Role {
        if self.turn.compare_exchange(inside, inside + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            Role::Leads
        } else {
            Role::Follows
        }
    }

    /// Takes the lead from a leader that is inside that request still.
    fn take(&self, inside: u64, core: u32) -> bool {
        let taken = self.turn.compare_exchange(inside, inside + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if taken {
            self.leader.store(core, Ordering::Relaxed);
        }
        taken
    }

    /// Whether the app runs on the leader's thread.
    pub(super) fn leader_is_inside(&self) -> bool {
        is_inside(self.turn.load(Ordering::Relaxed))
    }

    /// Lets everybody who follows see that the worker is done.
    pub(super) fn end(&self) {
        os::raise(&self.alarm);
        os::raise(&self.baton);
    }
}

impl Serving {
    /// Waits for the lead.
    pub(super) fn follow(&self, core: u32) -> Followed {
        let relay = &self.relay;
        loop {
            // Nobody knows how long the others are going to be content.
            match os::wait(relay.baton.as_raw_fd(), Ready::Read, u64::MAX) {
                Ok(_) if os::lower(&relay.baton) => {}
                Ok(_) => continue,
                Err(_) => return Followed::Signalled,
            }
            let followed = self.watch(core);
            // One who leads needs somebody to watch, and one who looks after a signal comes back as the last.
            os::raise(&relay.baton);
            return followed;
        }
    }

    fn watch(&self, core: u32) -> Followed {
        let relay = &self.relay;
        let (mut seen, mut quiet_ticks) = (relay.turn.load(Ordering::Acquire), 0);
        loop {
            if self.phase() == Phase::Done {
                return Followed::End;
            }
            if is_inside(seen) && self.leader_is_slow(relay) && relay.take(seen, core) {
                return Followed::Leads;
            }
            let waited = if quiet_ticks < QUIET_TICKS {
                os::wait(relay.alarm.as_raw_fd(), Ready::Read, TICK_MS)
            } else {
                quiet_ticks = 0;
                relay.watcher_sleeps.store(true, Ordering::SeqCst);
                let wait_ms = if relay.turn.load(Ordering::SeqCst) == seen { u64::MAX } else { 0 };
                let waited = os::wait(relay.alarm.as_raw_fd(), Ready::Read, wait_ms);
                relay.watcher_sleeps.store(false, Ordering::SeqCst);
                waited
            };
            match waited {
                Err(_) => return Followed::Signalled,
                Ok(true) => {
                    os::lower(&relay.alarm);
                }
                Ok(false) => {}
            }
            let now = relay.turn.load(Ordering::Acquire);
            quiet_ticks = if now == seen && !is_inside(now) { quiet_ticks + 1 } else { 0 };
            if now == seen && is_inside(now) && matches!(waited, Ok(false)) && relay.take(now, core) {
                return Followed::Leads;
            }
            seen = now;
        }
    }

    /// Whether the request that the leader is inside has run for a tick already: nobody was there to watch.
    fn leader_is_slow(&self, relay: &Relay) -> bool {
        let began_ns =
            self.worker.slot(relay.leader.load(Ordering::Relaxed)).state.started_monotonic_ns.load(Ordering::Relaxed);
        began_ns != 0 && os::monotonic_ns().saturating_sub(began_ns) >= TICK_MS * 1_000_000
    }
}

fn is_inside(turn: u64) -> bool {
    turn & 1 == 1
}
