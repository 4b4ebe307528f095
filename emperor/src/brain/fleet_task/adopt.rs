//! Adoption: before anything is decided, the masters that are alive are asked what they do. One that does not answer in
//! time is known to live, but not to serve; what it says later is heard later.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    time::Duration,
};

use empery_control::{
    fleet::OperationView,
    keeper::LivingMaster,
    link::{FromMaster, MasterSnapshot},
};
use empery_lifecycle::{
    fleet::{Action, Alive, Event, MasterKey, OperationEnd, Recalled},
    ids::{OperationId, VassalName},
};
use empery_sys::listen;
use tokio::sync::mpsc;

use super::{FleetTask, Input, hear::alive};
use crate::brain::{
    clock,
    keeper_line::KeeperWord,
    post::{Awaited, Seat},
    scan::number::Numbers,
};

/// How long living masters are waited for.
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);

/// What masters said of themselves.
#[derive(Default)]
pub(crate) struct Adopted {
    alive: Vec<Alive>,
    /// Operations that are still being carried out.
    still_running: Vec<(VassalName, OperationId)>,
    /// Inputs that came meanwhile, to be heard after the first events.
    backlog: Vec<Input>,
}

impl FleetTask {
    /// Connects to every living master and hears what it does. None: the keeper is gone.
    pub(crate) async fn adopt(
        &mut self,
        living: Vec<LivingMaster>,
        inputs: &mut mpsc::UnboundedReceiver<Input>,
        numbers: &mut Numbers,
    ) -> Option<Adopted> {
        let mut adopted = Adopted::default();
        let mut awaited = BTreeSet::new();
        let mut unheard: BTreeMap<MasterKey, LivingMaster> = BTreeMap::new();
        for master in living {
            let seat = Seat::new(master.pid, master.identity, self.open_link(&master.master));
            self.post(&master.master.vassal).seats.insert(master.master.clone(), seat);
            awaited.insert(master.master.clone());
            unheard.insert(master.master.clone(), master);
        }
        let deadline = clock::now().after(ANSWER_DEADLINE);
        while !awaited.is_empty() {
            let input = tokio::select! {
                input = inputs.recv() => input?,
                () = tokio::time::sleep_until(clock::instant_of(deadline)) => break,
            };
            match input {
                Input::Keeper(KeeperWord::Gone) => return None,
                Input::Master { master, word, fds, turn } if awaited.contains(&master) => match *word {
                    FromMaster::Snapshot(snapshot) => {
                        awaited.remove(&master);
                        unheard.remove(&master);
                        self.adopt_one(&master, &snapshot, fds, &mut adopted, numbers);
                    }
                    word => adopted.backlog.push(Input::Master { master, word: Box::new(word), fds, turn }),
                },
                Input::Keeper(KeeperWord::MasterExited { ref master, .. }) => {
                    awaited.remove(master);
                    adopted.backlog.push(input);
                }
                other => adopted.backlog.push(other),
            }
        }
        for (key, master) in unheard {
            tracing::warn!(vassal = %key.vassal, pid = master.pid, "the master is alive but has not answered yet");
            adopted.alive.push(Alive {
                master: key,
                identity: master.identity,
                serving: None,
                booting: None,
                content: None,
                frozen: false,
            });
        }
        Some(adopted)
    }

    fn adopt_one(
        &mut self,
        master: &MasterKey,
        snapshot: &MasterSnapshot,
        fds: Vec<OwnedFd>,
        adopted: &mut Adopted,
        numbers: &mut Numbers,
    ) {
        let Some(sockets) = self.take_snapshot(master, snapshot, fds) else { return };
        for (key, socket) in sockets {
            self.performer.keep(master.vassal.clone(), key, socket);
        }
        if let Some(seat) = self.posts.get_mut(&master.vassal).and_then(|post| post.seats.get_mut(master)) {
            seat.serving = snapshot.serving;
            seat.awaited = snapshot.booting.map(|(_, revision, operation)| Awaited { operation, revision });
            seat.operation_of =
                snapshot.booting.iter().map(|(generation, _, operation)| (*generation, *operation)).collect();
        }
        if let (Some((_, revision)), Some(sha256)) = (snapshot.serving, &snapshot.serving_sha256) {
            numbers.recall(master.vassal.clone(), revision, sha256.clone(), None);
        }
        if snapshot.serving.is_some() {
            let since = snapshot.serves_since_unix_ms.unwrap_or_else(clock::unix_ms);
            self.post(&master.vassal).loyal_since_unix_ms.get_or_insert(since);
        }
        adopted.still_running.extend(snapshot.booting.map(|(_, _, operation)| (master.vassal.clone(), operation)));
        adopted.alive.push(alive(master, snapshot));
    }

