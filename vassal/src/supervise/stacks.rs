//! Asking a worker what its threads do, without stopping anything: first in Python, and when no thread of it can run
//! Python, through faulthandler's signal handler. Every asking ends, also with a worker that is stopped or ends meanwhile.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, OwnedFd},
    sync::atomic::Ordering,
    time::Duration,
};

use empery_control::{
    link::FromMaster,
    stacks::{RequestView, Source, ThreadStack, WorkerStacks, of_faulthandler},
    worker::ToWorker,
};
use empery_lifecycle::{ids::WorkerRef, moment::Moment};
use empery_sys::{memfd, process};
use nix::unistd::{Whence, ftruncate, lseek};

use super::{Supervisor, generation::WorkerHandle, in_flight::serving_of};
use crate::clock;

/// How long a thread that waits may take to answer before the main thread is asked by a signal: whoever answers over the
/// channel need not be disturbed.
const QUIETLY_WITHIN: Duration = Duration::from_millis(50);

/// How long Python may take to answer before faulthandler is asked.
const PYTHON_WITHIN: Duration = Duration::from_millis(500);

/// How often what faulthandler has written is looked at; it is whole when nothing was added in between.
const DUMP_LOOK_EVERY: Duration = Duration::from_millis(40);

/// How long faulthandler may take to begin.
const DUMP_WITHIN: Duration = Duration::from_millis(400);

const STOPPED: &str = "the process is stopped (by a signal, or by a debugger): nothing in it can tell its stacks";
const STRANGER: &str =
    "it serves on for a master that is gone: it can be asked no more, and goes once a new generation has taken over";
const NO_PYTHON: &str = "no thread could run Python within 500 ms: C code holds Python's lock, or does not come back";

/// Who wants the stacks.
pub(crate) enum Wanted {
    /// The worker has a request that ran too long.
    Harakiri,
    /// Its mercy is over.
    LastWords,
    /// The brain of this number, under this token.
    Brain { serial: u64, token: u64 },
}

/// The askings under way, one for each worker.
#[derive(Default)]
pub(crate) struct StackAskings {
    all: BTreeMap<WorkerRef, Asking>,
    last: u32,
}

struct Asking {
    number: u32,
    began: Moment,
    /// What was in flight then: asking may be what ends it.
    requests: Vec<RequestView>,
    stage: Stage,
    wanted: Vec<Wanted>,
}

enum Stage {
    Quiet { until: Moment },
    Python { until: Moment },
    Dump { look_at: Moment, until: Moment, seen_bytes: usize },
}

impl StackAskings {
    /// Workers that an earlier image has asked answer to higher numbers only.
    pub(super) fn go_on_from(&mut self, last: u32) {
        self.last = last;
    }

    /// When the next has to be looked at.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let at = |asking: &Asking| match asking.stage {
            Stage::Quiet { until } | Stage::Python { until } => until,
            Stage::Dump { look_at, .. } => look_at,
        };
        self.all.values().map(at).min()
    }
}

impl Supervisor {
    /// Asks; the answer is told when it is there.
    pub(super) fn ask_stacks(&mut self, worker: WorkerRef, wanted: Wanted) {
        if let Some(asking) = self.stack_askings.all.get_mut(&worker) {
            asking.wanted.push(wanted);
            return;
        }
        let began = clock::now();
        self.stack_askings.last = self.stack_askings.last.wrapping_add(1).max(1);
        let number = self.stack_askings.last;
        let stage = Stage::Quiet { until: began.after(QUIETLY_WITHIN) };
        let requests = self.requests_of(worker, began);
        self.stack_askings.all.insert(worker, Asking { number, began, requests, stage, wanted: vec![wanted] });
        match self.living_pid(worker) {
            None => {
                let is_stranger = self.orphans.values().any(|orphan| orphan.worker == worker);
                let note = if is_stranger { STRANGER } else { "there is no such worker (any more)" };
                self.stacks_are(worker, Source::Nobody, Vec::new(), Some(note));
            }
            Some(pid) if process::is_stopped(pid) => {
                self.stacks_are(worker, Source::Nobody, Vec::new(), Some(STOPPED));
            }
            Some(pid) => {
                if let Some(board) = self.scoreboard_of(worker.generation)
                    && let Some(first) = serving_of(board, worker, pid).first()
                {
                    first.slot.state.stacks_asked.store(number, Ordering::Release);
                }
                if let Some(handle) = self.worker_mut(worker) {
                    handle.peer.say(ToWorker::Attend, Vec::new());
                }
            }
        }
    }

