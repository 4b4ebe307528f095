//! The operations of this brain's life as views: hung on the board before which pipelines wait, and written to history.
//! Tells nothing to the fleet machine; the owning task calls it.

use std::collections::{BTreeMap, BTreeSet};

use empery_control::fleet::{OperationView, PhaseTime};
use empery_lifecycle::{
    fleet::{Cause, OperationEnd, Verb},
    ids::{GenerationId, OperationId, RevisionId, VassalName},
};
use empery_web_ui::OperationBoard;

use super::clock;

/// Most phases of an operation that are written down: a master that goes back and forth is ill.
const PHASES_MAX: usize = 32;

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Begun.
    Queued,
    /// The zygote imports the app.
    Booting,
    /// Workers are being forked and asked.
    Proving,
    /// What served finishes what it has.
    Draining,
    /// Over.
    Done,
}

impl Phase {
    fn word(self) -> &'static str {
        match self {
            Phase::Queued => "queued",
            Phase::Booting => "booting",
            Phase::Proving => "proving",
            Phase::Draining => "draining",
            Phase::Done => "done",
        }
    }
}

/// The operations that have not ended, and the board.
#[derive(Debug, Default)]
pub(crate) struct Operations {
    open: BTreeMap<OperationId, OperationView>,
    /// Begun by an earlier brain: the machine does not end these.
    inherited: BTreeSet<OperationId>,
    board: OperationBoard,
    /// Who gave a command, until the machine has begun it.
    actors: BTreeMap<OperationId, String>,
    /// Changed views, in order, to be written down and told.
    news: Vec<OperationView>,
}

impl Operations {
    /// The board.
    pub(crate) fn board(&self) -> OperationBoard {
        self.board.clone()
    }

    /// A command of this number was given by this actor.
    pub(crate) fn given_by(&mut self, id: OperationId, actor: String) {
        self.actors.insert(id, actor);
    }

    /// The machine has begun it.
    pub(crate) fn begin(&mut self, id: OperationId, vassal: VassalName, verb: Verb, cause: Cause) {
        let actor = self.actors.remove(&id).unwrap_or_else(|| word(cause).to_owned());
        let view = OperationView {
            id,
            vassal,
            verb,
            actor,
            revision: None,
            generation: None,
            phase: Phase::Queued.word().to_owned(),
            end: None,
            began_unix_ms: clock::unix_ms(),
            phases: vec![PhaseTime { phase: Phase::Queued.word().to_owned(), after_ms: 0 }],
            ended_unix_ms: None,
            boot_output: None,
        };
        self.open.insert(id, view);
        self.changed(id);
    }

    /// An earlier brain began it, and its master is still at it.
    pub(crate) fn inherit(&mut self, view: OperationView) {
        if view.end.is_none() {
            self.inherited.insert(view.id);
            self.board.record(view.clone());
            self.open.insert(view.id, view);
        }
    }

    /// Whether an earlier brain began it, and it has not ended.
    pub(crate) fn is_inherited(&self, id: OperationId) -> bool {
        self.inherited.contains(&id)
    }

    /// Of these, those of this vassal.
    pub(crate) fn inherited_of(&self, name: &VassalName) -> Vec<OperationId> {
        self.inherited.iter().copied().filter(|id| self.open.get(id).is_some_and(|view| view.vassal == *name)).collect()
    }

    /// The operation a master speaks of, unless it is another vassal's: a master is in its vassal's hands, and has no say
    /// in what others do.
    pub(crate) fn own(&self, id: Option<OperationId>, vassal: &VassalName) -> Option<OperationId> {
        id.filter(|id| self.open.get(id).is_none_or(|view| view.vassal == *vassal))
    }

    /// It deploys this revision.
    pub(crate) fn deploys(&mut self, id: OperationId, revision: RevisionId) {
        if let Some(view) = self.open.get_mut(&id) {
            view.revision = Some(revision.0);
        }
    }

