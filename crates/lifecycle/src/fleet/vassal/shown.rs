//! How a vassal is seen from outside.

use super::{Course, Listeners, Master, Vassal};
use crate::fleet::words::{State, VassalView, Verdict};

impl Vassal {
    /// Whether its view differs from the one shown last, which it becomes.
    pub(in crate::fleet) fn shows_a_change(&mut self) -> bool {
        let view = self.view();
        let changed = self.shown.as_ref() != Some(&view);
        self.shown = Some(view);
        changed
    }

    /// See [`VassalView`].
    pub(in crate::fleet) fn view(&self) -> VassalView {
        let master = self.shown_master();
        VassalView {
            name: self.name.clone(),
            state: self.state(),
            revision: self.file.map(|said| said.revision),
            refused: self.is_refused(),
            missing: self.missing,
            frozen: self.frozen,
            serving: master.and_then(|master| master.serving),
            master: master.map(|master| &master.key).or(self.leaving.first()).cloned(),
            failures: self.failures,
            last_failure: self.last_failure.clone(),
        }
    }

    pub(super) fn is_refused(&self) -> bool {
        self.file.is_some_and(|said| said.verdict == Verdict::Refused)
    }

    pub(super) fn shown_master(&self) -> Option<&Master> {
        match &self.course {
            Course::Resting | Course::Queued { .. } | Course::Cursed { .. } | Course::Asleep => None,
            Course::Starting { master, .. }
            | Course::Loyal { master }
            | Course::Waiting { master, .. }
            | Course::Reloading { master, .. }
            | Course::Moving { old: master, .. } => Some(master),
        }
    }

    /// The master that was given what its file said last.
    pub(super) fn newest_master(&self) -> Option<&Master> {
        match &self.course {
            Course::Moving { new, .. } => Some(new),
            Course::Resting
            | Course::Queued { .. }
            | Course::Cursed { .. }
            | Course::Asleep
            | Course::Starting { .. }
            | Course::Loyal { .. }
            | Course::Waiting { .. }
            | Course::Reloading { .. } => self.shown_master(),
        }
    }

    fn state(&self) -> State {
        match self.course {
            Course::Resting if !self.leaving.is_empty() => State::Stopping,
            Course::Resting if self.held => State::Held,
            Course::Resting if self.is_refused() => State::Refused,
            Course::Resting => State::Stopping,
            Course::Queued { .. } if self.listeners == Listeners::Closing => State::Stopping,
            Course::Queued { .. } => State::Queued,
            Course::Starting { .. } => State::Starting,
            Course::Loyal { .. } => State::Loyal,
            Course::Waiting { .. } | Course::Reloading { .. } | Course::Moving { .. } => State::Reloading,
            Course::Cursed { retry_at } => State::Cursed { retry_at },
            Course::Asleep => State::Asleep,
        }
    }
}
