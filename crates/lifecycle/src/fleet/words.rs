//! The words of the fleet machine: what it is told, what it asks for, how it is seen.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    generations::FailureReason,
    ids::{GenerationId, MasterSerial, OperationId, RevisionId, VassalName},
    moment::Moment,
};

/// Deadlines and rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Policy {
    /// First wait before a vassal that failed is tried again; doubles up to `retry_longest`.
    pub retry_first: Duration,
    /// Longest such wait (uWSGI `emperor-max-throttle`, 180 s).
    pub retry_longest: Duration,
    /// How long a loyal vassal must have served for its failures to be forgotten.
    pub forgiven_after: Duration,
    /// How long a master may take to stop beyond its own mercy before it is killed.
    pub stop_grace: Duration,
    /// What a master may take to stop, beside `stop_grace`, when its file's mercy is not known.
    pub mercy: Duration,
    /// How many vassals may boot (start or deploy) at once; the others wait for their turn.
    pub boots_at_once: u32,
    /// A boot that takes longer than this no longer counts against `boots_at_once`: imports that hang must not keep
    /// the rest of the fleet waiting until their deadline.
    pub boots_counted_for: Duration,
    /// A removal is doubted when more than this share of all vassals lose their files at one look, in percent; 100
    /// doubts none.
    pub doubted_above_percent: u32,
    /// A removal of fewer vassals than this is never doubted.
    pub doubted_from_vassals: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            retry_first: Duration::from_secs(1),
            retry_longest: Duration::from_secs(180),
            forgiven_after: Duration::from_secs(30),
            stop_grace: Duration::from_secs(5),
            mercy: Duration::from_secs(60),
            boots_at_once: 8,
            boots_counted_for: Duration::from_secs(10),
            doubted_above_percent: 50,
            doubted_from_vassals: 10,
        }
    }
}

/// Which of the two places in the runtime directory a master lives in. A successor after a death takes the same
/// (orphaned workers look for it there); a successor with another identity takes the other, beside its predecessor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Berth {
    /// The first.
    A,
    /// The second.
    B,
}

impl Berth {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Berth {
        match self {
            Berth::A => Berth::B,
            Berth::B => Berth::A,
        }
    }

    /// As a directory name: `a` or `b`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Berth::A => "a",
            Berth::B => "b",
        }
    }
}

/// One master process of a vassal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MasterKey {
    /// Whose.
    pub vassal: VassalName,
    /// Where it lives.
    pub berth: Berth,
    /// Which process there.
    pub serial: MasterSerial,
}

/// What a running master cannot change about itself: the ids it dropped to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// What tells contents of vassal files apart: the first eight bytes (big-endian) of the SHA-256 of the file. Two names
/// with the same content, one gone and one new, are a renamed file; nothing else is concluded from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContentDigest(pub u64);

/// One vassal file as the scan saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Its name.
    pub name: VassalName,
    /// Counts up when what the file says changed: any difference in (device, inode, size, mtime, uid, gid, mode, content).
    pub revision: RevisionId,
    /// Its content.
    pub content: ContentDigest,
    /// Whether the content can be run.
    pub verdict: Verdict,
}

/// What the config parser said about a revision. The problems themselves stay with the brain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It can be run, as this identity; a drain may take `mercy`.
    Runs {
        /// Who its processes are.
        identity: Identity,
        /// How long a stop may take by the file: `worker-reload-mercy`, and what mules, spoolers and daemons are given.
        mercy: Duration,
        /// Whether it is to run only from its first client on (uWSGI `emperor-on-demand-*`).
        on_demand: bool,
    },
    /// It cannot; nothing of it is applied.
    Refused,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Bring the current content into service again.
    Reload,
    /// Stop and stay stopped (a hold), whatever the file does.
    Stop,
    /// Lift the hold and run; for a cursed vassal: retry now.
    Start,
    /// Accept nothing until it is resumed: clients wait in the sockets' queues.
    Freeze,
    /// Accept again.
    Resume,
}

impl Verb {
    /// Whether it brings something into service.
    #[must_use]
    pub fn deploys(self) -> bool {
        match self {
            Verb::Reload | Verb::Start => true,
            Verb::Stop | Verb::Freeze | Verb::Resume => false,
        }
    }
}

/// Who or what asked for an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A file appeared, changed or went away.
    File,
    /// A process ended that should not have, or a back-off ran out.
    Recovery,
    /// The dashboard, the API or the command line.
    Command,
    /// A signal to the emperor.
    Signal,
    /// The first client of a vassal on demand.
    Client,
}

/// A request by an operator or a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Taken from [`Fleet::next_operation`](super::Fleet::next_operation); answered by [`Action::End`] of this number.
    pub operation: OperationId,
    /// Which vassal.
    pub name: VassalName,
    /// What.
    pub verb: Verb,
}

