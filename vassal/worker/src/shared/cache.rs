//! A cache as this process uses it: lock, call, tell what is worth a line.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use empery_control::shared as words;
use empery_shared::cache::{self as laid_out, Layout, Noticed, Rules};
use empery_sys::region::{Locked, Region};

use super::borrowed;
use crate::os;

/// A full cache is told at most so often by one process, in s.
const FULL_TOLD_EVERY_S: u64 = 10;

/// See the module.
pub(crate) struct Cache {
    name: String,
    region: Region,
    layout: Layout,
    rules: Rules,
    tells_full: bool,
    tells_freed: bool,
    /// When it was last told that it is full, unix s.
    full_told_s: AtomicU64,
}

impl Cache {
    pub(super) fn map(cache: &words::Cache, report_freed: bool) -> io::Result<Cache> {
        let layout = cache.shape.layout().ok_or(io::ErrorKind::InvalidData)?;
        Ok(Cache {
            name: cache.name.clone(),
            region: Region::map(borrowed(cache.fd), layout.length())?,
            layout,
            rules: cache.rules.clone(),
            tells_full: !cache.ignore_full,
            tells_freed: report_freed,
            full_told_s: AtomicU64::new(0),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Does something with it, under its lock. What is done is told the time, in unix s.
    pub(crate) fn with<T>(&self, use_it: impl FnOnce(&mut laid_out::Cache<'_, Locked<'_>>, u64) -> T) -> io::Result<T> {
        let now_s = os::realtime_ns() / 1_000_000_000;
        let mut locked = self.region.lock()?;
        let mut cache = laid_out::Cache::open(&mut locked, &self.layout, &self.rules, now_s);
        let outcome = use_it(&mut cache, now_s);
        let noticed = cache.noticed;
        drop(locked);
        if noticed != Noticed::default() {
            self.tell(noticed, now_s);
        }
        Ok(outcome)
    }

    fn tell(&self, noticed: Noticed, now_s: u64) {
        if noticed.repaired {
            say(&format!("the cache \"{}\" was put in order: a process ended while it changed it", self.name));
        }
        if self.tells_freed && noticed.freed > 0 {
            say(&format!("freed {} items for cache \"{}\"", noticed.freed, self.name));
        }
        let told_s = self.full_told_s.load(Ordering::Relaxed);
        if self.tells_full && noticed.full && now_s >= told_s.saturating_add(FULL_TOLD_EVERY_S) {
            self.full_told_s.store(now_s, Ordering::Relaxed);
            say(&if self.rules.purge_lru {
                format!("LRU item will be purged from cache \"{}\"", self.name)
            } else {
                format!("*** DANGER cache \"{}\" is FULL !!! ***", self.name)
            });
        }
    }
}

fn say(line: &str) {
    os::write_stderr(format!("{line}\n").as_bytes());
}