    /// Keeps what a snapshot says in the master's seat, and answers with the sockets that came with it.
    pub(super) fn take_snapshot(
        &mut self,
        master: &MasterKey,
        snapshot: &MasterSnapshot,
        fds: Vec<OwnedFd>,
    ) -> Option<Vec<(String, OwnedFd)>> {
        if self.seat(master).is_none() {
            fds.into_iter().for_each(listen::close);
            return None;
        }
        let mut fds = fds.into_iter();
        let sockets: Vec<_> =
            snapshot.listeners.iter().cloned().zip(fds.by_ref().take(snapshot.listeners.len())).collect();
        self.boards_handed_anew(master, snapshot.generations.iter().copied().zip(fds.by_ref()));
        if snapshot.log {
            self.performer.keep_log(master.clone(), fds.collect());
        }
        let post = self.posts.get_mut(&master.vassal)?;
        for generation in snapshot.serving.iter().map(|(generation, _)| generation).chain(&snapshot.generations) {
            post.saw_generation(*generation);
        }
        post.kept.extend(snapshot.listeners.iter().cloned());
        let seat = post.seats.get_mut(master)?;
        seat.pid = snapshot.pid;
        seat.identity = snapshot.identity;
        seat.pulse.answers_pings(snapshot.answers_pings);
        seat.tells_stacks = snapshot.tells_stacks;
        seat.freezes = snapshot.freezes;
        seat.outdated = snapshot.outdated;
        seat.listeners = snapshot.listeners.iter().cloned().collect();
        seat.retired = snapshot.retired;
        seat.workers.clone_from(&snapshot.workers);
        seat.pythons = snapshot
            .serving
            .iter()
            .filter_map(|(generation, _)| Some((*generation, snapshot.python.clone()?)))
            .collect();
        Some(sockets)
    }

    /// What was brought into service last, before this brain.
    pub(crate) fn recall_deployments(&mut self, deployments: Vec<OperationView>) {
        for view in deployments.into_iter().filter(|view| view.end.is_some()) {
            let name = view.vassal.clone();
            self.post(&name).last_deployment = Some(view);
        }
    }

    /// Operations that an earlier brain began and that are still being carried out: they go on under their numbers.
    pub(crate) async fn inherit_operations(&mut self, adopted: &Adopted) {
        let reader = self.history.reader().borrow().clone();
        let Some(reader) = reader else { return };
        for (vassal, id) in &adopted.still_running {
            match reader.operation(*id).await {
                Ok(Some(view)) if view.vassal == *vassal => self.operations.inherit(view),
                Ok(_) => {}
                Err(error) => tracing::warn!(operation = id.0, %error, "an operation of the brain before is forgotten"),
            }
        }
    }

    /// The machine knows nothing of an operation that an earlier brain began: what the master says ends it.
    pub(super) fn end_inherited(&mut self, operation: Option<OperationId>, end: OperationEnd) {
        let Some(operation) = operation.filter(|operation| self.operations.is_inherited(*operation)) else { return };
        self.act(Action::End { operation, end });
    }

    /// Tells the machine who stays stopped and who is alive, then what came meanwhile. None: the keeper is gone.
    pub(crate) fn begin(&mut self, standing: Recalled, adopted: Adopted) -> Option<()> {
        if let Some(store) = self.history.store() {
            let still_running = adopted.still_running.into_iter().map(|(_, operation)| operation).collect();
            store.abandon_unfinished(still_running, clock::unix_ms()).unattended();
        }
        self.decide(Event::Recalled(standing));
        for alive in adopted.alive {
            let serves = if alive.serving.is_some() { "it serves" } else { "it does not serve yet" };
            tracing::info!(vassal = %alive.master.vassal, "found its master alive: {serves}");
            self.decide(Event::Found(alive));
        }
        for input in adopted.backlog {
            if self.hear(input).is_break() {
                return None;
            }
        }
        Some(())
    }
}
