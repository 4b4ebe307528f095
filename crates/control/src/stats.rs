//! The JSON of a vassal's `stats` socket, key for key as uWSGI 2.0 writes it (core/master_utils.c), because
//! `uwsgitop` and the Prometheus exporters for uWSGI read it. All numbers are integers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Version of Empery, with uWSGI's shape.
    pub version: String,
    /// Longest accept queue of all sockets.
    pub listen_queue: u64,
    /// Always 0, as in uWSGI.
    pub listen_queue_errors: u64,
    /// Always 0.
    pub signal_queue: u64,
    /// Same as `listen_queue`.
    pub load: u64,
    /// The master.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its working directory.
    pub cwd: String,
    /// Those of `attach-daemon` and its relatives; absent where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub daemons: Vec<Daemon>,
    /// One-key objects; always empty here.
    pub locks: Vec<serde_json::Value>,
    /// The caches; absent where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caches: Vec<Cache>,
    /// Numbers of the app, and with `enable-metrics` of the vassal, by name; absent where there is none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, Metric>,
    /// The listening sockets.
    pub sockets: Vec<Socket>,
    /// The workers, by id.
    pub workers: Vec<Worker>,
    /// The processes of spoolers; absent where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spoolers: Vec<Spooler>,
    /// Scheduled commands; absent where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crons: Vec<Cron>,
}

/// A daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Daemon {
    /// What the shell runs.
    pub cmd: String,
    /// 0 while there is none.
    pub pid: i32,
    /// How often it was started again.
    pub respawns: u64,
}

/// A number that is counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metric {
    /// 0 is a counter, 1 a gauge, 2 an absolute number, 3 an alias.
    #[serde(rename = "type")]
    pub kind: u8,
    /// Its number for SNMP; empty for one of the app's.
    pub oid: String,
    /// It.
    pub value: i64,
}

/// A process of a spooler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spooler {
    /// Where its tasks are.
    pub dir: String,
    /// 0 while there is none.
    pub pid: i32,
    /// Tasks it has begun.
    pub tasks: u64,
    /// How often it was started again in this generation.
    pub respawns: u64,
    /// Whether a task runs: 0 or 1.
    pub running: u8,
}

/// A scheduled command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cron {
    /// Like the others: -1 is any, -N every one that N divides.
    pub minute: i32,
    /// Hour.
    pub hour: i32,
    /// Day of the month.
    pub day: i32,
    /// Month.
    pub month: i32,
    /// Day of the week.
    pub week: i32,
    /// What the shell runs.
    pub command: String,
    /// Whether it waits for its last run: 0 or 1.
    pub unique: u8,
    /// Always empty.
    pub legion: String,
    /// What runs now; -1 for nothing.
    pub pid: i32,
    /// When that began, unix s; 0 for nothing.
    pub started_at: u64,
}

/// A cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// Its name.
    pub name: String,
    /// Always uWSGI's own, `djb33x`: which one is used makes no difference to be seen.
    pub hash: String,
    /// Entries of its table.
    pub hashsize: u64,
    /// Longest key, in bytes.
    pub keysize: u64,
    /// Most items.
    pub max_items: u64,
    /// How many blocks there are.
    pub blocks: u64,
    /// Bytes of each.
    pub blocksize: u64,
    /// Items there are.
    pub items: u64,
    /// Lookups that found their item.
    pub hits: u64,
    /// Lookups that did not.
    pub miss: u64,
    /// How often there was no room.
    pub full: u64,
    /// When it was last changed, unix s; 0 without `lastmod`.
    pub last_modified_at: u64,
}

/// A listening socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// Its address.
    pub name: String,
    /// `uwsgi` or `http`.
    pub proto: String,
    /// Connections waiting in its queue.
    pub queue: u64,
    /// Length of its queue.
    pub max_queue: u64,
    /// 0 or 1.
    pub shared: u8,
    /// 0 or 1.
    pub can_offload: u8,
}

/// A worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// From 1.
    pub id: u32,
    /// 0 while there is none.
    pub pid: i32,
    /// 0 or 1.
    pub accepting: u8,
    /// Finished requests of this place, respawns included.
    pub requests: u64,
    /// Since the last spawn.
    pub delta_requests: u64,
    /// Requests that ended in an exception.
    pub exceptions: u64,
    /// Times harakiri killed it.
    pub harakiri_count: u64,
    /// Always 0.
    pub signals: u64,
    /// Always 0.
    pub signal_queue: u64,
    /// `idle`, `busy`, `cheap` or `pause`.
    pub status: String,
    /// Resident set, in bytes.
    pub rss: u64,
    /// Virtual size, in bytes.
    pub vsz: u64,
    /// Microseconds spent inside requests.
    pub running_time: u64,
    /// Unix s.
    pub last_spawn: u64,
    /// 1 after the first spawn.
    pub respawn_count: u64,
    /// Bytes sent.
    pub tx: u64,
    /// Microseconds, (old + new) / 2.
    pub avg_rt: u64,
    /// The app, once loaded.
    pub apps: Vec<App>,
    /// Its threads.
    pub cores: Vec<Core>,
}

/// A loaded app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// From 0.
    pub id: u32,
    /// 0: Python.
    pub modifier1: u8,
    /// Empty without `mount`.
    pub mountpoint: String,
    /// Seconds the import took.
    pub startup_time: u64,
    /// Requests of this app in this worker.
    pub requests: u64,
    /// Of these, exceptions.
    pub exceptions: u64,
    /// `chdir` of the app.
    pub chdir: String,
}

/// A thread of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Core {
    /// From 0.
    pub id: u32,
    /// Finished requests.
    pub requests: u64,
    /// Of these, answered with a static file.
    pub static_requests: u64,
    /// Of these, answered by routes.
    pub routed_requests: u64,
    /// Always 0.
    pub offloaded_requests: u64,
    /// See [`crate::scoreboard::Counters::write_errors`].
    pub write_errors: u64,
    /// See [`crate::scoreboard::Counters::read_errors`].
    pub read_errors: u64,
    /// See [`crate::scoreboard::Counters::exceptions`]. A metric in uWSGI, and not in its JSON.
    #[serde(skip)]
    pub exceptions: u64,
    /// 0 or 1.
    pub in_request: u8,
    /// `KEY=value` of the request in flight, then one empty text; empty when idle. Cookie and Authorization are masked.
    pub vars: Vec<String>,
    /// When the request in flight began.
    pub req_info: RequestInfo,
}

/// About the request in flight.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestInfo {
    /// Unix s; absent when idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_start: Option<u64>,
}
