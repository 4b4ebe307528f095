//! Carries out what the fleet machine decided: binds, starts, orders, kills. Never adds an action of its own. What takes
//! time runs beside the owning task, one errand after the other for each vassal, and ends with an input.

mod bind;
mod holders;

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use empery_control::{
    keeper::{Answer, Ask, LivingMaster, StartMaster},
    link::Order,
};
use empery_failpoint::{point, step};
use empery_lifecycle::{
    fleet::{Identity, MasterKey},
    generations::FailureReason,
    ids::{GenerationId, OperationId, RevisionId, VassalName},
};
use empery_store::Reader as History;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::{
    around::Around,
    inputs::{Inbox, Input},
    keeper_line::KeeperLine,
    link::Sent,
    scan::{
        number,
        reading::{Circumstances, Reader, Reading, RunPlan},
    },
    turn::Turn,
    vital::Vital,
};
use crate::tyrant;
use holders::Holders;

/// A boot to be brought about: by a new master or by one that runs.
#[derive(Debug)]
pub(crate) struct Boot {
    /// By which master.
    pub(crate) master: MasterKey,
    /// Of what.
    pub(crate) revision: RevisionId,
    /// For whom.
    pub(crate) operation: OperationId,
    /// What that revision says, when it is remembered; else it is looked up.
    pub(crate) reading: Option<Arc<Reading>>,
    /// Keys that the keeper keeps for this vassal already: they are not given up when the boot fails.
    pub(crate) kept: BTreeSet<String>,
}

/// Performs. Knows nothing but where to send words.
#[derive(Debug)]
pub(crate) struct Performer {
    tools: Tools,
    /// What is done around vassals besides.
    around: Around,
    /// The last errand of each vassal: the next waits for it.
    errands: BTreeMap<VassalName, JoinHandle<()>>,
    /// The word of a master that is being heard: its place is taken until what it leads to is done.
    turn: Option<Turn>,
}

#[derive(Debug, Clone)]
struct Tools {
    keeper: KeeperLine,
    inbox: Inbox,
    reader: Reader,
    history: watch::Receiver<Option<History>>,
    /// Which vassal holds which address: to name it when another wants the same.
    holders: Holders,
}

impl Performer {
    /// Nothing has been asked for yet.
    pub(crate) fn new(
        keeper: KeeperLine,
        inbox: Inbox,
        reader: Reader,
        history: watch::Receiver<Option<History>>,
        around: Around,
    ) -> Performer {
        let tools = Tools { keeper, inbox, reader, history, holders: Holders::default() };
        Performer { tools, around, errands: BTreeMap::new(), turn: None }
    }

    /// What is asked for from now on is because of this word.
    pub(crate) fn in_turn(&mut self, turn: Option<Turn>) {
        self.turn = turn;
    }

    /// Binds what is not bound and starts a master. Answered by [`Input::Started`] or [`Input::StartFailed`].
    /// `known_generation` is the highest number seen of this vassal in this brain's life.
    pub(crate) fn start(&mut self, boot: Boot, known_generation: GenerationId, frozen: bool) {
        let tools = self.tools.clone();
        self.run(boot.master.vassal.clone(), async move {
            let master = boot.master.clone();
            let started = tools.start(boot, known_generation, frozen).await;
            tools.inbox.tell(match started {
                Ok((master, listeners)) => Input::Started { master, listeners },
                Err(reason) => Input::StartFailed { master, reason },
            });
        });
    }

    /// Binds what the master does not have, then orders it to deploy. Answered by [`Input::DeployRefused`], or by the master.
    pub(crate) fn deploy(
        &mut self,
        boot: Boot,
        held_by_master: BTreeSet<String>,
        link: Option<mpsc::UnboundedSender<Sent>>,
    ) {
        let tools = self.tools.clone();
        self.run(boot.master.vassal.clone(), async move {
            let (master, revision, operation) = (boot.master.clone(), boot.revision, boot.operation);
            if let Err(reason) = tools.deploy(boot, held_by_master, link).await {
                tools.inbox.tell(Input::DeployRefused { master, revision, operation, reason });
            }
        });
    }

    /// Binds what is not bound and has the keeper watch for a client. Answered by [`Input::AwaitFailed`], or by the keeper.
    pub(crate) fn wait_for_client(&mut self, name: VassalName, reading: Option<Arc<Reading>>, kept: BTreeSet<String>) {
        let tools = self.tools.clone();
        self.run(name.clone(), async move {
            if let Err(reason) = tools.wait_for_client(&name, reading, kept).await {
                tools.inbox.tell(Input::AwaitFailed { name, reason });
            }
        });
    }

