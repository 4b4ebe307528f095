//! What every vassal of an emperor should be doing. Fed and performed by the brain.
//!
//! The directory says what exists, holds say what stays stopped, and each vassal is brought there by its own small
//! machine (`vassal`). What is decided here is what concerns more than one: whose turn it is to boot, renames, and
//! the end of the whole fleet.

mod agenda;
mod desk;
mod leaving;
mod removal;
mod vassal;
mod words;

use std::collections::{BTreeMap, BTreeSet};

pub use words::{
    Action, Alive, Berth, Cause, Command, ContentDigest, Event, Identity, MasterKey, OperationEnd, Policy, Recalled,
    Sighting, State, VassalView, Verb, Verdict,
};

use crate::{
    generations::FailureReason,
    ids::{MasterSerial, OperationId, VassalName},
    moment::Moment,
};
use agenda::Agenda;
use desk::{Desk, Numbers};
use vassal::Vassal;

/// The machine. See the module.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fleet {
    policy: Policy,
    numbers: Numbers,
    course: Course,
    /// Whether the directory was read at least once: before that, nothing is concluded from a file not seen.
    scanned: bool,
    vassals: BTreeMap<VassalName, Vassal>,
    /// Also of names that have no file now.
    holds: BTreeSet<VassalName>,
    /// The same.
    frozen: BTreeSet<VassalName>,
    /// Removals that an earlier brain doubted, until the directory was read.
    doubts_recalled: BTreeSet<VassalName>,
    agenda: Agenda,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Course {
    /// To run what the directory says.
    Run,
    /// To stop everything and leave.
    Stop,
    /// It has left.
    Left,
}

impl Fleet {
    /// A fleet nobody has looked at yet. The first [`Event::Scanned`] tells which vassals exist.
    /// Operations are numbered from `first_operation`.
    #[must_use]
    pub fn new(policy: Policy, first_operation: OperationId) -> Self {
        Fleet {
            policy,
            numbers: Numbers { operation: first_operation, serial: MasterSerial(1) },
            course: Course::Run,
            scanned: false,
            vassals: BTreeMap::new(),
            holds: BTreeSet::new(),
            frozen: BTreeSet::new(),
            doubts_recalled: BTreeSet::new(),
            agenda: Agenda::default(),
        }
    }

    /// Takes the next number for an operation, for a [`Command`] about to be handled.
    pub fn next_operation(&mut self) -> OperationId {
        self.numbers.next_operation()
    }

    /// Takes one event at `now` and answers with what is to be done, in order. What does not belong to a master or a
    /// deploy of the present is ignored: events may come late, twice or not at all.
    pub fn handle(&mut self, event: Event, now: Moment) -> Vec<Action> {
        let mut out = Vec::new();
        match event {
            Event::Scanned(sightings) => self.scanned(&sightings, now, &mut out),
            Event::DirectoryLost => {}
            Event::RemovalConfirmed => self.removal_confirmed(now, &mut out),
            Event::Recalled(recalled) => self.recall(recalled, now, &mut out),
            Event::Found(alive) => self.found(&alive, now, &mut out),
            Event::MasterStarted { master } => {
                self.with(&master.vassal, now, &mut out, |vassal, desk| vassal.master_started(&master, desk));
            }
            Event::StartFailed { master, reason } => {
                self.with(&master.vassal, now, &mut out, |vassal, desk| vassal.master_gone(&master, reason, desk));
            }
            Event::MasterHangs { master } => {
                self.with(&master.vassal, now, &mut out, |vassal, desk| vassal.master_hangs(&master, desk));
            }
            Event::Knocked { name } => self.with(&name, now, &mut out, Vassal::knocked),
            Event::AwaitFailed { name, reason } => {
                self.with(&name, now, &mut out, |vassal, desk| vassal.await_failed(reason, desk));
            }
            Event::MasterLeft { master } => {
                let reason = FailureReason::Died { how: "it left by itself".to_owned() };
                self.with(&master.vassal, now, &mut out, |vassal, desk| vassal.master_left(&master, reason, desk));
            }
            Event::MasterExited { master, how } => {
                let reason = FailureReason::Died { how };
                self.with(&master.vassal, now, &mut out, |vassal, desk| vassal.master_gone(&master, reason, desk));
            }
            Event::DeployRefused { master, revision: _, operation, reason } => {
                self.with(&master.vassal, now, &mut out, |vassal, desk| {
                    vassal.deploy_refused(&master, operation, reason, desk)
                });
            }
            Event::Serving { master, generation, revision, operation } => {
                self.with(&master.vassal, now, &mut out, |vassal, desk| {
                    vassal.serving(&master, (generation, revision), operation, desk);
                });
            }
            // A boot that was ordered is known; one of the master's own accord shows when it serves or fails.
            Event::Booting { master, generation: _, revision: _ } => {
                self.with(&master.vassal, now, &mut out, |vassal, desk| vassal.master_started(&master, desk));
            }
            Event::Failed { master, revision: _, operation, reason, still_serving } => {
                self.with(&master.vassal, now, &mut out, |vassal, desk| {
                    vassal.failed(&master, operation, reason, still_serving, desk);
                });
            }
            Event::Command(command) => self.commanded(&command, now, &mut out),
            Event::ReloadAll => {
                if self.course == Course::Run {
                    self.with_each(now, &mut out, Vassal::reload_if_running);
                }
            }
            Event::ShutDown => self.shut_down(now, &mut out),
            Event::DeadlineReached => {
                self.agenda.pass_slow_boots(now);
                for name in self.agenda.due(now) {
                    self.with(&name, now, &mut out, Vassal::deadline_reached);
                }
            }
        }
        self.give_turns(now, &mut out);
        self.leave_if_stopped(&mut out);
        out
    }

