//! What the brain publishes about the fleet and what may be asked of it: the words of the dashboard, the API, the
//! `emperor` command line and server-sent events. The JSON of `/api/v1` is made of these types.

use empery_lifecycle::{
    fleet::{OperationEnd, Verb},
    generations::FailureReason,
    ids::{OperationId, VassalName},
};
use serde::{Deserialize, Serialize};

use crate::link::WorkerView;

/// The whole fleet at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FleetSnapshot {
    /// Counts up with every change; an event carries the number it belongs to.
    pub sequence: u64,
    /// Unix ms.
    pub at_unix_ms: u64,
    /// Version of the emperor.
    pub version: String,
    /// Pid of the keeper.
    pub keeper_pid: i32,
    /// Pid of the brain.
    pub brain_pid: i32,
    /// The directory below which vassal files have their names: the watched one, or what several have in common.
    pub vassals_directory: String,
    /// Every directory and pattern that is watched.
    #[serde(default)]
    pub watched: Vec<String>,
    /// What is wrong with the emperor itself: database missing, directory unreadable, a unit that would kill survivors. Empty when well.
    pub alarms: Vec<String>,
    /// Vassals whose files are gone, so many at once that nobody believes it: they stay as they are until the files come
    /// back or somebody confirms that they are to go.
    #[serde(default)]
    pub removals_doubted: Vec<VassalName>,
    /// The upgrade that goes on, or the last one of this emperor's life.
    #[serde(default)]
    pub upgrade: Option<UpgradeView>,
    /// Sums over all vassals.
    pub numbers: Numbers,
    /// Every vassal, in the order of names.
    pub vassals: Vec<VassalSnapshot>,
}

/// An upgrade of the whole machine to the binaries that are installed now: keeper and brain first, then every vassal that
/// runs older ones, each by a reload that begins a new generation beside the old one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeView {
    /// Who asked.
    pub actor: String,
    /// Unix ms; tells one upgrade from another.
    pub began_unix_ms: u64,
    /// `emperor`, `vassals`, `done`.
    pub phase: String,
    /// Every vassal that ran older binaries, in the order of names.
    pub vassals: Vec<UpgradedVassal>,
}

/// How far one vassal is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradedVassal {
    /// Which.
    pub name: VassalName,
    /// `waiting`, `upgraded`, `failed` (what served serves on, if anything did), `superseded` (something newer was asked
    /// for, which brings the new binaries too), `gone`.
    pub outcome: String,
    /// The reload.
    pub operation: Option<OperationId>,
    /// Why it failed, in one sentence.
    pub reason: Option<String>,
}

/// One vassal at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VassalSnapshot {
    /// Its name.
    pub name: VassalName,
    /// One word: `refused`, `held`, `queued`, `starting`, `loyal`, `reloading`, `stopping`, `cursed`, `asleep`.
    pub state: String,
    /// Whether it accepts nothing until it is resumed.
    #[serde(default)]
    pub frozen: bool,
    /// Whether it runs binaries that have been replaced on the disk: the next reload, or `emperor upgrade`, brings the new ones.
    #[serde(default)]
    pub outdated: bool,
    /// One sentence for a person: what it does, or why it does not.
    pub summary: String,
    /// The generation that serves.
    pub generation: Option<u64>,
    /// The revision that serves.
    pub serving_revision: Option<u64>,
    /// The revision of the file as it is now.
    pub file_revision: Option<u64>,
    /// Master's pid.
    pub master_pid: Option<i32>,
    /// Who it runs as, `uid:gid`.
    pub identity: Option<String>,
    /// What it listens on.
    pub listeners: Vec<String>,
    /// `major.minor.micro` of its interpreter, once booted.
    pub python: Option<String>,
    /// Since when it serves without a break of supervision, unix ms.
    pub loyal_since_unix_ms: Option<u64>,
    /// When a cursed vassal is tried again, unix ms.
    pub retry_at_unix_ms: Option<u64>,
    /// Where its log is being written.
    #[serde(default)]
    pub log_file: Option<String>,
    /// Its workers.
    pub workers: Vec<WorkerSnapshot>,
    /// Its numbers.
    pub numbers: Numbers,
    /// The last operation that brought or tried to bring something into service.
    pub last_deployment: Option<OperationView>,
    /// Problems of the file as it is now, errors first.
    pub problems: Vec<ProblemView>,
}

