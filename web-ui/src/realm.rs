//! What the brain hands to the web: what it publishes, where questions go, and who may ask. All of it is cheap to clone.

use std::{path::PathBuf, sync::Arc, time::Duration};

use empery_control::{
    fleet::{FleetEvent, FleetSnapshot, OperationView, UpgradeView, VassalSnapshot},
    stacks::WorkerStacks,
};
use empery_lifecycle::{
    fleet::Verb,
    ids::{VassalName, WorkerId},
};
use empery_store::Reader;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::{Access, OperationBoard, problem::Problem};

/// How long a master may take to tell what a worker is doing: it needs a second at most.
const STACKS_WITHIN: Duration = Duration::from_secs(5);

/// Where the log of a vassal is being written; None when it is written nowhere that can be read.
pub type LogFileOf = dyn Fn(&VassalName) -> Option<PathBuf> + Send + Sync;

/// The fleet as the web sees it.
#[derive(Clone)]
pub struct Realm {
    /// The fleet now.
    pub snapshot: watch::Receiver<Arc<FleetSnapshot>>,
    /// What changes; subscribed to by each live page.
    pub events: broadcast::Sender<FleetEvent>,
    /// Where requests of operators and pipelines go.
    pub asks: mpsc::Sender<Ask>,
    /// Operations of this emperor's life, to be waited for.
    pub operations: OperationBoard,
    /// History; None while the database cannot be opened.
    pub reader: watch::Receiver<Option<Reader>>,
    /// Who may.
    pub access: Arc<Access>,
    /// The clock on the wall, unix ms: a fleet that rests publishes no snapshot for a while, and ages go on.
    pub now_unix_ms: fn() -> u64,
    /// Where logs are.
    pub log_file_of: Arc<LogFileOf>,
    /// Names a browser may call us by, beside localhost and addresses: those of `--host`, lower case.
    pub hosts: Arc<[String]>,
    /// What a login link begins with, such as `http://127.0.0.1:7070`.
    pub base_url: Arc<str>,
}

/// A request of an operator or a pipeline. The actor is who asked: `api`, `dashboard`, `cli:uid 0`.
#[derive(Debug)]
pub enum Ask {
    /// For something that takes time.
    Operation {
        /// Which vassal.
        name: VassalName,
        /// What.
        verb: Verb,
        /// Who asked.
        actor: String,
        /// The operation that was begun for it.
        reply: Reply<OperationView>,
    },
    /// What the threads of a worker are doing.
    Stacks {
        /// Of which vassal.
        name: VassalName,
        /// Which of its places.
        worker: WorkerId,
        /// Which process there, while it is being replaced; None is the one that serves.
        pid: Option<i32>,
        /// What its master told.
        reply: Reply<WorkerStacks>,
    },
    /// That a cursed vassal be tried again now.
    Retry {
        /// Which vassal.
        name: VassalName,
        /// Who asked.
        actor: String,
        /// The operation that was begun for it.
        reply: Reply<OperationView>,
    },
    /// That the machine run the binaries that are installed now.
    Upgrade {
        /// Who asked.
        actor: String,
        /// How far that is.
        reply: Reply<UpgradeView>,
    },
    /// That the vassals whose removal is doubted be stopped.
    ConfirmRemovals {
        /// Who asked.
        actor: String,
        /// The vassals that are being stopped.
        reply: Reply<Vec<VassalName>>,
    },
}

/// Where the answer to a request goes.
pub type Reply<T> = oneshot::Sender<Result<T, AskError>>;

