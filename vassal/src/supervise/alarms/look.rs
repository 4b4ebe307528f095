//! What is looked at once a second for alarms: listen queues (`alarm-listen-queue`) and metrics (`metric-threshold`), which are
//! written to their files then, too (`metric-dir`), and of which one counts these seconds (`enable-metrics`). Without any of it
//! nobody is woken.

use std::{
    collections::BTreeSet,
    os::fd::{AsFd, AsRawFd},
    sync::atomic::Ordering,
    time::Duration,
};

use empery_lifecycle::{
    alarms::{Look, Threshold},
    ids::WorkerRef,
    moment::Moment,
};
use empery_sys::listen;

use super::AlarmSide;
use crate::{log, stats::metrics, supervise::Supervisor};

const EVERY: Duration = Duration::from_secs(1);

impl AlarmSide {
    /// Thresholds that stay go on where they are.
    pub(super) fn follow_thresholds(&mut self, now: Moment) {
        let before = std::mem::take(&mut self.thresholds);
        let of = |limit: &empery_config::alarms::Threshold| {
            let new = || Threshold::new(limit.value, Duration::from_secs(limit.rate_s.into()));
            let there = before.iter().find(|(other, _)| other == limit);
            (limit.clone(), there.map_or_else(new, |(_, threshold)| *threshold))
        };
        self.thresholds = self.config.on_metric.iter().map(of).collect();
        let looks = self.writes_metrics
            || self.counts_overload
            || !(self.thresholds.is_empty() && self.config.on_backlog.is_empty());
        self.look_at = looks.then(|| self.look_at.unwrap_or(now));
    }
}

impl Supervisor {
    /// It may be time to look.
    pub(super) fn look_for_alarms(&mut self, now: Moment) {
        if self.alarms.look_at.is_none_or(|at| at > now) {
            return;
        }
        self.alarms.look_at = Some(now.after(EVERY));
        self.count_overload();
        if !self.alarms.config.on_backlog.is_empty() {
            self.look_at_queues();
        }
        if self.alarms.writes_metrics || !self.alarms.thresholds.is_empty() {
            self.look_at_metrics(now);
        }
    }

    /// `core.overloaded`: all workers that there may be are busy (uwsgi_update_load_counters).
    fn count_overload(&self) {
        let Some((id, _)) = self.machine.serving() else { return };
        let Some(generation) = self.generations.get(&id) else { return };
        let is_busy = |worker: &&WorkerRef| generation.serves(**worker);
        let busy = generation.workers.keys().filter(is_busy).map(|worker| worker.worker).collect::<BTreeSet<_>>();
        if busy.len() >= generation.revision.config.processes as usize {
            generation.scoreboard.header().overloaded.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn look_at_queues(&mut self) {
        let full = |(key, held): (&str, &crate::listeners::Held)| {
            let (queue, most) = listen::queue_length(held.socket.as_fd())?;
            let fd = held.socket.as_raw_fd();
            (queue > 0 && queue >= most)
                .then(|| format!("listen queue of socket \"{key}\" (fd: {fd}) full !!! ({queue}/{most})"))
        };
        let full: Vec<String> = self.listeners.iter().filter_map(full).collect();
        for message in full {
            log::say(&format!("*** uWSGI {message} ***"));
            for name in self.alarms.config.on_backlog.clone() {
                self.raise_alarm(&name, &message);
            }
        }
    }

    fn look_at_metrics(&mut self, now: Moment) {
        let serving = self.machine.serving().and_then(|(id, _)| self.generations.get(&id));
        let Some(revision) = serving.map(|generation| std::sync::Arc::clone(&generation.revision)) else { return };
        let shared = &revision.config.shared;
        let numbers = metrics::numbers(&self.stats_view(), shared);
        if let Some(directory) = &shared.metric_directory {
            self.alarms.metric_files.write(directory, &numbers);
        }
        for place in 0..self.alarms.thresholds.len() {
            let (limit, threshold) = &mut self.alarms.thresholds[place];
            let Some(number) = numbers.get(&limit.metric) else { continue };
            let look = threshold.looked(*number, now);
            let limit = limit.clone();
            if look != Look::Below
                && let Some(reset) = limit.reset
            {
                self.regions.set_metric(shared, &limit.metric, reset);
            }
            if let (Look::Raises, Some(alarm)) = (look, &limit.alarm) {
                self.raise_alarm(alarm, limit.message.as_ref().unwrap_or(&limit.metric));
            }
        }
    }
}
