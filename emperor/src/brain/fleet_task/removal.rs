//! Removals of many vassals at once: what an operator is told of one that is doubted, and the operator's word that ends
//! the doubt. Whether a removal is doubted is the fleet machine's.

use empery_lifecycle::{fleet::Event, ids::VassalName};
use empery_web_ui::AskError;

use super::FleetTask;

/// Names that are spelt out in the alarm.
const NAMES_MAX: usize = 3;

impl FleetTask {
    /// What is wrong and what to do, while a removal is doubted.
    pub(super) fn removal_alarm(&self) -> Option<String> {
        let (gone, all) = (self.doubted.len(), self.publisher.vassals());
        if gone == 0 {
            return None;
        }
        let mut names = self.doubted.iter().take(NAMES_MAX).map(VassalName::as_str).collect::<Vec<_>>().join(", ");
        if gone > NAMES_MAX {
            names = format!("{names} and {} more", gone - NAMES_MAX);
        }
        Some(format!(
            "the files of {gone} of {all} vassals are gone ({names}), so many at once that none of them was stopped: put \
             the files back (is the directory mounted?), or have these vassals stopped with `emperor confirm-removal`"
        ))
    }

    /// Somebody says that the files are gone for good.
    pub(super) fn asked_to_confirm(&mut self, actor: &str) -> Result<Vec<VassalName>, AskError> {
        let doubted = self.fleet.doubted();
        if self.leaving {
            return Err(AskError::Leaving);
        }
        if doubted.is_empty() {
            return Err(AskError::NothingToConfirm);
        }
        tracing::info!(by = actor, vassals = doubted.len(), "their removal is confirmed: they are stopped");
        self.decide(Event::RemovalConfirmed);
        self.publish();
        Ok(doubted)
    }

    /// The directory was looked at: whether less is doubted now than before, or more, goes to the log.
    pub(super) fn tell_doubt(&mut self) {
        let before = std::mem::replace(&mut self.doubted, self.fleet.doubted());
        if before == self.doubted {
            return;
        }
        match self.removal_alarm() {
            Some(alarm) => tracing::error!("{alarm}"),
            None => tracing::info!("the files are back that were gone"),
        }
    }
}
