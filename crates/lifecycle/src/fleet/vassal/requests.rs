//! What is asked of a vassal: by its file, by commands, by a signal to the emperor.

use super::{Boot, Course, Desk, Master, Said, Target, Vassal, deploy};
use crate::{
    fleet::{
        agenda::Urgency,
        words::{Action, Cause, Command, OperationEnd, Sighting, Verb, Verdict},
    },
    generations::FailureReason,
    ids::{OperationId, VassalName},
};

impl Vassal {
    /// The scan saw its file.
    pub(in crate::fleet) fn sighted(&mut self, sighting: &Sighting, desk: &mut Desk<'_>) {
        let said = Said { revision: sighting.revision, verdict: sighting.verdict };
        let before = self.file.replace(said);
        self.missing = false;
        self.content = Some(sighting.content);
        if before == Some(said) {
            return;
        }
        if let Verdict::Runs { on_demand, .. } = sighting.verdict {
            self.on_demand = on_demand;
        }
        if self.held {
            self.let_go_if_any(Cause::Recovery, desk);
            return;
        }
        match sighting.verdict {
            Verdict::Refused => self.file_refused(desk),
            Verdict::Runs { identity, mercy, on_demand: _ } => {
                let content = Some(sighting.content);
                let target = Target { revision: sighting.revision, identity, mercy, content };
                if before.is_none() && self.runs_already(target) {
                    self.watch_adopted_boot(desk);
                    return;
                }
                self.forgive();
                if self.falls_asleep(desk) {
                    return;
                }
                let verb = if self.has_course() { Verb::Reload } else { Verb::Start };
                let operation = desk.begin(&self.name, verb, Cause::File);
                self.bring_up(operation, desk);
            }
        }
    }

    /// What runs or boots goes on; what was only going to be run is given up.
    fn file_refused(&mut self, desk: &mut Desk<'_>) {
        let reason = self.refusal();
        let still_serving = self.shown_master().is_some_and(|master| master.serving.is_some());
        let given_up = match &mut self.course {
            Course::Starting { boot, .. } | Course::Moving { boot, .. } if boot.outdated => {
                boot.outdated = false;
                boot.operation.take()
            }
            Course::Waiting { operation, .. } => Some(*operation),
            Course::Resting
            | Course::Queued { .. }
            | Course::Starting { .. }
            | Course::Loyal { .. }
            | Course::Reloading { .. }
            | Course::Moving { .. }
            | Course::Cursed { .. }
            | Course::Asleep => None,
        };
        desk.end(given_up, OperationEnd::Failed { reason, still_serving });
        self.course = match std::mem::replace(&mut self.course, Course::Resting) {
            Course::Waiting { master, .. } => Course::Loyal { master },
            course @ (Course::Resting
            | Course::Queued { .. }
            | Course::Starting { .. }
            | Course::Loyal { .. }
            | Course::Reloading { .. }
            | Course::Moving { .. }
            | Course::Cursed { .. }
            | Course::Asleep) => course,
        };
        self.rest_without_target(desk);
    }

    /// The scan did not see its file.
    pub(in crate::fleet) fn file_gone(&mut self, desk: &mut Desk<'_>) {
        self.file = None;
        self.missing = false;
        self.let_go_if_any(Cause::File, desk);
        self.close_listeners(desk);
    }

    /// The scan did not see its file, and that is doubted: it stays as it is.
    pub(in crate::fleet) fn file_missing(&mut self, desk: &mut Desk<'_>) {
        self.missing = true;
        // Of one that was found alive: should its file come back under another name, it is known by this.
        self.content = self.content.or_else(|| self.newest_master().and_then(|master| master.content));
        if self.held {
            self.let_go_if_any(Cause::Recovery, desk);
        }
        self.rest_without_target(desk);
    }

    /// A master presented itself late: whether its file was there at the last scan decides.
    pub(in crate::fleet) fn gone_unless_seen(&mut self, desk: &mut Desk<'_>) {
        if self.file.is_none() {
            self.file_gone(desk);
        }
    }

    /// The same while a removal is doubted.
    pub(in crate::fleet) fn missing_unless_seen(&mut self, desk: &mut Desk<'_>) {
        if self.file.is_none() {
            self.file_missing(desk);
        }
    }

    /// Whether its file is missing, and that is doubted.
    pub(in crate::fleet) fn is_missing(&self) -> bool {
        self.missing
    }

