//! The one task that owns a vassal: it hears what happened, tells the generation machine, and performs what the
//! machine answers. Nothing here decides which generation serves; nothing elsewhere in this binary does either.

pub(crate) mod alarms;
mod announcer;
pub(crate) mod beside;
mod crew_side;
pub(crate) mod deaths;
mod deploy;
mod frozen;
mod gateway_side;
pub(crate) mod gateways;
pub(crate) mod generation;
mod handing_over;
pub(crate) mod harakiri;
mod hear;
mod in_flight;
pub(crate) mod input;
mod left_behind;
mod link_side;
pub(crate) mod orphans;
mod perform;
pub(crate) mod posts_side;
mod reap;
mod recycle_side;
mod relief;
mod report;
pub(crate) mod signals_side;
pub(crate) mod stacks;
mod stats_side;
pub(crate) mod stopped;
mod succeed;
mod told;
pub(crate) mod watched_side;
pub(crate) mod worker_id;

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    time::Duration,
};

use empery_control::{
    link::{FromMaster, WorkerView},
    scoreboard::Totals,
};
use empery_failpoint::step;
use empery_lifecycle::{
    crew::Crew,
    generations::{Event, Generations, Report},
    ids::{GenerationId, OperationId, OrphanId, RevisionId, WorkerRef},
    moment::Moment,
};

use self::{
    gateways::Gateways,
    generation::GenerationHandles,
    input::{Inbox, Input, Inputs, Turn},
    orphans::Carried,
    stacks::StackAskings,
    succeed::Succession,
    worker_id::Who,
};
use crate::{
    clock, doorbell::Doorbell, fifo::Fifos, gateway::TlsFiles, handover::Handovers, hooks::Ending, link::brain::Brain,
    link::orphan::OrphanHandle, listeners::Listeners, regions::Regions, revision::Revisions, station::Station,
    stats::serve::StatsServer, succession::Image, touch::Watch, zygote::Surroundings,
};

/// uWSGI's exit code when the app could not be loaded (UWSGI_FAILED_APP_CODE).
const EXIT_FAILED_APP: u8 = 22;

/// See the module.
pub(crate) struct Supervisor {
    machine: Generations,
    inbox: Inbox,
    station: Station,
    surroundings: Surroundings,
    listeners: Listeners,
    tls_files: TlsFiles,
    /// What workers share.
    regions: Regions,
    /// What of it the keeper keeps.
    kept_regions: Vec<String>,
    gateways: Gateways,
    revisions: Revisions,
    generations: GenerationHandles,
    orphans: BTreeMap<OrphanId, OrphanHandle>,
    last_orphan: u64,
    handovers: Handovers<Who>,
    /// Counts up so that connections go to every worker in turn.
    turn: usize,
    /// Processes that ended before anybody said whose they were, while a fork is under way.
    unclaimed: BTreeMap<i32, empery_sys::process::How>,
    brain: Option<Brain>,
    /// How many brains there have been.
    last_brain: u64,
    /// Reports for the first of them.
    unsent: Vec<FromMaster>,
    told: told::Told,
    /// What systemd was told.
    announcer: announcer::Announcer,
    /// Since when something serves, unix ms.
    serves_since_unix_ms: Option<u64>,
    stats: Option<StatsServer>,
    touch: Option<Watch>,
    fifos: Option<Fifos>,
    /// Who is told when something happens.
    alarms: alarms::AlarmSide,
    /// Daemons and the like.
    beside: beside::Beside,
    /// Mules.
    posts: posts_side::PostSide,
    harakiri_at: Option<Moment>,
    stack_askings: StackAskings,
    looked_for_stopped: Moment,
    /// What is known of the death that is just being told.
    death_evidence: Option<(WorkerRef, String)>,
    /// How many workers there should be.
    crew: Option<Crew>,
    /// Rings when a client waits for a vassal at rest.
    doorbell: Option<Doorbell>,
    /// When the next worker is too old, or the workers' memory is looked at.
    recycle_at: Option<Moment>,
    /// When the sizes of workers are looked at next.
    size_look_at: Option<Moment>,
    /// Pidfiles and sockets to be removed at the end.
    vacuum: bool,
    /// What is done at the end.
    ending: Ending,
    pidfiles: Vec<PathBuf>,
    /// A revision may have lost its last process, or its chance to get one.
    listeners_changed: bool,
    /// A generation is gone, and the memory that only its workers shared may be let go of.
    regions_changed: bool,
    retired: Totals,
    last_failure: Option<Report>,
    last_booting: Option<OperationId>,
    last_workers: Vec<WorkerView>,
    deploys: u64,
    stop_asked: bool,
    /// It was asked twice.
    stops_at_once: bool,
    /// What this process ends with when it was asked to stop.
    exit_code: u8,
    /// What it keeps an eye on.
    watched: watched_side::WatchedSide,
    /// Nothing is accepted until somebody says so.
    frozen: bool,
    succession: Succession,
    /// The binary this process runs.
    image: Option<Image>,
    /// The highest generation there was.
    last_generation: GenerationId,
    /// Generations of an earlier image of this master, while any of their workers is left.
    carried: BTreeMap<GenerationId, Carried>,
    events: VecDeque<Event>,
    /// Set when there is nothing left to do: the exit code.
    leaving: Option<u8>,
}

