//! The processes that were asked to go or were killed, and when each that was only asked is killed. Does not know why
//! they go. Used by the machine in the parent module.

use std::collections::BTreeMap;

use super::words::Action;
use crate::{
    ids::{GenerationId, OrphanId, WorkerId, WorkerRef},
    moment::Moment,
};

/// A process of this vassal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Process {
    /// The zygote of a generation.
    Zygote(GenerationId),
    /// A worker of a generation.
    Worker(WorkerRef),
    /// A worker of an earlier master.
    Orphan(OrphanId),
}

impl Process {
    fn asked(self) -> Action {
        match self {
            Process::Zygote(generation) => Action::RetireZygote(generation),
            Process::Worker(worker) => Action::Drain(worker),
            Process::Orphan(orphan) => Action::DrainOrphan(orphan),
        }
    }

    fn killed(self) -> Action {
        match self {
            Process::Zygote(generation) => Action::KillZygote(generation),
            Process::Worker(worker) => Action::Kill(worker),
            Process::Orphan(orphan) => Action::KillOrphan(orphan),
        }
    }

    pub(super) fn is_of(self, of: GenerationId) -> bool {
        match self {
            Process::Zygote(generation) => generation == of,
            Process::Worker(worker) => worker.generation == of,
            Process::Orphan(_) => false,
        }
    }
}

/// How far a departure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Departure {
    /// It finishes what it has, until then.
    Asked {
        /// When it is killed.
        kill_at: Moment,
    },
    /// It was killed; only its exit is waited for.
    Killed,
}

/// All processes on their way out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Departures {
    pub(super) going: BTreeMap<Process, Departure>,
}

impl Departures {
    /// Asks a process to finish and go until `kill_at`.
    pub(super) fn ask(&mut self, process: Process, kill_at: Moment) -> Action {
        self.going.insert(process, Departure::Asked { kill_at });
        process.asked()
    }

    /// Kills a process.
    pub(super) fn kill(&mut self, process: Process) -> Action {
        self.going.insert(process, Departure::Killed);
        process.killed()
    }

    /// Kills every process that was only asked so far.
    pub(super) fn kill_all(&mut self) -> Vec<Process> {
        self.kill_where(|_| true)
    }

    /// Kills every process whose time is up.
    pub(super) fn kill_due(&mut self, now: Moment) -> Vec<Process> {
        self.kill_where(|kill_at| kill_at <= now)
    }

    fn kill_where(&mut self, chosen: impl Fn(Moment) -> bool) -> Vec<Process> {
        let mut killed = Vec::new();
        for (process, departure) in &mut self.going {
            match *departure {
                Departure::Asked { kill_at } if chosen(kill_at) => {
                    *departure = Departure::Killed;
                    killed.push(*process);
                }
                Departure::Asked { .. } | Departure::Killed => {}
            }
        }
        killed
    }

    /// Notes that a process is gone, and answers how far its departure was, if it was on its way out.
    pub(super) fn gone(&mut self, process: Process) -> Option<Departure> {
        self.going.remove(&process)
    }

    /// Whether this process was asked to go or killed.
    pub(super) fn is_leaving(&self, process: Process) -> bool {
        self.going.contains_key(&process)
    }

    /// When the next process is to be killed.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.going
            .values()
            .filter_map(|departure| match departure {
                Departure::Asked { kill_at } => Some(*kill_at),
                Departure::Killed => None,
            })
            .min()
    }

    /// Whether everything is gone.
    pub(super) fn is_empty(&self) -> bool {
        self.going.is_empty()
    }

    /// Whether everything of this generation is gone.
    pub(super) fn none_of(&self, generation: GenerationId) -> bool {
        !self.going.keys().any(|process| process.is_of(generation))
    }

    /// Numbers of the processes that once filled this place and are still on their way out.
    pub(super) fn in_place(&self, generation: GenerationId, worker: WorkerId) -> impl Iterator<Item = u32> + use<'_> {
        let first = Process::Worker(WorkerRef { generation, worker, spawn: 0 });
        let last = Process::Worker(WorkerRef { generation, worker, spawn: u32::MAX });
        self.going.range(first..=last).filter_map(|(process, _)| match process {
            Process::Worker(worker) => Some(worker.spawn),
            Process::Zygote(_) | Process::Orphan(_) => None,
        })
    }

    /// The workers of other generations than this one, and of earlier masters, that were asked to go.
    pub(super) fn asked_besides(&self, serving: GenerationId) -> impl Iterator<Item = Process> + use<'_> {
        let asked = self.going.iter().filter(|(_, departure)| matches!(departure, Departure::Asked { .. }));
        asked.map(|(process, _)| *process).filter(move |process| match process {
            Process::Worker(worker) => worker.generation != serving,
            Process::Orphan(_) => true,
            Process::Zygote(_) => false,
        })
    }

    /// How many workers of other generations than this one are still on their way out.
    pub(super) fn workers_besides(&self, serving: GenerationId) -> usize {
        self.going
            .keys()
            .filter(|process| matches!(process, Process::Worker(worker) if worker.generation != serving))
            .count()
    }

    /// The action that kills a process already noted as killed.
    pub(super) fn killing(processes: Vec<Process>) -> impl Iterator<Item = Action> {
        processes.into_iter().map(Process::killed)
    }
}