/// A worker at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerSnapshot {
    /// As its master sees it.
    #[serde(flatten)]
    pub view: WorkerView,
    /// Finished requests.
    pub requests: u64,
    /// Threads inside a request now.
    pub busy_threads: u32,
    /// Of so many.
    pub threads: u32,
    /// Resident set, in bytes.
    pub rss_bytes: u64,
}

/// Numbers of a vassal or of the fleet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Numbers {
    /// Finished requests since the vassal's master first started.
    pub requests_total: u64,
    /// Requests per second, over the last second sampled.
    pub requests_per_s: f64,
    /// Answers with a status of 500 and above.
    pub errors_5xx_total: u64,
    /// Requests that ended in an exception.
    pub exceptions_total: u64,
    /// Bytes sent.
    pub tx_bytes_total: u64,
    /// Mean time of the requests of the last second sampled, in ms; 0 when there were none.
    pub mean_ms: f64,
    /// Workers that serve.
    pub workers: u32,
    /// Threads inside a request.
    pub busy_threads: u32,
    /// Of so many.
    pub threads: u32,
    /// Resident sets of all processes, in bytes.
    pub rss_bytes: u64,
}

/// A problem of a vassal file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemView {
    /// `error` or `warning`.
    pub severity: String,
    /// A stable word.
    pub code: String,
    /// The file it is in.
    pub file: String,
    /// From 1; 0 when it belongs to no line.
    pub line: u32,
    /// From 1, in characters; 0 when it belongs to no column.
    pub column: u32,
    /// The line itself.
    pub source: Option<String>,
    /// One sentence.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// An operation: what was asked for, how far it is, how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationView {
    /// Its number.
    pub id: OperationId,
    /// Whose.
    pub vassal: VassalName,
    /// What.
    pub verb: Verb,
    /// Who or what asked: `file`, `recovery`, `signal`, `client`, `api`, `dashboard`, `cli:uid 0`.
    pub actor: String,
    /// The revision it deploys.
    pub revision: Option<u64>,
    /// The generation it made.
    pub generation: Option<u64>,
    /// `queued`, `booting`, `proving`, `draining`, `done`.
    pub phase: String,
    /// How it ended; None while it runs.
    pub end: Option<OperationEnd>,
    /// Unix ms.
    pub began_unix_ms: u64,
    /// When each phase was reached, in ms after the beginning.
    pub phases: Vec<PhaseTime>,
    /// Unix ms.
    pub ended_unix_ms: Option<u64>,
    /// What the app wrote while booting.
    pub boot_output: Option<String>,
}

/// When a phase was reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseTime {
    /// Its word.
    pub phase: String,
    /// In ms after the beginning.
    pub after_ms: u64,
}

impl OperationView {
    /// The reason, when it failed.
    #[must_use]
    pub fn failure(&self) -> Option<&FailureReason> {
        match &self.end {
            Some(OperationEnd::Failed { reason, .. }) => Some(reason),
            Some(OperationEnd::Succeeded | OperationEnd::Superseded) | None => None,
        }
    }
}

/// One thing that changed, for live pages: sent after the snapshot it belongs to is published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
// A queue holds a thousand at most: a box for each operation would save little.
#[allow(clippy::large_enum_variant)]
pub enum FleetEvent {
    /// A vassal looks different; read it from the snapshot.
    VassalChanged {
        /// Whose.
        name: VassalName,
    },
    /// A vassal is gone.
    VassalRemoved {
        /// Whose.
        name: VassalName,
    },
    /// An operation began, moved on or ended.
    Operation(OperationView),
    /// A second was sampled.
    Sampled,
}
