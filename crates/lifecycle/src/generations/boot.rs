//! The one generation that boots: from `Boot` until its last worker has proved. Does not decide what its end means.
//! Used by the machine in the parent module.

use std::collections::BTreeSet;

use super::{
    departures::Process,
    words::{Action, Plan, Room, Weighing, first_workers},
};
use crate::{
    ids::{GenerationId, OperationId, RevisionId, WorkerId, WorkerRef},
    moment::Moment,
};

/// A generation that boots.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Boot {
    /// Its number.
    pub(super) generation: GenerationId,
    /// Who asked; None when it replaces a zygote that died.
    pub(super) operation: Option<OperationId>,
    /// What it runs.
    pub(super) revision: RevisionId,
    /// Its shape.
    pub(super) plan: Plan,
    /// When it is given up.
    pub(super) deadline: Moment,
    /// How many workers it begins with.
    pub(super) start: u32,
    /// How far it is.
    pub(super) progress: Progress,
}

/// Whether anybody serves while it boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// An older generation does.
    Others,
    /// Nobody does.
    Nobody,
}

/// How far a boot is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Progress {
    /// Nothing of it is there: there is no room before the zygote of the generation that serves has gone.
    Clearing,
    /// The zygote imports the app.
    Importing,
    /// The app is imported; whether its workers fit beside those that serve is being found out.
    Weighing,
    /// Workers are forked; some have not proved yet.
    Proving {
        /// Who is waited for.
        waiting: BTreeSet<WorkerId>,
        /// How many there are: all it begins with, or one that proves for the others.
        forked: u32,
    },
}

impl Boot {
    /// The zygote is ready: forks the workers, once it is known that they fit beside those that serve. A second `Loaded`
    /// is none of ours.
    pub(super) fn loaded(&mut self, beside: Beside) -> Vec<Action> {
        match (&self.progress, beside) {
            (Progress::Importing, Beside::Others) if self.start > 1 => {
                self.progress = Progress::Weighing;
                vec![Action::Weigh(Weighing::Workers(self.generation))]
            }
            (Progress::Importing, Beside::Others | Beside::Nobody) => self.fork(self.start.max(1)),
            (Progress::Clearing | Progress::Weighing | Progress::Proving { .. }, _) => Vec::new(),
        }
    }

    /// Whether they fit is known: where they do not, one proves, and the others come as those that serve go.
    pub(super) fn weighed(&mut self, room: Room) -> Vec<Action> {
        match (&self.progress, room) {
            (Progress::Weighing, Room::Enough) => self.fork(self.start),
            (Progress::Weighing, Room::Short) => self.fork(1),
            (Progress::Clearing | Progress::Importing | Progress::Proving { .. }, _) => Vec::new(),
        }
    }

    fn fork(&mut self, forked: u32) -> Vec<Action> {
        self.progress = Progress::Proving { waiting: first_workers(forked).collect(), forked };
        first_workers(forked).map(|worker| Action::Spawn(self.first_of(worker))).collect()
    }

    /// A worker has proved.
    pub(super) fn proved(&mut self, worker: WorkerRef) {
        match &mut self.progress {
            Progress::Proving { waiting, .. } if self.generation == worker.generation && worker.spawn == 0 => {
                waiting.remove(&worker.worker);
            }
            Progress::Proving { .. } | Progress::Clearing | Progress::Importing | Progress::Weighing => {}
        }
    }

    /// Whether every worker has proved.
    pub(super) fn is_proved(&self) -> bool {
        match &self.progress {
            Progress::Clearing | Progress::Importing | Progress::Weighing => false,
            Progress::Proving { waiting, .. } => waiting.is_empty(),
        }
    }

    /// Whether this is one of its forked workers.
    pub(super) fn has(&self, worker: WorkerRef) -> bool {
        worker.generation == self.generation && worker.spawn == 0 && (1..=self.forked()).contains(&worker.worker.0)
    }

    /// How many workers were forked.
    pub(super) fn forked(&self) -> u32 {
        match self.progress {
            Progress::Clearing | Progress::Importing | Progress::Weighing => 0,
            Progress::Proving { forked, .. } => forked,
        }
    }

    /// Its workers.
    pub(super) fn workers(&self) -> impl Iterator<Item = WorkerRef> + use<'_> {
        first_workers(self.forked()).map(|worker| self.first_of(worker))
    }

    /// Its processes: the workers first, so that nobody forks on behalf of a dead one.
    pub(super) fn processes(&self) -> Vec<Process> {
        let zygote = match self.progress {
            Progress::Clearing => None,
            Progress::Importing | Progress::Weighing | Progress::Proving { .. } => {
                Some(Process::Zygote(self.generation))
            }
        };
        self.workers().map(Process::Worker).chain(zygote).collect()
    }

    fn first_of(&self, worker: WorkerId) -> WorkerRef {
        WorkerRef { generation: self.generation, worker, spawn: 0 }
    }
}
