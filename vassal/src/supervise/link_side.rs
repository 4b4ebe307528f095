//! What comes and goes over the link: a brain's orders, the news for it, and workers of an earlier master.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use empery_control::{
    boot::AwaitedListener,
    link::{FromMaster, LINK_VERSION, MasterSnapshot, Order, WorkerView},
    worker::Introduction,
};
use empery_lifecycle::{
    fleet::Identity,
    generations::{Event, Report},
    ids::{OperationId, RevisionId},
};
use empery_sys::channel::Channel;

use super::{
    Supervisor,
    input::{Input, Introduced},
    stacks::Wanted,
    succeed::Succession,
};
use crate::{
    link::{brain::Brain, orphan::OrphanHandle},
    log,
    peer::{Heard, Peer},
    station::Station,
};

/// News kept for the next brain to connect, at most: a deploy can fail before there is one, a worker die between two.
const UNSENT_MAX: usize = 256;

/// How long what an earlier master left may take to bring its sockets: a worker calls once a second, unless it is stopped.
const LISTENERS_DEADLINE: Duration = Duration::from_secs(5);

/// How long a master that has nothing left waits for a brain to take its last words.
const LAST_WORDS_DEADLINE: Duration = Duration::from_secs(3);

impl Supervisor {
    /// Somebody connected whose credentials are right.
    pub(super) fn introduced(&mut self, newcomer: Introduced) {
        match newcomer.introduction {
            Introduction::Brain { version } => self.brain_connected(version, newcomer.channel),
            Introduction::OrphanedGateway { listeners } => {
                self.take_listeners(&listeners, newcomer.descriptors);
                self.gateway_found(newcomer.channel, newcomer.pid);
            }
            Introduction::OrphanedWorker { worker, listeners, .. } => {
                self.take_listeners(&listeners, newcomer.descriptors);
                self.adopt_orphan(worker, newcomer.pid, listeners, newcomer.channel);
            }
        }
    }

    /// What an earlier master left brings its sockets along, for a master that has none.
    fn take_listeners(&mut self, keys: &[String], sockets: Vec<OwnedFd>) {
        for (key, socket) in keys.iter().zip(sockets) {
            self.listeners.take(key.clone(), socket);
        }
    }

    /// Waits until workers or the gateway of an earlier master have brought these, but not for long. Answers with what came
    /// meanwhile, to be heard behind the first deploy.
    ///
    /// # Errors
    /// Why one of them is not there.
    pub(crate) async fn await_listeners(
        &mut self,
        awaited: &[AwaitedListener],
        inputs: &mut super::Inputs,
    ) -> (Vec<Input>, Result<(), String>) {
        let deadline = tokio::time::Instant::now() + LISTENERS_DEADLINE;
        let mut others = Vec::new();
        loop {
            let mut missing = awaited.iter().filter(|awaited| self.listeners.get(&awaited.key).is_none()).peekable();
            if missing.peek().is_none() {
                return (others, Ok(()));
            }
            let why = missing.find_map(|missing| missing.why.clone());
            match tokio::time::timeout_at(deadline, inputs.recv()).await {
                Ok(Some(Input::Introduced(newcomer))) if newcomer.introduction.is_left_behind() => {
                    self.introduced(*newcomer);
                }
                Ok(Some(other)) => others.push(other),
                Ok(None) | Err(_) => return (others, why.map_or(Ok(()), Err)),
            }
        }
    }

    fn brain_connected(&mut self, version: u32, channel: Channel) {
        self.last_brain += 1;
        let serial = self.last_brain;
        let peer = Peer::attach(channel, self.inbox.clone(), move |heard| match heard {
            Heard::Word(order, descriptors) => Input::Ordered(serial, order, descriptors),
            Heard::Silence => Input::BrainSilent(serial),
        });
        if version != LINK_VERSION {
            peer.say(FromMaster::WrongVersion { speaks: LINK_VERSION }, Vec::new());
            return;
        }
        let (snapshot, descriptors) = self.snapshot();
        peer.say(FromMaster::Snapshot(Box::new(snapshot)), descriptors);
        self.brain = Some(Brain { serial, peer });
        let unsent = std::mem::take(&mut self.unsent).into_iter();
        for news in unsent.chain(std::mem::take(&mut self.told).words()) {
            self.tell_brain(news, Vec::new());
        }
        self.tell_regions();
    }

