//! Indexes over all vassals, so that an event costs the same in a fleet of ten as of ten thousand: who waits for its
//! turn, who boots, whose deadline is next, who stops and still runs what. Decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::words::ContentDigest;
use crate::{ids::VassalName, moment::Moment};

/// Who goes first among those who wait for their turn to boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Urgency {
    /// It served a moment ago and nobody supervises it.
    Recovery,
    /// Everything else.
    Ordinary,
}

/// What the indexes are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// When something of it is due.
    pub(super) deadline: Option<Moment>,
    /// Until when its boot counts against the number of boots at once.
    pub(super) boot_counts_until: Option<Moment>,
    /// Whether it waits for its turn.
    pub(super) waits: Option<Urgency>,
    /// What its masters still run, when all of them are on their way out.
    pub(super) fading: Vec<ContentDigest>,
}

type Ticket = (Urgency, u64);

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Agenda {
    deadlines: BTreeSet<(Moment, VassalName)>,
    deadline_of: BTreeMap<VassalName, Moment>,
    boots: BTreeMap<VassalName, Moment>,
    queue: BTreeMap<Ticket, VassalName>,
    ticket_of: BTreeMap<VassalName, Ticket>,
    next_ticket: u64,
    fading: BTreeMap<VassalName, Vec<ContentDigest>>,
}

impl Agenda {
    /// A vassal is gone, and with it what was still due of it: its failures are forgiven no more.
    pub(super) fn forget(&mut self, name: &VassalName) {
        self.forget_deadline(name);
        self.boots.remove(name);
        if let Some(ticket) = self.ticket_of.remove(name) {
            self.queue.remove(&ticket);
        }
        self.fading.remove(name);
    }

    fn forget_deadline(&mut self, name: &VassalName) {
        if let Some(old) = self.deadline_of.remove(name) {
            self.deadlines.remove(&(old, name.clone()));
        }
    }

    /// Takes in what is so of one vassal now.
    pub(super) fn note(&mut self, name: &VassalName, facts: Facts, now: Moment) {
        self.forget_deadline(name);
        if let Some(deadline) = facts.deadline {
            self.deadline_of.insert(name.clone(), deadline);
            self.deadlines.insert((deadline, name.clone()));
        }
        match facts.boot_counts_until {
            Some(until) if until > now => self.boots.insert(name.clone(), until),
            Some(_) | None => self.boots.remove(name),
        };
        match (facts.waits, self.ticket_of.get(name).copied()) {
            (Some(urgency), None) => {
                let ticket = (urgency, self.next_ticket);
                self.next_ticket += 1;
                self.queue.insert(ticket, name.clone());
                self.ticket_of.insert(name.clone(), ticket);
            }
            (None, Some(ticket)) => {
                self.queue.remove(&ticket);
                self.ticket_of.remove(name);
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
        if facts.fading.is_empty() {
            self.fading.remove(name);
        } else {
            self.fading.insert(name.clone(), facts.fading);
        }
    }

    /// When something is due: a vassal's own deadline, or a slow boot that stops counting while others wait.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let own = self.deadlines.first().map(|(deadline, _)| *deadline);
        let slow = if self.queue.is_empty() { None } else { self.boots.values().min().copied() };
        own.into_iter().chain(slow).min()
    }

    /// Whose deadline has come.
    pub(super) fn due(&self, now: Moment) -> Vec<VassalName> {
        self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now).map(|(_, name)| name.clone()).collect()
    }

    /// No longer counts boots that are slow.
    pub(super) fn pass_slow_boots(&mut self, now: Moment) {
        self.boots.retain(|_, until| *until > now);
    }

    /// How many boots count.
    pub(super) fn boots(&self) -> usize {
        self.boots.len()
    }

    /// Who waits, in the order of their turns.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &VassalName> {
        self.queue.values()
    }

    /// Whether another vassal, which stops, still runs this content: a rename must not start the app twice.
    pub(super) fn runs_under_an_old_name(&self, content: ContentDigest, name: &VassalName) -> bool {
        self.fading.iter().any(|(other, contents)| contents.contains(&content) && other != name)
    }
}