    fn requests_of(&self, worker: WorkerRef, now: Moment) -> Vec<RequestView> {
        let living = self.living_pid(worker).zip(self.scoreboard_of(worker.generation));
        let serving = living.map(|(pid, board)| serving_of(board, worker, pid)).unwrap_or_default();
        serving.iter().filter_map(|serving| serving.view(now)).collect()
    }

    /// Has a worker look at what was written into the scoreboard, whatever its threads do.
    pub(super) fn have_it_attend(&mut self, worker: WorkerRef) {
        let Some(handle) = self.worker_mut(worker) else { return };
        handle.peer.say(ToWorker::Attend, Vec::new());
        raise(handle, handle.signals.attend);
    }

    /// A worker has told what its threads do.
    pub(super) fn heard_stacks(&mut self, worker: WorkerRef, asked: u32, threads: Vec<ThreadStack>) {
        if self.stack_askings.all.get(&worker).is_some_and(|asking| asking.number == asked) {
            self.stacks_are(worker, Source::Python, threads, None);
        }
    }

    /// A worker is gone: it tells nothing more.
    pub(super) fn stacks_of_the_gone(&mut self, worker: WorkerRef) {
        if self.stack_askings.all.contains_key(&worker) {
            self.stacks_are(worker, Source::Nobody, Vec::new(), Some("the worker ended before it could tell"));
        }
    }

    /// Goes on with those whose time has come.
    pub(super) fn stacks_due(&mut self, now: Moment) {
        let due = |asking: &Asking| match asking.stage {
            Stage::Quiet { until } | Stage::Python { until } => until <= now,
            Stage::Dump { look_at, .. } => look_at <= now,
        };
        let due: Vec<WorkerRef> =
            self.stack_askings.all.iter().filter(|(_, asking)| due(asking)).map(|(worker, _)| *worker).collect();
        for worker in due {
            match self.stack_askings.all.get(&worker).map(|asking| &asking.stage) {
                Some(Stage::Quiet { .. }) => self.ask_main_thread(worker),
                Some(Stage::Python { .. }) => self.dump(worker, now),
                Some(Stage::Dump { until, seen_bytes, .. }) => self.look_at_dump(worker, *until, *seen_bytes, now),
                None => {}
            }
        }
    }

    fn ask_main_thread(&mut self, worker: WorkerRef) {
        if let Some(asking) = self.stack_askings.all.get_mut(&worker) {
            asking.stage = Stage::Python { until: asking.began.after(PYTHON_WITHIN) };
        }
        if let Some(handle) = self.worker_mut(worker) {
            raise(handle, handle.signals.ask);
        }
    }

    fn dump(&mut self, worker: WorkerRef, now: Moment) {
        let Some(handle) = self.worker_mut(worker) else { return };
        handle.crash.iter().for_each(empty);
        raise(handle, handle.signals.dump);
        if let Some(asking) = self.stack_askings.all.get_mut(&worker) {
            let (look_at, until) = (now.after(DUMP_LOOK_EVERY), now.after(DUMP_WITHIN));
            asking.stage = Stage::Dump { look_at, until, seen_bytes: 0 };
        }
    }

