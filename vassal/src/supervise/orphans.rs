//! Workers of an earlier master, and of an earlier image of this one. They serve until a generation of this master
//! relieves them, and are looked after meanwhile: the children among them like this master's own.

use std::os::fd::{AsFd, OwnedFd};

use empery_control::{
    link::{Severity, WorkerPhase},
    worker::ToWorker,
};
use empery_lifecycle::{
    generations::Event,
    ids::{GenerationId, OrphanId, WorkerRef},
};
use empery_sys::{
    channel::Channel,
    oom::KillCounts,
    process::{self, How, is_ending},
    readable::Readable,
    scoreboard::Scoreboard,
};

use super::{
    Supervisor, Who,
    deaths::{KilledFor, is_fatal},
    generation::WorkerHandle,
    harakiri::limits::Limits,
    input::{Inbox, Input},
    stacks::Wanted,
};
use crate::{
    link::orphan::{Kin, OrphanHandle},
    log,
    peer::{Heard, Peer},
    succession::WorkerLeft,
};

/// A generation of an earlier image of this master, while any of its workers is left.
pub(crate) struct Carried {
    /// What these write.
    pub(crate) scoreboard: Scoreboard,
    /// The memfd of it.
    pub(crate) descriptor: OwnedFd,
    /// How long their requests may take.
    pub(crate) limits: Limits,
}

impl Supervisor {
    /// One of an earlier master has introduced itself on the link.
    pub(super) fn adopt_orphan(&mut self, worker: WorkerRef, pid: i32, listeners: Vec<String>, channel: Channel) {
        let Ok(pidfd) = process::pidfd_open(pid) else { return };
        let orphan = self.next_orphan();
        let is_watched = watch(orphan, &pidfd, &self.inbox);
        let handle = WorkerHandle {
            pid: Some(pid),
            phase: WorkerPhase::Orphan,
            ..WorkerHandle::new(self.attach_orphan(orphan, channel), None)
        };
        let kin = Kin::Stranger { is_watched, has_ended: false };
        self.hold_orphan(orphan, OrphanHandle { worker, pidfd, kin, listeners, handle });
    }

    /// In a new image of this master: takes over a worker of the earlier one. The pidfd comes with one that was no child.
    pub(crate) fn carry(&mut self, left: WorkerLeft, channel: Channel, crash: Option<OwnedFd>, pidfd: Option<OwnedFd>) {
        let orphan = self.next_orphan();
        let own = std::process::id().cast_signed();
        // An earlier image may have said of none that it is no child.
        let is_child = pidfd.is_none() && process::children_of(own).is_ok_and(|children| children.contains(&left.pid));
        // Without its channel one that has ended leaves.
        let Ok(pidfd) = pidfd.map_or_else(|| process::pidfd_open(left.pid), Ok) else { return };
        let kin = if is_child {
            Kin::Child
        } else {
            Kin::Stranger { is_watched: watch(orphan, &pidfd, &self.inbox), has_ended: false }
        };
        let phase = match left.phase {
            WorkerPhase::Draining => WorkerPhase::Draining,
            WorkerPhase::Booting | WorkerPhase::Serving | WorkerPhase::Orphan => WorkerPhase::Orphan,
        };
        let handle = WorkerHandle {
            pid: Some(left.pid),
            phase,
            since_unix_s: left.since_unix_s,
            signals: left.signals,
            kill_counts: Some(KillCounts::of(left.pid)),
            ..WorkerHandle::new(self.attach_orphan(orphan, channel), crash)
        };
        let (worker, listeners) = (left.worker, left.listeners);
        self.hold_orphan(orphan, OrphanHandle { worker, pidfd, kin, listeners, handle });
        // What its requests may take, and what is left of that, stands in its scoreboard.
        self.arm_harakiri();
    }

    fn next_orphan(&mut self) -> OrphanId {
        self.last_orphan += 1;
        OrphanId(self.last_orphan)
    }

    fn attach_orphan(&self, orphan: OrphanId, channel: Channel) -> Peer<ToWorker> {
        Peer::attach(channel, self.inbox.clone(), move |heard| match heard {
            Heard::Word(word, descriptors) => Input::FromOrphan(orphan, word, descriptors),
            Heard::Silence => Input::OrphanSilent(orphan),
        })
    }

    fn hold_orphan(&mut self, id: OrphanId, orphan: OrphanHandle) {
        let (worker, pid) = (orphan.worker, orphan.handle.pid.unwrap_or(0));
        log::say(&format!("*** {worker} (pid: {pid}) of an earlier master serves on until it is relieved ***"));
        self.freeze_newcomer(&orphan.handle);
        self.orphans.insert(id, orphan);
        self.tell(Event::OrphanFound { orphan: id });
    }

    pub(super) fn drain_orphan(&mut self, id: OrphanId) {
        match self.orphans.get_mut(&id) {
            Some(orphan) => {
                orphan.handle.phase = WorkerPhase::Draining;
                orphan.handle.peer.say(ToWorker::Drain, Vec::new());
                let (worker, is_child) = (orphan.worker, orphan.is_child());
                if is_child {
                    self.relieve_soon(worker);
                }
            }
            None => self.tell(Event::OrphanExited { orphan: id }),
        }
    }

    pub(super) fn kill_orphan(&mut self, id: OrphanId) {
        let Some(orphan) = self.orphans.get_mut(&id) else {
            self.tell(Event::OrphanExited { orphan: id });
            return;
        };
        orphan.handle.killed_for = Some(KilledFor::Mercy);
        let (worker, is_child) = (orphan.worker, orphan.is_child());
        if is_child && self.is_worth_asking(worker) {
            self.ask_stacks(worker, Wanted::LastWords);
        } else if let Some(orphan) = self.orphans.get(&id) {
            orphan.kill();
        }
    }

