//! What each input means. Words of processes become events of the machine; the rest is passed to whoever it concerns.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use empery_control::{
    link::{FromMaster, Severity},
    signals::SignalWord,
    worker::{FromWorker, FromZygote},
};
use empery_failpoint::step;
use empery_lifecycle::{
    generations::{Event, FailureReason},
    ids::{GenerationId, OrphanId, WorkerRef},
    signals::Place,
};

use super::{Supervisor, input::Input, worker_id::Who};
use crate::{log, signals::Signal, stats};

impl Supervisor {
    pub(crate) fn hear(&mut self, input: Input) {
        match input {
            Input::Signal(signal) => self.signal(signal),
            Input::ChildrenEnded => self.reap(),
            Input::FromZygote(generation, word) => self.heard_zygote(generation, word),
            Input::FromPost(post, word, descriptors) => self.heard_post(post, word, descriptors),
            Input::PostSilent(post) => self.post_silent(post),
            Input::FileChanged(generation, signal) => self.raise(generation, signal),
            Input::ZygoteSilent(generation) => self.zygote_silent(generation),
            Input::FromWorker(worker, word, descriptors) => self.heard_worker(worker, word, descriptors),
            Input::WorkerSilent(worker) => self.worker_silent(worker),
            Input::DrainsStill(worker) => self.relieve(worker),
            Input::FromOrphan(orphan, word, descriptors) => self.heard_orphan(orphan, word, descriptors),
            Input::OrphanSilent(orphan) => self.orphan_silent(orphan),
            Input::OrphanEnded(orphan) => self.orphan_exited(orphan, None),
            Input::FromGateway(serial, word) => self.heard_gateway(serial, word),
            Input::GatewaySilent(serial) => self.gateway_silent(serial),
            Input::Touched(path) => self.touched(&path),
            Input::MountPointLost(path, error) => self.mount_point_lost(&path, &error),
            Input::DescriptorReady(why) => self.reload(&why),
            Input::Commanded(command) => self.commanded(command),
            Input::ClientWaits => self.client_waits(),
            Input::RemainsEnded => self.remains_ended(),
            Input::LineRaises(raising) => self.line_raises(&raising),
            Input::DescriptorRaises(fd) => self.descriptor_raises(fd),
            // Whoever asked may have hung up.
            Input::StatsAsked(answer) => drop(answer.send(stats::collect::text(&self.stats_view()))),
            Input::Introduced(newcomer) => self.introduced(*newcomer),
            Input::Ordered(brain, order, descriptors) => self.ordered(brain, order, descriptors),
            Input::BrainSilent(brain) => self.brain_silent(brain),
        }
    }

    fn signal(&mut self, signal: Signal) {
        match signal {
            Signal::Hangup => self.hangup(),
            Signal::Terminate if self.term_reloads() => self.reload("SIGTERM came and die-on-term is off"),
            Signal::Interrupt | Signal::Terminate => self.stop(),
            Signal::Status => self.say_status(),
            Signal::Reopen => log::reopen(),
            Signal::Suspend => self.suspend_or_resume(),
        }
    }

    /// A byte of `master-fifo`. There is one kind of reload, and stopping at once is asking twice.
    fn commanded(&mut self, command: char) {
        match command {
            'r' | 'R' | 'w' | 'W' | 'c' => self.reload(&format!("master-fifo was told `{command}`")),
            'q' => self.stop(),
            'Q' => {
                self.stop();
                self.stop();
            }
            'p' => self.suspend_or_resume(),
            'P' => crate::pidfile::write(&self.pidfiles),
            'l' => log::reopen(),
            'L' => log::rotate(),
            's' => self.say_status(),
            '+' => self.asked_for_workers(1),
            '-' => self.asked_for_workers(-1),
            'B' | 'C' | 'E' | 'f' | 'S' => {
                log::say(&format!("*** `{command}` of master-fifo is not done here ***"));
            }
            // As in uWSGI: a line break behind a command, for one. Every pipe that is named is read, so that none is chosen.
            _ => {}
        }
    }

