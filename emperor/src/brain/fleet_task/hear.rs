//! From an input to an event of the fleet machine, with what is to be known of it kept beside.

use std::{collections::BTreeMap, ops::ControlFlow, os::fd::OwnedFd, sync::Arc};

use empery_control::link::{FromMaster, LOG_ELSEWHERE, MasterSnapshot};
use empery_lifecycle::{
    fleet::{Alive, ContentDigest, Event, MasterKey, OperationEnd, Sighting},
    generations::{FailureReason, Report},
    ids::{GenerationId, OperationId, VassalName},
};
use empery_store::Revision;
use empery_sys::listen;

use super::FleetTask;
use crate::brain::{
    clock,
    inputs::Input,
    keeper_line::KeeperWord,
    operations::Phase,
    post::{Awaited, Seat},
    sample,
    scan::{Scanned, reading::Reading},
};

/// How the end by a signal is put in words (`empery_sys::process::How`).
const BY_SIGNAL: &str = "signal ";

/// How a master ends that was done: its app was idle for long (`die-on-idle`) or told it to stop.
const LEFT_BY_ITSELF: &str = "exit code 0";

/// Most generations of one master that are kept in mind: one serves, one boots, the others drain.
const GENERATIONS_MAX: usize = 64;

impl FleetTask {
    /// Hears one input. Breaks when the keeper is gone.
    pub(super) fn hear(&mut self, input: Input) -> ControlFlow<()> {
        match input {
            Input::Keeper(KeeperWord::Gone) => return ControlFlow::Break(()),
            Input::Broken(work) => {
                tracing::error!("{work} panicked: this brain leaves, and another learns everything anew");
                return ControlFlow::Break(());
            }
            Input::Keeper(KeeperWord::MasterExited { master, how }) => self.master_exited(master, how),
            Input::Keeper(KeeperWord::ShutDown) => {
                self.leaving = true;
                self.decide(Event::ShutDown);
            }
            Input::Keeper(KeeperWord::Knocked { vassal }) => self.decide(Event::Knocked { name: vassal }),
            Input::Keeper(KeeperWord::ReloadAll) => self.decide(Event::ReloadAll),
            Input::Keeper(KeeperWord::SayStatus) => self.publisher.say_status(),
            Input::Scanned(scanned) => self.scanned(scanned),
            Input::Master { master, word, fds, turn } => {
                self.performer.in_turn(Some(turn));
                self.master_said(&master, *word, fds);
                self.performer.in_turn(None);
            }
            Input::MasterGone { master, how } => self.master_gone(master, how),
            Input::Started { master: living, listeners } => {
                let mut seat = Seat::new(living.pid, living.identity, self.open_link(&living.master));
                seat.listeners = listeners.into_iter().collect();
                seat.reports_follow = true;
                if self.post(&living.master.vassal).seats.is_empty() {
                    self.performer.has_started(&living);
                }
                self.post(&living.master.vassal).seats.insert(living.master.clone(), seat);
                self.decide(Event::MasterStarted { master: living.master.clone() });
                if let Some(how) = self.early_exits.remove(&living.master) {
                    self.master_exited(living.master, how);
                }
            }
            Input::StartFailed { master, reason } => {
                self.early_exits.remove(&master);
                self.decide(Event::StartFailed { master, reason });
            }
            Input::AwaitFailed { name, reason } => self.decide(Event::AwaitFailed { name, reason }),
            Input::DeployRefused { master, revision, operation, reason } => {
                self.decide(Event::DeployRefused { master, revision, operation, reason });
            }
            Input::Bound { name, addresses } => {
                let post = self.post(&name);
                post.kept.extend(addresses.iter().map(|(key, _)| key.clone()));
                post.addresses.extend(addresses);
                self.publisher.vassal_changed(&name);
            }
            Input::Ordered { master, listeners } => {
                if let Some(seat) = self.seat(&master) {
                    seat.listeners.extend(listeners);
                }
            }
            Input::History(opened) => {
                self.history.opened(opened.map(|opened| *opened));
                self.history.remember_holds();
            }
            Input::StandingRemembered { holds, frozen } => self.standing_remembered(holds, frozen),
            Input::Alarm(text) => {
                self.alarms.insert(text);
            }
            Input::BinaryTried { actor, outcome, reply } => self.binary_tried(actor, outcome, reply),
            Input::Recorded => self.performer.leave(),
        }
        ControlFlow::Continue(())
    }