    /// Orders a master to accept nothing, or to accept again, after what was ordered before.
    pub(crate) fn gate(&mut self, name: VassalName, frozen: bool, link: mpsc::UnboundedSender<Sent>) {
        self.run(name, async move {
            // A link that has ended belongs to a master that has left.
            let _ = link.send(Sent { order: Order::Gate { frozen }, fds: Vec::new(), outcome: None });
        });
    }

    /// Orders a master to drain and leave, after what was ordered before. Answered by its exit.
    pub(crate) fn stop(&mut self, name: VassalName, link: Option<mpsc::UnboundedSender<Sent>>) {
        let Some(link) = link else { return };
        self.run(name, async move {
            step!("brain.stop");
            // A link that has ended belongs to a master that has left.
            let _ = link.send(Sent { order: Order::Stop, fds: Vec::new(), outcome: None });
        });
    }

    /// Has certificates and keys opened again that a master's gateway cannot open itself.
    pub(crate) fn open_tls(&mut self, name: VassalName, paths: Vec<PathBuf>, link: mpsc::UnboundedSender<Sent>) {
        let tools = self.tools.clone();
        self.run(name.clone(), async move {
            let (paths, fds) = tools.open_tls(&name, paths).await;
            if !paths.is_empty() {
                // A link that has ended belongs to a master that has left.
                let _ = link.send(Sent { order: Order::TlsFiles { paths }, fds, outcome: None });
            }
        });
    }

    /// A vassal that had no master has this one: what the emperor's owner wants done then is done.
    pub(crate) fn has_started(&self, living: &LivingMaster) {
        self.around.started(living);
    }

    /// The only master of a vassal is told to leave: the same.
    pub(crate) fn is_stopping(&self, name: &VassalName) {
        self.around.stops(name);
    }

    /// Something that concerns no vassal.
    pub(crate) fn ask_keeper(&self, ask: Ask) {
        self.tell_keeper(ask, Vec::new());
    }

    /// SIGKILL.
    pub(crate) fn kill(&self, master: MasterKey, was_to_leave: bool) {
        self.tell_keeper(Ask::Kill { master, was_to_leave }, Vec::new());
    }

    /// Closes what is kept for this vassal: all of it when no keys are named.
    pub(crate) fn forget(&self, vassal: VassalName, keys: Vec<String>) {
        self.tools.holders.release(&vassal, &keys);
        self.tell_keeper(Ask::Forget { vassal, keys }, Vec::new());
    }

    /// Hands a listening socket to the keeper that a master was found with.
    pub(crate) fn keep(&self, vassal: VassalName, key: String, socket: OwnedFd) {
        if self.tools.holders.of(&key).is_some_and(|holder| holder != vassal) {
            // Whatever it listens on: the name is another's.
            return empery_sys::listen::close(socket);
        }
        self.tools.holders.take(&vassal, &key);
        self.tell_keeper(Ask::Keep { vassal, key }, vec![socket]);
    }

    /// Hands the keeper the memory that a master's workers share.
    pub(crate) fn keep_regions(&self, master: MasterKey, regions: Vec<(String, OwnedFd)>) {
        let (names, regions) = regions.into_iter().unzip();
        self.tell_keeper(Ask::KeepRegions { master, names }, regions);
    }

    /// Hands the keeper both ends of a master's log pipe.
    pub(crate) fn keep_log(&self, master: MasterKey, ends: Vec<OwnedFd>) {
        self.tell_keeper(Ask::KeepLog { master }, ends);
    }

    /// The emperor leaves.
    pub(crate) fn leave(&self) {
        self.tell_keeper(Ask::Leave { code: 0 }, Vec::new());
    }

    fn tell_keeper(&self, ask: Ask, fds: Vec<OwnedFd>) {
        let answer = self.tools.keeper.ask(ask, fds);
        let turn = self.turn.clone();
        tokio::spawn(async move {
            let _turn = turn;
            if let Err(error) = answer.await {
                tracing::warn!(%error, "the keeper did not do as asked");
            }
        });
    }

