//! What follows a switch: it is told when nobody of the generations before takes a new connection any more, so that
//! whoever is told meets the new one only. A worker that does not say so in time is not waited for.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Generations,
    departures::Process,
    words::{Action, Report},
};
use crate::{ids::GenerationId, moment::Moment};

/// A switch that was not told yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Switch {
    /// What serves now.
    pub(super) generation: GenerationId,
    /// How it will be told.
    pub(super) report: Report,
    /// Who was asked to go with it and has not said that it accepts nothing any more; None as long as they are being asked.
    pub(super) accepting: Option<BTreeSet<Process>>,
    /// When it is told in any case.
    pub(super) until: Moment,
}

impl Switch {
    /// One that happens now.
    pub(super) fn now(generation: GenerationId, report: Report, now: Moment, within: Duration) -> Self {
        Switch { generation, report, accepting: None, until: now.after(within) }
    }
}

impl Generations {
    /// Whoever was asked to go by now is waited for.
    pub(super) fn await_gates(&mut self) {
        if let Some(switch) = self.switch.as_mut().filter(|switch| switch.accepting.is_none()) {
            switch.accepting = Some(self.departures.asked_besides(switch.generation).collect());
        }
    }

    /// This process takes no connection any more, or is gone.
    pub(super) fn gate_closed(&mut self, process: Process) {
        if let Some(accepting) = self.switch.as_mut().and_then(|switch| switch.accepting.as_mut()) {
            accepting.remove(&process);
        }
    }

    /// Tells of the switch when nobody is waited for any more, before what else is told from `first` on, and when what it
    /// brought goes itself.
    pub(super) fn tell_switch(&mut self, now: Moment, first: usize, out: &mut Vec<Action>) {
        let other = (first..out.len()).find(|index| matches!(out[*index], Action::Report(_)));
        let serving = self.serving.as_ref().map(|serving| serving.generation);
        let is_over = |switch: &mut Switch| {
            let goes = serving != Some(switch.generation);
            goes || other.is_some() || switch.until <= now || switch.accepting.as_ref().is_some_and(BTreeSet::is_empty)
        };
        if let Some(switch) = self.switch.take_if(is_over) {
            out.insert(other.unwrap_or(out.len()), Action::Report(switch.report));
        }
    }
}
