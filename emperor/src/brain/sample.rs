//! Reads the mapped scoreboards: no process is woken for it. Makes rates of counters, and minutes of seconds.
//! The owning task calls it once a second; writing the minutes down is the store's.

use std::time::Duration;

use empery_control::{
    fleet::{Numbers, WorkerSnapshot},
    link::WorkerPhase,
    scoreboard::Totals,
};
use empery_lifecycle::{ids::VassalName, moment::Moment};
use empery_store::Sample;

use super::post::Post;

/// What was measured of one vassal, to measure on from.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    last: Option<(Totals, Moment)>,
    minute: Minute,
}

#[derive(Debug, Default)]
struct Minute {
    /// Counters when the minute began.
    began_with: Option<Totals>,
    busy_threads_peak: u32,
}

/// Takes a sample. Answers whether its numbers look different.
pub(crate) fn take(post: &mut Post, now: Moment) -> bool {
    post.fold_left_boards();
    let totals = post.totals();
    let workers = post.workers();
    let (last, at) = post.meter.last.unwrap_or((totals, now));
    let elapsed = now.since(at).max(Duration::from_millis(1)).as_secs_f64();
    let requests = totals.requests.saturating_sub(last.requests);
    let busy_us = totals.running_us.saturating_sub(last.running_us);
    let numbers = Numbers {
        requests_total: totals.requests,
        requests_per_s: rate(requests, elapsed),
        errors_5xx_total: totals.errors_5xx,
        exceptions_total: totals.exceptions,
        tx_bytes_total: totals.tx_bytes,
        mean_ms: if requests == 0 { 0.0 } else { rate(busy_us, as_f64(requests)) / 1_000.0 },
        workers: serving(&workers),
        busy_threads: saturating_sum(workers.iter().map(|worker| worker.busy_threads)),
        threads: threads(&workers),
        rss_bytes: post.rss_bytes.values().sum(),
    };
    post.meter.last = Some((totals, now));
    let minute = &mut post.meter.minute;
    minute.began_with.get_or_insert(totals);
    minute.busy_threads_peak = minute.busy_threads_peak.max(numbers.busy_threads);
    let different = numbers != post.numbers;
    post.numbers = numbers;
    different
}

/// The workers have changed: how many serve is not left to the next sample.
pub(crate) fn recount(post: &mut Post) {
    let workers = post.workers();
    post.numbers.workers = serving(&workers);
    post.numbers.threads = threads(&workers);
}

fn serves(worker: &&WorkerSnapshot) -> bool {
    matches!(worker.view.phase, WorkerPhase::Serving | WorkerPhase::Orphan)
}

fn serving(workers: &[WorkerSnapshot]) -> u32 {
    u32::try_from(workers.iter().filter(serves).count()).unwrap_or(u32::MAX)
}

fn threads(workers: &[WorkerSnapshot]) -> u32 {
    saturating_sum(workers.iter().filter(serves).map(|worker| worker.threads))
}

/// A vassal says how many workers it has, so that there may be more than there can be.
fn saturating_sum(counts: impl Iterator<Item = u32>) -> u32 {
    counts.fold(0, u32::saturating_add)
}

/// Ends a minute: what was counted in it, unless that is nothing.
pub(crate) fn end_minute(name: &VassalName, post: &mut Post, minute_unix_s: u64) -> Option<Sample> {
    let (now, _) = post.meter.last?;
    let minute = std::mem::take(&mut post.meter.minute);
    post.meter.minute.began_with = Some(now);
    let then = minute.began_with.unwrap_or(now);
    let since = |now: u64, then: u64| now.saturating_sub(then);
    let requests = since(now.requests, then.requests);
    (requests > 0 || minute.busy_threads_peak > 0).then(|| Sample {
        vassal: name.clone(),
        minute_unix_s,
        requests,
        errors_5xx: since(now.errors_5xx, then.errors_5xx),
        exceptions: since(now.exceptions, then.exceptions),
        tx_bytes: since(now.tx_bytes, then.tx_bytes),
        busy_us: since(now.running_us, then.running_us),
        busy_threads_peak: minute.busy_threads_peak,
        threads: post.numbers.threads,
        workers: post.numbers.workers,
        rss_bytes: post.numbers.rss_bytes,
    })
}

/// Reads the resident sets of all processes of a vassal from /proc (proc_pid_statm(5)).
pub(crate) fn read_memory(post: &mut Post) {
    post.rss_bytes = post.pids().filter_map(|pid| Some((pid, empery_sys::process::memory(pid)?.rss_bytes))).collect();
}

/// Sums over the fleet.
pub(crate) fn fleet_numbers<'n>(all: impl Iterator<Item = &'n Numbers>) -> Numbers {
    let mut sum = Numbers::default();
    let mut time_ms = 0.0;
    for one in all {
        sum.requests_total = sum.requests_total.saturating_add(one.requests_total);
        sum.requests_per_s += one.requests_per_s;
        sum.errors_5xx_total = sum.errors_5xx_total.saturating_add(one.errors_5xx_total);
        sum.exceptions_total = sum.exceptions_total.saturating_add(one.exceptions_total);
        sum.tx_bytes_total = sum.tx_bytes_total.saturating_add(one.tx_bytes_total);
        sum.workers = sum.workers.saturating_add(one.workers);
        sum.busy_threads = sum.busy_threads.saturating_add(one.busy_threads);
        sum.threads = sum.threads.saturating_add(one.threads);
        sum.rss_bytes = sum.rss_bytes.saturating_add(one.rss_bytes);
        time_ms += one.mean_ms * one.requests_per_s;
    }
    if sum.requests_per_s > 0.0 {
        sum.mean_ms = time_ms / sum.requests_per_s;
    }
    sum
}

fn rate(count: u64, per: f64) -> f64 {
    as_f64(count) / per
}

/// Exact below 2^53, which no rate reaches.
#[allow(clippy::cast_precision_loss)]
fn as_f64(count: u64) -> f64 {
    count as f64
}
