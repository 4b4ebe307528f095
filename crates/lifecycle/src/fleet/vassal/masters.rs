//! What masters and the keeper say about a vassal's masters, and what follows for the vassal.

use super::{Boot, Course, Desk, Listeners, Master, Target, Vassal, deploy};
use crate::{
    fleet::{
        agenda::Urgency,
        words::{Action, Cause, MasterKey, OperationEnd, Verb},
    },
    generations::FailureReason,
    ids::{GenerationId, OperationId, RevisionId},
};

impl Vassal {
    /// The keeper has started a master.
    pub(in crate::fleet) fn master_started(&mut self, key: &MasterKey, desk: &mut Desk<'_>) {
        desk.out.extend(self.leaving.started(key, desk.now));
        let target = self.target();
        match &mut self.course {
            Course::Starting { master, boot } | Course::Moving { new: master, boot, .. } if master.key == *key => {
                master.started = true;
                // What is newer than what it was started with could not be ordered before.
                if let (true, Some(target), Some(operation)) = (boot.outdated, target, boot.operation) {
                    *boot = Boot { since: boot.since, ..deploy(master, target, operation, desk) };
                }
            }
            Course::Starting { .. }
            | Course::Moving { .. }
            | Course::Resting
            | Course::Queued { .. }
            | Course::Loyal { .. }
            | Course::Waiting { .. }
            | Course::Reloading { .. }
            | Course::Cursed { .. }
            | Course::Asleep => {}
        }
    }

    /// A master says that a generation serves.
    pub(in crate::fleet) fn serving(
        &mut self,
        key: &MasterKey,
        serves: (GenerationId, RevisionId),
        operation: Option<OperationId>,
        desk: &mut Desk<'_>,
    ) {
        // A word of the master's own may overtake the keeper's.
        self.master_started(key, desk);
        self.course = match std::mem::replace(&mut self.course, Course::Resting) {
            Course::Loyal { mut master } if master.key == *key => {
                self.note_serving(&mut master, serves, operation.is_some());
                Course::Loyal { master }
            }
            Course::Waiting { mut master, operation: waiting } if master.key == *key => {
                self.note_serving(&mut master, serves, operation.is_some());
                Course::Waiting { master, operation: waiting }
            }
            Course::Starting { mut master, boot } | Course::Reloading { mut master, boot } if master.key == *key => {
                self.note_serving(&mut master, serves, false);
                self.proved(master, boot, operation, desk)
            }
            Course::Moving { old, mut new, boot } if new.key == *key => {
                self.note_serving(&mut new, serves, false);
                self.berth = new.key.berth;
                self.dismiss(old, desk);
                self.proved(new, boot, operation, desk)
            }
            Course::Moving { mut old, new, boot } if old.key == *key => {
                self.note_serving(&mut old, serves, false);
                Course::Moving { old, new, boot }
            }
            course @ (Course::Resting
            | Course::Queued { .. }
            | Course::Starting { .. }
            | Course::Loyal { .. }
            | Course::Waiting { .. }
            | Course::Reloading { .. }
            | Course::Moving { .. }
            | Course::Cursed { .. }
            | Course::Asleep) => course,
        };
    }

    fn note_serving(&mut self, master: &mut Master, serves: (GenerationId, RevisionId), by_request: bool) {
        master.serving = Some(serves);
        self.served = Some(Target {
            revision: serves.1,
            identity: master.identity,
            mercy: master.mercy,
            content: master.content,
        });
        self.listeners = Listeners::Served;
        // What failed may have been tried again by the master itself.
        if by_request || self.target().is_some_and(|target| target.revision == serves.1) {
            self.last_failure = None;
        }
    }

    /// The master that boots serves something: what was awaited, or a predecessor of it.
    fn proved(
        &mut self,
        mut master: Master,
        boot: Boot,
        operation: Option<OperationId>,
        desk: &mut Desk<'_>,
    ) -> Course {
        if !boot.awaits(operation) {
            return Course::Reloading { master, boot };
        }
        master.mercy = boot.mercy;
        self.last_failure = None;
        self.forgive_at = (self.failures > 0).then(|| desk.now.after(desk.policy.forgiven_after));
        desk.end(boot.operation, OperationEnd::Succeeded);
        Course::Loyal { master }
    }

