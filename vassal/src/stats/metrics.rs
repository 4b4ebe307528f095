//! `metrics` of the statistics: the app's own numbers, and with `enable-metrics` the vassal's, with the names, kinds and oids of
//! uWSGI (core/metrics.c). They are made of the statistics themselves, so that both say the same.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use empery_config::shared::Shared;
use empery_control::{
    scoreboard::Header,
    stats::{Metric, Stats, Worker},
};

use super::collect::{View, stats};
use crate::regions::Regions;

/// Grows only.
const COUNTER: u8 = 0;
/// Goes up and down.
const GAUGE: u8 = 1;
/// Counted from some moment on.
const ABSOLUTE: u8 = 2;
/// Another one by another name.
const ALIAS: u8 = 3;

type Metrics = BTreeMap<String, Metric>;

/// A number of every worker: its name, its kind, its place below the worker's oid, and where it stands.
type OfWorker = (&'static str, u8, u32, fn(&Worker) -> u64);

/// All there are.
pub(super) fn of(shared: &Shared, view: &View<'_>, stats: &Stats) -> Metrics {
    let mut all = Metrics::new();
    if shared.vassal_metrics {
        put_vassal(&mut all, view, stats);
    }
    put_counted(&mut all, shared, view.regions);
    all
}

/// The numbers alone, for files and thresholds: the vassal's own are among them whether `stats` shows them or not.
pub(crate) fn numbers(view: &View<'_>, shared: &Shared) -> BTreeMap<String, i64> {
    let mut all = Metrics::new();
    put_vassal(&mut all, view, &stats(view));
    put_counted(&mut all, shared, view.regions);
    all.into_iter().map(|(name, metric)| (name, metric.value)).collect()
}

/// Of two with one name the later counts.
fn put_counted(all: &mut Metrics, shared: &Shared, regions: &Regions) {
    for (name, value) in regions.counted(shared) {
        all.insert(name, Metric { kind: COUNTER, oid: String::new(), value });
    }
}

fn put(all: &mut Metrics, name: String, kind: u8, oid: String, value: u64) {
    all.insert(name, Metric { kind, oid, value: value.cast_signed() });
}

fn put_vassal(all: &mut Metrics, view: &View<'_>, stats: &Stats) {
    let counted = |of: fn(&Header) -> &AtomicU64| {
        view.generation.map_or(0, |generation| of(generation.scoreboard.header()).load(Ordering::Relaxed))
    };
    let workers = &stats.workers;
    let living = || workers.iter().filter(|worker| worker.pid != 0);
    let sum = |of: fn(&Worker) -> u64| workers.iter().map(of).fold(0, u64::saturating_add);
    let mean = living().map(|worker| worker.avg_rt).fold(0, u64::saturating_add) / living().count().max(1) as u64;
    let with_status = |status: &str| living().filter(|worker| worker.status == status).count() as u64;
    for (name, kind, number, value) in [
        ("core.routed_signals", COUNTER, 1, counted(|header| &header.routed_signals)),
        ("core.unrouted_signals", COUNTER, 2, counted(|header| &header.unrouted_signals)),
        ("core.overloaded", COUNTER, 5, counted(|header| &header.overloaded)),
        ("core.busy_workers", GAUGE, 3, with_status("busy")),
        ("core.idle_workers", GAUGE, 4, with_status("idle")),
        ("core.total_tx", COUNTER, 100, sum(|worker| worker.tx)),
        ("core.total_rss", GAUGE, 101, sum(|worker| worker.rss)),
        ("core.total_vsz", GAUGE, 102, sum(|worker| worker.vsz)),
        ("core.avg_response_time", GAUGE, 103, mean),
        ("core.total_running_time", COUNTER, 104, sum(|worker| worker.running_time)),
        ("rss_size", ALIAS, 101, sum(|worker| worker.rss)),
        ("vsz_size", ALIAS, 102, sum(|worker| worker.vsz)),
    ] {
        put(all, name.to_owned(), kind, format!("5.{number}"), value);
    }
    for (number, socket) in stats.sockets.iter().enumerate() {
        put(all, format!("socket.{number}.listen_queue"), GAUGE, format!("7.{number}.1"), socket.queue);
    }
    let of_workers: [OfWorker; 9] = [
        ("requests", COUNTER, 1, |worker| worker.requests),
        ("delta_requests", ABSOLUTE, 2, |worker| worker.delta_requests),
        ("failed_requests", COUNTER, 13, |worker| worker.exceptions),
        ("respawns", COUNTER, 14, |worker| worker.respawn_count),
        ("avg_response_time", GAUGE, 8, |worker| worker.avg_rt),
        ("total_tx", COUNTER, 9, |worker| worker.tx),
        ("rss_size", GAUGE, 11, |worker| worker.rss),
        ("vsz_size", GAUGE, 12, |worker| worker.vsz),
        ("running_time", COUNTER, 13, |worker| worker.running_time),
    ];
    for (name, kind, oid, value) in of_workers {
        // 0 is all of them.
        let total = if name == "avg_response_time" { mean } else { sum(value) };
        put(all, format!("worker.0.{name}"), kind, format!("3.0.{oid}"), total);
        for worker in workers {
            let id = worker.id;
            put(all, format!("worker.{id}.{name}"), kind, format!("3.{id}.{oid}"), value(worker));
        }
    }
    for worker in workers {
        for core in &worker.cores {
            for (name, oid, value) in [
                ("requests", 1, core.requests),
                ("write_errors", 3, core.write_errors),
                ("routed_requests", 4, core.routed_requests),
                ("static_requests", 5, core.static_requests),
                ("offloaded_requests", 6, core.offloaded_requests),
                ("exceptions", 7, core.exceptions),
                ("read_errors", 8, core.read_errors),
            ] {
                let (id, core) = (worker.id, core.id);
                let name = format!("worker.{id}.core.{core}.{name}");
                put(all, name, COUNTER, format!("3.{id}.2.{core}.{oid}"), value);
            }
        }
    }
}