    fn run(&mut self, name: VassalName, errand: impl Future<Output = ()> + Send + 'static) {
        let before = self.errands.remove(&name);
        self.errands.retain(|_, errand| !errand.is_finished());
        let vital = Vital::new("an errand", self.tools.inbox.clone());
        let turn = self.turn.clone();
        let task = tokio::spawn(async move {
            let (_vital, _turn) = (vital, turn);
            if let Some(before) = before {
                // When it has panicked, the brain is about to leave.
                let _ = before.await;
            }
            errand.await;
        });
        self.errands.insert(name, task);
    }
}

impl Tools {
    async fn start(
        &self,
        boot: Boot,
        known_generation: GenerationId,
        frozen: bool,
    ) -> Result<(LivingMaster, Vec<String>), FailureReason> {
        let reading = self.reading(&boot).await?;
        let plan = runnable(&reading)?;
        point!("brain.bind").map_err(setup)?;
        let bound = self.bind(&boot.master.vassal, plan, &boot.kept, &BTreeSet::new()).await?;
        let listeners: Vec<String> = bound.sockets.iter().map(|socket| socket.key.clone()).collect();
        // The master holds them all in the end, or has failed.
        let held = listeners.iter().chain(bound.left.iter().map(|left| &left.key)).cloned().collect();
        let order = StartMaster {
            master: boot.master.clone(),
            identity: plan.identity,
            user: plan.user.clone(),
            groups: plan.groups.clone(),
            revision: boot.revision,
            operation: boot.operation,
            first_generation: self.generation_after(&boot.master.vassal, known_generation).await,
            listeners,
            awaited_listeners: bound.left,
            tls_files: tls_files(plan),
            frozen,
            on_demand: reading.on_demand.clone(),
            common: self.reader.common().clone(),
        };
        let started = match point!("brain.start").map_err(setup).and_then(|()| content_fd(&reading)) {
            Ok(content) => self.keeper.ask(Ask::StartMaster(Box::new(order)), vec![content]).await,
            Err(reason) => {
                self.give_up(&boot.master.vassal, bound.fresh);
                return Err(reason);
            }
        };
        match started {
            Ok((Answer::Started { pid }, _)) => {
                step!("brain.started");
                Ok((LivingMaster { master: boot.master, pid, identity: plan.identity }, held))
            }
            Ok(_) => {
                self.give_up(&boot.master.vassal, bound.fresh);
                Err(setup("the keeper answered something else than a start"))
            }
            Err(error) => {
                self.give_up(&boot.master.vassal, bound.fresh);
                Err(setup(error))
            }
        }
    }

    async fn deploy(
        &self,
        boot: Boot,
        held_by_master: BTreeSet<String>,
        link: Option<mpsc::UnboundedSender<Sent>>,
    ) -> Result<(), FailureReason> {
        let reading = self.reading(&boot).await?;
        let plan = runnable(&reading)?;
        let bound = self.bind(&boot.master.vassal, plan, &boot.kept, &held_by_master).await?;
        if let Some(sentence) = bound.left.into_iter().find_map(|left| left.why) {
            self.give_up(&boot.master.vassal, bound.fresh);
            return Err(setup(sentence));
        }
        let (keys, sockets): (Vec<_>, Vec<_>) = bound.sockets.into_iter().map(|socket| (socket.key, socket.fd)).unzip();
        let (tls_files, files) = self.open_tls(&boot.master.vassal, tls_files(plan)).await;
        let order = Order::Deploy {
            operation: boot.operation,
            revision: boot.revision,
            new_listeners: keys.clone(),
            tls_files,
            on_demand: reading.on_demand.clone(),
            common: self.reader.common().clone(),
        };
        let sent = async {
            let link = link.ok_or_else(|| "there is no link to it".to_owned())?;
            point!("brain.deploy").map_err(|error| error.to_string())?;
            let content = content_fd(&reading).map_err(|reason| sentence_of(&reason))?;
            let (outcome, told) = oneshot::channel();
            let fds = std::iter::once(content).chain(sockets).chain(files).collect();
            let sent = Sent { order, fds, outcome: Some(outcome) };
            link.send(sent).map_err(|_| "the link to it has ended".to_owned())?;
            told.await.unwrap_or_else(|_| Err("it left before it was told".to_owned()))
        };
        let sent: Result<(), String> = sent.await;
        match sent {
            Ok(()) => {
                step!("brain.ordered");
                self.inbox.tell(Input::Ordered { master: boot.master, listeners: keys });
                Ok(())
            }
            Err(cause) => {
                self.give_up(&boot.master.vassal, bound.fresh);
                Err(setup(format!("the master of {} could not be told to deploy: {cause}", boot.master.vassal)))
            }
        }
    }

