//! A world for the fleet machine: vassal files, masters that are ordered and speak over links with words under way,
//! crashes, and a brain that dies and learns the fleet anew. It performs what the machine asks for and checks the
//! invariants of `ARCHITECTURE.md` at every step. Used by the exploration and by the simulation.

macro_rules! demand {
    ($holds:expr, $($words:tt)*) => {
        if !$holds {
            return Err(format!($($words)*));
        }
    };
}

mod canonical;
mod chances;
mod performer;
mod removal;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::*;
use crate::ids::{GenerationId, RevisionId};

pub(super) const POLICY: Policy = Policy {
    retry_first: Duration::from_secs(1),
    retry_longest: Duration::from_secs(2),
    forgiven_after: Duration::from_secs(3),
    stop_grace: Duration::from_secs(1),
    mercy: Duration::from_secs(2),
    boots_at_once: 1,
    boots_counted_for: Duration::from_secs(4),
    doubted_above_percent: 50,
    doubted_from_vassals: 2,
};
pub(super) const MERCY: Duration = Duration::from_secs(2);

/// How much may happen in one history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Changes of files: edits, garbage, removals, other identities, renames.
    pub(super) edits: u32,
    pub(super) commands: u32,
    /// Boots, starts and deploys that fail.
    pub(super) failures: u32,
    /// Masters that die.
    pub(super) crashes: u32,
    /// Deaths of the brain.
    pub(super) brain_deaths: u32,
    /// SIGHUPs and losses of the directory.
    pub(super) signals: u32,
    /// SIGTERMs.
    pub(super) shut_downs: u32,
    /// Times that the directory is emptied at once.
    pub(super) removals: u32,
    /// Clients of vassals on demand, and masters that leave because they are idle.
    pub(super) visits: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct File {
    pub(super) revision: RevisionId,
    content: ContentDigest,
    identity: Identity,
    refused: bool,
    on_demand: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Order {
    Deploy(RevisionId, OperationId),
    Gate(bool),
    Stop,
}

/// A master as it really is, and what the fleet has asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Real {
    identity: Identity,
    content: ContentDigest,
    /// Whether the keeper has forked it.
    forked: bool,
    orders: VecDeque<Order>,
    words: VecDeque<Event>,
    booting: Option<(RevisionId, OperationId)>,
    serving: Option<RevisionId>,
    /// It leaves by itself, or was told to.
    leaves: bool,
    killed: bool,
    /// It neither does nor says anything any more.
    hangs: bool,
    asked: Option<Moment>,
    said_it_leaves: bool,
    said_it_serves: bool,
    /// It left of its own accord, and nobody had asked it to.
    rests: bool,
    /// It accepts nothing.
    frozen: bool,
}

/// Something that may happen next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Happening {
    Forked(MasterKey),
    ForkFails(MasterKey),
    WordArrives(MasterKey),
    OrderArrives(MasterKey),
    OrderFails(MasterKey),
    BootSucceeds(MasterKey),
    BootFails(MasterKey),
    Exits(MasterKey),
    Crashes(MasterKey),
    Hangs(MasterKey),
    HangIsNoticed(MasterKey),
    LeavesIdle(MasterKey),
    Knocks(VassalName),
    AwaitFails(VassalName),
    OnDemand(VassalName),
    Edited(VassalName),
    Refused(VassalName),
    OtherIdentity(VassalName),
    Removed(VassalName),
    Renamed(VassalName, VassalName),
    Emptied,
    Returned(VassalName),
    RemovalConfirmed,
    Commanded(VassalName, Verb),
    BrainDies,
    DirectoryLost,
    ReloadAll,
    ShutDown,
    Deadline,
}