    /// A master says that a deploy failed.
    pub(in crate::fleet) fn failed(
        &mut self,
        key: &MasterKey,
        operation: Option<OperationId>,
        reason: FailureReason,
        still_serving: bool,
        desk: &mut Desk<'_>,
    ) {
        self.master_started(key, desk);
        let superseded = reason == FailureReason::Superseded;
        self.course = match std::mem::replace(&mut self.course, Course::Resting) {
            Course::Starting { master, boot } if master.key == *key && boot.awaits(operation) => {
                if superseded {
                    taken_over(boot, desk).starting(master)
                } else if still_serving {
                    self.deploy_failed(boot, reason, desk);
                    Course::Loyal { master }
                } else {
                    self.leaves(master, desk);
                    self.start_failed(boot.operation, reason, desk)
                }
            }
            Course::Reloading { master, boot } if master.key == *key && boot.awaits(operation) => {
                if superseded {
                    taken_over(boot, desk).reloading(master)
                } else if still_serving {
                    self.deploy_failed(boot, reason, desk);
                    Course::Loyal { master }
                } else {
                    desk.end(boot.operation, OperationEnd::Failed { reason: reason.clone(), still_serving });
                    self.leaves(master, desk);
                    self.crashed(reason, desk)
                }
            }
            Course::Moving { old, new, boot } if new.key == *key && boot.awaits(operation) => {
                if superseded {
                    taken_over(boot, desk).moving(old, new)
                } else {
                    self.deploy_failed(boot, reason, desk);
                    if still_serving {
                        self.dismiss(new, desk);
                    } else {
                        self.leaves(new, desk);
                    }
                    Course::Loyal { master: old }
                }
            }
            Course::Starting { master, boot } if master.key == *key => {
                boot.after_earlier(superseded || still_serving).starting(master)
            }
            Course::Reloading { master, boot } if master.key == *key => {
                boot.after_earlier(superseded || still_serving).reloading(master)
            }
            Course::Moving { old, new, boot } if new.key == *key => {
                boot.after_earlier(superseded || still_serving).moving(old, new)
            }
            Course::Moving { old, new, boot } if old.key == *key && !superseded && !still_serving => {
                self.leaves(old, desk);
                self.berth = new.key.berth;
                Course::Starting { master: new, boot }
            }
            Course::Loyal { master } if master.key == *key && !superseded => {
                if still_serving {
                    self.last_failure = Some(reason);
                    Course::Loyal { master }
                } else {
                    self.leaves(master, desk);
                    self.crashed(reason, desk)
                }
            }
            Course::Waiting { master, operation: waiting } if master.key == *key && !superseded && !still_serving => {
                self.leaves(master, desk);
                self.last_failure = Some(reason);
                Course::Queued { operation: waiting, urgency: Urgency::Recovery }
            }
            course @ (Course::Resting
            | Course::Queued { .. }
            | Course::Starting { .. }
            | Course::Loyal { .. }
            | Course::Waiting { .. }
            | Course::Reloading { .. }
            | Course::Moving { .. }
            | Course::Cursed { .. }
            | Course::Asleep) => course,
        };
        self.rest_without_target(desk);
        self.when_all_gone(desk);
    }