/// Why a request was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// There is no such vassal.
    #[error("there is no vassal \"{0}\": no file of that name counts in the vassals directory")]
    UnknownVassal(VassalName),
    /// There is no such worker.
    #[error("{0} has no worker {1}")]
    UnknownWorker(VassalName, u32),
    /// Nobody answered in time.
    #[error("the vassal's master did not answer within {0} s: it may be stopped, or very busy")]
    NoAnswer(u64),
    /// Nobody knows yet whether there is one.
    #[error("the vassals directory has not been read yet")]
    Starting,
    /// It makes no sense now: one sentence, with what to do instead.
    #[error("{0}")]
    Conflict(String),
    /// No removal is doubted.
    #[error("no removal waits to be confirmed: the files may be back, or somebody else has confirmed it")]
    NothingToConfirm,
    /// The brain has too much to do.
    #[error("the emperor is busy with other requests; try again in a moment")]
    Busy,
    /// The emperor is on its way out.
    #[error("the emperor is shutting down and takes no requests any more")]
    Leaving,
}

impl Realm {
    /// The fleet at this moment.
    pub(crate) fn now(&self) -> Arc<FleetSnapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    /// Asks the brain and hands back what it began.
    pub(crate) async fn ask(&self, name: VassalName, verb: Verb, actor: String) -> Result<OperationView, AskError> {
        match self.put(|reply| Ask::Operation { name, verb, actor, reply }).await {
            Err(AskError::UnknownVassal(_)) if !self.has_looked() => Err(AskError::Starting),
            answer => answer,
        }
    }

    /// Asks for another try of a cursed vassal.
    pub(crate) async fn retry(&self, name: VassalName, actor: String) -> Result<OperationView, AskError> {
        match self.put(|reply| Ask::Retry { name, actor, reply }).await {
            Err(AskError::UnknownVassal(_)) if !self.has_looked() => Err(AskError::Starting),
            answer => answer,
        }
    }

    /// Asks for an upgrade.
    pub(crate) async fn upgrade(&self, actor: String) -> Result<UpgradeView, AskError> {
        if !self.has_looked() {
            return Err(AskError::Starting);
        }
        self.put(|reply| Ask::Upgrade { actor, reply }).await
    }

    /// Tells the brain that what is gone is to go, and hands back which vassals that stops.
    pub(crate) async fn confirm_removals(&self, actor: String) -> Result<Vec<VassalName>, AskError> {
        match self.put(|reply| Ask::ConfirmRemovals { actor, reply }).await {
            Err(AskError::NothingToConfirm) if !self.has_looked() => Err(AskError::Starting),
            answer => answer,
        }
    }

    /// Asks the master of a worker what its threads are doing.
    pub(crate) async fn stacks(
        &self,
        name: VassalName,
        worker: WorkerId,
        pid: Option<i32>,
    ) -> Result<WorkerStacks, AskError> {
        let asked = self.put(|reply| Ask::Stacks { name, worker, pid, reply });
        match tokio::time::timeout(STACKS_WITHIN, asked).await {
            Ok(Err(AskError::UnknownVassal(_))) if !self.has_looked() => Err(AskError::Starting),
            Ok(answer) => answer,
            Err(_) => Err(AskError::NoAnswer(STACKS_WITHIN.as_secs())),
        }
    }

    async fn put<T>(&self, ask: impl FnOnce(Reply<T>) -> Ask) -> Result<T, AskError> {
        let (reply, answer) = oneshot::channel();
        match self.asks.try_send(ask(reply)) {
            Ok(()) => answer.await.unwrap_or(Err(AskError::Leaving)),
            Err(mpsc::error::TrySendError::Full(_)) => Err(AskError::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(AskError::Leaving),
        }
    }

    /// Whether the vassals directory has been read since the emperor started.
    pub(crate) fn has_looked(&self) -> bool {
        self.snapshot.borrow().sequence > 0
    }

    /// Why there is no such vassal in the snapshot.
    pub(crate) fn absent(&self, name: &str) -> Problem {
        if self.has_looked() { Problem::unknown_vassal(name) } else { Problem::starting() }
    }

    /// History, when there is a database.
    pub(crate) fn history(&self) -> Option<Reader> {
        self.reader.borrow().clone()
    }
}

/// The vassal of that name.
pub(crate) fn find<'s>(snapshot: &'s FleetSnapshot, name: &str) -> Option<&'s VassalSnapshot> {
    snapshot.vassals.iter().find(|vassal| vassal.name.as_str() == name)
}