#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) fleet: Fleet,
    pub(super) now: Moment,
    pub(super) left: Bounds,
    names: Vec<VassalName>,
    pub(super) files: BTreeMap<VassalName, File>,
    /// Went with all others at once and may come back.
    lost: BTreeMap<VassalName, File>,
    /// What this brain saw last; None before its first look.
    seen: Option<BTreeMap<VassalName, File>>,
    /// Went, and must be left as they are: what they are to run is what they said last.
    doubted: BTreeMap<VassalName, File>,
    /// Every revision there was.
    revisions: BTreeMap<RevisionId, (Identity, ContentDigest)>,
    masters: BTreeMap<MasterKey, Real>,
    /// Vassals whose workers outlived their master.
    orphans: BTreeSet<VassalName>,
    holds: BTreeSet<VassalName>,
    frozen: BTreeSet<VassalName>,
    /// Doubts on record.
    doubts: BTreeSet<VassalName>,
    /// Whose sockets are watched for a client.
    awaited: BTreeSet<VassalName>,
    /// Whose queues hold a client that nobody has accepted.
    knocked: BTreeSet<VassalName>,
    /// Operations that have begun and not ended.
    operations: BTreeMap<OperationId, VassalName>,
    /// Vassals whose last deploy failed while something older serves: not tried again by itself.
    excused: BTreeSet<VassalName>,
    shown: BTreeMap<VassalName, VassalView>,
    last_revision: u64,
    shut_downs: u32,
    brain_died: bool,
    has_left: bool,
}

pub(super) type Outcome = Result<(), String>;

fn identity(number: u32) -> Identity {
    Identity { uid: number, gid: number }
}

impl World {
    /// The first files are there and were seen; nothing runs yet.
    pub(super) fn new(names: &[&str], files: usize, left: Bounds) -> Result<Self, String> {
        let names: Vec<VassalName> = names.iter().filter_map(|name| VassalName::new(*name).ok()).collect();
        let mut world = World {
            fleet: Fleet::new(POLICY, OperationId(1)),
            now: Moment(1_000_000_000_000),
            left,
            names,
            files: BTreeMap::new(),
            lost: BTreeMap::new(),
            seen: None,
            doubted: BTreeMap::new(),
            revisions: BTreeMap::new(),
            masters: BTreeMap::new(),
            orphans: BTreeSet::new(),
            holds: BTreeSet::new(),
            frozen: BTreeSet::new(),
            doubts: BTreeSet::new(),
            awaited: BTreeSet::new(),
            knocked: BTreeSet::new(),
            operations: BTreeMap::new(),
            excused: BTreeSet::new(),
            shown: BTreeMap::new(),
            last_revision: 0,
            shut_downs: 0,
            brain_died: false,
            has_left: false,
        };
        for name in world.names.clone().into_iter().take(files) {
            world.write(name, identity(1), false);
        }
        world.scan()?;
        Ok(world)
    }

    fn write(&mut self, name: VassalName, identity: Identity, refused: bool) {
        let on_demand = self.files.get(&name).is_some_and(|file| file.on_demand);
        self.last_revision += 1;
        let content = ContentDigest(self.last_revision);
        let revision = RevisionId(self.last_revision);
        self.files.insert(name, File { revision, content, identity, refused, on_demand });
        self.revisions.insert(revision, (identity, content));
    }

    pub(super) fn scan(&mut self) -> Outcome {
        self.judge_removals();
        let sightings = self.files.iter().map(|(name, file)| Sighting {
            name: name.clone(),
            revision: file.revision,
            content: file.content,
            verdict: if file.refused {
                Verdict::Refused
            } else {
                Verdict::Runs { identity: file.identity, mercy: MERCY, on_demand: file.on_demand }
            },
        });
        let event = Event::Scanned(sightings.collect());
        self.tell(event)
    }

