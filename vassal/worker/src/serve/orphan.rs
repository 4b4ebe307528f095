//! The master is gone. Alone, the worker finishes what it has and leaves. Under an emperor it serves on, and calls on
//! the link until a successor answers there; calling never holds up a request.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use empery_control::worker::Introduction;
use empery_sys::seqpacket;

use super::{
    Phase, Serving,
    lead::{LINE, Lead},
};
use crate::{epoll::Watch, line};

/// First and longest pause between two calls, in ms.
const PAUSE_FIRST_MS: u64 = 20;
const PAUSE_MAX_MS: u64 = 1_000;

/// How long the link may be missing, in ms: it stays where it is when a keeper dies, and is taken away with the vassal, whose
/// workers nobody will take over then.
const LINK_MISSING_MAX_MS: u64 = 5_000;

/// A worker without a master.
pub(super) struct Orphan {
    calls_at_ms: u64,
    pause_ms: u64,
    /// Since when there is no link to call on.
    link_missing_since_ms: Option<u64>,
}

impl Serving {
    pub(super) fn master_is_gone(&self, lead: &mut Lead) {
        if let Some(line) = self.worker.line.raw() {
            let _ = self.epoll.remove(line);
        }
        self.worker.line.cut();
        lead.handovers.forget_all();
        self.forget_relief();
        let serves_on =
            self.worker.boot.outlive_master && self.worker.boot.link_path.is_some() && self.phase() == Phase::Serving;
        if serves_on {
            lead.orphan = Some(Orphan { calls_at_ms: 0, pause_ms: PAUSE_FIRST_MS, link_missing_since_ms: None });
        } else {
            self.drain(lead);
        }
    }

    pub(super) fn seeks_in_ms(&self, lead: &Lead, now_ms: u64) -> Option<u64> {
        lead.orphan.as_ref().map(|orphan| orphan.calls_at_ms.saturating_sub(now_ms))
    }

    /// Calls on the link when it is time.
    pub(super) fn seek_master(&self, lead: &mut Lead, now_ms: u64) {
        let Some(orphan) = lead.orphan.as_mut().filter(|orphan| orphan.calls_at_ms <= now_ms) else { return };
        orphan.calls_at_ms = now_ms + orphan.pause_ms;
        orphan.pause_ms = (orphan.pause_ms * 2).min(PAUSE_MAX_MS);
        // Nobody is there yet, or the keeper is about to bind the link again: the next call is due later.
        match self.call() {
            Ok(()) => lead.orphan = None,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let since_ms = *orphan.link_missing_since_ms.get_or_insert(now_ms);
                if now_ms.saturating_sub(since_ms) >= LINK_MISSING_MAX_MS {
                    self.worker.log("the vassal was stopped while it had no master: leaving");
                    lead.orphan = None;
                    self.drain(lead);
                }
            }
            Err(_) => orphan.link_missing_since_ms = None,
        }
    }

    fn call(&self) -> std::io::Result<()> {
        let worker = self.worker;
        let Some(path) = &worker.boot.link_path else { return Ok(()) };
        let link = seqpacket::connect(path)?;
        let listeners = &worker.boot.listeners;
        let introduction = Introduction::OrphanedWorker {
            worker: worker.reference,
            pid: worker.pid,
            generation: worker.reference.generation,
            listeners: listeners.iter().map(|listener| listener.key.clone()).collect(),
        };
        // SAFETY: listeners were inherited from the zygote and stay open as long as the process lives.
        let fds: Vec<BorrowedFd<'_>> =
            listeners.iter().map(|listener| unsafe { BorrowedFd::borrow_raw(listener.fd) }).collect();
        line::say(link.as_fd(), &introduction, &fds)?;
        line::say(link.as_fd(), &worker.up(), &[])?;
        self.epoll.add(link.as_raw_fd(), Watch::Level, LINE)?;
        worker.line.replace(link)
    }
}