    /// Whether its file is expected to be there.
    pub(in crate::fleet) fn is_expected(&self) -> bool {
        self.file.is_some() || self.missing
    }

    /// The fleet stops.
    pub(in crate::fleet) fn fleet_stops(&mut self, desk: &mut Desk<'_>) {
        self.let_go_if_any(Cause::Signal, desk);
        self.close_listeners(desk);
    }

    /// The fleet was told to stop a second time.
    pub(in crate::fleet) fn kill_all(&mut self, desk: &mut Desk<'_>) {
        desk.out.extend(self.leaving.kill_all());
    }

    pub(super) fn let_go_if_any(&mut self, cause: Cause, desk: &mut Desk<'_>) {
        if self.has_course() {
            let operation = desk.begin(&self.name, Verb::Stop, cause);
            self.let_go(operation, desk);
        }
        let slept = std::mem::replace(&mut self.course, Course::Resting) == Course::Asleep;
        self.served = None;
        if slept {
            self.close_listeners(desk);
        }
    }

    fn has_course(&self) -> bool {
        match self.course {
            Course::Resting | Course::Cursed { .. } | Course::Asleep => false,
            Course::Queued { .. }
            | Course::Starting { .. }
            | Course::Loyal { .. }
            | Course::Waiting { .. }
            | Course::Reloading { .. }
            | Course::Moving { .. } => true,
        }
    }

    fn let_go(&mut self, operation: OperationId, desk: &mut Desk<'_>) {
        let overtaken = self.dismiss_all(desk);
        desk.superseded(overtaken);
        desk.superseded(self.stopping.replace(operation));
        self.forgive();
        self.served = None;
        self.last_failure = None;
        self.close_listeners(desk);
    }

    /// Whether a master found alive runs or boots this already.
    pub(super) fn runs_already(&self, target: Target) -> bool {
        match &self.course {
            Course::Loyal { master } => {
                master.identity == target.identity
                    && master.serving.is_some_and(|(_, revision)| revision == target.revision)
            }
            Course::Starting { master, boot }
            | Course::Reloading { master, boot }
            | Course::Moving { new: master, boot, .. } => {
                master.identity == target.identity && boot.ordered.is_none() && boot.revision == Some(target.revision)
            }
            Course::Resting
            | Course::Queued { .. }
            | Course::Waiting { .. }
            | Course::Cursed { .. }
            | Course::Asleep => false,
        }
    }

    /// Somebody asked.
    pub(in crate::fleet) fn commanded(&mut self, command: &Command, desk: &mut Desk<'_>) {
        let Command { operation, verb, .. } = *command;
        desk.begin_as(operation, &self.name, verb, Cause::Command);
        match verb {
            Verb::Stop => {
                if !self.held {
                    self.held = true;
                    desk.out.push(Action::Hold { name: self.name.clone(), held: true });
                }
                self.let_go(operation, desk);
            }
            Verb::Start => {
                if self.held {
                    self.held = false;
                    desk.out.push(Action::Hold { name: self.name.clone(), held: false });
                }
                match self.obstacle() {
                    Some(reason) => self.cannot(operation, reason, desk),
                    None => {
                        desk.superseded(self.stopping.take());
                        self.keep_up(operation, desk);
                    }
                }
            }
            Verb::Freeze => self.freeze(operation, desk),
            Verb::Resume => self.resume(operation, desk),
            Verb::Reload => match self.obstacle() {
                Some(reason) => self.cannot(operation, reason, desk),
                // What it is started with is read then.
                None if self.course == Course::Asleep => desk.end(Some(operation), OperationEnd::Succeeded),
                None => self.bring_up(operation, desk),
            },
        }
    }

    fn cannot(&self, operation: OperationId, reason: FailureReason, desk: &mut Desk<'_>) {
        let still_serving = self.shown_master().is_some_and(|master| master.serving.is_some());
        desk.end(Some(operation), OperationEnd::Failed { reason, still_serving });
    }

    /// Why it cannot be brought up.
    pub(super) fn obstacle(&self) -> Option<FailureReason> {
        let name = &self.name;
        match self.file {
            None => Some(FailureReason::Setup { sentence: no_file(name) }),
            Some(_) if self.held => {
                Some(FailureReason::Setup { sentence: format!("{name} is held: start it instead") })
            }
            Some(Said { verdict: Verdict::Refused, .. }) => Some(self.refusal()),
            Some(Said { verdict: Verdict::Runs { .. }, .. }) => None,
        }
    }

