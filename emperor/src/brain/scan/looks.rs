//! Looks that somebody waits for. A command is decided upon what the files say when it is given, not upon what they said
//! when the directory was last looked at: an edit takes a moment to settle, and a pipeline reloads in the same instant.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use empery_lifecycle::moment::Moment;
use tokio::sync::Notify;

use super::settle::PATIENCE;

/// Where looks are asked for. Clones share the count.
#[derive(Debug, Clone)]
pub(crate) struct Looks {
    asked: Arc<AtomicU64>,
    wake: Arc<Notify>,
}

impl Looks {
    /// Nobody has asked; `wake` wakes the scanner.
    pub(crate) fn new(wake: Arc<Notify>) -> Looks {
        Looks { asked: Arc::default(), wake }
    }

    /// Asks for one. It was had when [`super::Scanned::Looked`] tells of this number or a higher one.
    pub(crate) fn ask(&self) -> u64 {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.wake.notify_one();
        number
    }
}

/// The scanner's side.
pub(super) struct Answering {
    looks: Looks,
    told: u64,
    /// Since when somebody waits.
    since: Option<Moment>,
}

impl Answering {
    pub(super) fn new(looks: Looks) -> Answering {
        Answering { looks, told: 0, since: None }
    }

    /// A look begins: up to which number it is asked for.
    pub(super) fn begin(&mut self, now: Moment) -> u64 {
        let asked = self.looks.asked.load(Ordering::SeqCst);
        if asked > self.told {
            self.since.get_or_insert(now);
        }
        asked
    }

    /// Whether somebody waits.
    pub(super) fn is_awaited(&self) -> bool {
        self.since.is_some()
    }

    /// It is over, and what it brought was told. Up to which number nobody needs to wait any longer: when everything has
    /// settled, or after [`PATIENCE`], since some other file may never hold still.
    pub(super) fn end(&mut self, asked: u64, has_settled: bool, now: Moment) -> Option<u64> {
        let since = self.since?;
        if !has_settled && now.since(since) < PATIENCE {
            return None;
        }
        self.since = None;
        self.told = asked;
        Some(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_counts_for_who_asked_before_it_began_and_only_when_all_has_settled_or_enough_was_waited() {
        let looks = Looks::new(Arc::default());
        let mut answering = Answering::new(looks.clone());
        let at = Moment::START;
        let nobody = answering.begin(at);
        assert_eq!(answering.end(nobody, true, at), None);
        assert_eq!(looks.ask(), 1);
        let first = answering.begin(at);
        assert_eq!(looks.ask(), 2);
        assert_eq!(answering.end(first, true, at), Some(1));
        let second = answering.begin(at);
        assert_eq!(answering.end(second, false, at), None);
        let again = answering.begin(at.after(PATIENCE));
        assert_eq!(answering.end(again, false, at.after(PATIENCE)), Some(2));
        let nobody = answering.begin(at.after(PATIENCE));
        assert_eq!(answering.end(nobody, true, at.after(PATIENCE)), None);
    }
}
