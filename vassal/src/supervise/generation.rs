//! The master's handles of one generation: its zygote, its workers, its scoreboard. Decides nothing.

use std::{
    collections::BTreeMap,
    os::fd::{OwnedFd, RawFd},
    sync::{Arc, atomic::Ordering},
};

use empery_control::{
    link::{WorkerPhase, WorkerView},
    worker::{Signals, ToWorker, ToZygote},
};
use empery_lifecycle::{
    ids::{GenerationId, WorkerId, WorkerRef},
    moment::Moment,
};
use empery_sys::{oom::KillCounts, process::How, scoreboard::Scoreboard};

use super::{deaths::KilledFor, harakiri::Struck, in_flight, signals_side::SignalDesk, stopped::Stopped};
use crate::{boot_output::BootOutput, extension, peer::Peer, revision::Revision, succession::Image};

/// See the module.
pub(crate) struct Generation {
    /// What it runs.
    pub(crate) revision: Arc<Revision>,
    /// What its workers write.
    pub(crate) scoreboard: Scoreboard,
    /// The memfd of it, for the brain and a successor.
    pub(crate) scoreboard_fd: OwnedFd,
    /// The descriptors of the memory that its workers share.
    pub(crate) regions: Vec<RawFd>,
    /// None once it is gone.
    pub(crate) zygote: Option<ZygoteHandle>,
    /// Those that are not gone.
    pub(crate) workers: BTreeMap<WorkerRef, WorkerHandle>,
    /// What was printed while it booted; None for a generation taken over from an earlier image of this master.
    pub(crate) boot_output: Option<BootOutput>,
    /// How long the import took, in ms.
    pub(crate) import_ms: u64,
    /// Which file its extension was when it was started.
    pub(crate) extension: Option<Image>,
    /// `major.minor.micro` of its interpreter, once it has said so.
    pub(crate) python: Option<String>,
    /// How often harakiri struck each worker.
    pub(crate) harakiris: BTreeMap<WorkerId, u64>,
    /// What its app has said of uWSGI signals.
    pub(crate) signals: SignalDesk,
    /// Its end was reported: once nothing of it is left, it is retired.
    pub(crate) ended: bool,
}

/// A zygote.
pub(crate) struct ZygoteHandle {
    /// Its pid.
    pub(crate) pid: i32,
    /// The channel to it.
    pub(crate) peer: Peer<ToZygote>,
    /// How it ended, once that is known and its last words are still to be heard.
    pub(crate) exit: Option<How>,
    /// Its last word was heard; its end is still to be seen.
    pub(crate) silent: bool,
    /// This master has killed it.
    pub(crate) killed: bool,
    /// It was asked to go.
    pub(crate) retired: bool,
    /// Kills for memory before it was there.
    pub(crate) kill_counts: KillCounts,
}

/// A worker, of this master or of an earlier one.
pub(crate) struct WorkerHandle {
    /// Its pid, once it or the zygote said so.
    pub(crate) pid: Option<i32>,
    /// The channel to it.
    pub(crate) peer: Peer<ToWorker>,
    /// What it does.
    pub(crate) phase: WorkerPhase,
    /// When it was forked.
    pub(crate) since: Moment,
    /// The same, unix s.
    pub(crate) since_unix_s: u64,
    /// How it ended, once that is known and its last words are still to be heard.
    pub(crate) exit: Option<How>,
    /// Its last word was heard; its end is still to be seen.
    pub(crate) silent: bool,
    /// Why the master killed it, in words that say more than the signal.
    pub(crate) condemned: Option<String>,
    /// Why else the master killed it.
    pub(crate) killed_for: Option<KilledFor>,
    /// How it is reached while all its threads are inside the app.
    pub(crate) signals: Signals,
    /// Whether it claims the connections that it is offered.
    pub(crate) claims: bool,
    /// What faulthandler of this process writes to.
    pub(crate) crash: Option<OwnedFd>,
    /// Kills for memory before it was there.
    pub(crate) kill_counts: Option<KillCounts>,
    /// It has requests that ran too long.
    pub(crate) struck: Option<Struck>,
    /// It stands still.
    pub(crate) stopped: Option<Stopped>,
    /// It was to be killed before its pid was known.
    pub(crate) kill_when_known: bool,
    /// What its threads did when its mercy was over.
    pub(crate) last_words: Option<String>,
    /// Where uWSGI signals are delivered, once its app has registered functions.
    pub(crate) letterbox: Option<OwnedFd>,
    /// The machine was told that it is to be replaced.
    pub(crate) recycle_told: bool,
}

