//! Ends of children. A process's end is told to the machine once its last words on its channel have been heard:
//! why it ended comes before that it ended.

use empery_control::link::{Severity, WorkerPhase};
use empery_failpoint::step;
use empery_lifecycle::{
    generations::{Event, Exit},
    ids::{GenerationId, OrphanId, WorkerRef},
};
use empery_sys::{
    oom::KillCounts,
    process::{How, is_ending, reap_any},
};

use super::{
    Supervisor, Who,
    deaths::{KilledFor, is_fatal, is_kill},
    generation::ZygoteHandle,
    perform::kill_child,
    succeed::Succession,
};

impl Supervisor {
    /// SIGCHLD came: collects every child that has ended. Some are nobody's: children of the app whose parent died.
    pub(super) fn reap(&mut self) {
        self.look_for_stopped();
        while let Ok(Some((pid, how))) = reap_any() {
            if let Some(generation) = self.generation_of_zygote(pid) {
                self.zygote_exited(generation, how);
            } else if let Some(worker) = self.worker_of_pid(pid) {
                self.worker_exited(worker, how);
            } else if let Some(gateway) = self.gateways.of_pid(pid) {
                self.gateway_exited(gateway, how);
            } else if self.succession == Succession::Trial(pid) {
                self.trial_ended(how);
            } else if let Some(orphan) = self.orphan_of_pid(pid) {
                self.orphan_exited(orphan, Some(how));
            } else if self.beside_ended(pid, how) || self.alarm_ended(pid, how) || self.post_ended(pid, how) {
                // Said there.
            } else if self.is_forking() {
                self.unclaimed.insert(pid, how);
            }
        }
    }

    fn generation_of_zygote(&self, pid: i32) -> Option<GenerationId> {
        let is_its = |zygote: &ZygoteHandle| zygote.pid == pid && zygote.exit.is_none();
        self.generations
            .iter()
            .find(|(_, generation)| generation.zygote.as_ref().is_some_and(is_its))
            .map(|(id, _)| *id)
    }

    fn worker_of_pid(&self, pid: i32) -> Option<WorkerRef> {
        self.generations
            .values()
            .flat_map(|generation| &generation.workers)
            .find(|(_, handle)| handle.pid == Some(pid) && handle.exit.is_none())
            .map(|(worker, _)| *worker)
    }

    fn orphan_of_pid(&self, pid: i32) -> Option<OrphanId> {
        self.orphan_of(|orphan| orphan.is_child() && orphan.handle.pid == Some(pid) && orphan.handle.exit.is_none())
    }

    fn is_forking(&self) -> bool {
        self.are_forking_posts()
            || self
                .generations
                .values()
                .any(|generation| generation.workers.values().any(|handle| handle.pid.is_none()))
    }

    pub(super) fn worker_exited(&mut self, worker: WorkerRef, how: How) {
        let Some(handle) = self.worker_mut(worker) else { return };
        handle.exit = Some(how);
        if handle.silent {
            self.worker_ended(worker);
        } else {
            handle.peer.is_gone();
        }
    }

    fn zygote_exited(&mut self, id: GenerationId, how: How) {
        let Some(zygote) = self.generations.get_mut(&id).and_then(|generation| generation.zygote.as_mut()) else {
            return;
        };
        zygote.exit = Some(how);
        if zygote.silent {
            self.zygote_ended(id);
        } else {
            zygote.peer.is_gone();
        }
    }

    /// The zygote or the worker itself said which pid it has.
    pub(super) fn worker_has_pid(&mut self, worker: WorkerRef, pid: i32) {
        let ended = self.unclaimed.remove(&pid);
        if let Some(handle) = self.worker_mut(worker).filter(|handle| handle.pid.is_none()) {
            handle.pid = Some(pid);
            handle.kill_counts = Some(KillCounts::of(pid));
            match ended {
                Some(how) => self.worker_exited(worker, how),
                None if handle.kill_when_known => kill_child(pid),
                None => {}
            }
        }
        if !self.is_forking() {
            self.unclaimed.clear();
        }
    }

