//! Only workers of an earlier master serve, and the boot of their successors has failed: it is tried again, with a wait
//! that doubles. Nobody can look after those workers as after children, so they must not stay for good.

use super::{
    Course, Generations,
    words::{Action, FailureReason, Plan},
};
use crate::{ids::RevisionId, moment::Moment};

/// A boot that is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Retry {
    /// Of what.
    revision: RevisionId,
    /// Its shape.
    plan: Plan,
    /// When.
    pub(super) at: Moment,
}

impl Generations {
    /// What is to be booted again though no generation runs it any more.
    #[must_use]
    pub fn retrying(&self) -> Option<RevisionId> {
        self.retry.map(|retry| retry.revision)
    }

    /// A boot of this has failed; they may introduce themselves later. One that somebody gave up is not wanted.
    pub(super) fn retry_later(&mut self, revision: RevisionId, plan: Plan, reason: &FailureReason, now: Moment) {
        if self.serving.is_some() || matches!(reason, FailureReason::Cancelled) {
            return;
        }
        let wait = self.reboots.fail_again(self.policy.respawn_delay_first, self.policy.respawn_delay_longest);
        self.retry = Some(Retry { revision, plan, at: now.after(wait) });
    }

    pub(super) fn retry_if_due(&mut self, now: Moment, out: &mut Vec<Action>) {
        let due = self.retry.take_if(|retry| retry.at <= now && !self.orphans.is_empty());
        if let Some(Retry { revision, plan, .. }) = due {
            self.boot(None, revision, plan, now, out);
        }
    }

    /// Whatever else happened, there may be no reason left: something boots, or a stop.
    pub(super) fn forget_retry_if_moot(&mut self) {
        if self.booting.is_some() || self.course != Course::Serve {
            self.retry = None;
        }
    }
}