impl WorkerHandle {
    /// One that is about to be there; `crash` is where its faulthandler writes.
    pub(crate) fn new(peer: Peer<ToWorker>, crash: Option<OwnedFd>) -> Self {
        Self {
            pid: None,
            peer,
            phase: WorkerPhase::Booting,
            since: crate::clock::now(),
            since_unix_s: crate::clock::unix_s(),
            exit: None,
            silent: false,
            condemned: None,
            killed_for: None,
            signals: Signals::default(),
            claims: false,
            crash,
            kill_counts: None,
            struck: None,
            stopped: None,
            kill_when_known: false,
            last_words: None,
            letterbox: None,
            recycle_told: false,
        }
    }

    /// Whether it takes connections.
    pub(crate) fn accepts(&self) -> bool {
        self.phase == WorkerPhase::Serving && self.exit.is_none() && !self.silent
    }

    /// As the brain and the dashboard see it.
    pub(crate) fn view(&self, worker: WorkerRef) -> WorkerView {
        WorkerView { worker, pid: self.pid.unwrap_or(0), phase: self.phase, since_unix_s: self.since_unix_s }
    }
}

impl Generation {
    /// Whether no process of it is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.zygote.is_none() && self.workers.is_empty()
    }

    /// Whether the extension on the disk is another by now.
    pub(crate) fn extension_changed(&self) -> bool {
        self.extension.is_some() && extension::image().is_some_and(|now| Some(&now) != self.extension.as_ref())
    }

    /// The slots of one process of a worker.
    pub(crate) fn slots_of(&self, worker: WorkerRef) -> impl Iterator<Item = u32> + use<> {
        in_flight::slots_of(&self.scoreboard, worker)
    }

    /// Whether any of its threads is inside a request.
    pub(crate) fn serves(&self, worker: WorkerRef) -> bool {
        in_flight::serves(&self.scoreboard, worker)
    }

    /// How long its threads were inside requests so far, on average, in microseconds.
    pub(crate) fn running_us(&self, worker: WorkerRef, now: Moment) -> u64 {
        let other = WorkerRef { spawn: worker.spawn ^ 1, ..worker };
        let ended = self.slots_of(worker).chain(self.slots_of(other));
        let ended_us = ended.map(|slot| self.scoreboard.slot(slot).counters.running_us.load(Ordering::Relaxed));
        let running_us = self.slots_of(worker).map(|slot| match self.began_ns(slot) {
            0 => 0,
            began_ns => now.0.saturating_sub(began_ns) / 1000,
        });
        ended_us.chain(running_us).fold(0, u64::saturating_add) / u64::from(self.revision.config.threads.max(1))
    }

    fn began_ns(&self, slot: u32) -> u64 {
        in_flight::began_ns(&self.scoreboard, slot)
    }

    /// For how long this process has not been able to take a request, in ns; 0 when a thread of it has nothing to do.
    pub(crate) fn inside_for_ns(&self, worker: WorkerRef, now: Moment) -> u64 {
        let ages = self.slots_of(worker).map(|slot| match self.began_ns(slot) {
            0 => 0,
            began_ns => now.0.saturating_sub(began_ns).max(1),
        });
        // One thread that has nothing to do, or soon has, is enough.
        ages.min().unwrap_or(0)
    }
}

/// All generations there is anything left of.
pub(crate) type GenerationHandles = BTreeMap<GenerationId, Generation>;