    pub(super) fn seat(&mut self, master: &MasterKey) -> Option<&mut Seat> {
        self.posts.get_mut(&master.vassal)?.seats.get_mut(master)
    }

    fn scanned(&mut self, scanned: Scanned) {
        self.publisher.open();
        match scanned {
            Scanned::Lost(sentence) => {
                tracing::error!(
                    error = sentence,
                    "the vassals directory cannot be read; every vassal runs on as it is"
                );
                self.directory_lost =
                    Some(format!("the vassals directory cannot be read, so no change is seen: {sentence}"));
                self.decide(Event::DirectoryLost);
            }
            Scanned::Looked(number) => self.looked(number),
            Scanned::Files { all, new } => {
                if self.directory_lost.take().is_some() {
                    tracing::info!("the vassals directory is back");
                }
                for (name, facts) in new {
                    if let Some(reading) = all.get(&name) {
                        self.record_revision(&name, reading, facts);
                        self.told_problems(&name, reading);
                    }
                }
                for (name, reading) in &all {
                    let before = self.files.get(name).map(|known| known.revision);
                    if before != Some(reading.revision) {
                        self.remember(name, reading);
                        self.log_places.set(name, reading);
                        self.publisher.vassal_changed(name);
                    }
                }
                self.files = all;
                // Remembered from before this brain, of files that are gone.
                let (fleet, files) = (&self.fleet, &self.files);
                self.posts.retain(|name, post| {
                    files.contains_key(name) || !post.seats.is_empty() || fleet.view(name).is_some()
                });
                let sightings = self.files.iter().map(|(name, reading)| sighting(name, reading)).collect();
                self.decide(Event::Scanned(sightings));
                self.tell_doubt();
                self.upgrade_goes_on();
            }
        }
    }

    fn record_revision(&self, name: &VassalName, reading: &Reading, facts: String) {
        let Some(store) = self.history.store() else { return };
        let seen_unix_ms = clock::unix_ms();
        store.record_vassals_seen(vec![name.clone()], seen_unix_ms).unattended();
        store
            .record_revision(Revision {
                vassal: name.clone(),
                revision: reading.revision,
                sha256: reading.sha256.clone(),
                content: reading.content.clone(),
                problems: reading.problems.clone(),
                seen_unix_ms,
                facts: Some(facts),
            })
            .unattended();
    }

    /// The process is gone: first its last words are heard.
    fn master_exited(&mut self, master: MasterKey, how: String) {
        match self.seat(&master) {
            Some(seat) => seat.link.master_exited(how),
            None => {
                self.early_exits.insert(master, how);
            }
        }
    }

    fn master_gone(&mut self, master: MasterKey, how: String) {
        let told_to_leave = self.seat(&master).is_some_and(|seat| seat.told_to_leave);
        self.no_stacks_from(&master);
        let post = self.post(&master.vassal);
        post.take_leave(&master);
        if post.seats.is_empty() {
            post.loyal_since_unix_ms = None;
        }
        self.publisher.vassal_changed(&master.vassal);
        // How a master ends that outlived its keeper is not known: one that was told to leave has left.
        if told_to_leave && !how.starts_with(BY_SIGNAL) {
            tracing::debug!(vassal = %master.vassal, "its master has left: {how}");
        } else {
            self.told_exit(&master, &how);
        }
        for operation in self.operations.inherited_of(&master.vassal) {
            let end = OperationEnd::Failed { reason: FailureReason::Died { how: how.clone() }, still_serving: false };
            self.end_inherited(Some(operation), end);
        }
        if !told_to_leave && how == LEFT_BY_ITSELF {
            self.decide(Event::MasterLeft { master });
        } else {
            self.decide(Event::MasterExited { master, how });
        }
    }

