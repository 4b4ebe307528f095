//! When a worker is replaced, and how many there are: what `max-requests`, `reload-on-…`, `cheaper`, `idle` and their
//! relatives say.

use serde::{Deserialize, Serialize};

/// When a worker is replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recycle {
    /// `max-requests`; 0 is never.
    pub max_requests: u64,
    /// `max-requests-delta`.
    pub max_requests_delta: u64,
    /// `min-worker-lifetime`, in s (10): what a worker lives at least before its own work or size replaces it.
    pub min_worker_lifetime_s: u64,
    /// `max-worker-lifetime`, in s; 0 is for ever.
    pub max_worker_lifetime_s: u64,
    /// `max-worker-lifetime-delta`, in s: added once per worker number.
    pub max_worker_lifetime_delta_s: u64,
    /// `reload-on-rss`, in bytes; 0 is any size. Looked at after each request, as the next three.
    pub rss_max_bytes: u64,
    /// `reload-on-as`: address space, in bytes.
    pub as_max_bytes: u64,
    /// `reload-on-pss`: proportional set size, in bytes.
    pub pss_max_bytes: u64,
    /// `reload-on-uss`: memory that no other process shares, in bytes.
    pub uss_max_bytes: u64,
    /// `evil-reload-on-rss`, in bytes: looked at by the master, also while no request ends.
    pub evil_rss_max_bytes: u64,
    /// `evil-reload-on-as`, in bytes.
    pub evil_as_max_bytes: u64,
    /// `mem-collector-freq`, in s (3): how often the master looks.
    pub look_every_s: u64,
    /// `reload-on-exception` and its relatives.
    pub exceptions: Exceptions,
}

/// Exceptions of the app after which a worker is replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exceptions {
    /// `reload-on-exception`: all of them.
    pub any: bool,
    /// `reload-on-exception-type`: names as in `ValueError` or `package.module.Error`.
    pub types: Vec<String>,
    /// `reload-on-exception-value`: what `str()` of it says.
    pub values: Vec<String>,
    /// `reload-on-exception-repr`: `TYPE: VALUE`.
    pub reprs: Vec<String>,
}

/// How many workers there are between none and `processes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crew {
    /// `cheap`: none until somebody connects.
    pub cheap: bool,
    /// `idle`, in s: after so long without a request there are none, until somebody connects; 0 is never.
    pub idle_s: u64,
    /// `die-on-idle`: the vassal ends then.
    pub die_on_idle: bool,
    /// `cheaper` and its relatives; None when the number is always `processes`.
    pub cheaper: Option<Cheaper>,
}

/// `cheaper`: how the number follows the load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cheaper {
    /// `cheaper`: at least so many, from 1 on.
    pub least: u32,
    /// `cheaper-initial`: so many at first.
    pub first: u32,
    /// `cheaper-step`: so many more at a time.
    pub step: u32,
    /// `cheaper-overload`: seconds, looks or connections, as the algorithm has it.
    pub overload: u64,
    /// `cheaper-algo`.
    pub algorithm: Algorithm,
    /// `cheaper-idle`, in s: `spare2` lets one go after so long.
    pub idle_s: u64,
    /// `cheaper-rss-limit-soft`, in bytes of all workers together: no more are added; 0 is no limit.
    pub rss_soft_bytes: u64,
    /// `cheaper-rss-limit-hard`, in bytes: one goes.
    pub rss_hard_bytes: u64,
    /// `cheaper-busyness-…`.
    pub busyness: Busyness,
}

/// Which rule says how many workers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// One worker is idle.
    Spare,
    /// So many as `cheaper` says are idle.
    Spare2,
    /// The queue of the socket is short.
    Backlog,
    /// The workers are busy for a certain share of the time.
    Busyness,
    /// None: an operator says it.
    Manual,
}

/// Knobs of [`Algorithm::Busyness`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Busyness {
    /// `cheaper-busyness-max`, in percent (50): busier than that, and more are added.
    pub max_percent: u64,
    /// `cheaper-busyness-min`, in percent (25): less busy than that, and one goes after a while.
    pub min_percent: u64,
    /// `cheaper-busyness-multiplier` (10): that while, in windows of `cheaper-overload`.
    pub multiplier: u64,
    /// `cheaper-busyness-penalty` (2): added to it when one that went was needed again soon.
    pub penalty: u64,
    /// `cheaper-busyness-backlog-alert` (33): so many connections in the queue are an emergency.
    pub backlog_alert: u64,
    /// `cheaper-busyness-backlog-multiplier` (3): the multiplier while there are emergency workers.
    pub backlog_multiplier: u64,
    /// `cheaper-busyness-backlog-step` (1): so many emergency workers at a time.
    pub backlog_step: u32,
    /// `cheaper-busyness-backlog-nonzero`, in s (60): a queue that is not empty for so long is an emergency, too.
    pub backlog_nonzero_s: u64,
}

impl Default for Busyness {
    fn default() -> Busyness {
        Busyness {
            max_percent: 50,
            min_percent: 25,
            multiplier: 10,
            penalty: 2,
            backlog_alert: 33,
            backlog_multiplier: 3,
            backlog_step: 1,
            backlog_nonzero_s: 60,
        }
    }
}
