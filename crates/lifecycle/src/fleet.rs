//! What every vassal of an emperor should be doing. Fed and performed by the brain.

mod words;

pub use words::{
    Action, Alive, Berth, Cause, Command, ContentDigest, Event, Identity, MasterKey, OperationEnd, Policy,
    Sighting, State, VassalView, Verb, Verdict,
};

use crate::{
    ids::{OperationId, VassalName},
    moment::Moment,
};

/// The machine. See the module.
pub struct Fleet {}

impl Fleet {
    /// A fleet nobody has looked at yet. The first [`Event::Scanned`] tells which vassals exist.
    /// Operations are numbered from `first_operation`.
    #[must_use]
    pub fn new(_policy: Policy, _first_operation: OperationId) -> Self {
        todo!()
    }

    /// Takes the next number for an operation, for a [`Command`] about to be handled.
    pub fn next_operation(&mut self) -> OperationId {
        todo!()
    }

    /// Takes one event at `now` and answers with what is to be done, in order.
    pub fn handle(&mut self, _event: Event, _now: Moment) -> Vec<Action> {
        todo!()
    }

    /// When [`Event::DeadlineReached`] is due, if anything is being waited for.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        todo!()
    }

    /// What one vassal is doing, for the snapshot.
    #[must_use]
    pub fn view(&self, _name: &VassalName) -> Option<VassalView> {
        todo!()
    }

    /// All of them, in the order of their names.
    #[must_use]
    pub fn views(&self) -> Vec<VassalView> {
        todo!()
    }
}
