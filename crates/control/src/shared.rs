//! What a zygote and its workers are told of the memory they share. How it is laid out is `empery-shared`'s; the master
//! makes it and keeps it over generations.

use empery_shared::{
    cache::{Rules, Shape},
    queue::QueueShape,
};
use serde::{Deserialize, Serialize};

use crate::boot::FdNumber;

/// All of it. Descriptors are inherited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// The caches; the first is the default.
    pub caches: Vec<Cache>,
    /// What they begin with.
    pub fillings: Vec<Filling>,
    /// Whether the log says how many expired items were removed (`cache-report-freed-items`).
    pub report_freed: bool,
    /// The cache that GET requests are answered from, by its place in `caches` (`check-cache`).
    pub check: Option<usize>,
    /// `uwsgi.lock` and its relatives.
    pub locks: Option<Locks>,
    /// `queue`.
    pub queue: Option<Queue>,
    /// `sharedarea`, in order.
    pub areas: Vec<Area>,
    /// `metric`, `enable-metrics`.
    pub metrics: Option<Metrics>,
}

impl Shared {
    /// Every descriptor.
    pub fn descriptors(&self) -> impl Iterator<Item = FdNumber> {
        let caches = self.caches.iter().map(|cache| cache.fd);
        let single = [
            self.locks.as_ref().map(|locks| locks.fd),
            self.queue.as_ref().map(|queue| queue.fd),
            self.metrics.as_ref().map(|metrics| metrics.fd),
        ];
        let areas = self.areas.iter().flat_map(|area| [Some(area.fd), area.file_fd]);
        caches.chain(single.into_iter().chain(areas).flatten())
    }
}

/// A cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// Its name.
    pub name: String,
    /// Its size.
    pub shape: Shape,
    /// How it is used.
    pub rules: Rules,
    /// Whether nobody is told that it is full (`ignore_full`).
    pub ignore_full: bool,
    /// Its region.
    pub fd: FdNumber,
}

/// What caches begin with: stored by each zygote, over what is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filling {
    /// The cache of this name; None is all.
    pub cache: Option<String>,
    /// Its key; a file's is its name.
    pub key: String,
    /// Where the value comes from.
    pub from: From,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum From {
    /// It is this (`add-cache-item`).
    Text(String),
    /// The file that the key names (`load-file-in-cache`).
    File,
    /// The same, compressed by Python's gzip (`load-file-in-cache-gzip`).
    FileCompressed,
}

/// Locks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locks {
    /// How many.
    pub count: usize,
    /// Their region.
    pub fd: FdNumber,
}

/// A queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Its size.
    pub shape: QueueShape,
    /// Its region.
    pub fd: FdNumber,
}

/// An area of memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Area {
    /// Its length, in bytes.
    pub bytes: usize,
    /// Its region, with the area behind [`AREA_AT`] unless it is that of a file.
    pub fd: FdNumber,
    /// The file that it is.
    pub file_fd: Option<FdNumber>,
}

/// Where an area begins in its region: on a page of its own.
pub const AREA_AT: usize = 4096;

/// Numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metrics {
    /// The app's, with what each begins with, in the order of their words.
    pub names: Vec<(String, i64)>,
    /// Whether those of the vassal can be read too (`enable-metrics`).
    pub vassal: bool,
    /// Their region: a word for each behind the lock.
    pub fd: FdNumber,
}

impl Metrics {
    /// Length of the region, in bytes.
    #[must_use]
    pub fn length(count: usize) -> usize {
        metric_at(count.max(1))
    }
}

/// Where the word of a metric lies in its region.
#[must_use]
pub fn metric_at(number: usize) -> usize {
    empery_shared::memory::LOCK_BYTES + 8 * number
}
