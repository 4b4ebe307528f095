//! What the workers of a vassal share, as the configuration has it: caches, locks, a queue, areas of memory, metrics.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// `cache` and `cache2`, in the order of uWSGI: the one of `cache` first. The first is the default.
    pub caches: Vec<Cache>,
    /// `add-cache-item`.
    pub items: Vec<CacheItem>,
    /// `load-file-in-cache`, then `load-file-in-cache-gzip`.
    pub files: Vec<CacheFile>,
    /// `cache-report-freed-items`.
    pub report_freed: bool,
    /// `check-cache`: the cache that GET requests are answered from, empty for the default.
    pub check: Option<String>,
    /// `locks`: how many there are beside the first.
    pub locks: u32,
    /// `queue`.
    pub queue: Option<Queue>,
    /// `sharedarea`, in order.
    pub areas: Vec<Area>,
    /// `enable-metrics`: those of the vassal itself.
    pub vassal_metrics: bool,
    /// `metric-dir`: a file for each metric, written once a second.
    pub metric_directory: Option<PathBuf>,
    /// `metric-dir-restore`: the app's begin with what their files say.
    pub restores_metrics: bool,
    /// `metric`.
    pub metrics: Vec<Metric>,
}

/// A cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// `name`; `default` for that of `cache`.
    pub name: String,
    /// `items`.
    pub items: u64,
    /// `blocksize`, in bytes, 65535.
    pub block_bytes: u64,
    /// `blocks`, as many as items.
    pub blocks: u64,
    /// `hashsize`, 65535.
    pub hashes: u64,
    /// `keysize`, in bytes, 2048.
    pub key_max_bytes: u64,
    /// `bitmap`: a value may take several blocks.
    pub bitmap: bool,
    /// `store`: the file it lives in.
    pub store: Option<PathBuf>,
    /// `store_sync`, in s: how often that is written to the disk; 0 is as the kernel likes.
    pub store_sync_s: u64,
    /// `store_delete`: a file of another shape is replaced.
    pub store_delete: bool,
    /// `lazy`.
    pub lazy: bool,
    /// `no_expire`, `cache-no-expire`.
    pub no_expire: bool,
    /// `cache-expire-freq`, in s.
    pub sweep_every_s: u64,
    /// `purge_lru`.
    pub purge_lru: bool,
    /// `clear_on_full`.
    pub clear_on_full: bool,
    /// `ignore_full`.
    pub ignore_full: bool,
    /// `math_initial`.
    pub math_initial: i64,
    /// `lastmod`.
    pub last_modified: bool,
}

/// A value that a cache begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheItem {
    /// Into which cache; None is all of them, as in uWSGI.
    pub cache: Option<String>,
    /// Its key.
    pub key: String,
    /// It.
    pub value: String,
}

/// A file whose content a cache begins with, under its name as written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheFile {
    /// See [`CacheItem::cache`].
    pub cache: Option<String>,
    /// Its name.
    pub path: String,
    /// Whether it is stored compressed.
    pub gzip: bool,
}

/// The queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// `queue`: how many messages it holds.
    pub slots: u64,
    /// `queue-blocksize`, in bytes, 8192; a message has 16 less.
    pub slot_bytes: u64,
    /// `queue-store`.
    pub store: Option<PathBuf>,
    /// `queue-store-sync`, in s.
    pub store_sync_s: u64,
}

/// An area of memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Area {
    /// Its length, in bytes.
    pub bytes: u64,
    /// The file it is of; None is memory.
    pub file: Option<PathBuf>,
}

/// A number of the app's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// What it begins with.
    pub initial: i64,
}
