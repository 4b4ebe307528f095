//! The masters of one vassal that are on their way out, and when each is killed. Does not know why they go.

use std::{collections::BTreeMap, time::Duration};

use super::words::{Action, Berth, ContentDigest, MasterKey};
use crate::moment::Moment;

/// How far a master's leaving is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    /// It is being started, and is told to stop as soon as it is there.
    Unstarted {
        kill_at: Moment,
        /// How long it may take once it is told.
        patience: Duration,
    },
    /// It drains, or has said that it leaves.
    Going { kill_at: Moment },
    Killed {
        /// Whether it is known to have been there to be killed.
        started: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Goer {
    step: Step,
    content: Option<ContentDigest>,
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Leaving {
    masters: BTreeMap<MasterKey, Goer>,
}

impl Leaving {
    /// Asks a started master to stop.
    #[must_use]
    pub(super) fn ask(
        &mut self,
        master: MasterKey,
        content: Option<ContentDigest>,
        now: Moment,
        patience: Duration,
    ) -> Action {
        let step = Step::Going { kill_at: now.after(patience) };
        self.masters.insert(master.clone(), Goer { step, content });
        Action::Stop { master }
    }

    /// Will ask a master to stop that is not there yet.
    pub(super) fn ask_later(
        &mut self,
        master: MasterKey,
        content: Option<ContentDigest>,
        now: Moment,
        patience: Duration,
    ) {
        let step = Step::Unstarted { kill_at: now.after(patience), patience };
        self.masters.insert(master, Goer { step, content });
    }

    /// A master said that it leaves on its own.
    pub(super) fn said(&mut self, master: MasterKey, content: Option<ContentDigest>, kill_at: Moment) {
        self.masters.insert(master, Goer { step: Step::Going { kill_at }, content });
    }

    /// A master is there now: what is to be done if it is to leave.
    #[must_use]
    pub(super) fn started(&mut self, master: &MasterKey, now: Moment) -> Option<Action> {
        let Goer { step, .. } = self.masters.get_mut(master)?;
        match *step {
            Step::Unstarted { patience, .. } => {
                *step = Step::Going { kill_at: now.after(patience) };
                Some(Action::Stop { master: master.clone() })
            }
            Step::Killed { started: false } => {
                *step = Step::Killed { started: true };
                Some(Action::Kill { master: master.clone() })
            }
            Step::Going { .. } | Step::Killed { started: true } => None,
        }
    }

    /// A master is gone; whether it was one of these.
    #[must_use]
    pub(super) fn gone(&mut self, master: &MasterKey) -> bool {
        self.masters.remove(master).is_some()
    }

    /// Kills all.
    #[must_use]
    pub(super) fn kill_all(&mut self) -> Vec<Action> {
        self.kill_where(|_| true)
    }

    /// Kills those whose time is up.
    #[must_use]
    pub(super) fn kill_due(&mut self, now: Moment) -> Vec<Action> {
        self.kill_where(|kill_at| kill_at <= now)
    }

    fn kill_where(&mut self, chosen: impl Fn(Moment) -> bool) -> Vec<Action> {
        let mut kills = Vec::new();
        for (master, Goer { step, .. }) in &mut self.masters {
            match *step {
                Step::Unstarted { kill_at, .. } if chosen(kill_at) => *step = Step::Killed { started: false },
                Step::Going { kill_at } if chosen(kill_at) => *step = Step::Killed { started: true },
                Step::Unstarted { .. } | Step::Going { .. } | Step::Killed { .. } => continue,
            }
            kills.push(Action::Kill { master: master.clone() });
        }
        kills
    }

    /// When the next is killed.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.masters
            .values()
            .filter_map(|goer| match &goer.step {
                Step::Unstarted { kill_at, .. } | Step::Going { kill_at } => Some(*kill_at),
                Step::Killed { .. } => None,
            })
            .min()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.masters.is_empty()
    }

    /// Whether this master is leaving.
    pub(super) fn has(&self, master: &MasterKey) -> bool {
        self.masters.contains_key(master)
    }

    /// Whether one of them is in this berth.
    pub(super) fn any_in(&self, berth: Berth) -> bool {
        self.masters.keys().any(|master| master.berth == berth)
    }

    /// What they run, as far as known.
    pub(super) fn contents(&self) -> Vec<ContentDigest> {
        self.masters.values().filter_map(|goer| goer.content).collect()
    }

    /// One of them, to be shown.
    pub(super) fn first(&self) -> Option<&MasterKey> {
        self.masters.keys().next()
    }
}