    /// A file that the revision in service names, under one option or several.
    fn touched(&mut self, path: &Path) {
        let serving = self.machine.serving().and_then(|(generation, _)| self.generations.get(&generation));
        let Some(revision) = serving.map(|generation| std::sync::Arc::clone(&generation.revision)) else { return };
        let config = &revision.config;
        let is_among = |paths: &[PathBuf]| paths.iter().any(|named| named == path);
        self.daemons_touched(path);
        self.signals_of_touched(path);
        self.posts_touched(path, config);
        self.run_touched(path, config);
        if is_among(&config.log.touch_rotate) {
            log::rotate();
        }
        if is_among(&config.log.touch_reopen) {
            log::reopen();
        }
        if is_among(&config.touch_reload) || is_among(&config.fs_reload) {
            self.reload(&format!("{} has been touched", path.display()));
        }
    }

    /// Drains and leaves; asked a second time, kills and leaves.
    pub(super) fn stop(&mut self) {
        if self.stop_asked {
            log::say("*** stopping at once ***");
            self.stops_at_once = true;
            self.kill_gateways();
            self.hurry_daemons();
            self.hurry_posts();
            self.tell(Event::StopNow);
        } else {
            log::say("*** stopping: requests in flight are finished first; a second signal stops at once ***");
            self.stop_asked = true;
            self.announce_stop();
            self.retire_posts();
            self.stop_behind_gateways();
        }
    }

    fn heard_zygote(&mut self, id: GenerationId, word: FromZygote) {
        match word {
            FromZygote::Loaded { import_ms, python, threads_at_import } => {
                step!("master.loaded");
                if let Some(generation) = self.generations.get_mut(&id) {
                    generation.import_ms = import_ms;
                    log::say(&format!(
                        "WSGI app 0 imported in {:.3} seconds by CPython {python} (generation {id})",
                        import_ms as f64 / 1000.0
                    ));
                    generation.python = Some(python.clone());
                }
                self.tell_brain(FromMaster::Interpreter { generation: id, python }, Vec::new());
                if !threads_at_import.is_empty() {
                    self.notice(Severity::Warning, "threads-at-import", threads_sentence(&threads_at_import), None);
                }
                self.tell(Event::Loaded { generation: id });
            }
            FromZygote::LoadFailed { sentence, traceback } => {
                self.tell(Event::BootFailed { generation: id, reason: FailureReason::App { sentence, traceback } });
            }
            FromZygote::PostForked { post, pid } => self.post_has_pid(post, pid),
            FromZygote::PostNotForked { post, sentence } => self.post_not_forked(post, &sentence),
            FromZygote::Signals { word } => self.heard_signals(id, None, word, Vec::new()),
            FromZygote::Forked { worker, pid } => self.worker_has_pid(worker, pid),
            FromZygote::ForkFailed { worker, sentence } => self.worker_lost(worker, sentence),
        }
    }

    fn heard_worker(&mut self, worker: WorkerRef, word: FromWorker, descriptors: Vec<OwnedFd>) {
        match word {
            FromWorker::Up { pid, signals, claims, .. } => {
                if let Some(handle) = self.worker_mut(worker) {
                    (handle.signals, handle.claims) = (signals, claims);
                }
                self.worker_has_pid(worker, pid);
            }
            FromWorker::Stacks { asked, threads } => self.heard_stacks(worker, asked, threads),
            FromWorker::LimitSet => self.arm_harakiri(),
            FromWorker::AppLoaded { import_ms } => {
                if let Some(generation) = self.generations.get_mut(&worker.generation) {
                    generation.import_ms = import_ms;
                }
            }
            FromWorker::LoadFailed { sentence, traceback } => {
                if self.machine.serving().is_some_and(|(serving, _)| serving == worker.generation) {
                    // One that took the place of another: no deployment tells of it.
                    self.say_load_failed(worker, &sentence, traceback.as_deref());
                }
                let reason = FailureReason::App { sentence, traceback };
                self.tell(Event::BootFailed { generation: worker.generation, reason });
            }
            FromWorker::Pong { .. } => {
                step!("master.proved");
                self.tell(Event::Proved { worker });
            }
            FromWorker::GateClosed => self.tell(Event::GateClosed { worker }),
            FromWorker::RecycleAsked { why, detail } => self.recycle(worker, why, &detail),
            FromWorker::ReloadAsked => self.reload(&format!("worker {} asked for it", worker.worker.0)),
            FromWorker::StopAsked => self.stop_by_app(),
            FromWorker::AlarmRaised { name, message } => self.raise_alarm(&name, &message),
            FromWorker::Signals { word } => {
                self.heard_signals(worker.generation, Some(Place::Worker(worker.worker.0)), word, descriptors)
            }
            FromWorker::Handover { token, connection } => {
                self.hand_over(Who::Worker(worker), token, connection, descriptors)
            }
            FromWorker::AdoptedHere { token } => self.adopted(Who::Worker(worker), token),
        }
    }

