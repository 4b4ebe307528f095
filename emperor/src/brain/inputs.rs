//! What the owning task is told, by everything that waits or works beside it. One channel, one order.

use std::os::fd::OwnedFd;

use empery_control::{fleet::UpgradeView, keeper::LivingMaster, link::FromMaster};
use empery_lifecycle::{
    fleet::MasterKey,
    generations::FailureReason,
    ids::{OperationId, RevisionId, VassalName},
};
use empery_store::{Hold, Opened, StoreError};
use empery_web_ui::Reply;
use tokio::sync::mpsc;

use super::{keeper_line::KeeperWord, scan::Scanned, turn::Turn};

/// One thing that happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// The keeper said something unasked.
    Keeper(KeeperWord),
    /// The directory was looked at.
    Scanned(Scanned),
    /// A master said something.
    Master {
        /// Which.
        master: MasterKey,
        /// What.
        word: Box<FromMaster>,
        /// With it.
        fds: Vec<OwnedFd>,
        /// Its place among those that wait.
        turn: Turn,
    },
    /// A master is gone, and everything it had said was heard.
    MasterGone {
        /// Which.
        master: MasterKey,
        /// How, in words.
        how: String,
    },
    /// A master was started.
    Started {
        /// As the keeper knows it.
        master: LivingMaster,
        /// Canonical addresses of the listeners it was given.
        listeners: Vec<String>,
    },
    /// A master was not started; nothing of it runs.
    StartFailed {
        /// Which.
        master: MasterKey,
        /// Why.
        reason: FailureReason,
    },
    /// The sockets of a vassal on demand cannot be held.
    AwaitFailed {
        /// Whose.
        name: VassalName,
        /// Why.
        reason: FailureReason,
    },
    /// A deploy did not reach its master.
    DeployRefused {
        /// Which.
        master: MasterKey,
        /// Of what.
        revision: RevisionId,
        /// For whom.
        operation: OperationId,
        /// Why.
        reason: FailureReason,
    },
    /// A deploy was handed to its master, with these new listeners.
    Ordered {
        /// Which.
        master: MasterKey,
        /// Canonical addresses.
        listeners: Vec<String>,
    },
    /// Sockets were bound for a vassal: addresses as configured, and as they came out (the kernel chooses a port for 0).
    Bound {
        /// Whose.
        name: VassalName,
        /// Key and address.
        addresses: Vec<(String, String)>,
    },
    /// The database was tried.
    History(Result<Box<Opened>, StoreError>),
    /// The database came late: what operators had said, as it remembers.
    StandingRemembered {
        /// Who was to stay stopped.
        holds: Vec<Hold>,
        /// Who was to accept nothing.
        frozen: Vec<VassalName>,
    },
    /// The binary that the emperor is to be upgraded to was tried.
    BinaryTried {
        /// Who wants it.
        actor: String,
        /// One sentence when it does not run.
        outcome: Result<(), String>,
        /// To them.
        reply: Reply<UpgradeView>,
    },
    /// What was to be written down before the emperor leaves has been, as far as it could.
    Recorded,
    /// Work beside the owning task has panicked, which the brain cannot be without: its name.
    Broken(&'static str),
    /// Something about the emperor that an operator should know.
    Alarm(String),
}

/// Where inputs go. Clones share the channel.
#[derive(Debug, Clone)]
pub(crate) struct Inbox(mpsc::UnboundedSender<Input>);

impl Inbox {
    /// A new channel.
    pub(crate) fn new() -> (Inbox, mpsc::UnboundedReceiver<Input>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Inbox(sender), receiver)
    }

    /// Tells the owning task. When that has ended, nothing is to be told any more.
    pub(crate) fn tell(&self, input: Input) {
        let _ = self.0.send(input);
    }
}
