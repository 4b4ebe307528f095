//! Performs what the machine asks for. A process that is not there (any more) is reported as gone at once, so that
//! the machine never waits for an exit that nobody will see.

use std::{collections::BTreeMap, os::fd::AsRawFd};

use empery_control::{
    boot::WorkerBoot,
    link::{FromMaster, Severity, WorkerPhase},
    worker::{ToWorker, ToZygote},
};
use empery_failpoint::{point, step};
use empery_lifecycle::{
    generations::{Action, Event, Exit, FailureReason},
    ids::{GenerationId, RevisionId, WorkerRef},
};
use empery_sys::{channel::Channel, memfd, oom::KillCounts, scoreboard::Scoreboard, seqpacket};
use nix::sys::signal::Signal;

use super::{
    EXIT_FAILED_APP, Supervisor,
    generation::{Generation, WorkerHandle, ZygoteHandle},
    input::Input,
    recycle_side::Import,
    signals_side::SignalDesk,
    stacks::Wanted,
};
use crate::{
    boot_output::BootOutput,
    peer::{Heard, Peer},
    zygote::{self, Descriptors},
};

impl Supervisor {
    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::Boot { generation, revision } => self.boot(generation, revision),
            Action::Spawn(worker) => self.spawn(worker),
            Action::Weigh(what) => self.weigh(what),
            Action::OpenGate(worker) => self.open_gate(worker),
            Action::Drain(worker) => self.drain(worker),
            Action::Kill(worker) => {
                if let Some(handle) = self.worker_mut(worker) {
                    handle.killed_for = Some(handle.kill_reason());
                }
                if self.is_worth_asking(worker) {
                    self.ask_stacks(worker, Wanted::LastWords);
                } else {
                    self.kill(worker);
                }
            }
            Action::RetireZygote(generation) => self.retire_zygote(generation),
            Action::KillZygote(generation) => self.kill_zygote(generation),
            Action::DrainOrphan(orphan) => self.drain_orphan(orphan),
            Action::KillOrphan(orphan) => self.kill_orphan(orphan),
            Action::Report(report) => self.report(report),
            Action::Leave => self.leave_behind_gateways(if self.stop_asked { self.exit_code } else { EXIT_FAILED_APP }),
        }
    }

    fn boot(&mut self, id: GenerationId, revision: RevisionId) {
        match self.try_boot(id, revision) {
            Ok(generation) => {
                self.last_generation = id;
                if let Ok(scoreboard) = generation.scoreboard_fd.try_clone() {
                    self.tell_brain(FromMaster::Scoreboard { generation: id }, vec![scoreboard]);
                }
                self.generations.insert(id, generation);
            }
            Err(NotBooted::NoRoom(sentence)) => {
                self.notice(Severity::Warning, "memory-short", sentence, None);
                self.tell(Event::NoRoom { generation: id });
            }
            Err(NotBooted::Failed(sentence)) => {
                self.tell(Event::BootFailed { generation: id, reason: FailureReason::Setup { sentence } });
            }
        }
    }

    fn try_boot(&mut self, id: GenerationId, revision: RevisionId) -> Result<Generation, NotBooted> {
        let out_of_descriptors = |error: std::io::Error| format!("the zygote cannot be started: {error}");
        let revision = self.revisions.take(revision)?;
        match self.import_beside() {
            Import::Fits => {}
            Import::WithoutZygote(sentence) => return Err(NotBooted::NoRoom(sentence)),
            Import::Never(sentence) => return Err(NotBooted::Failed(sentence)),
        }
        let config = &revision.config;
        let counted = crate::apps::told(&config.app)?.counted();
        let (scoreboard, scoreboard_fd) =
            Scoreboard::create(id, config.processes, config.threads, counted).map_err(out_of_descriptors)?;
        let (output_read, output_write) = empery_sys::pipe::cloexec_pipe().map_err(out_of_descriptors)?;
        let (ours, theirs) = seqpacket::pair().map_err(out_of_descriptors)?;
        let reloads = self.deploys.saturating_sub(1);
        let shared = self.regions.provide(&config.shared)?;
        self.have_regions_kept();
        let regions = shared.descriptors().collect();
        let app = zygote::app_boot(
            id,
            config,
            &self.listeners,
            (scoreboard_fd.as_raw_fd(), shared),
            &self.surroundings,
            reloads,
        )?;
        let boot_output = BootOutput::start(output_read).map_err(out_of_descriptors)?;
        let channel = Channel::new(ours).map_err(out_of_descriptors)?;
        point!("master.boot").map_err(out_of_descriptors)?;
        let child = zygote::start(config, Descriptors { channel: theirs, boot_output: output_write }, &app)?;
        step!("master.booted");
        let peer = Peer::attach(channel, self.inbox.clone(), move |heard| match heard {
            Heard::Word(word, _) => Input::FromZygote(id, word),
            Heard::Silence => Input::ZygoteSilent(id),
        });
        peer.say(ToZygote::Load(Box::new(app)), Vec::new());
        Ok(Generation {
            revision,
            scoreboard,
            scoreboard_fd,
            regions,
            zygote: Some(ZygoteHandle {
                pid: child.pid,
                peer,
                exit: None,
                silent: false,
                killed: false,
                retired: false,
                kill_counts: KillCounts::of(child.pid),
            }),
            workers: BTreeMap::new(),
            boot_output: Some(boot_output),
            import_ms: 0,
            extension: crate::extension::image(),
            python: None,
            harakiris: BTreeMap::new(),
            signals: SignalDesk::default(),
            ended: false,
        })
    }

    fn spawn(&mut self, worker: WorkerRef) {
        if let Err(how) = self.try_spawn(worker) {
            self.tell(Event::WorkerExited { worker, exit: Exit::Died, how });
        }
    }

    fn try_spawn(&mut self, worker: WorkerRef) -> Result<(), String> {
        let inbox = self.inbox.clone();
        let generation = self.generations.get(&worker.generation).ok_or("its generation is gone")?;
        let zygote = generation.zygote.as_ref().ok_or("its zygote is gone")?;
        let no_channel = |error: std::io::Error| format!("no channel could be made for it: {error}");
        let (ours, theirs) = point!("master.fork").and_then(|()| seqpacket::pair()).map_err(no_channel)?;
        let peer = Peer::attach(Channel::new(ours).map_err(no_channel)?, inbox, move |heard| match heard {
            Heard::Word(word, descriptors) => Input::FromWorker(worker, word, descriptors),
            Heard::Silence => Input::WorkerSilent(worker),
        });
        // Without it a crash is told without its stack.
        let crash = memfd::growing("empery-crash").ok();
        let copy = crash.as_ref().and_then(|crash| crash.try_clone().ok());
        zygote.peer.say(ToZygote::Fork(WorkerBoot { worker }), std::iter::once(theirs).chain(copy).collect());
        // It waits in the channel and is answered when the worker's loop runs: that is the proof.
        peer.say(ToWorker::Ping { token: 0 }, Vec::new());
        let handle = WorkerHandle::new(peer, crash);
        self.freeze_newcomer(&handle);
        if let Some(generation) = self.generations.get_mut(&worker.generation) {
            generation.workers.insert(worker, handle);
        }
        Ok(())
    }

    fn open_gate(&mut self, worker: WorkerRef) {
        step!("master.switch");
        if let Some(handle) = self.worker_mut(worker) {
            handle.phase = WorkerPhase::Serving;
            handle.peer.say(ToWorker::OpenGate, Vec::new());
        }
        self.arm_recycling();
        self.say_respawned(worker);
    }

    fn drain(&mut self, worker: WorkerRef) {
        step!("master.drain");
        match self.worker_mut(worker) {
            Some(handle) => {
                handle.phase = WorkerPhase::Draining;
                handle.peer.say(ToWorker::Drain, Vec::new());
                self.relieve_soon(worker);
            }
            None => self.worker_is_gone(worker),
        }
    }

    pub(super) fn kill(&mut self, worker: WorkerRef) {
        match self.worker_mut(worker) {
            Some(WorkerHandle { pid: Some(pid), exit: None, .. }) => kill_child(*pid),
            Some(WorkerHandle { pid: Some(_), exit: Some(_), .. }) => {}
            Some(handle) => handle.kill_when_known = true,
            None => self.worker_is_gone(worker),
        }
    }

    fn worker_is_gone(&mut self, worker: WorkerRef) {
        self.tell(Event::WorkerExited { worker, exit: Exit::Died, how: "it was gone already".to_owned() });
    }

    fn retire_zygote(&mut self, generation: GenerationId) {
        step!("master.retire");
        match self.generations.get_mut(&generation).and_then(|generation| generation.zygote.as_mut()) {
            Some(zygote) => {
                zygote.retired = true;
                zygote.peer.say(ToZygote::Retire, Vec::new());
            }
            None => self.zygote_is_gone(generation),
        }
    }

    fn kill_zygote(&mut self, generation: GenerationId) {
        match self.generations.get_mut(&generation).and_then(|generation| generation.zygote.as_mut()) {
            Some(ZygoteHandle { pid, exit: None, killed, .. }) => {
                *killed = true;
                kill_child(*pid);
            }
            Some(ZygoteHandle { exit: Some(_), .. }) => {}
            None => self.zygote_is_gone(generation),
        }
    }

    fn zygote_is_gone(&mut self, generation: GenerationId) {
        self.tell(Event::ZygoteExited { generation, how: "it was gone already".to_owned() });
    }

    pub(super) fn zygote(&self, generation: GenerationId) -> Option<&ZygoteHandle> {
        self.generations.get(&generation)?.zygote.as_ref()
    }
}

/// Why there is no zygote. In a sentence.
enum NotBooted {
    /// The one that serves is in the way.
    NoRoom(String),
    /// It cannot be started.
    Failed(String),
}

impl From<String> for NotBooted {
    fn from(sentence: String) -> Self {
        NotBooted::Failed(sentence)
    }
}

/// SIGKILL to a child of ours that has not been reaped, so that the pid is surely still its own.
pub(super) fn kill_child(pid: i32) {
    // It may have ended meanwhile; its exit is on its way then.
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
}