    fn heard_orphan(&mut self, orphan: OrphanId, word: FromWorker, descriptors: Vec<OwnedFd>) {
        match word {
            FromWorker::Handover { token, connection } => {
                self.hand_over(Who::Orphan(orphan), token, connection, descriptors)
            }
            FromWorker::AdoptedHere { token } => self.adopted(Who::Orphan(orphan), token),
            FromWorker::GateClosed => self.tell(Event::OrphanGateClosed { orphan }),
            FromWorker::ReloadAsked => self.reload("a worker of an earlier master asked for it"),
            FromWorker::StopAsked => self.stop_by_app(),
            FromWorker::AlarmRaised { name, message } => self.raise_alarm(&name, &message),
            FromWorker::Signals { word: SignalWord::Raised { signal } } => match self.machine.serving() {
                // Nobody else is left of those that it could mean.
                Some((serving, _)) => self.raise(serving, signal),
                None => log::say(&format!(
                    "*** signal {signal} was raised by a worker of an earlier master, and nobody is there to run its function yet ***"
                )),
            },
            FromWorker::Up { signals, .. } => {
                if let Some(handle) = self.orphans.get_mut(&orphan) {
                    handle.handle.signals = signals;
                }
            }
            FromWorker::Stacks { asked, threads } => {
                if let Some(worker) = self.orphans.get(&orphan).map(|handle| handle.worker) {
                    self.heard_stacks(worker, asked, threads);
                }
            }
            FromWorker::LimitSet => self.arm_harakiri(),
            // It is replaced with its whole generation anyway, and has proved long ago.
            FromWorker::AppLoaded { .. }
            | FromWorker::LoadFailed { .. }
            | FromWorker::Pong { .. }
            | FromWorker::Signals { .. }
            | FromWorker::RecycleAsked { .. } => {}
        }
    }

    pub(super) fn stop_by_app(&mut self) {
        if !self.stop_asked {
            log::say("*** the app called uwsgi.stop() ***");
            self.stop();
        }
    }

    fn say_load_failed(&mut self, worker: WorkerRef, sentence: &str, traceback: Option<&str>) {
        if let Some(traceback) = traceback {
            log::say(traceback.trim_end());
        }
        let text = format!("worker {} has no app: {sentence} (lazy-apps)", worker.worker.0);
        self.notice(Severity::Incident, "worker-load-failed", text, Some(worker));
    }

    /// Says something an operator should know, in the log and to the brain.
    pub(super) fn notice(&mut self, severity: Severity, code: &str, text: String, worker: Option<WorkerRef>) {
        let (sentence, evidence) = text.split_once('\n').unwrap_or((&text, ""));
        log::say(&format!("*** {sentence} ***"));
        if !evidence.is_empty() {
            log::say_quietly(evidence.trim_end());
        }
        let at_unix_ms = crate::clock::unix_ms();
        self.tell_brain(FromMaster::Notice { severity, code: code.to_owned(), text, worker, at_unix_ms }, Vec::new());
    }
}

fn threads_sentence(names: &[String]) -> String {
    format!(
        "the app started threads at import ({}): they would not exist in forked workers, so each worker imports the app itself; \"lazy-apps = true\" makes that explicit",
        names.join(", ")
    )
}
