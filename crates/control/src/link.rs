//! Between the brain and a vassal's master, over the vassal's link socket. The brain connects and introduces itself
//! ([`crate::worker::Introduction::Brain`]); the master answers with [`FromMaster::Snapshot`] and speaks on as things
//! happen. A later brain takes the place of an earlier one.

use std::path::PathBuf;

use empery_lifecycle::{
    fleet::{Identity, MasterKey},
    generations,
    ids::{GenerationId, OperationId, RevisionId, WorkerRef},
};
use serde::{Deserialize, Serialize};

use crate::{boot::Common, stacks::WorkerStacks};

/// Version of this protocol. An emperor speaks to masters of its own version and the one before.
pub const LINK_VERSION: u32 = 1;

/// Longest boot output in a report, in bytes; its end is kept.
pub const BOOT_OUTPUT_MAX_BYTES: usize = 16 * 1024;

/// Longest evidence of one incident, in bytes; its beginning is kept.
pub const EVIDENCE_MAX_BYTES: usize = 32 * 1024;

/// The code of the notice that a vassal's log is not where its file says: that could not be opened.
pub const LOG_ELSEWHERE: &str = "log-elsewhere";

/// Brain to master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    /// Bring this revision into service. Descriptors: the first holds the content of the vassal file (as in
    /// [`crate::boot::MasterBoot::config_fd`]); then one listening socket for each of `new_listeners`, then one file for each
    /// of `tls_files`, in order.
    Deploy {
        /// Answered by reports that carry it.
        operation: OperationId,
        /// Of the content.
        revision: RevisionId,
        /// Canonical addresses of listeners the master does not have yet.
        new_listeners: Vec<String>,
        /// Certificates and keys that only root may read.
        #[serde(default)]
        tls_files: Vec<PathBuf>,
        /// See [`crate::boot::MasterBoot::on_demand`].
        #[serde(default)]
        on_demand: Option<String>,
        /// What the emperor says for all its vassals.
        #[serde(default)]
        common: Common,
    },
    /// The answer to [`FromMaster::TlsFilesAsked`]: one descriptor for each.
    TlsFiles {
        /// In the order of the descriptors.
        paths: Vec<PathBuf>,
    },
    /// Give up this deploy if it has not proved yet.
    Cancel {
        /// Which.
        operation: OperationId,
    },
    /// Accept nothing, or accept again. Only for masters that say they know it ([`MasterSnapshot::freezes`]).
    Gate {
        /// Whether nothing is accepted from now on.
        frozen: bool,
    },
    /// Drain and leave.
    Stop,
    /// Reopen the log files (logrotate).
    ReopenLogs,
    /// Say something: [`FromMaster::Pong`], if there is nothing else. Only for masters that say they know it
    /// ([`MasterSnapshot::answers_pings`]).
    Ping,
    /// Tell what the threads of this worker do: [`FromMaster::Stacks`]. Only for masters that say they know it
    /// ([`MasterSnapshot::tells_stacks`]).
    Stacks {
        /// Echoed.
        token: u64,
        /// Which.
        worker: WorkerRef,
    },
}

