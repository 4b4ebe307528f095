//! What the machine reports: lines of the log in uWSGI's manner, news for the brain, and what this process does
//! differently once another revision serves.

use empery_config::vassal::VassalConfig;
use empery_control::link::{FromMaster, LOG_ELSEWHERE, Severity};
use empery_lifecycle::{
    generations::{FailureReason, Report},
    ids::{GenerationId, OperationId, WorkerRef},
};

use super::{Supervisor, seconds};
use crate::{
    fifo::Fifos,
    hooks::Ending,
    log,
    shell::Shell,
    station::{OWN_OPERATIONS, Station},
    touch::{Watch, Watched},
};

impl Supervisor {
    pub(super) fn report(&mut self, report: Report) {
        let boot_output = self.boot_output_of(&report);
        let evidence = self.evidence_of(&report);
        self.say_report(&report);
        self.announce_report(&report);
        if let Some(evidence) = &evidence {
            log::say_quietly(evidence.trim_end());
        }
        match &report {
            Report::Booting { operation, .. } => self.last_booting = *operation,
            Report::Serving { generation, .. } => self.in_service(*generation),
            Report::Failed { generation, .. } => self.failed(*generation, &report),
            Report::Drained { generation, .. } => self.end(*generation),
            Report::Loaded { .. } | Report::WorkerDied { .. } | Report::Recycled { .. } | Report::Stopped => {}
        }
        let report = without_own_operations(report);
        let at_unix_ms = crate::clock::unix_ms();
        self.tell_brain(FromMaster::Report { report, at_unix_ms, boot_output, evidence }, Vec::new());
    }

    fn boot_output_of(&self, report: &Report) -> Option<String> {
        let (Report::Serving { generation, .. } | Report::Failed { generation, .. }) = report else { return None };
        self.generations.get(generation)?.boot_output.as_ref().map(crate::boot_output::BootOutput::text)
    }

    /// What is known of a death, beside how it was.
    fn evidence_of(&mut self, report: &Report) -> Option<String> {
        let Report::WorkerDied { worker, .. } = report else { return None };
        let (of, evidence) = self.death_evidence.take()?;
        (of == *worker && !evidence.is_empty()).then_some(evidence)
    }

    /// The settings of this process follow the revision that serves.
    fn in_service(&mut self, id: GenerationId) {
        self.last_failure = None;
        self.last_booting = None;
        self.serves_since_unix_ms.get_or_insert_with(crate::clock::unix_ms);
        let Some(generation) = self.generations.get(&id) else { return };
        let revision = std::sync::Arc::clone(&generation.revision);
        let config = &revision.config;
        self.vacuum = config.vacuum;
        self.ends_as(config);
        self.keeps_an_eye_on(config);
        self.gateways_follow(config);
        self.serve_stats(config);
        self.log_where_told(config);
        self.arm_harakiri();
        self.arm_recycling();
        self.crew_follows(config);
        self.beside_follows(config);
        self.alarms_follow(config);
        self.signals_begin(id, config);
        self.posts_follow(id, config);
        self.watched_follow(&config.watched);
        crate::title::set(&config.titles);
    }

    /// The files and FIFOs by which somebody tells this vassal something are those of this configuration.
    pub(crate) fn keeps_an_eye_on(&mut self, config: &VassalConfig) {
        let beside = &config.beside;
        let mut files = [&config.touch_reload[..], &config.log.touch_reopen, &config.log.touch_rotate].concat();
        files.extend(beside.daemons.iter().flat_map(|daemon| daemon.touch.iter().cloned()));
        files.extend(beside.mules.touch.iter().chain(&beside.spoolers.touch).cloned());
        files.extend(beside.signals.touched.iter().map(|(path, _)| path.clone()));
        files.extend(super::watched_side::files(&config.watched));
        // A file may stand under several options; whatever they ask for is done once for each change.
        files.sort();
        files.dedup();
        let watched = Watched { files, trees: config.fs_reload.clone() };
        if self.touch.as_ref().map_or(&Watched::default(), Watch::watched) != &watched {
            self.touch = Watch::start(watched, self.inbox.clone());
        }
        if self.fifos.as_ref().map_or(&[][..], Fifos::paths) != config.master_fifo {
            // The old ones first: they may have the same names.
            self.fifos = None;
            self.fifos = Some(Fifos::start(&config.master_fifo, &self.inbox));
        }
    }

    /// How long a stop may take, and what is done at its end, is what this configuration says.
    pub(crate) fn ends_as(&mut self, config: &VassalConfig) {
        let log = self.surroundings.log.try_clone().ok();
        self.ending = Ending::of(config, Shell::new(config, log));
        self.gateways.mercy = config.mercy.max(config.stops_within().saturating_sub(config.mercy));
    }

    /// Under an emperor the log moves with the revision. Alone it stays where it was opened before privileges were dropped.
    fn log_where_told(&mut self, config: &VassalConfig) {
        match &mut self.station {
            Station::Governed(governed) => {
                if let Err(sentence) = governed.log_where_told(config) {
                    self.notice(Severity::Warning, LOG_ELSEWHERE, sentence, None);
                }
            }
            Station::Alone(alone) => crate::standalone::log_where_told(alone, config),
        }
    }

