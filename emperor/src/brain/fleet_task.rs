//! The one owning task: holds the fleet machine and everything known beside it, hears what happened, has the machine
//! decide, has the performer perform, and publishes. Never waits for anything but its next input.

mod act;
mod adopt;
mod boards;
mod chronicle;
mod hear;
mod pulses;
mod regions;
mod removal;
mod stacks;
#[cfg(test)]
mod tests;
mod upgrade;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use empery_control::{
    fleet::{FleetEvent, OperationView, UpgradeView},
    places,
};
use empery_lifecycle::{
    fleet::{Command, Event, Fleet, MasterKey, State, Verb},
    ids::{RevisionId, VassalName},
    moment::Moment,
};
use empery_store::Hold;
use empery_web_ui::{Ask, AskError};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep_until},
};

use self::stacks::StackQuestions;
use super::{
    clock,
    history::History,
    inputs::{Inbox, Input},
    link::LinkHandle,
    log_places::LogPlaces,
    operations::Operations,
    perform::Performer,
    post::Post,
    publish::{self, Publisher},
    sample,
    scan::{looks::Looks, reading::Reading},
    summary,
};

/// How often scoreboards are read.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// How often memory is read while somebody watches, in samples; else once a minute.
const MEMORY_EVERY_SAMPLES: u64 = 5;

/// How often it is made sure that the database is still there, in samples: one stat(2).
const HISTORY_LOOKED_AT_EVERY_SAMPLES: u64 = 10;

/// How often old history is forgotten, in minutes.
const PRUNE_EVERY_MINUTES: u64 = 60;

/// How long the last write is waited for before the emperor leaves.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// Contents remembered of each vassal beside the one that serves.
const READINGS_KEPT: usize = 4;

/// See the module.
pub(crate) struct FleetTask {
    fleet: Fleet,
    /// What every file says now.
    files: BTreeMap<VassalName, Arc<Reading>>,
    /// What it said before, as far as it can be run.
    runnable: BTreeMap<VassalName, BTreeMap<RevisionId, Arc<Reading>>>,
    posts: BTreeMap<VassalName, Post>,
    /// Masters that ended before their start was told.
    early_exits: BTreeMap<MasterKey, String>,
    operations: Operations,
    performer: Performer,
    history: History,
    publisher: Publisher,
    log_places: LogPlaces,
    alarms: BTreeSet<String>,
    directory_lost: Option<String>,
    /// Whose removal is doubted, as last published.
    doubted: Vec<VassalName>,
    runtime: PathBuf,
    inbox: Inbox,
    /// Who gave the command that is being decided.
    commanded_by: Option<String>,
    upgrade: Option<UpgradeView>,
    /// What operators said while there was no database: held by whom, or (None) not held.
    unrecorded_holds: BTreeMap<VassalName, Option<Hold>>,
    /// Vassals that were resumed while there was no database to say so to.
    resumed_unrecorded: BTreeSet<VassalName>,
    /// An operation has ended that somebody may be waiting for.
    awaited_end: bool,
    /// Deadlines that passed while this process was stopped are not acted upon before.
    catches_up_until: Moment,
    minute_unix_s: u64,
    samples_taken: u64,
    leaving: bool,
    stack_questions: StackQuestions,
    looks: Looks,
    /// What is decided after the look with this number.
    after_look: VecDeque<(u64, Ask)>,
}

/// What the owning task is made of.
pub(crate) struct Parts {
    pub(crate) fleet: Fleet,
    pub(crate) operations: Operations,
    pub(crate) performer: Performer,
    pub(crate) history: History,
    pub(crate) publisher: Publisher,
    pub(crate) log_places: LogPlaces,
    pub(crate) runtime: PathBuf,
    pub(crate) inbox: Inbox,
    pub(crate) looks: Looks,
}

impl FleetTask {
    /// A task that has heard nothing yet.
    pub(crate) fn new(parts: Parts) -> FleetTask {
        let Parts { fleet, operations, performer, history, publisher, log_places, runtime, inbox, looks } = parts;
        FleetTask {
            fleet,
            files: BTreeMap::new(),
            runnable: BTreeMap::new(),
            posts: BTreeMap::new(),
            early_exits: BTreeMap::new(),
            operations,
            performer,
            history,
            publisher,
            log_places,
            alarms: BTreeSet::new(),
            directory_lost: None,
            doubted: Vec::new(),
            runtime,
            inbox,
            commanded_by: None,
            upgrade: None,
            unrecorded_holds: BTreeMap::new(),
            resumed_unrecorded: BTreeSet::new(),
            awaited_end: false,
            catches_up_until: Moment::START,
            minute_unix_s: minute_now(),
            samples_taken: 0,
            leaving: false,
            stack_questions: StackQuestions::default(),
            looks,
            after_look: VecDeque::new(),
        }
    }

