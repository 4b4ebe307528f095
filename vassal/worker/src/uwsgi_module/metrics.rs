//! `uwsgi.metric_*`: the app's own numbers (`metric = NAME`), shared by all workers, and with `enable-metrics` those of the
//! vassal by their names in uWSGI, which can be read only.

use std::sync::atomic::Ordering;

use empery_rules::routes::Arithmetic;
use pyo3::{prelude::*, types::PyModule};

use super::{add_functions, crew::Crew, facts};
use crate::shared::Shared;

pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(
        module,
        metric_get,
        metric_set,
        metric_inc,
        metric_dec,
        metric_mul,
        metric_div,
        metric_set_max,
        metric_set_min
    );
    Ok(())
}

/// True, or None when there is no such metric.
fn change(name: &str, change: impl Fn(i64) -> i64) -> Option<bool> {
    let metrics = Shared::here()?.metrics.as_ref()?;
    metrics.change(name, |there, _| change(there)).then_some(true)
}

/// A metric; 0 when there is none of this name.
#[pyfunction]
#[pyo3(signature = (name, /))]
fn metric_get(name: &str) -> i64 {
    value(name)
}

/// The same for everybody else in the worker.
pub(crate) fn value(name: &str) -> i64 {
    let Some(metrics) = Shared::here().and_then(|shared| shared.metrics.as_ref()) else { return 0 };
    metrics.get(name).or_else(|| of_vassal(name).filter(|_| metrics.of_vassal)).unwrap_or(0)
}

/// Counts one with a number, or with `None` sets it, for everybody else; false when it is not there or would be divided by zero.
pub(crate) fn count(name: &str, how: Option<Arithmetic>, by: i64) -> bool {
    let done = match how {
        None => metric_set(name, by),
        Some(Arithmetic::Plus) => metric_inc(name, by),
        Some(Arithmetic::Minus) => metric_dec(name, by),
        Some(Arithmetic::Times) => metric_mul(name, by),
        Some(Arithmetic::Divided) => metric_div(name, by),
    };
    done.is_some()
}

/// Sets a metric. True, or None when there is no such metric of the app's.
#[pyfunction]
#[pyo3(signature = (name, value=1, /))]
fn metric_set(name: &str, value: i64) -> Option<bool> {
    change(name, |_| value)
}

/// Adds.
#[pyfunction]
#[pyo3(signature = (name, by=1, /))]
fn metric_inc(name: &str, by: i64) -> Option<bool> {
    change(name, |value| value.wrapping_add(by))
}

/// Takes away.
#[pyfunction]
#[pyo3(signature = (name, by=1, /))]
fn metric_dec(name: &str, by: i64) -> Option<bool> {
    change(name, |value| value.wrapping_sub(by))
}

/// Multiplies.
#[pyfunction]
#[pyo3(signature = (name, by=1, /))]
fn metric_mul(name: &str, by: i64) -> Option<bool> {
    change(name, |value| value.wrapping_mul(by))
}

/// Divides; by zero changes nothing and is None, as in uWSGI.
#[pyfunction]
#[pyo3(signature = (name, by=1, /))]
fn metric_div(name: &str, by: i64) -> Option<bool> {
    if by == 0 { None } else { change(name, |value| value.wrapping_div(by)) }
}

/// Sets a metric that is lower.
#[pyfunction]
#[pyo3(signature = (name, value=1, /))]
fn metric_set_max(name: &str, value: i64) -> Option<bool> {
    change(name, |there| there.max(value))
}

/// Sets a metric that is higher, if the value is above what the metric began with, as in uWSGI.
#[pyfunction]
#[pyo3(signature = (name, value=1, /))]
fn metric_set_min(name: &str, value: i64) -> Option<bool> {
    let metrics = Shared::here()?.metrics.as_ref()?;
    let lower = |there, initial| if value > initial && value < there { value } else { there };
    metrics.change(name, lower).then_some(true)
}

