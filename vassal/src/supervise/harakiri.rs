//! `harakiri`, and the limits that requests set themselves: finds out from the scoreboard who is overdue, so neither the
//! worker nor the app can forget it, and performs what [`Harakiri`] decides. While nothing runs, nothing can be overdue
//! before a whole limit from now, so that is when this looks again.

pub(crate) mod limits;

use std::{os::fd::AsFd, sync::atomic::Ordering, time::Duration};

use empery_control::{
    link::Severity,
    stacks::{RequestView, Source, WorkerStacks},
};
use empery_lifecycle::{
    generations::RecycleReason,
    harakiri::{Harakiri, LOOK_EVERY, Sight, Step, Voice},
    ids::{GenerationId, WorkerRef},
    moment::Moment,
};
use empery_sys::{process, scoreboard::Scoreboard};

use super::{
    Supervisor,
    generation::WorkerHandle,
    in_flight::{Serving, serving_of},
    stacks::{Wanted, raise},
};
use crate::{clock, log};

/// How soon those are looked at again that `harakiri-queue-threshold` spares.
const SPARED_FOR: Duration = Duration::from_secs(1);

/// A worker with requests that are to end.
pub(crate) struct Struck {
    machine: Harakiri,
    requests: Vec<StruckRequest>,
}

#[derive(Clone)]
struct StruckRequest {
    core: u32,
    started_ns: u64,
    limit_s: u64,
    view: RequestView,
    started_unix_ms: u64,
}

impl StruckRequest {
    fn is(&self, serving: &Serving<'_>) -> bool {
        let started_ns = serving.request.as_ref().map(|request| request.started_monotonic_ns);
        self.core == serving.core && started_ns == Some(self.started_ns)
    }
}

impl Struck {
    fn has(&self, serving: &Serving<'_>) -> bool {
        self.requests.iter().any(|request| request.is(serving))
    }

    fn first(&self) -> String {
        self.requests.first().map_or_else(String::new, |request| {
            format!("{} {} ran longer than {} s", request.view.method, request.view.uri, request.limit_s)
        })
    }
}

impl Supervisor {
    /// A generation serves that may have a limit, or a request has set itself one.
    pub(super) fn arm_harakiri(&mut self) {
        self.harakiri_at = Some(clock::now());
    }

    /// Deals with whoever is overdue, goes on with those that were, and finds out when to look again.
    pub(super) fn harakiri(&mut self, now: Moment) {
        let mut overdue = Vec::new();
        let mut next: Option<Moment> = None;
        let mut sooner = |at: Moment| next = Some(next.map_or(at, |next| next.min(at)));
        for id in self.generations.keys().chain(self.carried.keys()) {
            let (Some(limits), Some(board)) = (self.limits_of(*id), self.scoreboard_of(*id)) else { continue };
            let limit = limits.limit().map(|limit| {
                let threshold = limits.queue_threshold;
                let is_spared = threshold > 0 && self.longest_queue(*id) <= threshold;
                (limit, is_spared)
            });
            if let Some((limit, _)) = limit {
                sooner(now.after(limit));
            }
            for (worker, handle) in self.children().filter(|(worker, _)| worker.generation == *id) {
                look_at(board, (worker, handle), limit, now, &mut sooner, &mut overdue);
            }
        }
        for (worker, request) in overdue {
            self.strike(worker, request);
        }
        for worker in self.struck() {
            self.look_at_struck(worker, now);
        }
        if !self.struck().is_empty() {
            sooner(now.after(LOOK_EVERY));
        }
        self.harakiri_at = next;
    }

    fn longest_queue(&self, id: GenerationId) -> u64 {
        let own = self.generations.get(&id).into_iter().flat_map(|generation| generation.revision.listener_keys());
        let carried = self.orphans.values().filter(|orphan| orphan.worker.generation == id);
        let keys = own.chain(carried.flat_map(|orphan| orphan.listeners.iter().cloned()));
        let queues = keys.filter_map(|key| {
            let held = self.listeners.get(&key)?;
            empery_sys::listen::queue_length(held.socket.as_fd()).map(|(queue, _)| queue)
        });
        queues.max().unwrap_or(0)
    }