    /// It has come so far, with this generation.
    pub(crate) fn reached(&mut self, id: OperationId, phase: Phase, generation: Option<GenerationId>) {
        let Some(view) = self.open.get_mut(&id) else { return };
        view.generation = generation.map(|generation| generation.0).or(view.generation);
        reach(view, phase);
        self.changed(id);
    }

    /// The stop of this vassal, if one was asked for, is being carried out.
    pub(crate) fn drains(&mut self, name: &VassalName) {
        let stop = self.open.values().find(|view| view.verb == Verb::Stop && view.vassal == *name);
        if let Some(id) = stop.map(|view| view.id) {
            self.reached(id, Phase::Draining, None);
        }
    }

    /// What the app wrote while booting.
    pub(crate) fn wrote(&mut self, id: OperationId, boot_output: Option<String>) {
        if let (Some(view), Some(output)) = (self.open.get_mut(&id), boot_output) {
            view.boot_output = Some(output);
        }
    }

    /// It made this generation.
    pub(crate) fn made(&mut self, id: OperationId, generation: GenerationId) {
        if let Some(view) = self.open.get_mut(&id) {
            view.generation = Some(generation.0);
        }
    }

    /// It is over.
    pub(crate) fn end(&mut self, id: OperationId, end: OperationEnd) -> Option<OperationView> {
        self.actors.remove(&id);
        self.inherited.remove(&id);
        let mut view = self.open.remove(&id)?;
        reach(&mut view, Phase::Done);
        view.end = Some(end);
        view.ended_unix_ms = Some(clock::unix_ms());
        self.board.record(view.clone());
        self.news.push(view.clone());
        Some(view)
    }

    /// Whether somebody gave a command, and may be waiting for this end.
    pub(crate) fn was_commanded(view: &OperationView) -> bool {
        ![Cause::File, Cause::Recovery, Cause::Signal, Cause::Client].into_iter().any(|cause| word(cause) == view.actor)
    }

    /// What has changed since this was last asked, in order; the last word on each.
    pub(crate) fn take_news(&mut self) -> Vec<OperationView> {
        std::mem::take(&mut self.news)
    }

    fn changed(&mut self, id: OperationId) {
        if let Some(view) = self.open.get(&id) {
            self.board.record(view.clone());
            self.news.push(view.clone());
        }
    }
}

/// What asked, when it was not somebody.
fn word(cause: Cause) -> &'static str {
    match cause {
        Cause::File => "file",
        Cause::Recovery => "recovery",
        Cause::Command => "command",
        Cause::Signal => "signal",
        Cause::Client => "client",
    }
}

fn reach(view: &mut OperationView, phase: Phase) {
    if view.phase == phase.word() {
        return;
    }
    let after_ms = clock::unix_ms().saturating_sub(view.began_unix_ms);
    view.phase = phase.word().to_owned();
    if view.phases.len() < PHASES_MAX {
        view.phases.push(PhaseTime { phase: view.phase.clone(), after_ms });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_has_no_say_in_the_operations_of_another_vassal() {
        let name = |text: &str| VassalName::new(text).unwrap();
        let mut operations = Operations::default();
        let of_shop = Some(OperationId(7));
        operations.begin(OperationId(7), name("shop.ini"), Verb::Reload, Cause::File);
        assert_eq!(operations.own(of_shop, &name("shop.ini")), of_shop);
        assert_eq!(operations.own(of_shop, &name("evil.ini")), None);
        assert_eq!(operations.own(None, &name("shop.ini")), None);
    }

    #[test]
    fn a_master_that_goes_back_and_forth_fills_no_memory() {
        let mut operations = Operations::default();
        operations.begin(OperationId(7), VassalName::new("a.ini").unwrap(), Verb::Reload, Cause::File);
        for _ in 0..1_000 {
            operations.reached(OperationId(7), Phase::Booting, None);
            operations.reached(OperationId(7), Phase::Proving, None);
        }
        let view = operations.end(OperationId(7), OperationEnd::Succeeded).unwrap();
        assert!(view.phases.len() <= PHASES_MAX);
        assert!(view.phase == Phase::Done.word());
    }
}
