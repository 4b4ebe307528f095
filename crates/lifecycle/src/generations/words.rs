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
    /// The number of the first generation; later masters of the same vassal go on counting.
    pub first_generation: GenerationId,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            mercy: Duration::from_secs(60),
            respawn_delay_first: Duration::from_millis(500),
            respawn_delay_longest: Duration::from_secs(30),
            first_generation: GenerationId(1),
        }
    }
}

/// What a generation consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Plan {
    /// How many workers (`processes`).
    pub workers: u32,
    /// What a drain of this generation may take (`worker-reload-mercy`).
    pub mercy: Duration,
    /// From `Boot` to its last worker's proof, and from the fork of a later worker to its own (`boot-deadline`).
    pub boot_deadline: Duration,
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
    /// A worker asks to be replaced (max-requests and the like); it serves on until it is drained.
    RecycleAsked {
        /// Which.
        worker: WorkerRef,
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Every worker has proved; the gate of this generation is open, the old one drains.
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
    /// A worker was recycled at its own request; its successor serves.
    Recycled {
        /// Which worker, as it now is.
        worker: WorkerRef,
    },
    /// Everything was drained or killed on request.
    Stopped,
}

/// All worker places of a plan, in order.
pub(super) fn workers_of(plan: Plan) -> impl Iterator<Item = WorkerId> {
    (1..=plan.workers).map(WorkerId)
}