/// Master to brain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum FromMaster {
    /// The first message to every brain. Descriptors: the vassal's listening sockets in the order of `listeners`,
    /// then one scoreboard for each of `generations`, in order, then the read end and the write end of the log pipe, with `log`.
    Snapshot(Box<MasterSnapshot>),
    /// The introduction was not understood.
    WrongVersion {
        /// What this master speaks.
        speaks: u32,
    },
    /// Something happened.
    Report {
        /// What, in the generation machine's words.
        report: generations::Report,
        /// Wall-clock time of it, unix ms.
        at_unix_ms: u64,
        /// With `Serving` and `Failed`: what the zygote and its workers wrote while booting; at most [`BOOT_OUTPUT_MAX_BYTES`].
        boot_output: Option<String>,
        /// With `WorkerDied`: what is known of the death beside how it ended, at most [`EVIDENCE_MAX_BYTES`].
        #[serde(default)]
        evidence: Option<String>,
    },
    /// A generation has imported its app.
    Interpreter {
        /// Which.
        generation: GenerationId,
        /// `major.minor.micro` of what runs it.
        python: String,
    },
    /// A generation has a scoreboard. One descriptor.
    Scoreboard {
        /// Which.
        generation: GenerationId,
    },
    /// A generation is gone; these are its final counters, and its scoreboard is read no more.
    Retired {
        /// Which.
        generation: GenerationId,
        /// What it counted.
        totals: crate::scoreboard::Totals,
    },
    /// Listeners that no revision in service uses any more: the keeper may forget them.
    ListenersReleased {
        /// Their canonical addresses.
        keys: Vec<String>,
    },
    /// The memory that workers share, but for what has a file: the keeper is to keep it for the next master. One descriptor each.
    Regions {
        /// What each is for, in the master's own words.
        names: Vec<String>,
    },
    /// Certificates and keys that only root may read may have changed: they are to be opened again.
    TlsFilesAsked {
        /// Which.
        paths: Vec<PathBuf>,
    },
    /// Something an operator should know that is no lifecycle report (threads at import, harakiri, a clamp).
    Notice {
        /// `warning` or `incident`.
        severity: Severity,
        /// A stable word, such as `threads-at-import`, `harakiri`, `worker-died`.
        code: String,
        /// One sentence first, evidence below it.
        text: String,
        /// The worker it is about.
        worker: Option<WorkerRef>,
        /// Wall-clock time of it, unix ms.
        at_unix_ms: u64,
    },
    /// It is there.
    Pong,
    /// The answer to [`Order::Stacks`].
    Stacks {
        /// From the order.
        token: u64,
        /// What the threads do.
        stacks: Box<WorkerStacks>,
    },
    /// The workers there are now; said when it changes.
    Workers {
        /// All of them.
        workers: Vec<WorkerView>,
        /// See [`MasterSnapshot::outdated`].
        #[serde(default)]
        outdated: bool,
    },
}

/// How much a notice matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Unusual, but working.
    Warning,
    /// Something was lost or killed: it becomes a row of the incidents.
    Incident,
}

/// What a master tells a brain that knows nothing yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MasterSnapshot {
    /// Who it is.
    pub master: MasterKey,
    /// Its pid.
    pub pid: i32,
    /// Its ids.
    pub identity: Identity,
    /// Version of the `vassal` binary.
    pub version: String,
    /// What serves.
    pub serving: Option<(GenerationId, RevisionId)>,
    /// Since when something does, unix ms; None also from a master of an earlier version.
    #[serde(default)]
    pub serves_since_unix_ms: Option<u64>,
    /// What boots.
    pub booting: Option<(GenerationId, RevisionId, OperationId)>,
    /// Canonical addresses of the listeners it holds.
    pub listeners: Vec<String>,
    /// Generations with a live scoreboard.
    pub generations: Vec<GenerationId>,
    /// Whether the log pipe comes along.
    #[serde(default)]
    pub log: bool,
    /// `major.minor.micro` of the interpreter that serves, once known.
    #[serde(default)]
    pub python: Option<String>,
    /// Counters of generations that are gone.
    pub retired: crate::scoreboard::Totals,
    /// The workers there are.
    pub workers: Vec<WorkerView>,
    /// The last report of a failed deploy, while nothing newer succeeded.
    pub last_failure: Option<generations::Report>,
    /// SHA-256 (hex) of the vassal file's content that serves, so that a brain that lost its database can number revisions anew.
    pub serving_sha256: Option<String>,
    /// Whether it knows [`Order::Ping`].
    #[serde(default)]
    pub answers_pings: bool,
    /// Whether it knows [`Order::Stacks`].
    #[serde(default)]
    pub tells_stacks: bool,
    /// Whether it knows [`Order::Gate`].
    #[serde(default)]
    pub freezes: bool,
    /// Whether it accepts nothing, as it was told.
    #[serde(default)]
    pub frozen: bool,
    /// Whether its `vassal` binary or the extension that serves was replaced on the disk since it was started.
    #[serde(default)]
    pub outdated: bool,
}

/// One worker as the master knows it. Numbers of requests are in the scoreboard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerView {
    /// Who it is.
    pub worker: WorkerRef,
    /// Its pid; 0 while it is being forked.
    pub pid: i32,
    /// What it does.
    pub phase: WorkerPhase,
    /// When it was forked, unix s.
    pub since_unix_s: u64,
}

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerPhase {
    /// Forked, not yet proved.
    Booting,
    /// Accepts.
    Serving,
    /// Finishes what it has.
    Draining,
    /// Serves, of an earlier master.
    Orphan,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::{decode, encode};

    #[test]
    fn a_list_of_workers_is_read_back_as_it_was_said() {
        let word = FromMaster::Workers { workers: Vec::new(), outdated: false };
        assert_eq!(decode::<FromMaster>(&encode(&word).unwrap()).unwrap(), word);
    }
}