    pub(super) fn happens(&mut self, happening: &Happening) -> Outcome {
        match happening {
            Happening::Forked(key) => {
                if let Some(real) = self.masters.get_mut(key) {
                    real.forked = true;
                }
                self.tell(Event::MasterStarted { master: key.clone() })
            }
            Happening::ForkFails(key) => {
                self.left.failures -= 1;
                self.masters.remove(key);
                self.tell(Event::StartFailed { master: key.clone(), reason: of_chance() })
            }
            Happening::WordArrives(key) => {
                let word = self.masters.get_mut(key).and_then(|real| real.words.pop_front());
                word.map_or(Ok(()), |word| self.tell(word))
            }
            Happening::OrderArrives(key) => {
                self.order_arrives(key);
                Ok(())
            }
            Happening::OrderFails(key) => {
                self.left.failures -= 1;
                let order = self.masters.get_mut(key).and_then(|real| real.orders.pop_front());
                let (Some(Order::Deploy(revision, operation)), master) = (order, key.clone()) else { return Ok(()) };
                self.tell(Event::DeployRefused { master, revision, operation, reason: of_chance() })
            }
            Happening::BootSucceeds(key) => {
                self.boot_ends(key, true);
                Ok(())
            }
            Happening::BootFails(key) => {
                self.left.failures -= 1;
                self.boot_ends(key, false);
                Ok(())
            }
            Happening::Exits(key) => self.exits(key),
            Happening::Crashes(key) => {
                self.left.crashes -= 1;
                if self.masters.get(key).is_some_and(|real| real.serving.is_some()) {
                    self.orphans.insert(key.vassal.clone());
                }
                self.exits(key)
            }
            Happening::Hangs(key) => {
                self.left.crashes -= 1;
                if let Some(real) = self.masters.get_mut(key) {
                    real.hangs = true;
                }
                Ok(())
            }
            Happening::LeavesIdle(key) => {
                self.left.visits -= 1;
                if let Some(real) = self.masters.get_mut(key) {
                    (real.leaves, real.rests) = (true, true);
                }
                Ok(())
            }
            Happening::Knocks(name) => self.knocks(name),
            Happening::AwaitFails(name) => {
                self.left.failures -= 1;
                self.awaited.remove(name);
                self.tell(Event::AwaitFailed { name: name.clone(), reason: of_chance() })
            }
            Happening::OnDemand(name) => self.edits(name, |world, name| {
                if let Some(file) = world.files.get_mut(&name) {
                    file.on_demand = !file.on_demand;
                }
            }),
            Happening::HangIsNoticed(key) => self.tell(Event::MasterHangs { master: key.clone() }),
            Happening::Edited(name) => {
                let identity = self.files.get(name).map_or(identity(1), |file| file.identity);
                self.edits(name, |world, name| world.write(name, identity, false))
            }
            Happening::Refused(name) => {
                let identity = self.files.get(name).map_or(identity(1), |file| file.identity);
                self.edits(name, |world, name| world.write(name, identity, true))
            }
            Happening::OtherIdentity(name) => {
                let other = self.files.get(name).map_or(1, |file| 3 - file.identity.uid);
                self.edits(name, |world, name| world.write(name, identity(other), false))
            }
            Happening::Removed(name) => self.edits(name, |world, name| {
                world.files.remove(&name);
            }),
            Happening::Renamed(from, to) => self.edits(from, |world, from| {
                if let Some(file) = world.files.remove(&from) {
                    world.last_revision += 1;
                    let revision = RevisionId(world.last_revision);
                    world.excused.remove(to);
                    world.revisions.insert(revision, (file.identity, file.content));
                    world.files.insert(to.clone(), File { revision, ..file });
                }
            }),
            Happening::Emptied => {
                self.left.removals -= 1;
                self.lost.append(&mut self.files);
                self.scan()
            }
            Happening::Returned(name) => {
                if !self.doubted.contains_key(name) {
                    // It was let go, and comes as a new one.
                    self.excused.remove(name);
                }
                self.files.extend(self.lost.remove_entry(name));
                self.scan()
            }
            Happening::RemovalConfirmed => {
                self.doubted.clear();
                self.tell(Event::RemovalConfirmed)
            }
            Happening::Commanded(name, verb) => {
                self.left.commands -= 1;
                let operation = self.fleet.next_operation();
                self.tell(Event::Command(Command { operation, name: name.clone(), verb: *verb }))
            }
            Happening::BrainDies => self.brain_dies(),
            Happening::DirectoryLost => {
                self.left.signals -= 1;
                self.tell(Event::DirectoryLost)
            }
            Happening::ReloadAll => {
                self.left.signals -= 1;
                self.tell(Event::ReloadAll)
            }
            Happening::ShutDown => {
                self.left.shut_downs -= 1;
                self.shut_downs += 1;
                self.tell(Event::ShutDown)
            }
            Happening::Deadline => {
                self.now = self.fleet.deadline().unwrap_or(self.now).max(self.now);
                self.tell(Event::DeadlineReached)
            }
        }
    }

