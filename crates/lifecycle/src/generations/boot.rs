//! The one generation that boots: from `Boot` until its last worker has proved. Does not decide what its end means.
//! Used by the machine in the parent module.

use std::collections::BTreeSet;

use super::{
    departures::Process,
    words::{Action, Plan, workers_of},
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
    /// How far it is.
    pub(super) progress: Progress,
}

/// How far a boot is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Progress {
    /// The zygote imports the app.
    Importing,
    /// The workers are forked; these have not proved yet.
    Proving {
        /// Who is waited for.
        waiting: BTreeSet<WorkerId>,
    },
}

impl Boot {
    /// The zygote is ready: forks the workers. A second `Loaded` is none of ours.
    pub(super) fn loaded(&mut self) -> Vec<Action> {
        match self.progress {
            Progress::Importing => {
                self.progress = Progress::Proving { waiting: workers_of(self.plan).collect() };
                workers_of(self.plan).map(|worker| Action::Spawn(self.first_of(worker))).collect()
            }
            Progress::Proving { .. } => Vec::new(),
        }
    }

    /// A worker has proved.
    pub(super) fn proved(&mut self, worker: WorkerRef) {
        match &mut self.progress {
            Progress::Proving { waiting } if self.generation == worker.generation && worker.spawn == 0 => {
                waiting.remove(&worker.worker);
            }
            Progress::Proving { .. } | Progress::Importing => {}
        }
    }

    /// Whether every worker has proved.
    pub(super) fn is_proved(&self) -> bool {
        match &self.progress {
            Progress::Importing => false,
            Progress::Proving { waiting } => waiting.is_empty(),
        }
    }

    /// Whether this is one of its forked workers.
    pub(super) fn has(&self, worker: WorkerRef) -> bool {
        match self.progress {
            Progress::Importing => false,
            Progress::Proving { .. } => {
                worker.generation == self.generation
                    && worker.spawn == 0
                    && (1..=self.plan.workers).contains(&worker.worker.0)
            }
        }
    }

    /// Its processes: the workers first, so that nobody forks on behalf of a dead one.
    pub(super) fn processes(&self) -> Vec<Process> {
        let zygote = Process::Zygote(self.generation);
        match self.progress {
            Progress::Importing => vec![zygote],
            Progress::Proving { .. } => {
                workers_of(self.plan).map(|worker| Process::Worker(self.first_of(worker))).chain([zygote]).collect()
            }
        }
    }

    fn first_of(&self, worker: WorkerId) -> WorkerRef {
        WorkerRef { generation: self.generation, worker, spawn: 0 }
    }
}