    fn look_at_dump(&mut self, worker: WorkerRef, until: Moment, seen_bytes: usize, now: Moment) {
        let written = self.worker_mut(worker).map(crash_text).unwrap_or_default();
        if !written.is_empty() && written.len() == seen_bytes {
            // Should it crash later, that is another story.
            self.worker_mut(worker).iter().filter_map(|handle| handle.crash.as_ref()).for_each(empty);
            self.stacks_are(worker, Source::Faulthandler, of_faulthandler(&written), Some(NO_PYTHON));
        } else if written.is_empty() && until <= now {
            let note =
                "neither Python nor faulthandler has answered: the process does not run, or has taken their signals";
            self.stacks_are(worker, Source::Nobody, Vec::new(), Some(note));
        } else if let Some(Asking { stage: Stage::Dump { look_at, seen_bytes, .. }, .. }) =
            self.stack_askings.all.get_mut(&worker)
        {
            (*look_at, *seen_bytes) = (now.after(DUMP_LOOK_EVERY), written.len());
        }
    }

    /// The answer is there: completes it from the scoreboard and tells whoever wants it.
    fn stacks_are(&mut self, worker: WorkerRef, source: Source, threads: Vec<ThreadStack>, note: Option<&str>) {
        let Some(asking) = self.stack_askings.all.remove(&worker) else { return };
        let now = clock::now();
        let pid = self.living_pid(worker).unwrap_or(0);
        let took_ms = u64::try_from(now.since(asking.began).as_millis()).unwrap_or(u64::MAX);
        let note = note.map(str::to_owned);
        let mut stacks = WorkerStacks { worker, pid, source, took_ms, note, threads };
        self.complete(&mut stacks, asking.requests);
        for wanted in asking.wanted {
            match wanted {
                Wanted::Harakiri => self.harakiri_recorded(worker, &stacks),
                Wanted::LastWords => self.last_words_are(worker, &stacks),
                Wanted::Brain { serial, token } => {
                    if self.brain.as_ref().is_some_and(|brain| brain.serial == serial) {
                        let stacks = Box::new(stacks.clone());
                        self.tell_brain(FromMaster::Stacks { token, stacks }, Vec::new());
                    }
                }
            }
        }
    }

    /// Which thread serves what.
    fn complete(&self, stacks: &mut WorkerStacks, requests: Vec<RequestView>) {
        let Some(board) = self.scoreboard_of(stacks.worker.generation) else { return };
        for serving in serving_of(board, stacks.worker, stacks.pid) {
            let found =
                serving.ident().and_then(|ident| stacks.threads.iter_mut().find(|thread| thread.ident == ident));
            let request = requests.iter().find(|request| request.core == serving.core).cloned();
            match found {
                Some(thread) => (thread.core, thread.request) = (Some(serving.core), request),
                // What it serves is known all the same.
                None if request.is_some() => stacks.threads.push(ThreadStack {
                    name: None,
                    ident: serving.ident().unwrap_or(0),
                    core: Some(serving.core),
                    request,
                    frames: Vec::new(),
                    frames_left_out: 0,
                    is_current: false,
                }),
                None => {}
            }
        }
        stacks.sort();
    }

    /// The pid of a worker that has not ended.
    pub(super) fn living_pid(&self, worker: WorkerRef) -> Option<i32> {
        let handle = self.worker(worker)?;
        handle.pid.filter(|_| handle.exit.is_none())
    }
}

/// Raises a signal on the main thread of a worker. Only one that it has a handler for: the app may have set it back, and
/// any other would end the process.
pub(super) fn raise(handle: &WorkerHandle, signal: Option<i32>) {
    if let (Some(pid), None, Some(signal)) = (handle.pid, &handle.exit, signal)
        && process::catches(pid, signal)
    {
        // It is a child that has not been reaped: the pid is its own. It may have ended meanwhile.
        let _ = process::signal_thread(pid, pid, signal);
    }
}

/// What was written is read. The worker shares the offset: what it writes next is all there is.
fn empty(crash: &OwnedFd) {
    let _ = ftruncate(crash, 0).and_then(|()| lseek(crash, 0, Whence::SeekSet));
}

/// What faulthandler has written.
pub(super) fn crash_text(handle: &mut WorkerHandle) -> String {
    let written = handle.crash.as_ref().map(|crash| memfd::read_all(crash.as_fd()).unwrap_or_default());
    String::from_utf8_lossy(&written.unwrap_or_default()).into_owned()
}
