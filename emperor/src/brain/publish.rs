//! What the fleet looks like, for everybody who watches: the snapshot and the events that follow it. Built by the
//! owning task from what the machine and the posts say; changes that come in bursts are published together.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use empery_config::{address::Address, vassal::Protocol};
use empery_control::fleet::{FleetEvent, FleetSnapshot, UpgradeView, VassalSnapshot};
use empery_lifecycle::{
    fleet::{State, VassalView},
    ids::VassalName,
    moment::Moment,
};
use tokio::sync::{broadcast, watch};

use super::{clock, post::Post, sample, scan::reading::Reading, summary};

/// Shortest time between two snapshots: 50 vassals that boot at once must not make hundreds.
const BURST: Duration = Duration::from_millis(20);

/// Events a slow page may lag behind before it is told to read everything anew.
const EVENTS_KEPT: usize = 1_024;

/// The publisher.
#[derive(Debug)]
pub(crate) struct Publisher {
    snapshot: watch::Sender<Arc<FleetSnapshot>>,
    events: broadcast::Sender<FleetEvent>,
    vassals: BTreeMap<VassalName, VassalSnapshot>,
    changed: BTreeSet<VassalName>,
    queued: Vec<FleetEvent>,
    dirty: bool,
    /// Whether the directory was looked at: before that, nothing is said of the fleet.
    open: bool,
    published: Moment,
}

impl Publisher {
    /// Publishes an empty fleet: `frame` says whose.
    pub(crate) fn new(frame: FleetSnapshot) -> Publisher {
        Publisher {
            snapshot: watch::Sender::new(Arc::new(frame)),
            events: broadcast::Sender::new(EVENTS_KEPT),
            vassals: BTreeMap::new(),
            changed: BTreeSet::new(),
            queued: Vec::new(),
            dirty: false,
            open: false,
            published: Moment::START,
        }
    }

    /// The snapshot, to be watched.
    pub(crate) fn snapshot(&self) -> watch::Receiver<Arc<FleetSnapshot>> {
        self.snapshot.subscribe()
    }

    /// Where events come from.
    pub(crate) fn events(&self) -> broadcast::Sender<FleetEvent> {
        self.events.clone()
    }

    /// Whether anybody watches live.
    pub(crate) fn is_watched(&self) -> bool {
        self.events.receiver_count() > 0
    }

    /// A vassal looks different.
    pub(crate) fn vassal_changed(&mut self, name: &VassalName) {
        self.changed.insert(name.clone());
        self.dirty = true;
    }

    /// Vassals that look different and have not been built anew.
    pub(crate) fn take_changed(&mut self) -> BTreeSet<VassalName> {
        std::mem::take(&mut self.changed)
    }

    /// Something is to be told after the next snapshot.
    pub(crate) fn tell(&mut self, event: FleetEvent) {
        self.queued.push(event);
        self.dirty = true;
    }

    /// This is what the vassal looks like; None: it is gone.
    pub(crate) fn show(&mut self, name: &VassalName, seen: Option<VassalSnapshot>) {
        let event = match seen {
            Some(seen) => {
                self.vassals.insert(name.clone(), seen);
                FleetEvent::VassalChanged { name: name.clone() }
            }
            None if self.vassals.remove(name).is_some() => FleetEvent::VassalRemoved { name: name.clone() },
            None => return,
        };
        self.tell(event);
    }

    /// A line into the log for every vassal, as uWSGI's emperor writes at SIGUSR1.
    pub(crate) fn say_status(&self) {
        tracing::info!("{} vassals", self.vassals.len());
        for (name, vassal) in &self.vassals {
            let workers = vassal.workers.len();
            tracing::info!("vassal {name} is {}, {workers} workers: {}", vassal.state, vassal.summary);
        }
    }

    /// The directory was looked at, or cannot be: from now on the fleet is known as well as it can be.
    pub(crate) fn open(&mut self) {
        self.dirty |= !std::mem::replace(&mut self.open, true);
    }

    /// When the next snapshot is due, if there is news.
    pub(crate) fn due(&self) -> Option<Moment> {
        (self.open && self.dirty).then(|| self.published.after(BURST))
    }