    fn master_said(&mut self, master: &MasterKey, word: FromMaster, fds: Vec<OwnedFd>) {
        if let Some(seat) = self.seat(master) {
            seat.pulse.heard(clock::now());
        }
        match word {
            FromMaster::Pong => {}
            FromMaster::Stacks { stacks, token } => self.told_stacks(token, *stacks),
            FromMaster::Snapshot(snapshot) => self.catch_up(master, &snapshot, fds),
            FromMaster::WrongVersion { .. } => {}
            FromMaster::Report { report, boot_output, evidence, at_unix_ms } => {
                self.reported(master, report, at_unix_ms, boot_output, evidence);
            }
            FromMaster::Scoreboard { generation } => {
                if let Some(fd) = fds.first() {
                    self.board_handed(master, generation, fd);
                }
            }
            FromMaster::Interpreter { generation, python } => {
                if let Some(seat) = self.seat(master) {
                    remember(&mut seat.pythons, generation, python);
                }
            }
            FromMaster::Retired { generation, totals } => {
                if let Some(seat) = self.seat(master) {
                    seat.pythons.remove(&generation);
                    seat.boards.remove(&generation);
                    seat.operation_of.remove(&generation);
                    seat.retired.add(&totals);
                }
            }
            FromMaster::ListenersReleased { keys } => self.released(master, keys),
            FromMaster::Regions { names } => self.regions_handed(master, names, fds),
            FromMaster::TlsFilesAsked { paths } => {
                if let Some(link) = self.seat(master).map(|seat| seat.link.orders()) {
                    self.performer.open_tls(master.vassal.clone(), paths, link);
                }
            }
            FromMaster::Notice { severity, code, text, worker, at_unix_ms } => {
                if code == LOG_ELSEWHERE {
                    self.log_places.remove(&master.vassal);
                    self.publisher.vassal_changed(&master.vassal);
                }
                self.told_notice(&master.vassal, severity, code, text, worker, at_unix_ms);
            }
            FromMaster::Workers { workers, outdated } => {
                if let Some(seat) = self.seat(master) {
                    seat.outdated = outdated;
                    seat.workers = workers;
                    sample::recount(self.post(&master.vassal));
                    self.publisher.vassal_changed(&master.vassal);
                }
            }
        }
    }

    /// The master says everything at once: at the beginning, and after the link was lost for a while.
    fn catch_up(&mut self, master: &MasterKey, snapshot: &MasterSnapshot, fds: Vec<OwnedFd>) {
        let kept = self.posts.get(&master.vassal).map(|post| post.kept.clone()).unwrap_or_default();
        let Some(sockets) = self.take_snapshot(master, snapshot, fds) else { return };
        for (key, socket) in sockets {
            if kept.contains(&key) {
                listen::close(socket);
            } else {
                // What an earlier master left has brought it.
                self.performer.keep(master.vassal.clone(), key, socket);
            }
        }
        let Some(seat) = self.seat(master) else { return };
        if std::mem::take(&mut seat.reports_follow) {
            return;
        }
        seat.serving = snapshot.serving;
        let awaited = seat.awaited;
        self.decide(Event::Found(alive(master, snapshot)));
        let failed = snapshot.last_failure.clone().filter(|report| {
            operation_of(report).is_some_and(|id| awaited.is_some_and(|awaited| awaited.operation == id))
        });
        if let Some(report) = failed {
            self.reported(master, report, clock::unix_ms(), None, None);
        }
        self.publisher.vassal_changed(&master.vassal);
    }