/// `worker.N.requests` and so on, from the scoreboard; worker 0 is all of them. None for what is no such name.
fn of_vassal(name: &str) -> Option<i64> {
    let here = Crew::here()?;
    let (all, header) = (|| facts::numbers(here), here.scoreboard.header());
    let number = match name.split('.').collect::<Vec<_>>().as_slice() {
        ["core", "routed_signals"] => header.routed_signals.load(Ordering::Relaxed),
        ["core", "unrouted_signals"] => header.unrouted_signals.load(Ordering::Relaxed),
        ["core", "overloaded"] => header.overloaded.load(Ordering::Relaxed),
        ["core", "busy_workers"] => all().filter(|worker| worker.is_busy).count() as u64,
        ["core", "idle_workers"] => all().filter(|worker| worker.pid != 0 && !worker.is_busy).count() as u64,
        ["core", "total_tx"] => all().map(|worker| worker.tx_bytes).sum(),
        ["core", "total_running_time"] => all().map(|worker| worker.running_us).sum(),
        ["core", "avg_response_time"] => {
            let living: Vec<u64> = all().filter(|worker| worker.pid != 0).map(|worker| worker.average_us).collect();
            living.iter().sum::<u64>() / living.len().max(1) as u64
        }
        ["core", "total_rss"] | ["rss_size"] => all().map(|worker| facts::memory(worker.pid).0).sum(),
        ["core", "total_vsz"] | ["vsz_size"] => all().map(|worker| facts::memory(worker.pid).1).sum(),
        ["socket", socket, "listen_queue"] => facts::queue_of(socket.parse().ok()?)?,
        ["worker", id, rest @ ..] => of_worker(here, id.parse().ok()?, rest)?,
        _ => return None,
    };
    Some(number.cast_signed())
}

/// Sums, and the mean of the means, as uWSGI's metrics of worker 0 collect them from their children.
fn of_all_workers(here: Crew, rest: &[&str]) -> Option<u64> {
    let each = (1..=here.boot.processes).map(|id| of_worker(here, id, rest));
    let all = each.collect::<Option<Vec<_>>>().filter(|_| rest.len() == 1)?;
    let sum: u64 = all.iter().sum();
    Some(if rest == ["avg_response_time"] { sum / all.len().max(1) as u64 } else { sum })
}

fn of_worker(here: Crew, id: u32, rest: &[&str]) -> Option<u64> {
    if id == 0 {
        return of_all_workers(here, rest);
    }
    if id > here.boot.processes {
        return None;
    }
    if let ["core", core, what] = rest {
        let core: u32 = core.parse().ok().filter(|core| *core < here.boot.threads)?;
        let slots = [here.slot_of(id, 0, core), here.slot_of(id, 1, core)];
        let sum = |read: fn(&empery_control::scoreboard::Counters) -> u64| {
            slots.map(|slot| read(&slot.counters)).iter().sum()
        };
        return Some(match *what {
            "requests" => sum(|counters| counters.requests.load(Ordering::Relaxed)),
            "exceptions" => sum(|counters| counters.exceptions.load(Ordering::Relaxed)),
            "read_errors" => sum(|counters| counters.read_errors.load(Ordering::Relaxed)),
            "write_errors" => sum(|counters| counters.write_errors.load(Ordering::Relaxed)),
            "static_requests" => sum(|counters| counters.static_requests.load(Ordering::Relaxed)),
            "routed_requests" => sum(|counters| counters.routed_requests.load(Ordering::Relaxed)),
            "offloaded_requests" => 0,
            _ => return None,
        });
    }
    let worker = facts::worker_numbers(here, id);
    Some(match rest {
        ["requests"] => worker.requests,
        ["delta_requests"] => worker.delta_requests,
        ["failed_requests"] => worker.exceptions,
        ["respawns"] => worker.respawns,
        ["avg_response_time"] => worker.average_us,
        ["total_tx"] => worker.tx_bytes,
        ["running_time"] => worker.running_us,
        ["rss_size"] => facts::memory(worker.pid).0,
        ["vsz_size"] => facts::memory(worker.pid).1,
        _ => return None,
    })
}
