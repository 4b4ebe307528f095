//! The words of the generation machine: what it is told, what it asks for, what it reports.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{GenerationId, OperationId, OrphanId, RevisionId, WorkerId, WorkerRef};

/// Deadlines and rates. Every one has a default that is uWSGI's, or ours where uWSGI has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Policy {
    /// What a drain may take before the worker is killed (`worker-reload-mercy`, 60 s).
    pub mercy: Duration,
    /// First wait before a worker that keeps dying is forked again; the first death in a while is replaced at once.
    pub respawn_delay_first: Duration,
    /// Longest such wait; the wait doubles up to it and is forgotten after a worker has lived this long.
    pub respawn_delay_longest: Duration,
    /// How long the workers of the generations before may take to say that they accept nothing any more, before a switch
    /// is told without it.
    pub told_within: Duration,
    /// The number of the first generation; later masters of the same vassal go on counting.
    pub first_generation: GenerationId,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            mercy: Duration::from_secs(60),
            respawn_delay_first: Duration::from_millis(500),
            respawn_delay_longest: Duration::from_secs(30),
            told_within: Duration::from_millis(500),
            first_generation: GenerationId(1),
        }
    }
}

/// What a generation consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Plan {
    /// How many workers at most (`processes`).
    pub workers: u32,
    /// How many it begins with (`cheaper-initial`); all of them unless it adapts. With none (`cheap`), one proves and
    /// goes again.
    pub first: u32,
    /// How many there are at least (`cheaper`); all of them unless it adapts, none when it may rest (`idle`, `cheap`).
    pub least: u32,
    /// What a drain of this generation may take (`worker-reload-mercy`).
    pub mercy: Duration,
    /// From `Boot` to its last worker's proof, and from the fork of a later worker to its own (`boot-deadline`).
    pub boot_deadline: Duration,
}

impl Plan {
    /// Whether the number of its workers changes while it serves.
    pub(super) fn adapts(&self) -> bool {
        self.least < self.workers
    }
}

/// Why a worker is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecycleReason {
    /// It has served as many requests as it may (`max-requests`).
    Requests,
    /// It has grown too large (`reload-on-rss` and its relatives).
    Memory,
    /// The app raised an exception after which it is not trusted (`reload-on-exception`).
    Exception,
    /// It has lived as long as it may (`max-worker-lifetime`).
    Lifetime,
    /// It has no descriptors left.
    Descriptors,
    /// A request of it ran longer than it may (`harakiri`).
    Harakiri,
}

/// What is to be started beside what is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Weighing {
    /// The successor of this worker.
    Successor(WorkerRef),
    /// All workers of this generation, whose zygote is there.
    Workers(GenerationId),
}

/// Whether there is memory for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// There is, as far as anybody can tell.
    Enough,
    /// What is there must go first.
    Short,
}

/// Why a generation did not come into service, or left it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FailureReason {
    /// The app could not be imported, or is not there: one sentence, and the traceback when there is one.
    App {
        /// One sentence.
        sentence: String,
        /// The Python traceback, when there is one.
        traceback: Option<String>,
    },
    /// The boot could not start: interpreter, extension, file system, socket. One sentence.
    Setup {
        /// One sentence.
        sentence: String,
    },
    /// The zygote or a worker ended before it had proved: how, in words ("exit code 3", "signal 11 (SIGSEGV)").
    Died {
        /// How it ended.
        how: String,
    },
    /// The boot deadline passed.
    BootDeadline {
        /// The deadline, in seconds.
        after_s: u64,
    },
    /// A newer deploy took its place before it had proved.
    Superseded,
    /// A stop was asked for before it had proved, or the operation was cancelled.
    Cancelled,
}

/// How a process ended, as far as the machine cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// On its own, with code 0, after it was drained or recycled itself.
    Clean,
    /// In any other way, or in a way nobody could see.
    Died,
}