    fn reported(
        &mut self,
        master: &MasterKey,
        report: Report,
        at_unix_ms: u64,
        boot_output: Option<String>,
        evidence: Option<String>,
    ) {
        let name = &master.vassal;
        match report {
            Report::Booting { operation, generation, revision } => {
                let operation = self.operations.own(operation, name);
                let post = self.post(name);
                post.saw_generation(generation);
                if let (Some(seat), Some(operation)) = (post.seats.get_mut(master), operation) {
                    remember(&mut seat.operation_of, generation, operation);
                    seat.awaited = Some(Awaited { operation, revision });
                }
                self.reached(operation, Phase::Booting, generation);
                self.decide(Event::Booting { master: master.clone(), generation, revision });
            }
            Report::Loaded { generation } => {
                let operation = self.seat(master).and_then(|seat| seat.operation_of.get(&generation).copied());
                self.reached(operation, Phase::Proving, generation);
            }
            Report::Serving { operation, generation, revision } => {
                let operation = self.operations.own(operation, name);
                let post = self.post(name);
                post.saw_generation(generation);
                post.loyal_since_unix_ms.get_or_insert_with(clock::unix_ms);
                if let Some(seat) = post.seats.get_mut(master) {
                    seat.serving = Some((generation, revision));
                    seat.awaited = seat.awaited.filter(|awaited| Some(awaited.operation) != operation);
                }
                if let Some(operation) = operation {
                    self.operations.wrote(operation, boot_output);
                    self.operations.made(operation, generation);
                }
                self.publisher.vassal_changed(name);
                self.decide(Event::Serving { master: master.clone(), generation, revision, operation });
                self.end_inherited(operation, OperationEnd::Succeeded);
            }
            Report::Failed { operation, generation, revision, reason, still_serving } => {
                let operation = self.operations.own(operation, name);
                let post = self.post(name);
                post.saw_generation(generation);
                if let Some(seat) = post.seats.get_mut(master) {
                    seat.awaited = seat.awaited.filter(|awaited| Some(awaited.operation) != operation);
                    seat.operation_of.remove(&generation);
                }
                if let Some(operation) = operation {
                    self.operations.wrote(operation, boot_output);
                    self.operations.made(operation, generation);
                }
                self.publisher.vassal_changed(name);
                let end = OperationEnd::Failed { reason: reason.clone(), still_serving };
                self.decide(Event::Failed { master: master.clone(), revision, operation, reason, still_serving });
                self.end_inherited(operation, end);
            }
            Report::Drained { generation, killed } => self.told_drained(name, generation, killed, at_unix_ms),
            Report::WorkerDied { worker, how, retry_in } => {
                self.told_worker_died(name, worker, &how, evidence.as_deref(), retry_in, at_unix_ms);
            }
            Report::Recycled { worker, why } => tracing::debug!(vassal = %name, %worker, ?why, "recycled"),
            Report::Stopped => tracing::debug!(vassal = %name, "the master has stopped"),
        }
    }

    /// Nobody uses these any more, as far as this master knows; a master beside it may.
    fn released(&mut self, master: &MasterKey, keys: Vec<String>) {
        let post = self.post(&master.vassal);
        if let Some(seat) = post.seats.get_mut(master) {
            seat.listeners.retain(|key| !keys.contains(key));
        }
        let unused: Vec<String> =
            keys.into_iter().filter(|key| !post.seats.values().any(|seat| seat.listeners.contains(key))).collect();
        for key in &unused {
            post.kept.remove(key);
            post.addresses.remove(key);
        }
        if !unused.is_empty() {
            self.performer.forget(master.vassal.clone(), unused);
        }
    }
}

/// Keeps something of a generation. A master that says it of ever new ones loses the oldest.
pub(super) fn remember<T>(kept: &mut BTreeMap<GenerationId, T>, generation: GenerationId, it: T) {
    kept.insert(generation, it);
    while kept.len() > GENERATIONS_MAX {
        kept.pop_first();
    }
}

/// A master as its snapshot shows it.
pub(super) fn alive(master: &MasterKey, snapshot: &MasterSnapshot) -> Alive {
    Alive {
        master: master.clone(),
        identity: snapshot.identity,
        serving: snapshot.serving,
        booting: snapshot.booting.map(|(_, revision, _)| revision),
        content: snapshot.serving_sha256.as_deref().map(digest),
        frozen: snapshot.frozen,
    }
}

fn operation_of(report: &Report) -> Option<OperationId> {
    match report {
        Report::Failed { operation, .. } => *operation,
        _ => None,
    }
}

fn sighting(name: &VassalName, reading: &Arc<Reading>) -> Sighting {
    Sighting {
        name: name.clone(),
        revision: reading.revision,
        content: digest(&reading.sha256),
        verdict: reading.verdict(),
    }
}

/// The first eight bytes of a SHA-256 in hex.
fn digest(sha256: &str) -> ContentDigest {
    let head = sha256.get(..16).and_then(|head| u64::from_str_radix(head, 16).ok());
    ContentDigest(head.unwrap_or(0))
}