/// What a supervisor is made of.
pub(crate) struct Parts {
    /// The machine.
    pub(crate) machine: Generations,
    /// Where its inputs come from.
    pub(crate) inbox: Inbox,
    /// Alone, or under an emperor.
    pub(crate) station: Station,
    /// What is the same for every generation.
    pub(crate) surroundings: Surroundings,
    /// The sockets there are already.
    pub(crate) listeners: Listeners,
    /// Certificates and keys that were opened with more rights.
    pub(crate) tls_files: TlsFiles,
    /// The stats socket, when it is bound already.
    pub(crate) stats: Option<StatsServer>,
    /// Pidfiles that were written.
    pub(crate) pidfiles: Vec<PathBuf>,
    /// Whether they and the sockets are removed at the end, also when nothing ever serves.
    pub(crate) vacuum: bool,
    /// What it keeps an eye on.
    pub(crate) watched: watched_side::WatchedSide,
}

impl Supervisor {
    /// A vassal without any process yet.
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            machine: parts.machine,
            inbox: parts.inbox,
            station: parts.station,
            surroundings: parts.surroundings,
            listeners: parts.listeners,
            tls_files: parts.tls_files,
            regions: Regions::default(),
            kept_regions: Vec::new(),
            gateways: Gateways::default(),
            revisions: Revisions::default(),
            generations: BTreeMap::new(),
            orphans: BTreeMap::new(),
            last_orphan: 0,
            handovers: Handovers::new(),
            turn: 0,
            unclaimed: BTreeMap::new(),
            brain: None,
            last_brain: 0,
            unsent: Vec::new(),
            told: told::Told::default(),
            announcer: announcer::Announcer::default(),
            serves_since_unix_ms: None,
            stats: parts.stats,
            touch: None,
            fifos: None,
            alarms: alarms::AlarmSide::default(),
            beside: beside::Beside::default(),
            posts: posts_side::PostSide::default(),
            harakiri_at: None,
            stack_askings: StackAskings::default(),
            looked_for_stopped: clock::now(),
            death_evidence: None,
            crew: None,
            doorbell: None,
            recycle_at: None,
            size_look_at: None,
            vacuum: parts.vacuum,
            ending: Ending::default(),
            pidfiles: parts.pidfiles,
            listeners_changed: false,
            regions_changed: false,
            retired: Totals::default(),
            last_failure: None,
            last_booting: None,
            last_workers: Vec::new(),
            deploys: 0,
            stop_asked: false,
            stops_at_once: false,
            exit_code: 0,
            watched: parts.watched,
            frozen: false,
            succession: Succession::No,
            image: Image::running(),
            last_generation: GenerationId(0),
            carried: BTreeMap::new(),
            events: VecDeque::new(),
            leaving: None,
        }
    }

    /// Supervises until nothing is left to supervise. Answers with the exit code.
    pub(crate) async fn run(mut self, mut inputs: Inputs) -> u8 {
        self.settle();
        while self.leaving.is_none() {
            tokio::select! {
                // What has happened already goes before deadlines: this process may have slept, the others not.
                biased;
                input = inputs.recv() => {
                    let Some(input) = input else { break };
                    self.hear_turn(input, &mut inputs);
                }
                () = sleep_until(self.wake_at()) => self.wake(),
            }
            self.settle();
            if inputs.is_empty() {
                self.tell_workers();
                self.succeed_if_due();
            }
        }
        self.depart(&mut inputs).await
    }

    /// Hears what is there by now. What comes meanwhile waits for what is due, however much it is.
    fn hear_turn(&mut self, first: Input, inputs: &mut Inputs) {
        let mut turn = Turn::begin(inputs);
        self.hear(first);
        while self.leaving.is_none() {
            self.settle();
            let Some(input) = turn.next(inputs) else { break };
            self.hear(input);
        }
        if self.leaving.is_none() && self.wake_at().is_some_and(|at| at <= clock::now()) {
            self.wake();
        }
    }

    /// The next deadline.
    fn wake_at(&self) -> Option<Moment> {
        let wake_at =
            [self.machine.deadline(), self.harakiri_at, self.gateways.deadline(), self.recycle_at, self.crew_at()];
        let looks =
            [self.stack_askings.deadline(), self.stopped_deadline(), self.alarms.deadline(), self.succession_at()];
        let beside =
            [self.beside_deadline(), self.signals_deadline(), self.posts.deadline(), self.handovers.deadline()];
        wake_at.into_iter().chain(looks).chain(beside).flatten().min()
    }

    /// A deadline has come.
    fn wake(&mut self) {
        let now = clock::now();
        self.wake_gateways();
        self.wake_beside();
        self.wake_alarms(now);
        self.wake_signals(now);
        self.wake_posts(now);
        if self.harakiri_at.is_some_and(|at| at <= now) {
            self.harakiri(now);
        }
        if self.handovers.deadline().is_some_and(|at| at <= now) {
            self.offer_again(now);
        }
        if self.stack_askings.deadline().is_some_and(|at| at <= now) {
            self.stacks_due(now);
        }
        if self.stopped_deadline().is_some_and(|at| at <= now) {
            self.look_for_stopped();
        }
        if self.recycle_at.is_some_and(|at| at <= now) {
            self.look_at_workers(now);
        }
        if self.crew_at().is_some_and(|at| at <= now) {
            self.look_at_crew(now);
        }
        if self.machine.deadline().is_some_and(|at| at <= now) {
            self.tell(Event::DeadlineReached);
        }
    }

    /// Tells the machine, once whatever is being performed is done.
    fn tell(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Lets the machine take what it was told, performs what it answers, and cleans up behind it.
    fn settle(&mut self) {
        while let Some(event) = self.events.pop_front() {
            for action in self.machine.handle(event, clock::now()) {
                self.perform(action);
            }
        }
        self.mind_the_door();
        self.posts_end();
        self.retire_empty_generations();
        self.retire_carried();
        self.release_regions();
        if std::mem::take(&mut self.listeners_changed) {
            self.release_listeners();
        }
    }

    /// Drops the handles of generations nothing is left of, and the sockets nobody uses any more.
    fn retire_empty_generations(&mut self) {
        let over: Vec<GenerationId> = self
            .generations
            .iter()
            .filter(|(_, generation)| generation.ended && generation.is_empty())
            .map(|(id, _)| *id)
            .collect();
        if over.is_empty() {
            return;
        }
        for id in over {
            if let Some(generation) = self.generations.remove(&id) {
                let totals = generation.scoreboard.totals();
                self.retired.add(&totals);
                self.tell_brain(FromMaster::Retired { generation: id, totals }, Vec::new());
            }
        }
        let generations = &self.generations;
        let (retrying, booting) = (self.machine.retrying(), self.booting_revision());
        let runs = |id: RevisionId| generations.values().any(|generation| generation.revision.id == id);
        self.revisions.keep_only(|id| runs(id) || retrying == Some(id) || booting == Some(id));
        self.regions_changed = true;
        self.listeners_changed = true;
    }

    /// What boots may wait for room, and have no process yet.
    fn booting_revision(&self) -> Option<RevisionId> {
        self.machine.booting().map(|(_, revision, _)| revision)
    }

    /// Lets go of the memory that no generation uses. Not while nothing serves, or while workers of an earlier master do, whose
    /// memory the next generation is to find, however many fail before it.
    fn release_regions(&mut self) {
        let is_settled = self.orphans.is_empty() && self.machine.serving().is_some();
        if !self.regions_changed || !is_settled && !self.stop_asked {
            return;
        }
        self.regions_changed = false;
        let generations = &self.generations;
        self.regions.keep_only(|fd| generations.values().any(|generation| generation.regions.contains(&fd)));
        self.have_regions_kept();
    }

    /// Drops the scoreboards of an earlier image of this master whose last worker is gone.
    fn retire_carried(&mut self) {
        let orphans = &self.orphans;
        let over = |id: GenerationId| orphans.values().all(|orphan| orphan.worker.generation != id);
        for (id, carried) in self.carried.extract_if(.., |id, _| over(*id)).collect::<Vec<_>>() {
            let totals = carried.scoreboard.totals();
            self.retired.add(&totals);
            self.tell_brain(FromMaster::Retired { generation: id, totals }, Vec::new());
        }
    }

    /// Closes the sockets that no revision with processes, or about to have some, listens on.
    fn release_listeners(&mut self) {
        if self.leaving.is_some() || self.stop_asked {
            // The vassal goes as a whole: what is left of its sockets is `vacuum`'s or the keeper's.
            return;
        }
        let used = self
            .generations
            .values()
            .map(|generation| &generation.revision)
            .chain(self.revisions.offered())
            .chain(self.machine.retrying().and_then(|id| self.revisions.known(id)))
            .chain(self.booting_revision().and_then(|id| self.revisions.known(id)))
            .flat_map(|revision| revision.listener_keys())
            .chain(self.orphans.values().flat_map(|orphan| orphan.listeners.iter().cloned()))
            .collect();
        let released = self.listeners.release_all_but(&used);
        if !released.is_empty() {
            self.tell_brain(FromMaster::ListenersReleased { keys: released }, Vec::new());
        }
    }

    /// The last things: what was said is sent, what `vacuum` asks for is removed.
    async fn depart(mut self, inputs: &mut Inputs) -> u8 {
        step!("master.leave");
        let code = self.leaving.unwrap_or(0);
        self.finish_alarms(inputs).await;
        self.end_what_is_left(inputs).await;
        std::mem::take(&mut self.ending).run().await;
        if self.vacuum {
            self.listeners.vacuum();
            if let Some(stats) = self.stats.take() {
                stats.vacuum();
            }
            crate::pidfile::remove(&self.pidfiles);
        }
        self.take_leave_of_brain(inputs).await;
        code
    }
}

/// Never, when there is nothing to wait for.
async fn sleep_until(at: Option<Moment>) {
    match at {
        Some(at) => tokio::time::sleep(at.since(clock::now())).await,
        None => std::future::pending().await,
    }
}

/// Seconds, as people read them.
fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