    /// Runs until the keeper is gone.
    pub(crate) async fn run(mut self, mut inputs: mpsc::UnboundedReceiver<Input>, mut asks: mpsc::Receiver<Ask>) {
        let mut second = interval(SAMPLE_EVERY);
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let deadline = self.fleet.deadline().map(|moment| clock::instant_of(moment.max(self.catches_up_until)));
            let due = self.publisher.due().map(clock::instant_of);
            tokio::select! {
                input = inputs.recv() => match input {
                    Some(input) => if self.hear(input).is_break() { return },
                    None => return,
                },
                Some(ask) = asks.recv() => self.asked(ask),
                () = at(deadline) => self.reach_deadline(),
                () = at(due) => self.publish(),
                _ = second.tick() => self.sample(),
            }
        }
    }

    /// Has the machine decide on an event, and performs what it decided.
    fn decide(&mut self, event: Event) {
        tracing::debug!(?event, "heard");
        for action in self.fleet.handle(event, clock::now()) {
            tracing::debug!(?action, "decided");
            self.act(action);
        }
        // Whoever waits for it reads the snapshot next: it is to show what was waited for.
        if std::mem::take(&mut self.awaited_end) {
            self.publish();
        }
    }

    /// What brings something into service is decided upon what the files say now; another operation does not overtake it.
    fn asked(&mut self, ask: Ask) {
        let needs_look = match &ask {
            Ask::Operation { verb, .. } => verb.deploys() || !self.after_look.is_empty(),
            Ask::Retry { .. } => true,
            Ask::Stacks { .. } | Ask::Upgrade { .. } | Ask::ConfirmRemovals { .. } => false,
        };
        if needs_look {
            self.after_look.push_back((self.looks.ask(), ask));
        } else {
            self.answer(ask);
        }
    }

    /// The directory was looked at for whoever asked for it up to this number.
    fn looked(&mut self, number: u64) {
        while let Some((_, ask)) = self.after_look.pop_front_if(|(asked, _)| *asked <= number) {
            self.answer(ask);
        }
    }

    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Operation { name, verb, actor, reply } => {
                let answer = self.asked_operation(name, verb, actor);
                // Whoever asked may have hung up.
                let _ = reply.send(answer);
            }
            Ask::Stacks { name, worker, pid, reply } => self.asked_for_stacks(&name, (worker, pid), reply),
            Ask::Retry { name, actor, reply } => {
                let answer = self.asked_to_retry(name, actor);
                // The same.
                let _ = reply.send(answer);
            }
            Ask::Upgrade { actor, reply } => self.asked_to_upgrade(actor, reply),
            Ask::ConfirmRemovals { actor, reply } => {
                let answer = self.asked_to_confirm(&actor);
                // The same.
                let _ = reply.send(answer);
            }
        }
    }

    fn asked_operation(&mut self, name: VassalName, verb: Verb, actor: String) -> Result<OperationView, AskError> {
        let answer = if self.leaving {
            Err(AskError::Leaving)
        } else if self.fleet.view(&name).is_none() {
            Err(AskError::UnknownVassal(name))
        } else {
            let operation = self.fleet.next_operation();
            self.operations.given_by(operation, actor.clone());
            self.commanded_by = Some(actor);
            if verb == Verb::Start {
                self.wanted(&name);
            }
            self.decide(Event::Command(Command { operation, name: name.clone(), verb }));
            self.commanded_by = None;
            self.operations.board().get(operation).ok_or(AskError::UnknownVassal(name))
        };
        self.record_operations();
        answer
    }

    /// As a start, but only of what is waiting for its back-off to run out.
    fn asked_to_retry(&mut self, name: VassalName, actor: String) -> Result<OperationView, AskError> {
        match self.fleet.view(&name) {
            Some(view) if !matches!(view.state, State::Cursed { .. }) => {
                let state = summary::word(&view.state);
                Err(AskError::Conflict(format!("{name} is {state}: there is nothing to be tried again")))
            }
            Some(_) | None => self.asked_operation(name, Verb::Start, actor),
        }
    }

    /// What this revision of the vassal says, as far as it is remembered.
    fn reading(&self, name: &VassalName, revision: RevisionId) -> Option<Arc<Reading>> {
        let now = self.files.get(name).filter(|reading| reading.revision == revision);
        now.or_else(|| self.runnable.get(name)?.get(&revision)).cloned()
    }

    fn remember(&mut self, name: &VassalName, reading: &Arc<Reading>) {
        if reading.plan.is_none() {
            return;
        }
        let serving = self.fleet.view(name).and_then(|view| view.serving).map(|(_, revision)| revision);
        let kept = self.runnable.entry(name.clone()).or_default();
        kept.insert(reading.revision, Arc::clone(reading));
        while kept.len() > READINGS_KEPT {
            let Some(oldest) = kept.keys().copied().find(|revision| Some(*revision) != serving) else { break };
            kept.remove(&oldest);
        }
    }

    fn post(&mut self, name: &VassalName) -> &mut Post {
        self.posts.entry(name.clone()).or_default()
    }

    fn open_link(&self, master: &MasterKey) -> LinkHandle {
        let places = places::berth(&self.runtime, &master.vassal, master.berth);
        LinkHandle::open(master.clone(), places.link, self.inbox.clone())
    }

    /// Operations that moved on go to history and to whoever watches.
    fn record_operations(&mut self) {
        for view in self.operations.take_news() {
            if let Some(store) = self.history.store() {
                store.record_operation(view.clone()).unattended();
            }
            self.publisher.tell(FleetEvent::Operation(view));
        }
    }

    fn publish(&mut self) {
        self.doubted = self.fleet.doubted();
        for name in self.publisher.take_changed() {
            let seen = self.fleet.view(&name).map(|view| {
                let reading = view.revision.and_then(|revision| self.reading(&name, revision));
                let empty = Post::default();
                let post = self.posts.get(&name).unwrap_or(&empty);
                publish::vassal(&view, post, reading.as_deref(), &self.log_places.of(&name))
            });
            if seen.is_none() && self.posts.get(&name).is_some_and(|post| post.seats.is_empty()) {
                self.posts.remove(&name);
                self.runnable.remove(&name);
            }
            self.publisher.show(&name, seen);
        }
        let alarms = self.all_alarms();
        self.publisher.publish(alarms, self.doubted.clone(), self.upgrade.clone());
    }

    fn all_alarms(&self) -> Vec<String> {
        let doubt = self.removal_alarm();
        self.directory_lost.iter().chain(&doubt).chain(&self.alarms).cloned().chain(self.history.alarms()).collect()
    }

    fn sample(&mut self) {
        let now = clock::now();
        self.samples_taken += 1;
        let minute = minute_now();
        let minute_over = minute != self.minute_unix_s;
        let memory_due =
            minute_over || (self.publisher.is_watched() && self.samples_taken.is_multiple_of(MEMORY_EVERY_SAMPLES));
        let mut different = false;
        for (name, post) in &mut self.posts {
            if memory_due || post.pids().any(|pid| !post.rss_bytes.contains_key(&pid)) {
                sample::read_memory(post);
            }
            if sample::take(post, now) {
                self.publisher.vassal_changed(name);
                different = true;
            }
        }
        if different {
            self.publisher.tell(FleetEvent::Sampled);
        }
        self.feel_pulses(now);
        self.tell_own_pulse();
        if self.samples_taken.is_multiple_of(HISTORY_LOOKED_AT_EVERY_SAMPLES) {
            self.look_after_history();
        }
        if minute_over {
            self.end_minute(minute);
        }
        if !self.publisher.shows_alarms(&self.all_alarms()) {
            self.publisher.tell(FleetEvent::Sampled);
        }
    }

    fn end_minute(&mut self, next: u64) {
        let ended = std::mem::replace(&mut self.minute_unix_s, next);
        self.tell_withheld();
        let samples: Vec<_> =
            self.posts.iter_mut().filter_map(|(name, post)| sample::end_minute(name, post, ended)).collect();
        let Some(store) = self.history.store() else { return };
        if !samples.is_empty() {
            store.append_samples(samples).unattended();
        }
        if (next / 60).is_multiple_of(PRUNE_EVERY_MINUTES) {
            store.record_vassals_seen(self.files.keys().cloned().collect(), clock::unix_ms()).unattended();
            store.prune(clock::unix_ms()).unattended();
        }
    }
}

fn minute_now() -> u64 {
    clock::unix_ms() / 60_000 * 60
}

/// Waits for an instant; for ever when there is none.
async fn at(instant: Option<tokio::time::Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