    /// A client is there: the watch tells it once.
    fn knocks(&mut self, name: &VassalName) -> Outcome {
        if !self.knocked.contains(name) {
            self.left.visits -= 1;
        }
        self.awaited.remove(name);
        self.knocked.insert(name.clone());
        self.tell(Event::Knocked { name: name.clone() })
    }

    fn edits(&mut self, name: &VassalName, change: impl FnOnce(&mut World, VassalName)) -> Outcome {
        self.left.edits -= 1;
        let was_excused = self.excused.remove(name);
        change(self, name.clone());
        let files = &self.files;
        self.lost.retain(|name, _| !files.contains_key(name));
        self.scan()?;
        if was_excused && self.doubted.contains_key(name) {
            // It went, and that is doubted: what it said last is not tried again.
            self.excused.insert(name.clone());
        }
        Ok(())
    }

    fn order_arrives(&mut self, key: &MasterKey) {
        let orphans = self.orphans.contains(&key.vassal);
        let Some(real) = self.masters.get_mut(key) else { return };
        let order = real.orders.pop_front();
        let still_serving = real.serving.is_some() || orphans;
        if matches!(order, Some(Order::Gate(_))) {
            // It says nothing about what boots.
        } else if let Some((revision, operation)) = real.booting.take() {
            let reason = if order == Some(Order::Stop) { FailureReason::Cancelled } else { FailureReason::Superseded };
            let (master, operation) = (key.clone(), Some(operation));
            real.words.push_back(Event::Failed { master, revision, operation, reason, still_serving });
        }
        match order {
            Some(Order::Deploy(revision, operation)) => real.booting = Some((revision, operation)),
            Some(Order::Gate(frozen)) => {
                real.frozen = frozen;
                if !frozen && real.serving.is_some() {
                    self.knocked.remove(&key.vassal);
                }
            }
            Some(Order::Stop) => real.leaves = true,
            None => {}
        }
    }

    fn boot_ends(&mut self, key: &MasterKey, well: bool) {
        let orphans = self.orphans.contains(&key.vassal);
        let Some(real) = self.masters.get_mut(key) else { return };
        let Some((revision, operation)) = real.booting.take() else { return };
        let (master, operation) = (key.clone(), Some(operation));
        if well {
            real.serving = Some(revision);
            self.orphans.remove(&key.vassal);
            if !real.frozen {
                self.knocked.remove(&key.vassal);
            }
            real.words.push_back(Event::Serving { master, generation: GenerationId(revision.0), revision, operation });
        } else {
            let still_serving = real.serving.is_some() || orphans;
            real.leaves = !still_serving;
            real.words.push_back(Event::Failed { master, revision, operation, reason: of_chance(), still_serving });
        }
    }