    /// Publishes. Events follow the snapshot they belong to.
    pub(crate) fn publish(
        &mut self,
        alarms: Vec<String>,
        removals_doubted: Vec<VassalName>,
        upgrade: Option<UpgradeView>,
    ) {
        let before = Arc::clone(&self.snapshot.borrow());
        self.snapshot.send_replace(Arc::new(FleetSnapshot {
            sequence: before.sequence + 1,
            at_unix_ms: clock::unix_ms(),
            version: before.version.clone(),
            keeper_pid: before.keeper_pid,
            brain_pid: before.brain_pid,
            vassals_directory: before.vassals_directory.clone(),
            watched: before.watched.clone(),
            alarms,
            removals_doubted,
            upgrade,
            numbers: sample::fleet_numbers(self.vassals.values().map(|vassal| &vassal.numbers)),
            vassals: self.vassals.values().cloned().collect(),
        }));
        for event in self.queued.drain(..) {
            // Nobody may be watching.
            let _ = self.events.send(event);
        }
        self.dirty = false;
        self.published = clock::now();
    }

    /// How many vassals are shown.
    pub(crate) fn vassals(&self) -> usize {
        self.vassals.len()
    }

    /// Whether the last snapshot said the same alarms.
    pub(crate) fn shows_alarms(&self, alarms: &[String]) -> bool {
        self.snapshot.borrow().alarms == alarms
    }
}

/// One vassal, as everybody sees it.
pub(crate) fn vassal(view: &VassalView, post: &Post, reading: Option<&Reading>, log_file: &Path) -> VassalSnapshot {
    // Its socket is not held yet: whoever came for it now would be refused.
    let falls_asleep = view.state == State::Asleep && post.addresses.is_empty();
    let view = &VassalView { state: if falls_asleep { State::Queued } else { view.state.clone() }, ..view.clone() };
    let retry_at = match &view.state {
        State::Cursed { retry_at } => Some(*retry_at),
        _ => None,
    };
    let seat = post.first_seat();
    let identity = seat.map(|seat| seat.identity).or_else(|| Some(reading?.plan.as_ref()?.identity));
    VassalSnapshot {
        name: view.name.clone(),
        state: summary::word(&view.state).to_owned(),
        frozen: view.frozen,
        outdated: seat.is_some_and(|seat| seat.outdated),
        summary: summary::sentence(view, reading, retry_at.map_or(Duration::ZERO, |moment| moment.since(clock::now()))),
        generation: view.serving.map(|(generation, _)| generation.0),
        serving_revision: view.serving.map(|(_, revision)| revision.0),
        file_revision: view.revision.map(|revision| revision.0),
        master_pid: seat.map(|seat| seat.pid),
        identity: identity.map(|identity| format!("{}:{}", identity.uid, identity.gid)),
        listeners: listeners(post, reading),
        python: post.python(),
        loyal_since_unix_ms: post.loyal_since_unix_ms.filter(|_| view.serving.is_some()),
        retry_at_unix_ms: retry_at.map(clock::unix_ms_of),
        log_file: Some(log_file.display().to_string()),
        workers: post.workers(),
        numbers: post.numbers,
        last_deployment: post.last_deployment.clone(),
        problems: reading.map(|reading| reading.problems.clone()).unwrap_or_default(),
    }
}

/// What it listens on now, else what its file names; without the gateway's own way to the workers, which is nowhere to be
/// called on.
fn listeners(post: &Post, reading: Option<&Reading>) -> Vec<String> {
    let private = [Protocol::Http, Protocol::Uwsgi].map(|protocol| Address::Private(protocol).to_string());
    let held = post.seats.values().flat_map(|seat| &seat.listeners).filter(|key| !private.contains(key));
    let held: BTreeSet<&String> = held.collect();
    if !held.is_empty() {
        return held.into_iter().map(|key| post.addresses.get(key).unwrap_or(key).clone()).collect();
    }
    let plan = reading.and_then(|reading| reading.plan.as_ref());
    let named = plan.into_iter().flat_map(|plan| &plan.config.listeners).map(|listener| listener.address.to_string());
    named.filter(|key| !private.contains(key)).collect()
}