    pub(super) fn refusal(&self) -> FailureReason {
        let Self { name, file, .. } = self;
        FailureReason::Setup {
            sentence: match file {
                Some(_) => format!("the file of {name} is refused: see its problems and correct it"),
                None => no_file(name),
            },
        }
    }

    /// The emperor was told to reload everything that runs.
    pub(in crate::fleet) fn reload_if_running(&mut self, desk: &mut Desk<'_>) {
        if self.shown_master().is_some() && self.obstacle().is_none() {
            let operation = desk.begin(&self.name, Verb::Reload, Cause::Signal);
            self.bring_up(operation, desk);
        }
    }

    /// Runs what the file says if it does not run already; joins what is under way to that end.
    fn keep_up(&mut self, operation: OperationId, desk: &mut Desk<'_>) {
        let Some(target) = self.target() else { return };
        let runs_already = self.runs_already(target);
        match &mut self.course {
            Course::Loyal { .. } if runs_already => desk.end(Some(operation), OperationEnd::Succeeded),
            Course::Waiting { operation: waiting, .. } => {
                desk.superseded(Some(std::mem::replace(waiting, operation)));
            }
            Course::Starting { boot, .. } | Course::Reloading { boot, .. } | Course::Moving { boot, .. }
                if boot.outdated || boot.revision == Some(target.revision) =>
            {
                desk.superseded(boot.operation.replace(operation));
            }
            Course::Loyal { .. }
            | Course::Starting { .. }
            | Course::Reloading { .. }
            | Course::Moving { .. }
            | Course::Resting
            | Course::Queued { .. }
            | Course::Cursed { .. }
            | Course::Asleep => self.bring_up(operation, desk),
        }
    }

    /// Brings what the file says now into service, by whatever way there is from here. Only with a file that runs.
    pub(super) fn bring_up(&mut self, operation: OperationId, desk: &mut Desk<'_>) {
        let Some(target) = self.target() else { return };
        self.course = match std::mem::replace(&mut self.course, Course::Resting) {
            Course::Resting | Course::Cursed { .. } | Course::Asleep => {
                Course::Queued { operation, urgency: Urgency::Ordinary }
            }
            Course::Queued { operation: overtaken, urgency } => {
                desk.superseded(Some(overtaken));
                Course::Queued { operation, urgency }
            }
            Course::Loyal { master } => Course::Waiting { master, operation },
            Course::Waiting { master, operation: overtaken } => {
                desk.superseded(Some(overtaken));
                Course::Waiting { master, operation }
            }
            Course::Starting { mut master, boot } => {
                desk.superseded(boot.operation);
                if master.identity == target.identity {
                    let boot = deploy_or_note(&mut master, boot, target, operation, desk);
                    Course::Starting { master, boot }
                } else {
                    self.dismiss(master, desk);
                    Course::Queued { operation, urgency: Urgency::Ordinary }
                }
            }
            Course::Reloading { mut master, boot } => {
                desk.superseded(boot.operation);
                if master.identity == target.identity {
                    let boot = deploy_or_note(&mut master, boot, target, operation, desk);
                    Course::Reloading { master, boot }
                } else {
                    Course::Waiting { master, operation }
                }
            }
            Course::Moving { old, mut new, boot } => {
                desk.superseded(boot.operation);
                if new.identity == target.identity {
                    let boot = deploy_or_note(&mut new, boot, target, operation, desk);
                    Course::Moving { old, new, boot }
                } else {
                    self.dismiss(new, desk);
                    Course::Waiting { master: old, operation }
                }
            }
        };
    }
}

fn no_file(name: &VassalName) -> String {
    format!("{name} has no file: put it back to run it")
}

/// A master that boots is to deploy something newer: now, or as soon as it is there.
fn deploy_or_note(
    master: &mut Master,
    boot: Boot,
    target: Target,
    operation: OperationId,
    desk: &mut Desk<'_>,
) -> Boot {
    if master.started {
        Boot { doomed: boot.doomed, since: boot.since, ..deploy(master, target, operation, desk) }
    } else {
        Boot { operation: Some(operation), outdated: true, ..boot }
    }
}