    /// Takes over what workers of an earlier master share.
    pub(crate) fn take_regions(&mut self, kept: Vec<(String, OwnedFd)>) {
        self.kept_regions = kept.iter().map(|(name, _)| name.clone()).collect();
        self.regions.take_kept(kept);
    }

    /// Has the keeper keep what workers share, when that has changed.
    pub(super) fn have_regions_kept(&mut self) {
        let now = self.regions.to_be_kept();
        if !now.iter().map(|(name, _)| name).eq(&self.kept_regions) {
            self.tell_regions();
        }
    }

    /// A brain that is new may speak to a keeper that is.
    fn tell_regions(&mut self) {
        let to_be_kept = self.regions.to_be_kept();
        if self.brain.is_none() || to_be_kept.is_empty() && self.kept_regions.is_empty() {
            return;
        }
        let copies = to_be_kept.into_iter().filter_map(|(name, fd)| Some((name, fd.try_clone_to_owned().ok()?)));
        let (names, descriptors): (Vec<String>, Vec<OwnedFd>) = copies.unzip();
        self.kept_regions.clone_from(&names);
        self.tell_brain(FromMaster::Regions { names }, descriptors);
    }

    fn snapshot(&self) -> (MasterSnapshot, Vec<OwnedFd>) {
        let (mut descriptors, mut listeners, mut generations) = (Vec::new(), Vec::new(), Vec::new());
        for (key, held) in self.listeners.iter() {
            if let Ok(copy) = held.socket.try_clone() {
                listeners.push(key.to_owned());
                descriptors.push(copy);
            }
        }
        for (id, generation) in &self.generations {
            if let Ok(copy) = generation.scoreboard_fd.try_clone() {
                generations.push(*id);
                descriptors.push(copy);
            }
        }
        for (id, carried) in &self.carried {
            if let Ok(copy) = carried.descriptor.try_clone() {
                generations.push(*id);
                descriptors.push(copy);
            }
        }
        let Station::Governed(governed) = &self.station else {
            unreachable!("only a master under an emperor has a link")
        };
        let log = governed.kept.log_read.try_clone().and_then(|read| Ok([read, self.surroundings.log.try_clone()?]));
        let has_log = log.is_ok();
        descriptors.extend(log.into_iter().flatten());
        let serving = self.machine.serving();
        let snapshot = MasterSnapshot {
            master: governed.boot.master.clone(),
            pid: i32::try_from(std::process::id()).unwrap_or(i32::MAX),
            identity: Identity { uid: governed.boot.uid, gid: governed.boot.gid },
            version: env!("CARGO_PKG_VERSION").to_owned(),
            serving,
            serves_since_unix_ms: self.serves_since_unix_ms.filter(|_| serving.is_some()),
            booting: self.machine.booting().and_then(|(generation, revision, operation)| {
                Some((
                    generation,
                    revision,
                    operation.filter(|operation| operation.0 < crate::station::OWN_OPERATIONS)?,
                ))
            }),
            listeners,
            generations,
            log: has_log,
            python: serving.and_then(|(generation, _)| self.generations.get(&generation)?.python.clone()),
            retired: self.retired,
            workers: self.worker_views(),
            last_failure: self.last_failure.clone(),
            serving_sha256: serving
                .and_then(|(generation, _)| self.generations.get(&generation)?.revision.sha256.clone()),
            answers_pings: true,
            tells_stacks: true,
            freezes: true,
            frozen: self.frozen,
            outdated: self.is_outdated(),
        };
        (snapshot, descriptors)
    }

    /// The brain ordered something.
    pub(super) fn ordered(&mut self, serial: u64, order: Order, descriptors: Vec<OwnedFd>) {
        if self.brain.as_ref().is_none_or(|brain| brain.serial != serial) {
            return;
        }
        match order {
            Order::Deploy { operation, revision, new_listeners, tls_files, on_demand, common } => {
                if let Station::Governed(governed) = &mut self.station {
                    governed.boot.on_demand = on_demand;
                    governed.boot.common = common;
                }
                self.ordered_deploy(operation, revision, (new_listeners, tls_files), descriptors);
            }
            Order::TlsFiles { paths } => self.take_tls_files(paths, descriptors.into_iter()),
            Order::Gate { frozen } => self.set_frozen(frozen),
            Order::Cancel { operation } => self.tell(Event::Cancel { operation }),
            // A brain that was restarted repeats itself; only a second signal means "at once".
            Order::Stop if self.stop_asked => {}
            Order::Stop => self.stop(),
            Order::ReopenLogs => log::reopen(),
            Order::Stacks { token, worker } => self.ask_stacks(worker, Wanted::Brain { serial, token }),
            Order::Ping => self.tell_brain(FromMaster::Pong, Vec::new()),
        }
    }

