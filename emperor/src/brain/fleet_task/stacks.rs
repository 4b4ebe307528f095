//! Somebody wants to know what a worker is doing: the question goes to its master, and the answer back to whoever asked.

use std::collections::BTreeMap;

use empery_control::{
    link::{Order, WorkerPhase},
    stacks::WorkerStacks,
};
use empery_lifecycle::{
    fleet::MasterKey,
    ids::{VassalName, WorkerId, WorkerRef},
};
use empery_web_ui::{AskError, Reply};

use super::FleetTask;
use crate::brain::link::Sent;

/// Questions that masters have not answered yet.
#[derive(Default)]
pub(super) struct StackQuestions {
    open: BTreeMap<u64, (MasterKey, Reply<WorkerStacks>)>,
    last: u64,
}

impl FleetTask {
    pub(super) fn asked_for_stacks(
        &mut self,
        name: &VassalName,
        (worker, pid): (WorkerId, Option<i32>),
        reply: Reply<WorkerStacks>,
    ) {
        let found = self.worker_to_ask(name, worker, pid);
        let questions = &mut self.stack_questions;
        // Those that were given up meanwhile.
        questions.open.retain(|_, (_, reply)| !reply.is_closed());
        let (master, worker) = match found {
            Ok(found) => found,
            Err(error) => return drop(reply.send(Err(error))),
        };
        questions.last += 1;
        let token = questions.last;
        questions.open.insert(token, (master.clone(), reply));
        if let Some(seat) = self.seat(&master) {
            // A link that is closed belongs to a master that is gone; that is about to be told.
            let _ = seat.link.orders().send(Sent {
                order: Order::Stacks { token, worker },
                fds: Vec::new(),
                outcome: None,
            });
        }
    }

    /// The process that fills the place: the one that serves, else the newest. Or the one of this pid.
    fn worker_to_ask(
        &self,
        name: &VassalName,
        id: WorkerId,
        pid: Option<i32>,
    ) -> Result<(MasterKey, WorkerRef), AskError> {
        if self.fleet.view(name).is_none() {
            return Err(AskError::UnknownVassal(name.clone()));
        }
        let seats = self.posts.get(name).into_iter().flat_map(|post| &post.seats);
        let of_place = seats.flat_map(|(master, seat)| seat.workers.iter().map(move |view| (master, seat, view)));
        let best = of_place
            .filter(|(_, _, view)| view.worker.worker == id && pid.is_none_or(|pid| pid == view.pid))
            .max_by_key(|(_, _, view)| (view.phase == WorkerPhase::Serving, view.worker.generation, view.worker.spawn));
        match best {
            None => Err(AskError::UnknownWorker(name.clone(), id.0)),
            Some((_, seat, _)) if !seat.tells_stacks => Err(AskError::Conflict(
                "the vassal's master is of an earlier version that tells no stacks: bring the vassal under the present one with `emperor stop` and `emperor start`"
                    .to_owned(),
            )),
            Some((master, _, view)) => Ok((master.clone(), view.worker)),
        }
    }

    pub(super) fn told_stacks(&mut self, token: u64, stacks: WorkerStacks) {
        if let Some((_, reply)) = self.stack_questions.open.remove(&token) {
            // Whoever asked may have hung up.
            let _ = reply.send(Ok(stacks));
        }
    }

    /// A master is gone: it answers nobody.
    pub(super) fn no_stacks_from(&mut self, master: &MasterKey) {
        for (_, (_, reply)) in self.stack_questions.open.extract_if(.., |_, (asked, _)| asked == master) {
            let sentence = "the vassal's master ended before it could answer; ask again".to_owned();
            let _ = reply.send(Err(AskError::Conflict(sentence)));
        }
    }
}
