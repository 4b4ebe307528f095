//! What must outlive the emperor and could not be written: who is to stay stopped, and what stands. The newest word on each
//! is kept and written as soon as that can be done; everything else is history, and may have gaps.

use std::{collections::BTreeMap, time::Duration};

use empery_lifecycle::ids::VassalName;

use crate::{Hold, Mark};

/// How long after a failure it is tried again, when nothing else is written meanwhile.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// A word that stands until the next one on the same.
#[derive(Debug, Clone)]
pub(crate) enum Standing {
    Hold(Hold),
    LiftHold(VassalName),
    Mark(Mark, VassalName),
    LiftMark(Mark, VassalName),
}

impl Standing {
    /// What it is a word on; None: whether it is held.
    fn subject(&self) -> (Option<Mark>, VassalName) {
        match self {
            Standing::Hold(hold) => (None, hold.vassal.clone()),
            Standing::LiftHold(name) => (None, name.clone()),
            Standing::Mark(mark, name) | Standing::LiftMark(mark, name) => (Some(*mark), name.clone()),
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Owed(BTreeMap<(Option<Mark>, VassalName), Standing>);

impl Owed {
    /// A word was written, or not.
    pub(crate) fn saw(&mut self, word: Standing, is_written: bool) {
        if is_written {
            self.0.remove(&word.subject());
        } else {
            self.0.insert(word.subject(), word);
        }
    }

    /// When it is to be tried again without an occasion; None when nothing is owed.
    pub(crate) fn again_after(&self) -> Option<Duration> {
        (!self.0.is_empty()).then_some(AGAIN_AFTER)
    }

    /// All of it.
    pub(crate) fn words(&self) -> impl Iterator<Item = Standing> {
        self.0.values().cloned()
    }
}
