//! The master's handles of gateways. Usually there is one. While the options about it change there are two: the new one
//! reads its certificates before anything of the deploy begins, opens when the new generation serves, and the old one
//! drains then.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use empery_control::gateway::{GatewayPlan, ToGateway};
use empery_lifecycle::{
    ids::{OperationId, RevisionId},
    moment::Moment,
};
use empery_sys::process::How;

use crate::{peer::Peer, revision::Offer};

/// A gateway that does not say within this time whether its certificates are good is given up.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(10);

/// How long a stop waits for requests that no worker has yet.
pub(super) const QUIET_WITHIN: Duration = Duration::from_secs(1);

/// A gateway that died sooner than this after it was started is not started again before that.
pub(super) const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How often certificates and keys are asked for that only root may read.
pub(super) const TLS_FILES_EVERY: Duration = Duration::from_secs(30);

/// Number of a gateway, counted by this master.
pub(super) type Serial = u64;

/// See the module.
#[derive(Default)]
pub(crate) struct Gateways {
    pub(super) last: Serial,
    pub(super) all: BTreeMap<Serial, GatewayHandle>,
    /// Deploys that wait until the gateway of the first of them is ready.
    pub(super) waiting: VecDeque<Waiting>,
    /// The gateway that the first of `waiting` waits for.
    pub(super) candidate: Option<Candidate>,
    /// When a gateway that died is started again.
    pub(super) again_at: Option<Moment>,
    /// When certificates and keys are asked for again.
    pub(super) files_at: Option<Moment>,
    /// While a stop waits for the gateways to be quiet: until when.
    pub(super) quiet_by: Option<Moment>,
    /// How long they, mules, spoolers and daemons may take, once no worker is left.
    pub(super) mercy: Duration,
    /// The exit code, while nothing but gateways is left; and when they are killed.
    pub(super) leaving: Option<(u8, Moment)>,
}

/// A deploy that has not begun.
pub(super) struct Waiting {
    pub(super) operation: OperationId,
    pub(super) id: RevisionId,
    pub(super) offer: Offer,
}

/// A gateway on trial.
pub(super) struct Candidate {
    pub(super) serial: Serial,
    pub(super) ready_by: Moment,
}

/// How far a gateway is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It reads its certificates, for a deploy.
    OnTrial,
    /// It reads its certificates again, in the place of one that died, and opens then.
    Returning,
    /// They are good, and it waits for the word to open.
    Ready,
    /// It accepts.
    Serving,
    /// It finishes what it has; whether everything left is with a worker already.
    Draining {
        /// See above.
        is_quiet: bool,
    },
}

/// A gateway.
pub(super) struct GatewayHandle {
    pub(super) pid: i32,
    pub(super) peer: Peer<ToGateway>,
    /// What it does; None for one of an earlier master, which is relieved by any of this one's.
    pub(super) plan: Option<GatewayPlan>,
    pub(super) phase: Phase,
    pub(super) since: Moment,
    /// Whether its end is seen by waiting for it: it is a child.
    pub(super) is_child: bool,
    /// How it ended, once that is known and its last words are still to be heard.
    pub(super) exit: Option<How>,
    /// Its last word was heard; its end is still to be seen.
    pub(super) silent: bool,
}

impl Gateways {
    /// The next moment at which something is to be done.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let ready_by = self.candidate.as_ref().map(|candidate| candidate.ready_by);
        [ready_by, self.again_at, self.files_at, self.quiet_by, self.leaving.map(|(_, by)| by)]
            .into_iter()
            .flatten()
            .min()
    }

    /// One that does what this plan says, or is about to.
    pub(super) fn of_plan(&self, plan: &GatewayPlan) -> Option<Serial> {
        let fits = |handle: &GatewayHandle| {
            handle.plan.as_ref() == Some(plan)
                && !matches!(handle.phase, Phase::Draining { .. })
                && handle.exit.is_none()
        };
        self.all.iter().find(|(_, handle)| fits(handle)).map(|(serial, _)| *serial)
    }

    /// The one of a child's pid.
    pub(super) fn of_pid(&self, pid: i32) -> Option<Serial> {
        let is_its = |handle: &GatewayHandle| handle.is_child && handle.pid == pid && handle.exit.is_none();
        self.all.iter().find(|(_, handle)| is_its(handle)).map(|(serial, _)| *serial)
    }

    /// Whether those that drain have no request left that a worker must still take.
    pub(super) fn are_quiet(&self) -> bool {
        self.all.values().all(|handle| matches!(handle.phase, Phase::Draining { is_quiet: true }))
    }

    /// Pids, for people.
    pub(crate) fn pids(&self) -> impl Iterator<Item = i32> {
        self.all.values().map(|handle| handle.pid)
    }
}

impl GatewayHandle {
    /// Tells it to accept no more and to finish.
    pub(super) fn drain(&mut self) {
        if !matches!(self.phase, Phase::Draining { .. }) {
            self.phase = Phase::Draining { is_quiet: false };
            self.peer.say(ToGateway::Drain, Vec::new());
        }
    }
}
