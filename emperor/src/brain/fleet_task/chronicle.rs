//! What a person reads in the emperor's log, and the rows of the incidents: changes a user would notice. Words only.

use std::time::Duration;

use empery_control::{fleet::OperationView, link::Severity};
use empery_lifecycle::{
    fleet::{MasterKey, OperationEnd, State, Verb},
    generations::FailureReason,
    ids::{GenerationId, VassalName, WorkerRef},
};
use empery_store::Incident;

use super::FleetTask;
use crate::brain::{
    clock,
    scan::reading::{Reading, one_line},
    summary,
};

/// What is told last of a vassal.
const GONE: &str = "gone";

/// How a master ends that was asked to, or whose first boot failed: the failure itself is told by its operation.
const HAS_LEFT: [&str; 2] = ["exit code 0", "exit code 22"];

impl FleetTask {
    /// An operation has ended.
    pub(super) fn told_end(&self, view: &OperationView) {
        let vassal = &view.vassal;
        let took_ms = view.ended_unix_ms.unwrap_or(view.began_unix_ms).saturating_sub(view.began_unix_ms);
        // None: what it asked for was brought about by another operation.
        let serves = view.generation.map(|generation| format!(": generation {generation} serves")).unwrap_or_default();
        match (&view.end, view.verb) {
            (Some(OperationEnd::Succeeded), Verb::Stop) => {
                tracing::info!(%vassal, by = view.actor, "stopped in {took_ms} ms")
            }
            (Some(OperationEnd::Succeeded), Verb::Reload) => {
                tracing::info!(%vassal, by = view.actor, "reloaded in {took_ms} ms{serves}");
            }
            (Some(OperationEnd::Succeeded), Verb::Freeze) => {
                tracing::info!(%vassal, by = view.actor, "frozen: accepts nothing until `emperor resume {vassal}`");
            }
            (Some(OperationEnd::Succeeded), Verb::Resume) => tracing::info!(%vassal, by = view.actor, "resumed"),
            (Some(OperationEnd::Succeeded), Verb::Start) => {
                tracing::info!(%vassal, by = view.actor, "loyal in {took_ms} ms{serves}");
            }
            (
                Some(
                    OperationEnd::Failed { reason: FailureReason::Superseded | FailureReason::Cancelled, .. }
                    | OperationEnd::Superseded,
                ),
                _,
            ) => {
                tracing::info!(%vassal, operation = view.id.0, "given up: something newer was asked for");
            }
            (Some(OperationEnd::Failed { reason, still_serving }), _) => {
                let reason = summary::sentence_of(reason);
                let old = if *still_serving { "what served serves on" } else { "nothing serves" };
                tracing::warn!(%vassal, by = view.actor, "failed after {took_ms} ms, {old}: {reason}");
            }
            (None, _) => {}
        }
    }

    /// A vassal may have come into another state.
    pub(super) fn told_state(&mut self, name: &VassalName) {
        let Some(view) = self.fleet.view(name) else {
            if self.posts.get_mut(name).is_some_and(|post| std::mem::replace(&mut post.told_state, GONE) != GONE) {
                tracing::info!(vassal = %name, "gone");
            }
            self.log_places.remove(name);
            return;
        };
        let word = summary::word(&view.state);
        if std::mem::replace(&mut self.post(name).told_state, word) == word {
            return;
        }
        match view.state {
            State::Cursed { retry_at } => {
                let retry_s = retry_at.since(clock::now()).as_secs_f64().ceil();
                tracing::warn!(vassal = %name, failures = view.failures, "cursed: tried again in {retry_s} s, or at once when its file is saved");
            }
            State::Asleep => tracing::info!(vassal = %name, "asleep: its first client starts it"),
            State::Held => tracing::info!(vassal = %name, "held: stays stopped until `emperor start {name}`"),
            State::Refused | State::Queued | State::Starting | State::Loyal | State::Reloading | State::Stopping => {
                tracing::debug!(vassal = %name, state = word);
            }
        }
    }

