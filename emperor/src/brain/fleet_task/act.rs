//! From an action of the fleet machine to the performer, the operations, history and the snapshot.

use empery_control::keeper::Ask;
use empery_lifecycle::{
    fleet::{Action, Command, Event, MasterKey, Recalled, Verb},
    ids::{GenerationId, OperationId, RevisionId, VassalName},
};
use empery_store::{Hold, Mark};

use super::FleetTask;
use crate::brain::{
    clock,
    inputs::Input,
    operations::{Operations, Phase},
    perform::Boot,
    post::Awaited,
};

impl FleetTask {
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Start { master, revision, operation, frozen } => {
                self.operations.deploys(operation, revision);
                let generation = self.post(&master.vassal).generation.unwrap_or(GenerationId(0));
                let boot = self.boot(master, revision, operation);
                self.performer.start(boot, generation, frozen);
            }
            Action::Deploy { master, revision, operation } => self.deploy(master, revision, operation),
            Action::Begin { operation, name, verb, cause } => self.operations.begin(operation, name, verb, cause),
            Action::Stop { master } => {
                self.operations.drains(&master.vassal);
                if self.posts.get(&master.vassal).is_some_and(|post| post.seats.keys().eq([&master])) {
                    self.performer.is_stopping(&master.vassal);
                }
                let seat = self.posts.get_mut(&master.vassal).and_then(|post| post.seats.get_mut(&master));
                let link = seat.map(|seat| {
                    seat.told_to_leave = true;
                    seat.pulse.ordered();
                    seat.link.orders()
                });
                self.performer.stop(master.vassal, link);
            }
            Action::Kill { master } => {
                let seat = self.posts.get(&master.vassal).and_then(|post| post.seats.get(&master));
                let was_told = seat.is_none_or(|seat| seat.told_to_leave);
                if was_told {
                    tracing::warn!(vassal = %master.vassal, "the master did not leave in time and is killed");
                } else {
                    tracing::warn!(vassal = %master.vassal, "the master is killed; its workers serve on");
                }
                self.performer.kill(master, was_told);
            }
            Action::Forget { name } => {
                if let Some(post) = self.posts.get_mut(&name) {
                    post.kept.clear();
                    post.addresses.clear();
                }
                self.performer.forget(name, Vec::new());
            }
            Action::Await { name, revision } => {
                let reading = self.reading(&name, revision);
                let kept = self.post(&name).kept.clone();
                self.performer.wait_for_client(name, reading, kept);
            }
            Action::Gate { master, frozen } => self.gate(&master, frozen),
            Action::ForgetUnused { resting } => {
                self.performer.ask_keeper(Ask::ForgetAbsent);
                for name in resting {
                    self.performer.forget(name, Vec::new());
                }
            }
            Action::Hold { name, held } => self.hold(name, held),
            Action::Freeze { name, frozen } => self.mark(Mark::Frozen, name, frozen),
            Action::Doubt { name, doubted } => self.mark(Mark::Doubted, name, doubted),
            Action::End { operation, end } => {
                if let Some(view) = self.operations.end(operation, end) {
                    self.upgrade_hears_of_end(&view);
                    self.awaited_end |= Operations::was_commanded(&view);
                    self.told_end(&view);
                    if view.verb.deploys() {
                        let name = view.vassal.clone();
                        self.post(&name).last_deployment = Some(view);
                        self.publisher.vassal_changed(&name);
                    }
                }
            }
            Action::Changed { name } => {
                self.told_state(&name);
                self.publisher.vassal_changed(&name);
            }
            Action::Leave => self.leave(),
        }
        self.record_operations();
    }

    fn deploy(&mut self, master: MasterKey, revision: RevisionId, operation: OperationId) {
        self.operations.deploys(operation, revision);
        let boot = self.boot(master.clone(), revision, operation);
        let Some(seat) = self.posts.get_mut(&master.vassal).and_then(|post| post.seats.get_mut(&master)) else {
            tracing::error!(vassal = %master.vassal, "told to deploy to a master that is not known");
            return;
        };
        seat.awaited = Some(Awaited { operation, revision });
        seat.pulse.ordered();
        let (held, link) = (seat.listeners.clone(), seat.link.orders());
        self.performer.deploy(boot, held, Some(link));
    }

    fn boot(&mut self, master: MasterKey, revision: RevisionId, operation: OperationId) -> Boot {
        let reading = self.reading(&master.vassal, revision);
        let kept = self.post(&master.vassal).kept.clone();
        Boot { master, revision, operation, reading, kept }
    }

    /// A master of an earlier version would not understand the order, and hang up.
    fn gate(&mut self, master: &MasterKey, frozen: bool) {
        let seat = self.posts.get_mut(&master.vassal).and_then(|post| post.seats.get_mut(master));
        match seat {
            Some(seat) if seat.freezes => {
                seat.pulse.ordered();
                let link = seat.link.orders();
                self.performer.gate(master.vassal.clone(), frozen, link);
            }
            Some(_) | None => {
                tracing::warn!(vassal = %master.vassal, "its master is of an earlier version and cannot be frozen: reload it first");
            }
        }
    }

    fn mark(&mut self, mark: Mark, vassal: VassalName, set: bool) {
        let Some(store) = self.history.store() else {
            if mark == Mark::Frozen && !set {
                self.resumed_unrecorded.insert(vassal);
            }
            return;
        };
        if set { store.set_mark(mark, vassal) } else { store.lift_mark(mark, vassal) }.unattended();
    }

    fn hold(&mut self, vassal: VassalName, held: bool) {
        let actor = self.commanded_by.clone().unwrap_or_else(|| "unknown".to_owned());
        let hold = held.then(|| Hold { vassal: vassal.clone(), actor, since_unix_ms: clock::unix_ms() });
        self.record_hold(vassal, hold);
    }

    fn record_hold(&mut self, vassal: VassalName, hold: Option<Hold>) {
        match (self.history.store(), hold) {
            (Some(store), Some(hold)) => store.set_hold(hold).unattended(),
            (Some(store), None) => store.lift_hold(vassal).unattended(),
            (None, hold) => {
                self.unrecorded_holds.insert(vassal, hold);
            }
        }
    }

    /// The database is gone with everything in it: who stays stopped is written into the next one.
    pub(super) fn look_after_history(&mut self) {
        if !self.history.notices_its_loss() {
            return;
        }
        let since_unix_ms = clock::unix_ms();
        let hold = |vassal: &VassalName| Hold { vassal: vassal.clone(), actor: "unknown".to_owned(), since_unix_ms };
        self.unrecorded_holds = self.fleet.held().map(|name| (name.clone(), Some(hold(name)))).collect();
    }

    /// Somebody wants it to run: a hold that a late database remembers is older than that.
    pub(super) fn wanted(&mut self, vassal: &VassalName) {
        if self.history.store().is_none() {
            self.unrecorded_holds.insert(vassal.clone(), None);
        }
    }

    /// The database came late. What operators said meanwhile is newer than what it remembers.
    pub(super) fn standing_remembered(&mut self, holds: Vec<Hold>, frozen: Vec<VassalName>) {
        let resumed = std::mem::take(&mut self.resumed_unrecorded);
        let (lifted, frozen): (Vec<_>, Vec<_>) = frozen.into_iter().partition(|name| resumed.contains(name));
        self.decide(Event::Recalled(Recalled { frozen, ..Recalled::default() }));
        for name in lifted {
            self.mark(Mark::Frozen, name, false);
        }
        // A new database does not know what the fleet knows.
        for name in self.fleet.frozen().cloned().collect::<Vec<_>>() {
            self.mark(Mark::Frozen, name, true);
        }
        for name in self.fleet.doubted() {
            self.mark(Mark::Doubted, name, true);
        }
        let meanwhile = std::mem::take(&mut self.unrecorded_holds);
        for hold in holds.into_iter().filter(|hold| !meanwhile.contains_key(&hold.vassal)) {
            let name = hold.vassal;
            if self.leaving || self.fleet.view(&name).is_none() {
                self.decide(Event::Recalled(Recalled { held: vec![name], ..Recalled::default() }));
                continue;
            }
            tracing::info!(vassal = %name, by = hold.actor, "was stopped before: the database came late");
            let operation = self.fleet.next_operation();
            self.operations.given_by(operation, hold.actor.clone());
            self.commanded_by = Some(hold.actor);
            self.decide(Event::Command(Command { operation, name, verb: Verb::Stop }));
            self.commanded_by = None;
        }
        for (vassal, hold) in meanwhile {
            self.record_hold(vassal, hold);
        }
    }

    /// What was said last is written down before the emperor leaves.
    fn leave(&mut self) {
        tracing::info!("every vassal is stopped");
        let inbox = self.inbox.clone();
        let last = self.history.store().map(|store| store.append_samples(Vec::new()));
        tokio::spawn(async move {
            if let Some(last) = last {
                // A database that hangs must not keep the emperor.
                let _ = tokio::time::timeout(super::LAST_WRITE, last.done()).await;
            }
            inbox.tell(Input::Recorded);
        });
    }

    pub(super) fn reached(&mut self, operation: Option<OperationId>, phase: Phase, generation: GenerationId) {
        if let Some(operation) = operation {
            self.operations.reached(operation, phase, Some(generation));
            self.record_operations();
        }
    }
}