    /// The order of a deploy could not be carried out.
    pub(in crate::fleet) fn deploy_refused(
        &mut self,
        key: &MasterKey,
        operation: OperationId,
        reason: FailureReason,
        desk: &mut Desk<'_>,
    ) {
        self.course = match std::mem::replace(&mut self.course, Course::Resting) {
            Course::Reloading { master, boot } if master.key == *key && boot.ordered == Some(operation) => {
                if boot.doomed {
                    self.leaves(master, desk);
                    self.again(boot.operation, desk)
                } else {
                    self.deploy_failed(boot, reason, desk);
                    Course::Loyal { master }
                }
            }
            Course::Starting { master, boot } if master.key == *key && boot.ordered == Some(operation) => {
                if boot.doomed {
                    self.leaves(master, desk);
                    self.again(boot.operation, desk)
                } else {
                    self.deploy_failed(boot.clone(), reason, desk);
                    boot.of_whatever_boots().starting(master)
                }
            }
            Course::Moving { old, new, boot } if new.key == *key && boot.ordered == Some(operation) => {
                if boot.doomed {
                    self.leaves(new, desk);
                    match boot.operation {
                        Some(operation) => Course::Waiting { master: old, operation },
                        None => Course::Loyal { master: old },
                    }
                } else {
                    self.deploy_failed(boot.clone(), reason, desk);
                    boot.of_whatever_boots().moving(old, new)
                }
            }
            course @ (Course::Resting
            | Course::Queued { .. }
            | Course::Starting { .. }
            | Course::Loyal { .. }
            | Course::Waiting { .. }
            | Course::Reloading { .. }
            | Course::Moving { .. }
            | Course::Cursed { .. }
            | Course::Asleep) => course,
        };
        self.rest_without_target(desk);
    }

    /// A master does not answer. One that is leaving has its own deadline.
    pub(in crate::fleet) fn master_hangs(&mut self, key: &MasterKey, desk: &mut Desk<'_>) {
        if self.course.has(key) {
            desk.out.push(Action::Kill { master: key.clone() });
        }
    }

    /// A master's process is gone, or never came to be.
    pub(in crate::fleet) fn master_gone(&mut self, key: &MasterKey, reason: FailureReason, desk: &mut Desk<'_>) {
        self.master_ended(key, reason, Self::crashed, desk);
    }

    /// A master has left by itself: on demand that is its rest, else it is as good as dead.
    pub(in crate::fleet) fn master_left(&mut self, key: &MasterKey, reason: FailureReason, desk: &mut Desk<'_>) {
        // A deploy under way did not reach it: the next master carries it out.
        if let Course::Reloading { master, boot } = &mut self.course
            && master.key == *key
        {
            boot.doomed = true;
        }
        self.master_ended(key, reason, Self::rests_or_crashed, desk);
    }

