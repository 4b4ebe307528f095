//! One vassal: what its file says, what is wanted of it, which masters it has. The parent module feeds it and gives
//! it its turn to boot; it knows of no other vassal.

mod adoption;
mod asleep;
mod frozen;
mod masters;
mod requests;
mod shown;

use super::{
    agenda::{Facts, Urgency},
    desk::Desk,
    leaving::Leaving,
    words::{
        Action, Berth, Cause, ContentDigest, Identity, MasterKey, OperationEnd, Policy, VassalView, Verb, Verdict,
    },
};
use crate::{
    backoff::Backoff,
    generations::FailureReason,
    ids::{GenerationId, OperationId, RevisionId, VassalName},
    moment::Moment,
};
use std::time::Duration;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Vassal {
    pub(super) name: VassalName,
    /// What the file says; None when it is gone, or was never seen (before the first scan).
    file: Option<Said>,
    /// The file was not seen any more, and that is doubted: what it said last still counts.
    missing: bool,
    /// The content of the file.
    content: Option<ContentDigest>,
    /// An operator's "stay stopped".
    pub(super) held: bool,
    /// An operator's "accept nothing".
    pub(super) frozen: bool,
    /// Whether it is to run only from its first client on, as its file said last.
    on_demand: bool,
    /// Whether the doubt about its removal is on record.
    doubt_recorded: bool,
    course: Course,
    /// Masters that are to go.
    leaving: Leaving,
    /// The operation that ends when all of them are gone.
    stopping: Option<OperationId>,
    listeners: Listeners,
    /// Where the next master lives, unless one is to be started beside it.
    berth: Berth,
    /// What served last, for a recovery while the file is refused.
    served: Option<Target>,
    backoff: Backoff,
    failures: u32,
    /// When the failures are forgotten.
    forgive_at: Option<Moment>,
    last_failure: Option<FailureReason>,
    /// The view that was published last.
    shown: Option<VassalView>,
}

/// What a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Said {
    revision: RevisionId,
    verdict: Verdict,
}

/// Something that can be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Target {
    revision: RevisionId,
    identity: Identity,
    mercy: Duration,
    content: Option<ContentDigest>,
}

/// What the keeper keeps for the vassal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Listeners {
    /// Nothing.
    None,
    /// Sockets that nobody has served yet.
    Bound,
    /// Sockets that were served: they stay through crashes.
    Served,
    /// Sockets that are closed when the last master is gone.
    Closing,
}

/// Where the vassal is heading, with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Course {
    /// Nothing is to run: refused, held, gone, or the fleet stops.
    Resting,
    /// It waits for its turn to be started.
    Queued { operation: OperationId, urgency: Urgency },
    /// Its first generation boots in this master.
    Starting { master: Master, boot: Boot },
    /// It serves.
    Loyal { master: Master },
    /// It serves, and waits for its turn to deploy.
    Waiting { master: Master, operation: OperationId },
    /// It serves, and a new generation boots beside in the same master.
    Reloading { master: Master, boot: Boot },
    /// It serves, and a second master with another identity boots beside.
    Moving { old: Master, new: Master, boot: Boot },
    /// Nothing serves; it is started again then.
    Cursed { retry_at: Moment },
    /// Nothing of it runs: the keeper holds its sockets and tells when a client comes.
    Asleep,
}

/// A master that is not on its way out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Master {
    key: MasterKey,
    identity: Identity,
    /// What its stop may take.
    mercy: Duration,
    /// Whether the keeper has started it.
    started: bool,
    serving: Option<(GenerationId, RevisionId)>,
    /// What it was given last, or said to serve.
    content: Option<ContentDigest>,
    /// Whether it was told to accept nothing.
    frozen: bool,
}

/// A deploy that a master was ordered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Boot {
    /// What ends with it.
    operation: Option<OperationId>,
    /// What the master's words carry; None when whatever it does is awaited.
    ordered: Option<OperationId>,
    /// What it is to run, when that is known.
    revision: Option<RevisionId>,
    /// The mercy of that.
    mercy: Duration,
    /// Since when it, or what it superseded in the same master, boots.
    since: Moment,
    /// Something newer is to be deployed as soon as the master is started.
    outdated: bool,
    /// The master has said that an earlier deploy failed with nothing serving: it may leave before it sees this one.
    doomed: bool,
}

impl Boot {
    fn awaits(&self, operation: Option<OperationId>) -> bool {
        !self.outdated && (self.ordered.is_none() || self.ordered == operation)
    }
}