/// A master that was found alive when the brain came up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alive {
    /// Which.
    pub master: MasterKey,
    /// Who it is.
    pub identity: Identity,
    /// The revision it serves; None while it has not proved any.
    pub serving: Option<(GenerationId, RevisionId)>,
    /// The revision it is booting.
    pub booting: Option<RevisionId>,
    /// The content it serves, when it said so: a file may have been renamed while nobody looked.
    pub content: Option<ContentDigest>,
    /// Whether it accepts nothing, as it was told.
    pub frozen: bool,
}

/// What an earlier brain wrote down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recalled {
    /// Who stays stopped.
    pub held: Vec<VassalName>,
    /// Who accepts nothing.
    pub frozen: Vec<VassalName>,
    /// Whose removal was doubted.
    pub doubted: Vec<VassalName>,
}

/// What the machine is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The whole directory was read: every file that counts, in the order of names. What is missing is gone, unless so
    /// much is missing at once that it is doubted (see [`Policy::doubted_above_percent`]).
    Scanned(Vec<Sighting>),
    /// The directory cannot be read: nothing is concluded from it.
    DirectoryLost,
    /// Somebody says that what is missing and doubted is gone for good.
    RemovalConfirmed,
    /// What is kept in the database, told before the first scan; or later, when the database came late.
    Recalled(Recalled),
    /// Masters found alive, told before the first scan; and one told later, when it presented itself late or when a
    /// lost link to it was made again (then followed by `Failed`, if its snapshot tells of a failure not heard).
    Found(Alive),
    /// The keeper has started this master; it has the listeners.
    MasterStarted {
        /// Which.
        master: MasterKey,
    },
    /// The master could not be started: nothing runs of it.
    StartFailed {
        /// Which.
        master: MasterKey,
        /// Why.
        reason: FailureReason,
    },
    /// The order of a deploy could not be carried out (a listener that cannot be bound, the link gone): what served serves on.
    DeployRefused {
        /// Which.
        master: MasterKey,
        /// The revision.
        revision: RevisionId,
        /// The operation.
        operation: OperationId,
        /// Why.
        reason: FailureReason,
    },
    /// The master does not answer, and nobody knows why: it is killed, its workers serve on.
    MasterHangs {
        /// Which.
        master: MasterKey,
    },
    /// A client has connected to a socket that the keeper holds for this vassal.
    Knocked {
        /// Whose.
        name: VassalName,
    },
    /// The sockets of a vassal on demand could not be held: nobody can wake it.
    AwaitFailed {
        /// Whose.
        name: VassalName,
        /// Why.
        reason: FailureReason,
    },
    /// The master's process is gone, and had said that it goes: it was idle (`die-on-idle`), or its app told it to stop.
    MasterLeft {
        /// Which.
        master: MasterKey,
    },
    /// The master's process is gone.
    MasterExited {
        /// Which.
        master: MasterKey,
        /// How, in words.
        how: String,
    },
    /// The master says that a generation of this revision serves.
    Serving {
        /// Which.
        master: MasterKey,
        /// The generation.
        generation: GenerationId,
        /// What it runs.
        revision: RevisionId,
        /// The operation that asked for it.
        operation: Option<OperationId>,
    },
    /// The master says that a boot began on its own account or by order.
    Booting {
        /// Which.
        master: MasterKey,
        /// The generation.
        generation: GenerationId,
        /// What it runs.
        revision: RevisionId,
    },
    /// The master says that a deploy failed.
    Failed {
        /// Which.
        master: MasterKey,
        /// What would have run.
        revision: RevisionId,
        /// The operation that asked for it.
        operation: Option<OperationId>,
        /// Why.
        reason: FailureReason,
        /// Whether an older generation serves.
        still_serving: bool,
    },
    /// Somebody asked.
    Command(Command),
    /// SIGHUP to the keeper: reload every vassal that runs.
    ReloadAll,
    /// SIGTERM to the keeper: stop everything. Said twice: kill everything.
    ShutDown,
    /// The moment of [`Fleet::deadline`](super::Fleet::deadline) has come.
    DeadlineReached,
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum OperationEnd {
    /// Done: what was asked for is so.
    Succeeded,
    /// Not done; what served before serves on when `still_serving`.
    Failed {
        /// Why.
        reason: FailureReason,
        /// Whether an older generation serves.
        still_serving: bool,
    },
    /// A later operation took its place.
    Superseded,
}