    fn failed(&mut self, generation: GenerationId, report: &Report) {
        self.last_booting = None;
        if let Report::Failed { reason: FailureReason::Superseded | FailureReason::Cancelled, .. } = report {
            // Nothing is wrong with it.
        } else {
            self.last_failure = Some(without_own_operations(report.clone()));
        }
        self.dismiss_ready_gateways();
        // A boot that failed before it had a process has no handles, but may have brought sockets.
        self.listeners_changed = true;
        self.end(generation);
    }

    fn end(&mut self, generation: GenerationId) {
        self.signals_end(|id| id == generation);
        if let Some(generation) = self.generations.get_mut(&generation) {
            generation.ended = true;
        }
    }

    fn say_report(&self, report: &Report) {
        match report {
            Report::Booting { generation, revision, .. } => {
                log::say(&format!("*** generation {generation} boots (revision {revision}) ***"));
            }
            Report::Loaded { .. } => {}
            Report::Serving { generation, .. } => self.say_serving(*generation),
            Report::Failed { generation, reason, still_serving, .. } => {
                say_failure(*generation, reason, *still_serving)
            }
            Report::Drained { generation, killed: 0 } => {
                log::say(&format!("*** generation {generation} has finished ***"))
            }
            Report::Drained { generation, killed } => {
                log::say(&format!("*** generation {generation} has ended; {killed} of its workers did not finish ***"));
            }
            Report::WorkerDied { worker, how, retry_in } => {
                let when = if retry_in.is_zero() {
                    "respawning it".to_owned()
                } else {
                    format!("respawning it in {}", seconds(*retry_in))
                };
                log::say(&format!(
                    "DAMN ! worker {} of generation {} died ({how}), {when}",
                    worker.worker.0, worker.generation
                ));
            }
            Report::Recycled { worker, .. } => {
                log::say(&format!("worker {} has been recycled", worker.worker.0));
            }
            Report::Stopped => log::say("*** goodbye ***"),
        }
    }

    fn say_serving(&self, id: GenerationId) {
        let Some(generation) = self.generations.get(&id) else { return };
        let cores = generation.revision.config.threads;
        for (worker, handle) in &generation.workers {
            log::say(&format!("spawned worker {} (pid: {}, cores: {cores})", worker.worker.0, handle.pid.unwrap_or(0)));
        }
        log::say(&format!("*** generation {id} serves ***"));
    }

    /// One that takes the place of a worker that died or was recycled; the first ones are said with their generation.
    pub(super) fn say_respawned(&self, worker: WorkerRef) {
        let generation = self.generations.get(&worker.generation);
        if let Some(pid) = generation.and_then(|generation| generation.workers.get(&worker)?.pid)
            && worker.spawn > 0
        {
            log::say(&format!("respawned worker {} (new pid: {pid})", worker.worker.0));
        }
    }

    /// SIGUSR1: one line.
    pub(super) fn say_status(&self) {
        let serving = self.machine.serving().map_or_else(
            || "nothing serves".to_owned(),
            |(generation, revision)| {
                let workers = self.generations.get(&generation).map_or(0, |handles| handles.workers.len());
                let requests =
                    self.generations.get(&generation).map_or(0, |handles| handles.scoreboard.totals().requests);
                format!(
                    "generation {generation} (revision {revision}) serves with {workers} workers, {requests} requests"
                )
            },
        );
        let booting = self
            .machine
            .booting()
            .map_or_else(String::new, |(generation, ..)| format!(", generation {generation} boots"));
        let gateways: String = self.gateways.pids().map(|pid| format!(", gateway {pid}")).collect();
        let failed = if self.last_failure.is_some() { ", the last deploy failed" } else { "" };
        log::say(&format!("*** status: {serving}{booting}{gateways}{failed} ***"));
    }
}

/// Why a generation did not come into service.
pub(super) fn sentence(reason: &FailureReason) -> String {
    match reason {
        FailureReason::App { sentence, .. } | FailureReason::Setup { sentence } => sentence.clone(),
        FailureReason::Died { how } => format!("it died while it booted: {how}"),
        FailureReason::BootDeadline { after_s } => format!("it did not boot within {after_s} s"),
        FailureReason::Superseded => "a newer one takes its place".to_owned(),
        FailureReason::Cancelled => "it was cancelled".to_owned(),
    }
}

fn say_failure(generation: GenerationId, reason: &FailureReason, still_serving: bool) {
    if let FailureReason::App { traceback: Some(traceback), .. } = reason {
        log::say(traceback.trim_end());
    }
    let sentence = sentence(reason);
    let outcome = if still_serving { "what served before serves on" } else { "nothing serves" };
    log::say(&format!("*** generation {generation} did not come into service: {sentence} ({outcome}) ***"));
}

/// Operations of this master's own making (a signal, a touched file) have numbers that mean nothing elsewhere.
fn without_own_operations(mut report: Report) -> Report {
    match &mut report {
        Report::Booting { operation, .. } | Report::Serving { operation, .. } | Report::Failed { operation, .. } => {
            *operation = operation.filter(|operation: &OperationId| operation.0 < OWN_OPERATIONS);
        }
        Report::Loaded { .. }
        | Report::Drained { .. }
        | Report::WorkerDied { .. }
        | Report::Recycled { .. }
        | Report::Stopped => {}
    }
    report
}