impl Vassal {
    /// A vassal that was just heard of.
    pub(super) fn new(name: VassalName, held: bool, frozen: bool) -> Self {
        Vassal {
            name,
            file: None,
            missing: false,
            content: None,
            held,
            frozen,
            on_demand: false,
            doubt_recorded: false,
            course: Course::Resting,
            leaving: Leaving::default(),
            stopping: None,
            listeners: Listeners::None,
            berth: Berth::A,
            served: None,
            backoff: Backoff::default(),
            failures: 0,
            forgive_at: None,
            last_failure: None,
            shown: None,
        }
    }

    /// Whether nothing is left of it.
    pub(super) fn is_over(&self) -> bool {
        self.file.is_none() && self.course == Course::Resting && self.leaving.is_empty()
    }

    /// Whether nothing of it runs or is going to.
    pub(super) fn rests(&self) -> bool {
        self.course == Course::Resting && self.leaving.is_empty()
    }

    /// An earlier brain may have had its sockets bound: they are to be closed when it comes to rest.
    pub(super) fn may_have_sockets(&mut self) {
        if !self.rests() && self.listeners == Listeners::None {
            self.listeners = Listeners::Bound;
        }
    }

    /// Whether a process of it is alive or about to be.
    pub(super) fn has_masters(&self) -> bool {
        match self.course {
            Course::Resting | Course::Queued { .. } | Course::Cursed { .. } | Course::Asleep => {
                !self.leaving.is_empty()
            }
            Course::Starting { .. }
            | Course::Loyal { .. }
            | Course::Waiting { .. }
            | Course::Reloading { .. }
            | Course::Moving { .. } => true,
        }
    }

    /// What is to run: what the file says, or what served last while the file is refused, or missing and never read.
    fn target(&self) -> Option<Target> {
        if self.held {
            return None;
        }
        let Some(Said { revision, verdict }) = self.file else { return self.served.filter(|_| self.missing) };
        match verdict {
            Verdict::Runs { identity, mercy, on_demand: _ } => {
                Some(Target { revision, identity, mercy, content: self.content })
            }
            Verdict::Refused => self.served,
        }
    }

    /// Whether it can have its turn: the place of its next master is free.
    pub(super) fn is_ready(&self) -> bool {
        let Some(target) = self.target() else { return false };
        match &self.course {
            Course::Queued { .. } => match self.listeners {
                Listeners::Closing => self.leaving.is_empty(),
                Listeners::None | Listeners::Bound | Listeners::Served => !self.leaving.any_in(self.berth),
            },
            Course::Waiting { master, .. } => {
                target.identity == master.identity || !self.leaving.any_in(master.key.berth.other())
            }
            Course::Resting
            | Course::Starting { .. }
            | Course::Loyal { .. }
            | Course::Reloading { .. }
            | Course::Moving { .. }
            | Course::Cursed { .. }
            | Course::Asleep => false,
        }
    }

    /// It has its turn: starts a master, or orders the one there is to deploy.
    pub(super) fn take_turn(&mut self, desk: &mut Desk<'_>) {
        let target = self.target();
        self.course = match (std::mem::replace(&mut self.course, Course::Resting), target) {
            (Course::Queued { operation, .. }, Some(target)) => {
                let (master, boot) = self.start(self.berth, target, operation, desk);
                Course::Starting { master, boot }
            }
            (Course::Waiting { mut master, operation }, Some(target)) if master.identity == target.identity => {
                let boot = deploy(&mut master, target, operation, desk);
                Course::Reloading { master, boot }
            }
            (Course::Waiting { master: old, operation }, Some(target)) => {
                let (new, boot) = self.start(old.key.berth.other(), target, operation, desk);
                Course::Moving { old, new, boot }
            }
            (course, _) => course,
        };
    }

    fn start(&mut self, berth: Berth, target: Target, operation: OperationId, desk: &mut Desk<'_>) -> (Master, Boot) {
        let Target { revision, identity, mercy, content } = target;
        let key = MasterKey { vassal: self.name.clone(), berth, serial: desk.numbers.next_serial() };
        if self.listeners == Listeners::None {
            self.listeners = Listeners::Bound;
        }
        let frozen = self.frozen;
        desk.out.push(Action::Start { master: key.clone(), revision, operation, frozen });
        (
            Master { key, identity, mercy, started: false, serving: None, content, frozen },
            Boot::new(operation, target, desk.now),
        )
    }

    /// Lets a master go.
    fn dismiss(&mut self, master: Master, desk: &mut Desk<'_>) {
        let patience = master.mercy + desk.policy.stop_grace;
        if master.started {
            desk.out.push(self.leaving.ask(master.key, master.content, desk.now, patience));
        } else {
            self.leaving.ask_later(master.key, master.content, desk.now, patience);
        }
    }