    /// Nothing more comes from a worker: it has ended, was never forked, or has closed its channel, in which case
    /// nobody can ask it anything any more.
    pub(super) fn worker_silent(&mut self, worker: WorkerRef) {
        let Some(handle) = self.worker_mut(worker) else { return };
        handle.silent = true;
        match (&handle.exit, handle.pid) {
            (Some(_), _) => self.worker_ended(worker),
            (None, None) => self.worker_lost(worker, "the zygote ended before it was forked".to_owned()),
            // While it drains it may close its end before it has run the app's exit handlers.
            (None, Some(_)) if handle.phase == WorkerPhase::Draining => {}
            // Usually it is ending this moment: the kernel closes what it had open before its parent is told.
            (None, Some(pid)) => {
                if !is_ending(pid) {
                    handle.killed_for.get_or_insert(KilledFor::Silence);
                }
                kill_child(pid);
            }
        }
    }

    /// Both are known: that it ended, and that nothing more comes from it.
    fn worker_ended(&mut self, worker: WorkerRef) {
        let Some(handle) = self.worker_mut(worker) else { return };
        let Some(how) = handle.exit.take() else { return };
        step!("master.reaped");
        let exit = match how {
            How::Code(0) => Exit::Clean,
            How::Code(_) | How::Signal(_) => Exit::Died,
        };
        let was_asked = handle.phase == WorkerPhase::Draining;
        if exit == Exit::Clean {
            self.left_struck(worker);
        }
        let pid = self.worker_mut(worker).and_then(|handle| handle.pid);
        let death = self.explain(worker, how);
        if is_fatal(how) {
            self.worker_crashed(worker, pid, &death);
        }
        self.forget_worker(worker);
        if was_asked && exit == Exit::Died {
            self.tell_of_unfinished(worker, &death);
        } else {
            self.death_evidence = Some((worker, death.evidence));
        }
        self.tell(Event::WorkerExited { worker, exit, how: death.how });
    }

    /// It will never have a pid. Should it be there all the same, it finds its channel closed and leaves.
    pub(super) fn worker_lost(&mut self, worker: WorkerRef, how: String) {
        self.worker_mut(worker).iter().for_each(|handle| handle.peer.is_gone());
        self.forget_worker(worker);
        self.tell(Event::WorkerExited { worker, exit: Exit::Died, how });
    }

    fn forget_worker(&mut self, worker: WorkerRef) {
        self.stacks_of_the_gone(worker);
        if let Some(generation) = self.generations.get_mut(&worker.generation) {
            generation.workers.remove(&worker);
        }
        self.reroute(Who::Worker(worker));
    }

    /// Nothing more comes from a zygote.
    pub(super) fn zygote_silent(&mut self, id: GenerationId) {
        let Some(zygote) = self.generations.get_mut(&id).and_then(|generation| generation.zygote.as_mut()) else {
            return;
        };
        zygote.silent = true;
        match zygote.exit {
            Some(_) => self.zygote_ended(id),
            None => {
                zygote.killed |= !is_ending(zygote.pid);
                kill_child(zygote.pid);
            }
        }
    }

    fn zygote_ended(&mut self, id: GenerationId) {
        let ended = self.generations.get_mut(&id).and_then(|generation| generation.zygote.take());
        let Some((how, zygote)) = ended.and_then(|zygote| Some((zygote.exit?, zygote))) else { return };
        let memory = zygote.kill_counts.sentence().filter(|_| is_kill(how) && !zygote.killed);
        if memory.is_some() {
            self.memory_kill_told(&zygote.kill_counts);
        }
        let how = memory.unwrap_or_else(|| how.to_string());
        if self.machine.serving().is_some_and(|(serving, _)| serving == id) && !zygote.retired {
            // No deployment tells of it.
            let text = format!(
                "the zygote of generation {id} (pid: {}) has ended: {how}; its workers serve on until another generation has booted",
                zygote.pid
            );
            self.notice(Severity::Incident, "zygote-ended", text, None);
        }
        self.tell(Event::ZygoteExited { generation: id, how });
    }
}
