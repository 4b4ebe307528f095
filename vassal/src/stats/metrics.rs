//! The metrics of a vassal by uWSGI's names (core/metrics.c, `uwsgi_setup_metrics`): its own, out of the statistics, and those that
//! its app counts.

use empery_config::shared::Shared;
use empery_control::stats::{Core, Stats, Worker};

use super::collect::{View, stats};

/// All of them; of two with one name the last counts.
pub(crate) fn numbers(view: &View<'_>, shared: &Shared) -> Vec<(String, i64)> {
    let mut numbers = of_vassal(&stats(view));
    numbers.extend(view.regions.metrics(shared));
    numbers
}

fn of_vassal(stats: &Stats) -> Vec<(String, i64)> {
    let there = || stats.workers.iter().filter(|worker| worker.pid != 0);
    let is_busy = |worker: &&Worker| worker.cores.iter().any(|core| core.in_request == 1);
    let sum = |read: fn(&Worker) -> u64| stats.workers.iter().map(read).fold(0, u64::saturating_add);
    let count = |number: usize| number as u64;
    let averages = there().map(|worker| worker.avg_rt).fold(0, u64::saturating_add);
    let (rss, vsz) = (sum(|worker| worker.rss), sum(|worker| worker.vsz));
    let mut all: Vec<(String, u64)> = [
        ("core.busy_workers", count(there().filter(is_busy).count())),
        ("core.idle_workers", count(there().filter(|worker| !is_busy(worker)).count())),
        ("core.total_tx", sum(|worker| worker.tx)),
        ("core.total_rss", rss),
        ("core.total_vsz", vsz),
        ("core.avg_response_time", averages / count(there().count().max(1))),
        ("core.total_running_time", sum(|worker| worker.running_time)),
        ("rss_size", rss),
        ("vsz_size", vsz),
    ]
    .map(|(name, number)| (name.to_owned(), number))
    .into();
    all.extend(
        stats.sockets.iter().zip(0..).map(|(socket, place)| (format!("socket.{place}.listen_queue"), socket.queue)),
    );
    stats.workers.iter().for_each(|worker| of_worker(worker, &mut all));
    all.into_iter().map(|(name, number)| (name, i64::try_from(number).unwrap_or(i64::MAX))).collect()
}

fn of_worker(worker: &Worker, all: &mut Vec<(String, u64)>) {
    let numbers = [
        ("requests", worker.requests),
        ("delta_requests", worker.delta_requests),
        ("failed_requests", worker.exceptions),
        ("respawns", worker.respawn_count),
        ("avg_response_time", worker.avg_rt),
        ("total_tx", worker.tx),
        ("rss_size", worker.rss),
        ("vsz_size", worker.vsz),
        ("running_time", worker.running_time),
    ];
    all.extend(numbers.map(|(name, number)| (format!("worker.{}.{name}", worker.id), number)));
    worker.cores.iter().for_each(|core| of_core(worker.id, core, all));
}

fn of_core(worker: u32, core: &Core, all: &mut Vec<(String, u64)>) {
    let numbers = [
        ("requests", core.requests),
        ("write_errors", core.write_errors),
        ("routed_requests", core.routed_requests),
        ("static_requests", core.static_requests),
        ("offloaded_requests", core.offloaded_requests),
        ("read_errors", core.read_errors),
    ];
    all.extend(numbers.map(|(name, number)| (format!("worker.{worker}.core.{}.{name}", core.id), number)));
}