    fn ordered_deploy(
        &mut self,
        operation: OperationId,
        revision: RevisionId,
        (new_listeners, tls_files): (Vec<String>, Vec<PathBuf>),
        descriptors: Vec<OwnedFd>,
    ) {
        let Station::Governed(governed) = &mut self.station else { return };
        let mut descriptors = descriptors.into_iter();
        let content = match descriptors.next().map(|content| empery_sys::memfd::read_all(content.as_fd())) {
            Some(Ok(content)) => content,
            Some(Err(_)) | None => {
                let sentence = "the content of the vassal file did not come with the order".to_owned();
                self.deploy(operation, revision, Err(sentence));
                return;
            }
        };
        (governed.content, governed.revision) = (content, revision);
        let offer = governed.read();
        for (key, socket) in new_listeners.into_iter().zip(&mut descriptors) {
            self.listeners.take(key, socket);
        }
        self.take_tls_files(tls_files, descriptors);
        match self.changed_binary() {
            Some(binary) if self.succession == Succession::No && !self.stop_asked => {
                self.deploy_by_binary(binary, operation);
            }
            Some(_) if self.succession != Succession::No => self.deploys_after_succession(operation),
            Some(_) | None => self.deploy(operation, revision, offer.map(Arc::new)),
        }
    }

    /// The brain is gone; the next one is told everything anew, and again what this one may not have written down any more.
    pub(super) fn brain_silent(&mut self, serial: u64) {
        if self.brain.take_if(|brain| brain.serial == serial).is_some() {
            self.unsent.splice(..0, std::mem::take(&mut self.told).words());
        }
    }

    /// Tells the brain, if there is one. What no snapshot says is kept for the next: incidents, and before the first brain
    /// every report.
    pub(super) fn tell_brain(&mut self, news: FromMaster, descriptors: Vec<OwnedFd>) {
        let is_incident = matches!(
            news,
            FromMaster::Notice { .. }
                | FromMaster::Report { report: Report::WorkerDied { .. } | Report::Drained { .. }, .. }
        );
        match &self.brain {
            Some(brain) => {
                if is_incident {
                    self.told.note(news.clone());
                }
                brain.peer.say(news, descriptors);
            }
            None => {
                let is_kept = is_incident || (self.last_brain == 0 && matches!(news, FromMaster::Report { .. }));
                if is_kept && matches!(self.station, Station::Governed(_)) && self.unsent.len() < UNSENT_MAX {
                    self.unsent.push(news);
                }
            }
        }
    }

    /// Tells the brain which workers there are, when that has changed.
    pub(super) fn tell_workers(&mut self) {
        if self.brain.is_none() {
            return;
        }
        let views = self.worker_views();
        if views != self.last_workers {
            self.last_workers.clone_from(&views);
            let outdated = self.is_outdated();
            self.tell_brain(FromMaster::Workers { workers: views, outdated }, Vec::new());
        }
    }

    fn worker_views(&self) -> Vec<WorkerView> {
        let own = self.generations.values().flat_map(|generation| &generation.workers);
        own.map(|(worker, handle)| handle.view(*worker)).chain(self.orphans.values().map(OrphanHandle::view)).collect()
    }

    /// Sees to it that the last reports reach the brain. A master whose first boot failed may be done before the
    /// brain has connected at all: the link socket is bound already, so it is only moments away.
    pub(super) async fn take_leave_of_brain(&mut self, inputs: &mut super::Inputs) {
        if !matches!(self.station, Station::Governed(_)) {
            return;
        }
        let deadline = tokio::time::Instant::now() + LAST_WORDS_DEADLINE;
        while self.last_brain == 0 {
            match tokio::time::timeout_at(deadline, inputs.recv()).await {
                Ok(Some(Input::Introduced(newcomer))) => self.introduced(*newcomer),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return,
            }
        }
        if let Some(brain) = self.brain.take() {
            // A brain that does not read is not waited for longer.
            let _ = tokio::time::timeout_at(deadline, brain.peer.finish()).await;
        }
    }
}