    fn exits(&mut self, key: &MasterKey) -> Outcome {
        let exited = self.masters.remove(key);
        if exited.as_ref().is_some_and(|real| real.hangs && real.asked.is_none() && real.serving.is_some()) {
            self.orphans.insert(key.vassal.clone());
        }
        let rests = exited.is_some_and(|real| real.rests && !real.killed && !real.hangs);
        let master = key.clone();
        self.tell(if rests {
            Event::MasterLeft { master }
        } else {
            Event::MasterExited { master, how: "of chance".into() }
        })
    }

    /// A new brain knows nothing but who is alive, what is held and what the directory says.
    fn brain_dies(&mut self) -> Outcome {
        self.left.brain_deaths -= 1;
        self.brain_died = true;
        let first = self.operations.keys().last().map_or(OperationId(1), |last| last.next());
        self.fleet = Fleet::new(POLICY, first);
        self.operations.clear();
        self.excused.clear();
        self.shown.clear();
        self.seen = None;
        self.doubted.clear();
        self.awaited.clear();
        self.masters.retain(|_, real| real.forked && !real.killed);
        for real in self.masters.values_mut() {
            (real.words, real.orders) = (VecDeque::new(), VecDeque::new());
            (real.asked, real.said_it_leaves) = (None, false);
            real.said_it_serves = real.serving.is_some();
        }
        let all = |names: &BTreeSet<VassalName>| names.iter().cloned().collect();
        let (held, frozen, doubted) = (all(&self.holds), all(&self.frozen), all(&self.doubts));
        self.tell(Event::Recalled(Recalled { held, frozen, doubted }))?;
        for (key, real) in self.masters.clone() {
            self.tell(Event::Found(Alive {
                master: key,
                identity: real.identity,
                serving: real.serving.map(|revision| (GenerationId(revision.0), revision)),
                booting: real.booting.map(|(revision, _)| revision),
                content: Some(real.content),
                frozen: real.frozen,
            }))?;
        }
        self.scan()
    }

    fn tell(&mut self, event: Event) -> Outcome {
        self.told(&event);
        let actions = self.fleet.handle(event.clone(), self.now);
        if event == Event::DirectoryLost && !actions.is_empty() {
            return Err(format!("a lost directory leads to {actions:?}"));
        }
        for action in &actions {
            self.performs(action).map_err(|broken| format!("{broken}\n  on {event:?}\n  by {actions:?}"))?;
        }
        let still_due = self.fleet.deadline().is_some_and(|deadline| deadline <= self.now);
        if event == Event::DeadlineReached && still_due && actions.is_empty() {
            return Err("what is due stays due, and nothing comes of it".to_owned());
        }
        self.publishes(&actions)?;
        self.forgets_doubts();
        self.present().map_err(|broken| format!("{broken}\n  on {event:?}\n  by {actions:?}"))
    }

    /// What the fleet learns with this event.
    fn told(&mut self, event: &Event) {
        match event {
            Event::Serving { master, .. } => {
                if let Some(real) = self.masters.get_mut(master) {
                    real.said_it_serves = true;
                }
            }
            Event::Failed { master, still_serving: false, reason, .. } if *reason != FailureReason::Superseded => {
                if let Some(real) = self.masters.get_mut(master) {
                    real.said_it_leaves = true;
                }
            }
            Event::Failed { .. }
            | Event::Scanned(_)
            | Event::DirectoryLost
            | Event::RemovalConfirmed
            | Event::Recalled(_)
            | Event::Knocked { .. }
            | Event::AwaitFailed { .. }
            | Event::MasterLeft { .. }
            | Event::Found(_)
            | Event::MasterStarted { .. }
            | Event::StartFailed { .. }
            | Event::DeployRefused { .. }
            | Event::MasterHangs { .. }
            | Event::MasterExited { .. }
            | Event::Booting { .. }
            | Event::Command(_)
            | Event::ReloadAll
            | Event::ShutDown
            | Event::DeadlineReached => {}
        }
    }
}

fn of_chance() -> FailureReason {
    FailureReason::Setup { sentence: "of chance".into() }
}