    /// Nothing more comes from it. While it drains it may close its end before it has run the app's exit handlers.
    pub(super) fn orphan_silent(&mut self, id: OrphanId) {
        let Some(orphan) = self.orphans.get_mut(&id) else { return };
        orphan.handle.silent = true;
        if orphan.has_ended() {
            self.orphan_ended(id);
        } else if !orphan.was_asked() {
            // Usually it is ending this moment.
            if !orphan.handle.pid.is_some_and(is_ending) {
                orphan.handle.killed_for.get_or_insert(KilledFor::Silence);
            }
            orphan.kill();
        }
    }

    /// Its process has ended; how is known of a child.
    pub(super) fn orphan_exited(&mut self, id: OrphanId, how: Option<How>) {
        let Some(orphan) = self.orphans.get_mut(&id) else { return };
        match &mut orphan.kin {
            Kin::Child => orphan.handle.exit = how,
            Kin::Stranger { has_ended, .. } => *has_ended = true,
        }
        if orphan.handle.silent {
            self.orphan_ended(id);
        } else {
            orphan.handle.peer.is_gone();
        }
    }

    pub(super) fn orphan_of(&self, is_it: impl Fn(&OrphanHandle) -> bool) -> Option<OrphanId> {
        self.orphans.iter().find(|(_, orphan)| is_it(orphan)).map(|(id, _)| *id)
    }

    /// Both are known: that it ended, and that nothing more comes from it.
    fn orphan_ended(&mut self, id: OrphanId) {
        let Some(orphan) = self.orphans.get(&id) else { return };
        let worker = orphan.worker;
        match orphan.handle.exit {
            Some(how) => self.tell_of_child(id, how),
            None => {
                if let Some(text) = orphan.end_of_stranger() {
                    self.notice(Severity::Incident, "orphan-ended", text, Some(worker));
                }
            }
        }
        self.stacks_of_the_gone(worker);
        self.orphans.remove(&id);
        self.listeners_changed = true;
        self.reroute(Who::Orphan(id));
        self.tell(Event::OrphanExited { orphan: id });
    }

    /// Of a worker of an earlier image no report tells.
    fn tell_of_child(&mut self, id: OrphanId, how: How) {
        let Some(orphan) = self.orphans.get(&id) else { return };
        let (worker, pid, was_asked) = (orphan.worker, orphan.handle.pid, orphan.was_asked());
        let is_clean = how == How::Code(0);
        if is_clean {
            self.left_struck(worker);
        }
        let death = self.explain(worker, how);
        if is_fatal(how) {
            self.worker_crashed(worker, pid, &death);
        }
        if was_asked && !is_clean {
            self.tell_of_unfinished(worker, &death);
        } else if !was_asked {
            let text = format!(
                "worker {} (pid: {}) of an earlier master has ended, though nobody had asked it to: {}\n{}",
                worker.worker.0,
                pid.unwrap_or(0),
                death.how,
                death.evidence
            );
            self.notice(Severity::Incident, "orphan-ended", text, Some(worker));
        }
    }

    /// What the workers of a generation write, be it this master's or an earlier image's.
    pub(super) fn scoreboard_of(&self, id: GenerationId) -> Option<&Scoreboard> {
        let own = self.generations.get(&id).map(|generation| &generation.scoreboard);
        own.or_else(|| self.carried.get(&id).map(|carried| &carried.scoreboard))
    }

    /// How long requests of a generation may take, be it this master's or an earlier image's.
    pub(super) fn limits_of(&self, id: GenerationId) -> Option<Limits> {
        let own = self.generations.get(&id).map(|generation| Limits::of(&generation.revision.config));
        own.or_else(|| self.carried.get(&id).map(|carried| carried.limits))
    }

    /// Every worker that is a child of this process.
    pub(super) fn children(&self) -> impl Iterator<Item = (WorkerRef, &WorkerHandle)> {
        let own = self.generations.values().flat_map(|generation| &generation.workers);
        let carried = self.orphans.values().filter(|orphan| orphan.is_child());
        own.map(|(worker, handle)| (*worker, handle)).chain(carried.map(|orphan| (orphan.worker, &orphan.handle)))
    }

    /// One of them.
    pub(super) fn worker(&self, worker: WorkerRef) -> Option<&WorkerHandle> {
        match self.generations.get(&worker.generation) {
            Some(generation) => generation.workers.get(&worker),
            None => self.orphans.values().find(|orphan| orphan.is_child() && orphan.worker == worker).map(handle_of),
        }
    }

    /// One of them.
    pub(super) fn worker_mut(&mut self, worker: WorkerRef) -> Option<&mut WorkerHandle> {
        match self.generations.get_mut(&worker.generation) {
            Some(generation) => generation.workers.get_mut(&worker),
            None => {
                let mut orphans = self.orphans.values_mut();
                orphans.find(|orphan| orphan.is_child() && orphan.worker == worker).map(|orphan| &mut orphan.handle)
            }
        }
    }
}

fn handle_of(orphan: &OrphanHandle) -> &WorkerHandle {
    &orphan.handle
}

/// Has its end told; whether that was possible.
fn watch(orphan: OrphanId, pidfd: &OwnedFd, inbox: &Inbox) -> bool {
    let Ok(end) = pidfd.as_fd().try_clone_to_owned().and_then(Readable::watch) else { return false };
    let inbox = inbox.clone();
    tokio::spawn(async move {
        if end.ready().await.is_ok() {
            inbox.put(Input::OrphanEnded(orphan));
        }
    });
    true
}
