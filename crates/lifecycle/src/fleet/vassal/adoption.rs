//! Masters found alive when the brain came up, or that presented themselves late: taken in as they are, and never
//! doubled. Nothing is stopped here but what would be the second master of a vassal.

use super::{Boot, Course, Desk, Listeners, Master, Target, Vassal};
use crate::{
    fleet::words::{Alive, Cause, Verb},
    ids::{OperationId, RevisionId},
};

impl Vassal {
    /// A master is alive that this fleet did not start, or forgot.
    pub(in crate::fleet) fn found(&mut self, alive: &Alive, desk: &mut Desk<'_>) {
        if self.leaving.has(&alive.master) {
            return;
        }
        if self.course.has(&alive.master) {
            self.found_again(alive, desk);
            return;
        }
        let mercy = self.target().map_or(desk.policy.mercy, |target| target.mercy);
        let Alive { master: key, identity, serving, booting, content, frozen } = alive.clone();
        let found = Master { key, identity, mercy, started: true, serving, content, frozen };
        self.believes_frozen(&found, desk);
        let boot = booting.map(|revision| Boot::of_an_earlier_brain(revision, &found, desk));
        if self.listeners != Listeners::Closing {
            self.listeners = Listeners::Served;
        }
        if let Some((_, revision)) = serving {
            self.served = Some(Target { revision, identity, mercy, content });
        }
        self.course = match std::mem::replace(&mut self.course, Course::Resting) {
            Course::Resting | Course::Cursed { .. } | Course::Asleep => self.adopt(found, boot),
            Course::Queued { operation, .. } => {
                self.berth = found.key.berth;
                Course::Waiting { master: found, operation }
            }
            Course::Starting { master, boot: own } if found.serving.is_some() => {
                Course::Moving { old: found, new: master, boot: own }
            }
            Course::Loyal { master } => match boot {
                Some(boot) if found.serving.is_none() && found.key.serial > master.key.serial => {
                    Course::Moving { old: master, new: found, boot }
                }
                Some(_) | None => self.newer_of(master, found, None, desk),
            },
            Course::Waiting { master, operation } => self.newer_of(master, found, Some(operation), desk),
            Course::Reloading { master, boot } if found.serving.is_some() && found.key.serial > master.key.serial => {
                self.newer_of(master, found, boot.operation, desk)
            }
            course @ (Course::Starting { .. } | Course::Reloading { .. } | Course::Moving { .. }) => {
                self.dismiss(found, desk);
                course
            }
        };
        self.catch_up(desk);
    }

    /// The link to a known master was lost for a while: it may serve by now what it was ordered.
    fn found_again(&mut self, alive: &Alive, desk: &mut Desk<'_>) {
        let (Some(serves), None) = (alive.serving, alive.booting) else { return };
        match &self.course {
            Course::Starting { master, boot }
            | Course::Reloading { master, boot }
            | Course::Moving { new: master, boot, .. }
                if master.key == alive.master =>
            {
                if master.serving != Some(serves) {
                    let ordered = boot.ordered;
                    self.serving(&alive.master, serves, ordered, desk);
                }
            }
            Course::Resting
            | Course::Queued { .. }
            | Course::Starting { .. }
            | Course::Loyal { .. }
            | Course::Waiting { .. }
            | Course::Reloading { .. }
            | Course::Moving { .. }
            | Course::Cursed { .. }
            | Course::Asleep => self.serving(&alive.master, serves, None, desk),
        }
    }

    fn adopt(&mut self, found: Master, boot: Option<Boot>) -> Course {
        self.berth = found.key.berth;
        match boot {
            Some(boot) if found.serving.is_some() => Course::Reloading { master: found, boot },
            Some(boot) => Course::Starting { master: found, boot },
            None => Course::Loyal { master: found },
        }
    }

    /// Of two masters, of which the known one serves, the later that serves stays.
    fn newer_of(
        &mut self,
        known: Master,
        found: Master,
        operation: Option<OperationId>,
        desk: &mut Desk<'_>,
    ) -> Course {
        let found_stays = found.serving.is_some() && (found.key.serial > known.key.serial || known.serving.is_none());
        let (stays, goes) = if found_stays { (found, known) } else { (known, found) };
        self.berth = stays.key.berth;
        self.dismiss(goes, desk);
        match operation {
            Some(operation) => Course::Waiting { master: stays, operation },
            None => Course::Loyal { master: stays },
        }
    }

    /// What was found late is brought to what the file says; before the first scan that is not known.
    fn catch_up(&mut self, desk: &mut Desk<'_>) {
        if self.held && self.file.is_some() {
            self.let_go_if_any(Cause::Recovery, desk);
        }
        match (&self.course, self.target()) {
            (Course::Loyal { .. } | Course::Starting { .. } | Course::Reloading { .. }, Some(target))
                if self.obstacle().is_none() && !self.runs_already(target) && !self.boots_for_us() =>
            {
                let operation = desk.begin(&self.name, Verb::Reload, Cause::Recovery);
                self.bring_up(operation, desk);
            }
            (
                Course::Resting
                | Course::Queued { .. }
                | Course::Starting { .. }
                | Course::Loyal { .. }
                | Course::Waiting { .. }
                | Course::Reloading { .. }
                | Course::Moving { .. }
                | Course::Cursed { .. }
                | Course::Asleep,
                _,
            ) => {}
        }
    }

    /// A boot that an earlier brain had ordered goes on as an operation of this one, so that its end is told.
    pub(super) fn watch_adopted_boot(&mut self, desk: &mut Desk<'_>) {
        match &mut self.course {
            Course::Starting { boot, .. } | Course::Reloading { boot, .. } | Course::Moving { boot, .. }
                if boot.operation.is_none() =>
            {
                boot.operation = Some(desk.begin(&self.name, Verb::Reload, Cause::Recovery));
            }
            Course::Resting
            | Course::Queued { .. }
            | Course::Starting { .. }
            | Course::Loyal { .. }
            | Course::Waiting { .. }
            | Course::Reloading { .. }
            | Course::Moving { .. }
            | Course::Cursed { .. }
            | Course::Asleep => {}
        }
    }

    /// Whether this fleet ordered the boot that is under way.
    fn boots_for_us(&self) -> bool {
        match &self.course {
            Course::Starting { boot, .. } | Course::Reloading { boot, .. } | Course::Moving { boot, .. } => {
                boot.ordered.is_some()
            }
            Course::Resting
            | Course::Queued { .. }
            | Course::Loyal { .. }
            | Course::Waiting { .. }
            | Course::Cursed { .. }
            | Course::Asleep => false,
        }
    }
}

impl Boot {
    /// A boot that an earlier brain had ordered.
    fn of_an_earlier_brain(revision: RevisionId, master: &Master, desk: &Desk<'_>) -> Self {
        Boot {
            operation: None,
            ordered: None,
            revision: Some(revision),
            mercy: master.mercy,
            since: desk.now,
            outdated: false,
            doomed: false,
        }
    }
}

impl Course {
    pub(super) fn has(&self, key: &crate::fleet::words::MasterKey) -> bool {
        match self {
            Course::Resting | Course::Queued { .. } | Course::Cursed { .. } | Course::Asleep => false,
            Course::Starting { master, .. }
            | Course::Loyal { master }
            | Course::Waiting { master, .. }
            | Course::Reloading { master, .. } => master.key == *key,
            Course::Moving { old, new, .. } => old.key == *key || new.key == *key,
        }
    }
}