    fn master_ended(
        &mut self,
        key: &MasterKey,
        reason: FailureReason,
        end: impl FnOnce(&mut Self, FailureReason, &mut Desk<'_>) -> Course,
        desk: &mut Desk<'_>,
    ) {
        if self.leaving.gone(key) {
            self.when_all_gone(desk);
            return;
        }
        self.course = match std::mem::replace(&mut self.course, Course::Resting) {
            Course::Loyal { master } if master.key == *key => end(self, reason, desk),
            Course::Waiting { master, operation } if master.key == *key => {
                self.last_failure = Some(reason);
                Course::Queued { operation, urgency: Urgency::Recovery }
            }
            Course::Starting { master, boot } if master.key == *key => {
                if boot.doomed || boot.outdated {
                    self.again(boot.operation, desk)
                } else {
                    self.start_failed(boot.operation, reason, desk)
                }
            }
            Course::Reloading { master, boot } if master.key == *key => {
                if boot.doomed {
                    self.again(boot.operation, desk)
                } else {
                    desk.end(boot.operation, OperationEnd::Failed { reason: reason.clone(), still_serving: false });
                    self.crashed(reason, desk)
                }
            }
            Course::Moving { old, new, boot } if new.key == *key => match boot.operation {
                Some(operation) if boot.doomed || boot.outdated => Course::Waiting { master: old, operation },
                Some(_) | None => {
                    self.deploy_failed(boot, reason, desk);
                    Course::Loyal { master: old }
                }
            },
            Course::Moving { old, new, boot } if old.key == *key => {
                self.berth = new.key.berth;
                Course::Starting { master: new, boot }
            }
            course @ (Course::Resting
            | Course::Queued { .. }
            | Course::Starting { .. }
            | Course::Loyal { .. }
            | Course::Waiting { .. }
            | Course::Reloading { .. }
            | Course::Moving { .. }
            | Course::Cursed { .. }
            | Course::Asleep) => course,
        };
        self.rest_without_target(desk);
        self.when_all_gone(desk);
    }

    /// A master said that it goes: it has the grace to do so.
    fn leaves(&mut self, master: Master, desk: &mut Desk<'_>) {
        self.leaving.said(master.key, master.content, desk.now.after(desk.policy.stop_grace));
    }

    /// A deploy failed, and what served before serves on.
    fn deploy_failed(&mut self, boot: Boot, reason: FailureReason, desk: &mut Desk<'_>) {
        self.last_failure = Some(reason.clone());
        desk.end(boot.operation, OperationEnd::Failed { reason, still_serving: true });
    }

    /// It never served, or not since its last start: it is tried again later.
    pub(super) fn start_failed(
        &mut self,
        operation: Option<OperationId>,
        reason: FailureReason,
        desk: &mut Desk<'_>,
    ) -> Course {
        desk.end(operation, OperationEnd::Failed { reason: reason.clone(), still_serving: false });
        self.last_failure = Some(reason);
        self.failures += 1;
        self.forgive_at = None;
        if self.listeners == Listeners::Bound {
            self.listeners = Listeners::Closing;
        }
        let wait = self.backoff.fail_again(desk.policy.retry_first, desk.policy.retry_longest);
        Course::Cursed { retry_at: desk.now.after(wait) }
    }

    /// It served and is gone: it is started again at once, or later when it keeps doing that.
    pub(super) fn crashed(&mut self, reason: FailureReason, desk: &mut Desk<'_>) -> Course {
        self.forgive_if_due(desk.now);
        self.last_failure = Some(reason);
        self.failures += 1;
        self.forgive_at = None;
        let wait = self.backoff.fail(desk.policy.retry_first, desk.policy.retry_longest);
        if !wait.is_zero() {
            return Course::Cursed { retry_at: desk.now.after(wait) };
        }
        let operation = desk.begin(&self.name, Verb::Start, Cause::Recovery);
        Course::Queued { operation, urgency: Urgency::Recovery }
    }

    /// A deploy that its master never saw is carried out by the next one.
    fn again(&mut self, operation: Option<OperationId>, desk: &mut Desk<'_>) -> Course {
        let operation = operation.unwrap_or_else(|| desk.begin(&self.name, Verb::Start, Cause::Recovery));
        Course::Queued { operation, urgency: Urgency::Recovery }
    }

    /// What waits to run, but must not any more (its file was refused meanwhile), rests.
    pub(super) fn rest_without_target(&mut self, desk: &mut Desk<'_>) {
        if self.target().is_some() || !self.is_expected() {
            return;
        }
        self.course = match std::mem::replace(&mut self.course, Course::Resting) {
            Course::Queued { operation, .. } => {
                desk.end(Some(operation), OperationEnd::Failed { reason: self.refusal(), still_serving: false });
                self.close_listeners(desk);
                Course::Resting
            }
            Course::Cursed { .. } | Course::Asleep => {
                self.close_listeners(desk);
                Course::Resting
            }
            course @ (Course::Resting
            | Course::Starting { .. }
            | Course::Loyal { .. }
            | Course::Waiting { .. }
            | Course::Reloading { .. }
            | Course::Moving { .. }) => course,
        };
    }
}

/// Somebody at the master itself asked for something newer than our deploy.
fn taken_over(boot: Boot, desk: &mut Desk<'_>) -> Boot {
    desk.superseded(boot.operation);
    boot.of_whatever_boots()
}

impl Boot {
    /// Whatever the master boots now is awaited.
    fn of_whatever_boots(self) -> Boot {
        Boot { operation: None, ordered: None, revision: None, ..self }
    }

    /// An earlier deploy than this one has failed.
    fn after_earlier(self, harmless: bool) -> Boot {
        Boot { doomed: self.doomed || !harmless, ..self }
    }

    fn starting(self, master: Master) -> Course {
        Course::Starting { master, boot: self }
    }

    fn reloading(self, master: Master) -> Course {
        Course::Reloading { master, boot: self }
    }

    fn moving(self, old: Master, new: Master) -> Course {
        Course::Moving { old, new, boot: self }
    }
}