/// What the machine asks for. The performer performs the actions in order and never adds one of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Bind the listeners of the revision that are not kept already, then start this master with them and have it
    /// deploy the revision. Answered by `MasterStarted` or `StartFailed`, then by the master's own words. The revision
    /// is the file's present one, or the one that served last when the file is refused now.
    Start {
        /// Which.
        master: MasterKey,
        /// What it is to run.
        revision: RevisionId,
        /// The operation this belongs to.
        operation: OperationId,
        /// Whether it is to accept nothing.
        frozen: bool,
    },
    /// Bind the listeners of the revision that are not kept already, and watch all of them for the first client, who stays
    /// in the queue. Answered by `Knocked` or `AwaitFailed`. Said again when the file says something new.
    Await {
        /// Whose.
        name: VassalName,
        /// What it would run.
        revision: RevisionId,
    },
    /// Tell the master to accept nothing, or to accept again. Never comes before `MasterStarted`.
    Gate {
        /// Which.
        master: MasterKey,
        /// Whether it accepts nothing from now on.
        frozen: bool,
    },
    /// Bind what is new, then order the master to deploy the revision. Answered by `DeployRefused`, or the master's
    /// words. Never comes before `MasterStarted`.
    Deploy {
        /// Which.
        master: MasterKey,
        /// What it is to run.
        revision: RevisionId,
        /// The operation this belongs to.
        operation: OperationId,
    },
    /// An operation has begun: record it. Comes before the `Start`, `Deploy` or `Stop` that carries it out, and is
    /// followed by exactly one `End`. Only a command for a vassal that does not exist ends without having begun.
    Begin {
        /// Its number: the command's, or one the machine counted up to itself.
        operation: OperationId,
        /// Whose.
        name: VassalName,
        /// What is being done.
        verb: Verb,
        /// Who or what asked for it.
        cause: Cause,
    },
    /// Order the master to drain and leave. Never comes before `MasterStarted`; answered by `MasterExited`.
    Stop {
        /// Which.
        master: MasterKey,
    },
    /// SIGKILL the master. May come before `MasterStarted` when a start hangs: it is said again after it.
    Kill {
        /// Which.
        master: MasterKey,
    },
    /// Close every kept listener and log pipe of this vassal: nobody serves it, and clients must not wait in a queue
    /// that nobody reads.
    Forget {
        /// Whose.
        name: VassalName,
    },
    /// Close whatever is kept of vassals that have neither a file nor a master, and of these, which rest: an earlier brain had
    /// it bound, and nobody else will have it closed. Said once, after the first look at the directory.
    ForgetUnused {
        /// Vassals with a file of which nothing is to run.
        resting: Vec<VassalName>,
    },
    /// Remember or lift a hold in the database.
    Hold {
        /// Whose.
        name: VassalName,
        /// Whether it is held from now on.
        held: bool,
    },
    /// Remember or forget in the database that a vassal is frozen.
    Freeze {
        /// Whose.
        name: VassalName,
        /// Whether it is frozen from now on.
        frozen: bool,
    },
    /// Remember or forget in the database that a removal is doubted.
    Doubt {
        /// Whose.
        name: VassalName,
        /// Whether it is doubted from now on.
        doubted: bool,
    },
    /// Tell whoever waits for this operation.
    End {
        /// Which.
        operation: OperationId,
        /// How.
        end: OperationEnd,
    },
    /// This vassal is seen differently now: publish its view.
    Changed {
        /// Whose.
        name: VassalName,
    },
    /// Every vassal is stopped: the emperor may leave.
    Leave,
}

/// What a vassal is doing, in one word with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Its file cannot be run and nothing of it runs.
    Refused,
    /// An operator's hold: it stays stopped.
    Held,
    /// It waits for its turn to boot.
    Queued,
    /// Its first generation boots.
    Starting,
    /// It has proved healthy and serves.
    Loyal,
    /// It serves; a new generation boots beside.
    Reloading,
    /// It drains.
    Stopping,
    /// It keeps failing; it is tried again at `retry_at`.
    Cursed {
        /// When.
        retry_at: Moment,
    },
    /// It is on demand and waits for its first client.
    Asleep,
}

/// A vassal as the machine sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VassalView {
    /// Whose.
    pub name: VassalName,
    /// What it is doing.
    pub state: State,
    /// The content its file has now; None when the file is gone.
    pub revision: Option<RevisionId>,
    /// Whether that content is refused (while something older may serve).
    pub refused: bool,
    /// Whether its file is missing and that is doubted: it stays as it is.
    pub missing: bool,
    /// Whether it accepts nothing.
    pub frozen: bool,
    /// What serves.
    pub serving: Option<(GenerationId, RevisionId)>,
    /// The master, when there is one.
    pub master: Option<MasterKey>,
    /// Failures in a row.
    pub failures: u32,
    /// Why the last deploy failed, until one succeeds.
    pub last_failure: Option<FailureReason>,
}