    /// Workers that have to be looked at again soon.
    fn struck(&self) -> Vec<WorkerRef> {
        let is_under_way =
            |handle: &WorkerHandle| handle.struck.as_ref().is_some_and(|struck| struck.machine.is_under_way());
        self.children().filter(|(_, handle)| is_under_way(handle)).map(|(worker, _)| worker).collect()
    }

    fn strike(&mut self, worker: WorkerRef, request: StruckRequest) {
        let Some(limits) = self.limits_of(worker.generation) else { return };
        let Some(handle) = self.worker_mut(worker) else { return };
        say_harakiri(worker, handle.pid.unwrap_or(0), &request, limits.is_verbose);
        let steps = match &mut handle.struck {
            Some(struck) if !struck.machine.has_ended() => {
                struck.requests.push(request);
                struck.machine.joined()
            }
            _ => {
                let (machine, steps) = Harakiri::begin(limits.mercy(request.limit_s));
                handle.struck = Some(Struck { machine, requests: vec![request] });
                steps
            }
        };
        if let Some(generation) = self.generations.get_mut(&worker.generation) {
            *generation.harakiris.entry(worker.worker).or_default() += 1;
        }
        self.step(worker, steps);
    }

    /// The stacks of a worker that was struck are there, or there are none.
    pub(super) fn harakiri_recorded(&mut self, worker: WorkerRef, stacks: &WorkerStacks) {
        let Some(struck) = self.worker_mut(worker).and_then(|handle| handle.struck.as_mut()) else { return };
        let sentence =
            format!("worker {} (pid: {}) is replaced: {} (harakiri)", worker.worker.0, stacks.pid, struck.first());
        let voice = if stacks.source == Source::Python { Voice::Python } else { Voice::Silence };
        let steps = struck.machine.recorded(voice, clock::now());
        self.notice(Severity::Incident, "harakiri", format!("{sentence}\n{}", stacks.text()), Some(worker));
        self.step(worker, steps);
        self.harakiri_at = Some(clock::now().after(LOOK_EVERY));
    }

    fn look_at_struck(&mut self, worker: WorkerRef, now: Moment) {
        let Some(pid) = self.living_pid(worker) else { return };
        let sight = {
            let Some(board) = self.scoreboard_of(worker.generation) else { return };
            let Some(struck) = self.worker(worker).and_then(|handle| handle.struck.as_ref()) else { return };
            let serving = serving_of(board, worker, pid);
            let (stuck, others): (Vec<_>, Vec<_>) =
                serving.iter().filter(|serving| serving.request.is_some()).partition(|serving| struck.has(serving));
            let heard = |serving: &Serving<'_>| serving.slot.state.struck_ns.load(Ordering::Acquire) == 0;
            Sight { is_stuck: !stuck.is_empty(), has_others: !others.is_empty(), has_heard: serving.iter().all(heard) }
        };
        let Some(struck) = self.worker_mut(worker).and_then(|handle| handle.struck.as_mut()) else { return };
        let steps = struck.machine.look(sight, now);
        if struck.machine.has_ended() {
            say_ended(worker, struck);
        }
        self.step(worker, steps);
    }

    /// A worker left by itself: if requests of it were to end, they have, and it may have gone between two looks.
    pub(super) fn left_struck(&mut self, worker: WorkerRef) {
        let struck = self.worker_mut(worker).and_then(|handle| handle.struck.as_ref());
        if let Some(struck) = struck.filter(|struck| struck.machine.is_under_way()) {
            say_ended(worker, struck);
        }
    }

