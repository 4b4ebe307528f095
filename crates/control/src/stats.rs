//! The JSON of a vassal's `stats` socket, key for key as uWSGI 2.0 writes it (core/master_utils.c), because
//! `uwsgitop` and the Prometheus exporters for uWSGI read it. All numbers are integers.

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
    /// One-key objects; always empty here.
    pub locks: Vec<serde_json::Value>,
    /// The caches; absent where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caches: Vec<Cache>,
    /// The listening sockets.
    pub sockets: Vec<Socket>,
    /// The workers, by id.
    pub workers: Vec<Worker>,
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
    /// Always 0 until static files are served.
    pub static_requests: u64,
    /// Always 0 until routes are there.
    pub routed_requests: u64,
    /// Always 0.
    pub offloaded_requests: u64,
    /// See [`crate::scoreboard::Counters::write_errors`].
    pub write_errors: u64,
    /// See [`crate::scoreboard::Counters::read_errors`].
    pub read_errors: u64,
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