/// What the machine is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Bring `revision` into service, beside what serves now (the first boot, an edit, a reload: all the same).
    Deploy {
        /// Answered by the reports of this deploy.
        operation: OperationId,
        /// The content of the vassal file to run.
        revision: RevisionId,
        /// Its shape.
        plan: Plan,
    },
    /// Give up the deploy in progress if it belongs to this operation.
    Cancel {
        /// The operation.
        operation: OperationId,
    },
    /// Drain everything and leave.
    Stop,
    /// Kill everything and leave (the second signal).
    StopNow,
    /// [`Action::Boot`] was not carried out: there is no memory to import the app beside what the zygote of the generation that
    /// serves has, and there would be without that.
    NoRoom {
        /// Which was to boot.
        generation: GenerationId,
    },
    /// The zygote of the generation is ready to fork (app imported, or nothing to import before the fork).
    Loaded {
        /// Which.
        generation: GenerationId,
    },
    /// The boot failed before or at the import, or a worker said that it cannot serve.
    BootFailed {
        /// Which.
        generation: GenerationId,
        /// Why.
        reason: FailureReason,
    },
    /// The zygote is gone.
    ZygoteExited {
        /// Which.
        generation: GenerationId,
        /// How, in words.
        how: String,
    },
    /// A worker answered the master's ping with its app loaded and its listeners not yet registered.
    Proved {
        /// Which.
        worker: WorkerRef,
    },
    /// A worker is to be replaced (max-requests and the like); it serves on until it is drained.
    RecycleAsked {
        /// Which.
        worker: WorkerRef,
        /// Why.
        why: RecycleReason,
    },
    /// The answer to [`Action::Weigh`].
    Weighed {
        /// What was to be weighed.
        what: Weighing,
        /// Whether it fits.
        room: Room,
    },
    /// So many workers are wanted now, within what the plan allows.
    Resize {
        /// How many.
        workers: u32,
    },
    /// A worker's process is gone.
    WorkerExited {
        /// Which.
        worker: WorkerRef,
        /// How.
        exit: Exit,
        /// How, in words.
        how: String,
    },
    /// A worker that was asked to go takes no connection any more.
    GateClosed {
        /// Which.
        worker: WorkerRef,
    },
    /// So does a worker of an earlier master.
    OrphanGateClosed {
        /// Which.
        orphan: OrphanId,
    },
    /// A worker of an earlier master presented itself; it serves.
    OrphanFound {
        /// Its number, given by the shell.
        orphan: OrphanId,
    },
    /// Such a worker is gone.
    OrphanExited {
        /// Which.
        orphan: OrphanId,
    },
    /// The moment of [`Generations::deadline`](super::Generations::deadline) has come.
    DeadlineReached,
}

/// What the machine asks for. The shell performs the actions in order and never adds one of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start the zygote of a new generation.
    Boot {
        /// Its number.
        generation: GenerationId,
        /// What to run.
        revision: RevisionId,
    },
    /// Have the zygote fork this worker, gate closed; when it is up and answers the ping, say `Proved`.
    Spawn(WorkerRef),
    /// See whether there is memory for this beside what is there, and say [`Event::Weighed`].
    Weigh(Weighing),
    /// Have this worker accept connections (its listeners are registered now).
    OpenGate(WorkerRef),
    /// Have this worker stop accepting, pass idle connections on, finish what it has and exit.
    Drain(WorkerRef),
    /// SIGKILL this worker.
    Kill(WorkerRef),
    /// Let the zygote of this generation go: nothing is forked for it any more.
    RetireZygote(GenerationId),
    /// SIGKILL the zygote of this generation.
    KillZygote(GenerationId),
    /// As `Drain`, for a worker of an earlier master.
    DrainOrphan(OrphanId),
    /// As `Kill`, for a worker of an earlier master.
    KillOrphan(OrphanId),
    /// Tell whoever is interested.
    Report(Report),
    /// Nothing is left to supervise: leave.
    Leave,
}

/// What the machine says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub enum Report {
    /// A deploy has begun to boot.
    Booting {
        /// The operation that asked; None when the machine reboots a zygote that died.
        operation: Option<OperationId>,
        /// The generation.
        generation: GenerationId,
        /// What it runs.
        revision: RevisionId,
    },
    /// The zygote has imported the app.
    Loaded {
        /// The generation.
        generation: GenerationId,
    },
    /// The workers it begins with have proved; the gate of this generation is open, the old one drains and takes no new
    /// connection any more (as far as its workers have said so in time).
    Serving {
        /// The operation that asked.
        operation: Option<OperationId>,
        /// The generation.
        generation: GenerationId,
        /// What it runs.
        revision: RevisionId,
    },
    /// The deploy failed; what served before serves on.
    Failed {
        /// The operation that asked.
        operation: Option<OperationId>,
        /// The generation.
        generation: GenerationId,
        /// What it would have run.
        revision: RevisionId,
        /// Why.
        reason: FailureReason,
        /// Whether something older serves on: a generation, or workers of an earlier master. If not, `Leave`
        /// follows as soon as every process is gone (unless another deploy comes in between).
        still_serving: bool,
    },
    /// Every process of a drained generation is gone.
    Drained {
        /// The generation.
        generation: GenerationId,
        /// How many of its workers did not finish: killed at the end of mercy, or died while they drained.
        killed: u32,
    },
    /// A worker that served, or was to take such a one's place, ended without being asked; it is replaced after
    /// `retry_in`, or with the whole generation when there is no zygote.
    WorkerDied {
        /// Which.
        worker: WorkerRef,
        /// How, in words.
        how: String,
        /// How long until the next is forked.
        retry_in: Duration,
    },
    /// A worker was recycled: its successor serves.
    Recycled {
        /// Which worker, as it now is.
        worker: WorkerRef,
        /// Why.
        why: RecycleReason,
    },
    /// Everything was drained or killed on request.
    Stopped,
}

/// The first so many worker places, in order.
pub(super) fn first_workers(number: u32) -> impl Iterator<Item = WorkerId> {
    (1..=number).map(WorkerId)
}