    /// When [`Event::DeadlineReached`] is due, if anything is being waited for. Feed the events that are already
    /// there first: a process that slept must not take its own absence for the failure of others.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        self.agenda.deadline()
    }

    /// Who is held, also of names that have no file now.
    pub fn held(&self) -> impl Iterator<Item = &VassalName> {
        self.holds.iter()
    }

    /// Who is frozen, also of names that have no file now.
    pub fn frozen(&self) -> impl Iterator<Item = &VassalName> {
        self.frozen.iter()
    }

    /// What one vassal is doing, for the snapshot.
    #[must_use]
    pub fn view(&self, name: &VassalName) -> Option<VassalView> {
        self.vassals.get(name).map(Vassal::view)
    }

    /// All of them, in the order of their names.
    #[must_use]
    pub fn views(&self) -> Vec<VassalView> {
        self.vassals.values().map(Vassal::view).collect()
    }

    fn scanned(&mut self, sightings: &[Sighting], now: Moment, out: &mut Vec<Action>) {
        if self.course != Course::Run {
            return;
        }
        let is_first = !std::mem::replace(&mut self.scanned, true);
        self.take_removals(sightings, is_first, now, out);
        for sighting in sightings {
            self.hear_of(&sighting.name);
            self.with(&sighting.name, now, out, |vassal, desk| vassal.sighted(sighting, desk));
        }
        if is_first {
            let resting = self.vassals.values().filter(|vassal| vassal.rests()).map(|vassal| vassal.name.clone());
            out.push(Action::ForgetUnused { resting: resting.collect() });
            self.vassals.values_mut().for_each(Vassal::may_have_sockets);
        }
    }

    fn recall(&mut self, recalled: Recalled, now: Moment, out: &mut Vec<Action>) {
        self.holds.extend(recalled.held);
        self.frozen.extend(recalled.frozen);
        if !self.scanned {
            self.doubts_recalled.extend(recalled.doubted);
        }
        for name in self.holds.clone() {
            self.with(&name, now, out, |vassal, _| vassal.held = true);
        }
        for name in self.frozen.clone() {
            self.with(&name, now, out, |vassal, _| vassal.frozen = true);
        }
    }

    fn found(&mut self, alive: &Alive, now: Moment, out: &mut Vec<Action>) {
        self.numbers.serial = self.numbers.serial.max(alive.master.serial.next());
        let name = &alive.master.vassal;
        self.hear_of(name);
        self.with(name, now, out, |vassal, desk| vassal.found(alive, desk));
        match self.course {
            Course::Run if self.scanned && self.doubts() => self.with(name, now, out, Vassal::missing_unless_seen),
            Course::Run if self.scanned => self.with(name, now, out, Vassal::gone_unless_seen),
            Course::Run => {}
            Course::Stop | Course::Left => self.with(name, now, out, Vassal::fleet_stops),
        }
    }

    fn commanded(&mut self, command: &Command, now: Moment, out: &mut Vec<Action>) {
        let Command { operation, name, verb } = command;
        let refused = |sentence| Action::End {
            operation: *operation,
            end: OperationEnd::Failed { reason: FailureReason::Setup { sentence }, still_serving: false },
        };
        if self.course != Course::Run {
            out.push(refused("the emperor is stopping".to_owned()));
            return;
        }
        let was_held = self.holds.contains(name);
        match verb {
            Verb::Start => self.holds.remove(name),
            Verb::Stop if self.vassals.contains_key(name) => self.holds.insert(name.clone()),
            Verb::Freeze if self.vassals.contains_key(name) => self.frozen.insert(name.clone()),
            Verb::Resume => self.frozen.remove(name),
            Verb::Stop | Verb::Freeze | Verb::Reload => false,
        };
        if self.vassals.contains_key(name) {
            self.with(name, now, out, |vassal, desk| vassal.commanded(command, desk));
        } else {
            if *verb == Verb::Resume {
                out.push(Action::Freeze { name: name.clone(), frozen: false });
            }
            if was_held && *verb == Verb::Start {
                out.push(Action::Hold { name: name.clone(), held: false });
            }
            out.push(refused(format!("there is no vassal {name}: put its file into the vassals directory")));
        }
    }

    fn shut_down(&mut self, now: Moment, out: &mut Vec<Action>) {
        match self.course {
            Course::Run => {
                self.course = Course::Stop;
                self.with_each(now, out, Vassal::fleet_stops);
            }
            Course::Stop => self.with_each(now, out, Vassal::kill_all),
            Course::Left => {}
        }
    }

    fn leave_if_stopped(&mut self, out: &mut Vec<Action>) {
        if self.course == Course::Stop && !self.vassals.values().any(Vassal::has_masters) {
            self.course = Course::Left;
            out.push(Action::Leave);
        }
    }

    /// Lets those boot whose turn it is.
    fn give_turns(&mut self, now: Moment, out: &mut Vec<Action>) {
        while self.agenda.boots() < self.policy.boots_at_once.max(1) as usize {
            let Some(next) = self.agenda.waiting().find(|name| self.may_boot(name)).cloned() else { return };
            self.with(&next, now, out, Vassal::take_turn);
        }
    }

    fn may_boot(&self, name: &VassalName) -> bool {
        self.vassals.get(name).is_some_and(|vassal| {
            vassal.is_ready()
                && !vassal.content().is_some_and(|content| self.agenda.runs_under_an_old_name(content, name))
        })
    }

    fn hear_of(&mut self, name: &VassalName) {
        let (held, frozen) = (self.holds.contains(name), self.frozen.contains(name));
        self.vassals.entry(name.clone()).or_insert_with(|| Vassal::new(name.clone(), held, frozen));
    }

    fn with_each(&mut self, now: Moment, out: &mut Vec<Action>, decide: impl Fn(&mut Vassal, &mut Desk<'_>)) {
        for name in self.vassals.keys().cloned().collect::<Vec<_>>() {
            self.with(&name, now, out, &decide);
        }
    }

    /// Lets a vassal decide, and takes in what has become of it.
    fn with(
        &mut self,
        name: &VassalName,
        now: Moment,
        out: &mut Vec<Action>,
        decide: impl FnOnce(&mut Vassal, &mut Desk<'_>),
    ) {
        let Some(vassal) = self.vassals.get_mut(name) else { return };
        let mut desk = Desk { now, policy: &self.policy, numbers: &mut self.numbers, out };
        decide(vassal, &mut desk);
        vassal.tell_gates(&mut desk);
        vassal.record_doubt(&mut desk);
        if vassal.frozen {
            self.frozen.insert(name.clone());
        }
        self.agenda.note(name, vassal.facts(&self.policy), now);
        if vassal.shows_a_change() {
            out.push(Action::Changed { name: name.clone() });
        }
        if self.scanned && vassal.is_over() {
            self.vassals.remove(name);
            self.agenda.forget(name);
            if self.frozen.remove(name) {
                out.push(Action::Freeze { name: name.clone(), frozen: false });
            }
            out.push(Action::Changed { name: name.clone() });
        }
    }
}

#[cfg(test)]
mod exploration;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;