    /// Certificates and keys that only root may read. Those that are not opened the gateway opens itself, or says why not.
    async fn open_tls(&self, vassal: &VassalName, paths: Vec<PathBuf>) -> (Vec<PathBuf>, Vec<OwnedFd>) {
        if paths.is_empty() {
            return (Vec::new(), Vec::new());
        }
        match self.keeper.ask(Ask::OpenTls { vassal: vassal.clone(), paths }, Vec::new()).await {
            Ok((Answer::TlsOpened { paths }, files)) => (paths, files),
            Ok(_) => (Vec::new(), Vec::new()),
            Err(error) => {
                tracing::warn!(%vassal, %error, "certificates were not opened");
                (Vec::new(), Vec::new())
            }
        }
    }

    /// What the revision says: remembered, or from the database when it is an older one.
    async fn reading(&self, boot: &Boot) -> Result<Arc<Reading>, FailureReason> {
        if let Some(reading) = &boot.reading {
            return Ok(Arc::clone(reading));
        }
        let (name, revision) = (boot.master.vassal.clone(), boot.revision);
        let lost = |cause: String| {
            setup(format!("what revision {revision} of {name} said is no longer known ({cause}); save the file again"))
        };
        let history = self.history.borrow().clone().ok_or_else(|| lost("there is no database".to_owned()))?;
        let kept = history.revision(&name, revision).await.map_err(|error| lost(error.to_string()))?;
        let kept = kept.ok_or_else(|| lost("it is older than the history kept".to_owned()))?;
        let owner = if self.reader.has_tyrant() {
            let then = kept.facts.as_deref().and_then(number::owner);
            Some(tyrant::same_owner(then, self.owner_of(&name).await).map_err(|cause| {
                setup(format!("revision {revision} of {name} is not run again: {cause}; save the file again"))
            })?)
        } else {
            None
        };
        let (reader, owned) = (self.reader.clone(), name.clone());
        let circumstances = Circumstances { on_demand: None, owner };
        let reading =
            tokio::task::spawn_blocking(move || reader.read(&owned, revision, kept.content, circumstances)).await;
        reading.map(Arc::new).map_err(|panic| lost(panic.to_string()))
    }

    /// Who owns its file now.
    async fn owner_of(&self, name: &VassalName) -> Option<Identity> {
        match self.keeper.ask(Ask::Open { name: name.clone() }, Vec::new()).await {
            Ok((Answer::Opened { facts }, _)) => Some(tyrant::owner(&facts)),
            Ok(_) | Err(_) => None,
        }
    }

    /// The number of a new master's first generation: after every one that is known.
    async fn generation_after(&self, name: &VassalName, known: GenerationId) -> GenerationId {
        let history = self.history.borrow().clone();
        let recorded = match history {
            Some(history) if known == GenerationId(0) => match history.last_generation(name).await {
                Ok(recorded) => recorded,
                Err(error) => {
                    tracing::warn!(vassal = %name, %error, "generations are numbered anew");
                    None
                }
            },
            Some(_) | None => None,
        };
        recorded.unwrap_or(known).max(known).next()
    }

    /// Closes what was bound for nothing: clients must not wait in a queue that nobody reads.
    fn give_up(&self, vassal: &VassalName, keys: Vec<String>) {
        if keys.is_empty() {
            return;
        }
        self.holders.release(vassal, &keys);
        let answer = self.keeper.ask(Ask::Forget { vassal: vassal.clone(), keys }, Vec::new());
        tokio::spawn(answer);
    }
}

fn tls_files(plan: &RunPlan) -> Vec<PathBuf> {
    plan.config.tls_files().into_iter().map(Path::to_owned).collect()
}

fn runnable(reading: &Reading) -> Result<&RunPlan, FailureReason> {
    reading.plan.as_ref().ok_or_else(|| {
        let error = reading.first_error().unwrap_or_else(|| "its file cannot be run".to_owned());
        FailureReason::Setup { sentence: error }
    })
}

fn content_fd(reading: &Reading) -> Result<OwnedFd, FailureReason> {
    empery_sys::memfd::sealed("vassal-file", &reading.content).map_err(setup)
}

fn setup(sentence: impl ToString) -> FailureReason {
    FailureReason::Setup { sentence: sentence.to_string() }
}

fn sentence_of(reason: &FailureReason) -> String {
    super::summary::sentence_of(reason)
}