    fn step(&mut self, worker: WorkerRef, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Recycle => {
                    self.recycle(worker, RecycleReason::Harakiri, "a request of it ran too long (harakiri)");
                }
                Step::Collect => self.ask_stacks(worker, Wanted::Harakiri),
                Step::EndRequests => self.end_requests(worker),
                Step::TellClients => self.tell_clients(worker, Whom::Struck),
                Step::TellAll => self.tell_clients(worker, Whom::All),
                Step::Kill => {
                    if let Some(handle) = self.worker_mut(worker)
                        && let Some(struck) = &handle.struck
                    {
                        let why = format!("harakiri: {}, and would not end", struck.first());
                        handle.condemned.get_or_insert(why);
                    }
                    self.kill(worker);
                }
            }
        }
    }

    fn end_requests(&mut self, worker: WorkerRef) {
        self.mark(worker, Whom::Struck);
        self.have_it_attend(worker);
        let graceful = self.limits_of(worker.generation).and_then(|limits| limits.graceful_signal());
        if let Some(handle) = self.worker(worker) {
            raise(handle, graceful);
        }
    }

    fn tell_clients(&mut self, worker: WorkerRef, whom: Whom) {
        self.mark(worker, whom);
        if let Some(handle) = self.worker_mut(worker) {
            raise(handle, handle.signals.farewell);
        }
    }

    /// Writes into the scoreboard which requests are meant.
    fn mark(&self, worker: WorkerRef, whom: Whom) {
        let Some(pid) = self.living_pid(worker) else { return };
        let Some(board) = self.scoreboard_of(worker.generation) else { return };
        let Some(struck) = self.worker(worker).and_then(|handle| handle.struck.as_ref()) else { return };
        for serving in serving_of(board, worker, pid) {
            if let Some(request) = &serving.request
                && (whom == Whom::All || struck.has(&serving))
            {
                serving.slot.state.struck_ns.store(request.started_monotonic_ns, Ordering::Release);
            }
        }
    }
}

/// Which requests of a worker.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whom {
    Struck,
    All,
}

/// Collects what is overdue, and says when the next thing can be.
fn look_at(
    board: &Scoreboard,
    (worker, handle): (WorkerRef, &WorkerHandle),
    limit: Option<(Duration, bool)>,
    now: Moment,
    sooner: &mut impl FnMut(Moment),
    overdue: &mut Vec<(WorkerRef, StruckRequest)>,
) {
    let Some(pid) = handle.pid.filter(|_| handle.condemned.is_none() && handle.exit.is_none()) else { return };
    for serving in serving_of(board, worker, pid) {
        let Some(request) = &serving.request else { continue };
        if handle.struck.as_ref().is_some_and(|struck| struck.has(&serving)) {
            continue;
        }
        let started = Moment(request.started_monotonic_ns);
        let of_all = limit.map(|(limit, is_spared)| (started.after(limit), limit, is_spared));
        let own = serving.slot.own_limit_ns().map(|ends| (Moment(ends), Moment(ends).since(started), false));
        let Some((due, limit, is_spared)) = [of_all, own].into_iter().flatten().min_by_key(|(due, ..)| *due) else {
            continue;
        };
        if due > now {
            sooner(due);
        } else if is_spared {
            sooner(now.after(SPARED_FOR));
        } else if let Some(view) = serving.view(now) {
            let (core, limit_s) = (serving.core, limit.as_secs());
            let (started_ns, started_unix_ms) = (request.started_monotonic_ns, request.started_unix_ms);
            overdue.push((worker, StruckRequest { core, started_ns, limit_s, view, started_unix_ms }));
        }
    }
}

fn say_ended(worker: WorkerRef, struck: &Struck) {
    log::say(&format!("*** worker {} has ended the request: {} (harakiri) ***", worker.worker.0, struck.first()));
}

/// The lines of uWSGI, which people search their logs for.
fn say_harakiri(worker: WorkerRef, pid: i32, request: &StruckRequest, is_verbose: bool) {
    let id = worker.worker.0;
    let RequestView { method, uri, peer, core, .. } = &request.view;
    let peer = peer.as_deref().unwrap_or("-");
    log::say(&format!("*** HARAKIRI ON WORKER {id} (pid: {pid}, try: 1, graceful: yes) ***"));
    log::say(&format!("HARAKIRI !!! worker {id} status !!!"));
    log::say(&format!("HARAKIRI [core {core}] {peer} - {method} {uri} since {}", request.started_unix_ms / 1000));
    log::say(&format!("HARAKIRI !!! end of worker {id} status !!!"));
    if is_verbose {
        for what in ["syscall", "wchan"] {
            let text = std::fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap_or_default();
            log::say(&format!("HARAKIRI: -- {what}> {}", text.trim_end()));
        }
    }
    if process::is_stopped(pid) {
        log::say(&format!("HARAKIRI: worker {id} is stopped, by a signal or by a debugger"));
    }
}
