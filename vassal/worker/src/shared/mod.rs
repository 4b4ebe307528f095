//! The memory that this process shares with the other workers, mapped: what the master made, for the `uwsgi` module and for
//! requests that are answered from a cache. Mapped once, in the zygote; its workers and whatever they fork have it too.

pub(crate) mod area;
pub(crate) mod cache;
pub(crate) mod fill;
pub(crate) mod metrics;

use std::{
    io,
    os::fd::BorrowedFd,
    sync::{Mutex, OnceLock, PoisonError},
};

use empery_control::{boot::FdNumber, shared as words};
use empery_shared::queue::{Queue, QueueShape};
use empery_sys::region::{Locked, Locks, Region};

use self::{area::Area, cache::Cache, metrics::Metrics};

/// See the module.
pub(crate) struct Shared {
    /// The first is the default.
    pub(crate) caches: Vec<Cache>,
    /// See [`words::Shared::check`].
    pub(crate) check: Option<usize>,
    pub(crate) locks: Option<Locks>,
    pub(crate) queue: Option<SharedQueue>,
    pub(crate) areas: Vec<Area>,
    pub(crate) metrics: Option<Metrics>,
}

/// The queue.
pub(crate) struct SharedQueue {
    region: Region,
    shape: QueueShape,
}

impl SharedQueue {
    /// Does something with it, under its lock.
    pub(crate) fn with<T>(&self, use_it: impl FnOnce(&mut Queue<'_, Locked<'_>>) -> T) -> io::Result<T> {
        let mut locked = self.region.lock()?;
        Ok(use_it(&mut Queue::open(&mut locked, self.shape)))
    }

    /// How many messages it holds.
    pub(crate) fn slots(&self) -> u64 {
        self.shape.slots
    }
}

static SHARED: OnceLock<Shared> = OnceLock::new();
static MAPPING: Mutex<()> = Mutex::new(());

impl Shared {
    /// What this process has; None before it is mapped.
    pub(crate) fn here() -> Option<&'static Shared> {
        SHARED.get()
    }

    /// The cache of this name; the first for None and an empty name, as in uWSGI.
    pub(crate) fn cache(&self, name: Option<&str>) -> Option<&Cache> {
        match name {
            None | Some("") => self.caches.first(),
            Some(name) => self.caches.iter().find(|cache| cache.name() == name),
        }
    }
}

/// Maps what the master has made.
///
/// # Errors
/// mmap(2), or memory that is not what it is said to be.
pub(crate) fn map(told: &words::Shared) -> io::Result<&'static Shared> {
    let _one_at_a_time = MAPPING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(shared) = SHARED.get() {
        return Ok(shared);
    }
    let caches = told.caches.iter().map(|cache| Cache::map(cache, told.report_freed)).collect::<io::Result<_>>()?;
    let locks = told.locks.as_ref().map(|locks| Locks::map(borrowed(locks.fd), locks.count)).transpose()?;
    let queue = told.queue.as_ref().map(|queue| -> io::Result<SharedQueue> {
        let length = queue.shape.length().ok_or(io::ErrorKind::InvalidData)?;
        Ok(SharedQueue { region: Region::map(borrowed(queue.fd), length)?, shape: queue.shape })
    });
    let shared = Shared {
        caches,
        check: told.check,
        locks,
        queue: queue.transpose()?,
        areas: told.areas.iter().map(Area::map).collect::<io::Result<_>>()?,
        metrics: told.metrics.as_ref().map(Metrics::map).transpose()?,
    };
    Ok(SHARED.get_or_init(|| shared))
}

fn borrowed(fd: FdNumber) -> BorrowedFd<'static> {
    // SAFETY: the master has made these descriptors for this process and its children, and nothing in them closes them.
    unsafe { BorrowedFd::borrow_raw(fd) }
}