    /// Lets everything go, and answers which operation has come to nothing by that.
    fn dismiss_all(&mut self, desk: &mut Desk<'_>) -> Option<OperationId> {
        match std::mem::replace(&mut self.course, Course::Resting) {
            Course::Resting | Course::Cursed { .. } | Course::Asleep => None,
            Course::Queued { operation, .. } => Some(operation),
            Course::Loyal { master } => {
                self.dismiss(master, desk);
                None
            }
            Course::Waiting { master, operation } => {
                self.dismiss(master, desk);
                Some(operation)
            }
            Course::Starting { master, boot } | Course::Reloading { master, boot } => {
                self.dismiss(master, desk);
                boot.operation
            }
            Course::Moving { old, new, boot } => {
                self.dismiss(old, desk);
                self.dismiss(new, desk);
                boot.operation
            }
        }
    }

    /// Has the listeners closed as soon as no master is left.
    fn close_listeners(&mut self, desk: &mut Desk<'_>) {
        if self.listeners != Listeners::None {
            self.listeners = Listeners::Closing;
        }
        self.when_all_gone(desk);
    }

    /// What waited for the last master to go.
    fn when_all_gone(&mut self, desk: &mut Desk<'_>) {
        if self.has_masters() {
            return;
        }
        if self.listeners == Listeners::Closing {
            self.listeners = Listeners::None;
            self.berth = Berth::A;
            desk.out.push(Action::Forget { name: self.name.clone() });
        }
        desk.end(self.stopping.take(), OperationEnd::Succeeded);
    }

    /// When something of it is due.
    fn deadline(&self) -> Option<Moment> {
        let retry_at = match self.course {
            Course::Cursed { retry_at } => Some(retry_at),
            Course::Asleep
            | Course::Resting
            | Course::Queued { .. }
            | Course::Starting { .. }
            | Course::Loyal { .. }
            | Course::Waiting { .. }
            | Course::Reloading { .. }
            | Course::Moving { .. } => None,
        };
        [retry_at, self.leaving.deadline(), self.forgive_at].into_iter().flatten().min()
    }

    /// Does what is due.
    pub(super) fn deadline_reached(&mut self, desk: &mut Desk<'_>) {
        desk.out.extend(self.leaving.kill_due(desk.now));
        self.forgive_if_due(desk.now);
        match self.course {
            Course::Cursed { retry_at } if retry_at <= desk.now => {
                if self.falls_asleep(desk) {
                    return;
                }
                let operation = desk.begin(&self.name, Verb::Start, Cause::Recovery);
                self.course = Course::Queued { operation, urgency: Urgency::Ordinary };
            }
            Course::Cursed { .. }
            | Course::Asleep
            | Course::Resting
            | Course::Queued { .. }
            | Course::Starting { .. }
            | Course::Loyal { .. }
            | Course::Waiting { .. }
            | Course::Reloading { .. }
            | Course::Moving { .. } => {}
        }
    }

    fn forgive_if_due(&mut self, now: Moment) {
        if self.forgive_at.is_some_and(|at| at <= now) {
            self.forgive();
        }
    }

    fn forgive(&mut self) {
        self.forgive_at = None;
        self.failures = 0;
        self.backoff.forget();
    }

    /// For the indexes of the parent.
    pub(super) fn facts(&self, policy: &Policy) -> Facts {
        let (boot, waits) = match &self.course {
            Course::Starting { boot, .. } | Course::Reloading { boot, .. } | Course::Moving { boot, .. } => {
                (Some(boot), None)
            }
            Course::Queued { urgency, .. } => (None, Some(*urgency)),
            Course::Waiting { .. } => (None, Some(Urgency::Ordinary)),
            Course::Resting | Course::Loyal { .. } | Course::Cursed { .. } | Course::Asleep => (None, None),
        };
        Facts {
            deadline: self.deadline(),
            boot_counts_until: boot.map(|boot| boot.since.after(policy.boots_counted_for)),
            waits,
            fading: if self.shown_master().is_none() { self.leaving.contents() } else { Vec::new() },
        }
    }

    /// The content it is to run, for the question of a rename.
    pub(super) fn content(&self) -> Option<ContentDigest> {
        self.content
    }
}

impl Boot {
    fn new(operation: OperationId, target: Target, now: Moment) -> Self {
        let (operation, Target { revision, mercy, .. }) = (Some(operation), target);
        Boot {
            operation,
            ordered: operation,
            revision: Some(revision),
            mercy,
            since: now,
            outdated: false,
            doomed: false,
        }
    }
}

/// Orders a started master to deploy.
fn deploy(master: &mut Master, target: Target, operation: OperationId, desk: &mut Desk<'_>) -> Boot {
    master.mercy = master.mercy.max(target.mercy);
    master.content = target.content;
    desk.out.push(Action::Deploy { master: master.key.clone(), revision: target.revision, operation });
    Boot::new(operation, target, desk.now)
}