    /// A file says something new.
    pub(super) fn told_problems(&self, name: &VassalName, reading: &Reading) {
        for problem in &reading.problems {
            let problem_line = one_line(problem);
            match problem.severity.as_str() {
                "error" => tracing::warn!(vassal = %name, revision = reading.revision.0, "refused: {problem_line}"),
                _ => tracing::debug!(vassal = %name, "{problem_line}"),
            }
        }
    }

    /// A master is gone.
    pub(super) fn told_exit(&self, master: &MasterKey, how: &str) {
        if HAS_LEFT.contains(&how) {
            tracing::debug!(vassal = %master.vassal, "its master has left: {how}");
            return;
        }
        tracing::warn!(vassal = %master.vassal, "its master ended: {how}");
        self.incident(
            &master.vassal,
            Severity::Incident,
            "master-died",
            format!("The master ended: {how}."),
            None,
            clock::unix_ms(),
        );
    }

    /// A generation is gone.
    pub(super) fn told_drained(&mut self, name: &VassalName, generation: GenerationId, killed: u32, at_unix_ms: u64) {
        if killed == 0 {
            tracing::debug!(vassal = %name, %generation, "drained");
            return;
        }
        if !self.may_tell(name) {
            return;
        }
        tracing::warn!(vassal = %name, %generation, killed, "drained, but not every worker finished in time");
        let text = format!(
            "Generation {generation} was drained, but {killed} of its workers did not finish within their mercy."
        );
        self.incident(name, Severity::Incident, "drain-killed", text, None, at_unix_ms);
    }

    /// A worker ended that should not have.
    pub(super) fn told_worker_died(
        &mut self,
        name: &VassalName,
        worker: WorkerRef,
        how: &str,
        evidence: Option<&str>,
        retry_in: Duration,
        at_unix_ms: u64,
    ) {
        if !self.may_tell(name) {
            return;
        }
        tracing::warn!(vassal = %name, "{worker} ended: {how}; another is forked in {} ms", retry_in.as_millis());
        let sentence = format!("Worker {} of generation {} ended: {how}.", worker.worker.0, worker.generation);
        let text = evidence.map_or_else(|| sentence.clone(), |evidence| format!("{sentence}\n{evidence}"));
        self.incident(name, Severity::Incident, "worker-died", text, Some(worker), at_unix_ms);
    }

    /// A master has something to say to an operator.
    pub(super) fn told_notice(
        &mut self,
        name: &VassalName,
        severity: Severity,
        code: String,
        text: String,
        worker: Option<WorkerRef>,
        at_unix_ms: u64,
    ) {
        if !self.may_tell(name) {
            return;
        }
        let sentence = text.lines().next().unwrap_or_default();
        tracing::warn!(vassal = %name, code, "{sentence}");
        self.incident(name, severity, &code, text.clone(), worker, at_unix_ms);
    }

    /// Whether one more of what goes wrong with a vassal is told in this minute.
    fn may_tell(&mut self, name: &VassalName) -> bool {
        self.posts.get_mut(name).is_none_or(|post| post.rations.take())
    }

    /// The minute is over: what was withheld in it is told as a number.
    pub(super) fn tell_withheld(&mut self) {
        let renewed = self.posts.iter_mut().map(|(name, post)| (name.clone(), post.rations.renew()));
        let withheld: Vec<_> = renewed.filter(|(_, number)| *number > 0).collect();
        for (name, number) in withheld {
            let text =
                format!("{number} more incidents and notices of this vassal came within a minute: they are not kept.");
            tracing::warn!(vassal = %name, "{text}");
            self.incident(&name, Severity::Warning, "incidents-withheld", text, None, clock::unix_ms());
        }
    }

    fn incident(
        &self,
        name: &VassalName,
        severity: Severity,
        code: &str,
        text: String,
        worker: Option<WorkerRef>,
        at_unix_ms: u64,
    ) {
        let Some(store) = self.history.store() else { return };
        store
            .record_incident(Incident {
                vassal: Some(name.clone()),
                at_unix_ms,
                severity,
                code: code.to_owned(),
                text,
                worker,
            })
            .unattended();
    }
}
