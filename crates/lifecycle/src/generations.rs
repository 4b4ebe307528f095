//! Which generation of one app serves, and what happens to the others. Fed and performed by the vassal's master.

mod words;

pub use words::{Action, Event, Exit, FailureReason, Plan, Policy, Report};

use crate::moment::Moment;

/// The machine. See the module.
pub struct Generations {}

impl Generations {
    /// A vassal without any generation yet. The first [`Event::Deploy`] boots it.
    #[must_use]
    pub fn new(_policy: Policy) -> Self {
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
}
