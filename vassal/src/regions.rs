//! The memory that workers share: made when a generation is booted, kept for the next ones, handed to a new image of
//! this master. A cache of another size, and whatever else has changed, is a new region; what no generation uses goes.

mod sync;

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::Duration,
};

use empery_config::shared as configured;
use empery_control::{
    keeper::{REGION_NAME_MAX_BYTES, REGIONS_MAX},
    shared::{self as words, AREA_AT, Metrics},
};
use empery_shared::{
    cache::{Cache, Counts, Expiry, Rules, Shape},
    memory::Memory,
    queue::{Queue, QueueShape},
};
use empery_sys::region::{Again, Found, Locked, Locks, Region};
use serde::{Deserialize, Serialize};

use self::sync::Sync;
use crate::{log, stats::metric_files};

/// How long the lock of a region that the last master has left is waited for: whoever has it may never give it back.
const LEFT_LOCK_WITHIN: Duration = Duration::from_millis(100);

/// What a region is for: generations that want the same share it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Purpose {
    /// A cache.
    Cache {
        /// Its name.
        name: String,
        /// Its size.
        shape: Shape,
        /// Its file.
        store: Option<PathBuf>,
    },
    /// So many locks.
    Locks(usize),
    /// The queue.
    Queue(QueueShape, Option<PathBuf>),
    /// The n-th area, so long; of a file its lock only.
    Area(usize, usize, Option<PathBuf>),
    /// Numbers of these names, and what they begin with.
    Metrics(Vec<(String, i64)>),
}

impl Purpose {
    /// Whether the keeper keeps it.
    fn is_kept(&self) -> bool {
        match self {
            Purpose::Cache { store, .. } | Purpose::Queue(_, store) => store.is_none(),
            // Of a file's area its lock: who has it may live on.
            Purpose::Area(..) | Purpose::Locks(_) | Purpose::Metrics(_) => true,
        }
    }

    /// Whether this is a region for it, made by this program.
    fn is_in(&self, fd: BorrowedFd<'_>) -> bool {
        let map = |length: Option<usize>| Region::map(fd, length?).ok();
        let holds = |length: Option<usize>, is_there: &dyn Fn(&Locked<'_>) -> bool| {
            map(length).is_some_and(|region| {
                region.lock_within(LEFT_LOCK_WITHIN).is_ok_and(|memory| memory.is_some_and(|memory| is_there(&memory)))
            })
        };
        match self {
            Purpose::Cache { shape, .. } => shape
                .layout()
                .is_some_and(|layout| holds(Some(layout.length()), &|memory| Cache::is_there(memory, &layout))),
            Purpose::Queue(shape, _) => holds(shape.length(), &|memory| Queue::is_there(memory, *shape)),
            Purpose::Area(_, bytes, None) => map(AREA_AT.checked_add(*bytes)).is_some(),
            Purpose::Area(_, _, Some(_)) => map(Some(AREA_AT)).is_some(),
            Purpose::Metrics(names) => map(Some(Metrics::length(names.len()))).is_some(),
            Purpose::Locks(count) => Locks::map(fd, *count).is_ok(),
        }
    }

    fn of_cache(cache: &configured::Cache) -> Purpose {
        Purpose::Cache { name: cache.name.clone(), shape: shape(cache), store: cache.store.clone() }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Regions {
    held: BTreeMap<Purpose, Held>,
}

#[derive(Debug)]
struct Held {
    fd: OwnedFd,
    /// The file of an area.
    file: Option<OwnedFd>,
    /// Writes its store to the disk.
    sync: Option<Sync>,
}

impl Held {
    fn new(fd: OwnedFd) -> Held {
        Held { fd, file: None, sync: None }
    }
}

/// A region on its way to a new image of this master.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RegionLeft {
    purpose: Purpose,
    fd: RawFd,
    file: Option<RawFd>,
}

impl Regions {
    /// Makes what is not there yet, and says where everything is.
    ///
    /// # Errors
    /// One sentence that names the option.
    pub(crate) fn provide(&mut self, config: &configured::Shared) -> Result<words::Shared, String> {
        let caches = config.caches.iter().map(|cache| self.cache(cache)).collect::<Result<Vec<_>, _>>()?;
        let names = || config.caches.iter().map(|cache| &cache.name);
        let check = config
            .check
            .as_ref()
            .map(|name| if name.is_empty() { 0 } else { names().position(|other| other == name).unwrap_or(0) });
        let texts = config.items.iter().map(|item| words::Filling {
            cache: item.cache.clone(),
            key: item.key.clone(),
            from: words::From::Text(item.value.clone()),
        });
        let files = config.files.iter().map(|file| words::Filling {
            cache: file.cache.clone(),
            key: file.path.clone(),
            from: if file.gzip { words::From::FileCompressed } else { words::From::File },
        });
        // Files come before items, as in uWSGI: an item of the same key counts.
        let fillings = files.chain(texts).collect();
        let queue = config.queue.as_ref().map(|queue| self.queue(queue)).transpose()?;
        let areas = config.areas.iter().enumerate().map(|(number, area)| self.area(number, area));
        Ok(words::Shared {
            fillings,
            report_freed: config.report_freed,
            check,
            queue,
            areas: areas.collect::<Result<Vec<_>, _>>()?,
            locks: Some(self.locks(config.locks as usize + 1)?),
            metrics: self.provide_metrics(config)?,
            caches,
        })
    }

    /// What is lost with its last process, since it is in no file: its name and descriptor. Locks, too: a worker that outlives
    /// its master goes on holding them, and those of one that dies are free for whoever asks.
    pub(crate) fn to_be_kept(&self) -> Vec<(String, BorrowedFd<'_>)> {
        let named = self.held.iter().filter(|(purpose, _)| purpose.is_kept()).filter_map(|(purpose, held)| {
            let name = serde_json::to_string(purpose).ok().filter(|name| name.len() <= REGION_NAME_MAX_BYTES)?;
            Some((name, held.fd.as_fd()))
        });
        named.take(REGIONS_MAX).collect()
    }

    /// Takes over what an earlier master has left with the keeper. What is not what its name says is told and left.
    pub(crate) fn take_kept(&mut self, kept: Vec<(String, OwnedFd)>) {
        for (name, fd) in kept {
            match serde_json::from_str::<Purpose>(&name).ok().filter(|purpose| purpose.is_in(fd.as_fd())) {
                Some(purpose) => {
                    self.held.insert(purpose, Held::new(fd));
                }
                None => {
                    log::say(&format!("*** shared memory of the last master is of no use and begins anew: {name} ***"))
                }
            }
        }
    }

    fn cache(&mut self, cache: &configured::Cache) -> Result<words::Cache, String> {
        let (purpose, shape) = (Purpose::of_cache(cache), shape(cache));
        let sentence = |error: &dyn std::fmt::Display| format!("the cache \"{}\" cannot be made: {error}", cache.name);
        let layout = shape.layout().ok_or_else(|| sentence(&"it would be larger than any memory"))?;
        let rules = rules(cache);
        if cache.store.is_none() && self.has_another_shape(&purpose) {
            log::say(&format!("the cache \"{}\" has other sizes than before: it begins anew", cache.name));
        }
        let fd = self.get_or_make(purpose.clone(), || {
            let (region, fd, found) = match &cache.store {
                None => {
                    let (region, fd) = Region::create("empery-cache", layout.length(), Again::IsAnError)
                        .map_err(|error| sentence(&error))?;
                    (region, fd, Found::New)
                }
                Some(path) => {
                    stored(path, layout.length(), cache.store_delete, |memory| Cache::is_there(memory, &layout))
                        .map_err(|error| sentence(&format!("its store {}: {error}", path.display())))?
                }
            };
            let mut locked = region.lock().map_err(|error| sentence(&error))?;
            if found == Found::New {
                Cache::create(&mut locked, &layout, seed());
            } else if found == Found::Left {
                // Whoever wrote it last may have been killed with the whole machine.
                Cache::distrust(&mut locked);
                Cache::open(&mut locked, &layout, &rules, crate::clock::unix_s());
                log::say(&format!(
                    "the cache \"{}\" has {} items from its store",
                    cache.name,
                    Counts::of(|at| locked.load(at)).items
                ));
            }
            drop(locked);
            Ok(Held::new(fd))
        })?;
        self.sync(&purpose, cache.store.as_ref().map_or(0, |_| cache.store_sync_s));
        Ok(words::Cache { name: cache.name.clone(), shape, rules, ignore_full: cache.ignore_full, fd })
    }

    fn queue(&mut self, queue: &configured::Queue) -> Result<words::Queue, String> {
        let shape = QueueShape { slots: queue.slots, slot_bytes: queue.slot_bytes };
        let sentence = |error: &dyn std::fmt::Display| format!("the queue cannot be made: {error}");
        let length = shape.length().ok_or_else(|| sentence(&"`queue-blocksize` must be above 16 bytes"))?;
        let purpose = Purpose::Queue(shape, queue.store.clone());
        let fd = self.get_or_make(purpose.clone(), || {
            let (region, fd, found) = match &queue.store {
                None => {
                    let (region, fd) =
                        Region::create("empery-queue", length, Again::IsAnError).map_err(|error| sentence(&error))?;
                    (region, fd, Found::New)
                }
                Some(path) => stored(path, length, false, |memory| Queue::is_there(memory, shape))
                    .map_err(|error| sentence(&format!("its store {}: {error}", path.display())))?,
            };
            if found == Found::New {
                Queue::create(&mut region.lock().map_err(|error| sentence(&error))?, shape);
            }
            Ok(Held::new(fd))
        })?;
        self.sync(&purpose, queue.store.as_ref().map_or(0, |_| queue.store_sync_s));
        Ok(words::Queue { shape, fd })
    }

    fn locks(&mut self, count: usize) -> Result<words::Locks, String> {
        let fd = self.get_or_make(Purpose::Locks(count), || {
            let (_, fd) = Locks::create(count).map_err(|error| format!("`locks` cannot be made: {error}"))?;
            Ok(Held::new(fd))
        })?;
        Ok(words::Locks { count, fd })
    }

    fn area(&mut self, number: usize, area: &configured::Area) -> Result<words::Area, String> {
        let sentence = |error: &dyn std::fmt::Display| format!("`sharedarea` {number} cannot be made: {error}");
        let bytes = usize::try_from(area.bytes).ok().filter(|bytes| bytes.checked_add(AREA_AT).is_some());
        let bytes = bytes.ok_or_else(|| sentence(&"it would be larger than any memory"))?;
        let purpose = Purpose::Area(number, bytes, area.file.clone());
        let fd = self.get_or_make(purpose.clone(), || {
            let length = AREA_AT + if area.file.is_some() { 0 } else { bytes };
            let (_, fd) = Region::create("empery-area", length, Again::Counts).map_err(|error| sentence(&error))?;
            Ok(Held::new(fd))
        })?;
        // What the keeper kept came without it.
        if let (Some(path), Some(held)) = (&area.file, self.held.get_mut(&purpose))
            && held.file.is_none()
        {
            held.file = Some(area_file(path, area.bytes).map_err(|error| sentence(&error))?);
        }
        let file_fd = self.held.get(&purpose).and_then(|held| held.file.as_ref()).map(AsRawFd::as_raw_fd);
        Ok(words::Area { bytes, fd, file_fd })
    }

    fn provide_metrics(&mut self, config: &configured::Shared) -> Result<Option<Metrics>, String> {
        if config.metrics.is_empty() && !config.vassal_metrics {
            return Ok(None);
        }
        let wanted = named_metrics(config);
        let length = Metrics::length(wanted.len());
        let fd = self.get_or_make(Purpose::Metrics(wanted.clone()), || {
            let sentence = |error: io::Error| format!("metrics cannot be made: {error}");
            let (region, fd) = Region::create("empery-metrics", length, Again::IsAnError).map_err(sentence)?;
            let mut locked = region.lock().map_err(sentence)?;
            let restored = config.metric_directory.as_deref().filter(|_| config.restores_metrics);
            for (number, (name, initial)) in wanted.iter().enumerate() {
                let value = restored.and_then(|directory| metric_files::read(directory, name)).unwrap_or(*initial);
                locked.store(words::metric_at(number), value.cast_unsigned());
            }
            drop(locked);
            Ok(Held::new(fd))
        })?;
        Ok(Some(Metrics { names: wanted, vassal: config.vassal_metrics, fd }))
    }

    /// Whether there is a cache of this name in memory, and none of this shape.
    fn has_another_shape(&self, wanted: &Purpose) -> bool {
        let Purpose::Cache { name: wanted_name, .. } = wanted else { return false };
        let is_its =
            |purpose: &Purpose| matches!(purpose, Purpose::Cache { name, store: None, .. } if name == wanted_name);
        !self.held.contains_key(wanted) && self.held.keys().any(is_its)
    }

    fn get_or_make(&mut self, purpose: Purpose, make: impl FnOnce() -> Result<Held, String>) -> Result<RawFd, String> {
        if let Some(held) = self.held.get(&purpose) {
            return Ok(held.fd.as_raw_fd());
        }
        let held = make()?;
        let number = held.fd.as_raw_fd();
        self.held.insert(purpose, held);
        Ok(number)
    }

    /// Has a region written to its file every so many seconds; 0 is never.
    fn sync(&mut self, purpose: &Purpose, every_s: u64) {
        let Some(held) = self.held.get_mut(purpose) else { return };
        if every_s == 0 || held.sync.as_ref().is_some_and(|sync| sync.is_every(every_s)) {
            held.sync = held.sync.take().filter(|_| every_s > 0);
            return;
        }
        match held.fd.try_clone().and_then(|fd| Sync::start(fd, every_s)) {
            Ok(sync) => held.sync = Some(sync),
            Err(error) => log::say(&format!("*** a store is written when the kernel likes: {error} ***")),
        }
    }

    /// The caches of a configuration with what is counted in them; read without their locks.
    pub(crate) fn caches<'a>(&self, config: &'a configured::Shared) -> Vec<(&'a configured::Cache, Counts)> {
        let counts = |cache: &configured::Cache| {
            let held = self.held.get(&Purpose::of_cache(cache))?;
            let region = Region::map(held.fd.as_fd(), shape(cache).layout()?.length()).ok()?;
            Some(Counts::of(|at| region.glance().word(at)))
        };
        config.caches.iter().filter_map(|cache| Some((cache, counts(cache)?))).collect()
    }

    /// The numbers that the app counts, as they are now.
    pub(crate) fn counted(&self, config: &configured::Shared) -> Vec<(String, i64)> {
        let Some(region) = self.metrics_region(config) else { return Vec::new() };
        let number = |(number, (name, _)): (usize, (String, i64))| {
            let word = region.glance().counter(words::metric_at(number))?.load(Ordering::Relaxed);
            Some((name, word.cast_signed()))
        };
        named_metrics(config).into_iter().enumerate().filter_map(number).collect()
    }

    /// Sets one of them; of two with one name the later counts.
    pub(crate) fn set_metric(&self, config: &configured::Shared, name: &str, value: i64) {
        let place = config.metrics.iter().rposition(|metric| metric.name == name);
        if let (Some(region), Some(place)) = (self.metrics_region(config), place)
            && let Some(word) = region.glance().counter(words::metric_at(place))
        {
            word.store(value.cast_unsigned(), Ordering::Relaxed);
        }
    }

    fn metrics_region(&self, config: &configured::Shared) -> Option<Region> {
        let held = self.held.get(&Purpose::Metrics(named_metrics(config)))?;
        Region::map(held.fd.as_fd(), Metrics::length(config.metrics.len())).ok()
    }

    /// Lets go of what no generation uses, by the descriptors that they were told.
    pub(crate) fn keep_only(&mut self, used: impl Fn(RawFd) -> bool) {
        self.held.retain(|_, held| used(held.fd.as_raw_fd()));
    }

    /// What a new image of this master is left with.
    pub(crate) fn leave<'a>(&'a self, left: &mut Vec<BorrowedFd<'a>>) -> Vec<RegionLeft> {
        let all = self.held.iter().map(|(purpose, held)| {
            left.push(held.fd.as_fd());
            left.extend(held.file.as_ref().map(AsFd::as_fd));
            RegionLeft {
                purpose: purpose.clone(),
                fd: held.fd.as_raw_fd(),
                file: held.file.as_ref().map(AsRawFd::as_raw_fd),
            }
        });
        all.collect()
    }

    /// Takes over what an earlier image left.
    ///
    /// # Errors
    /// One sentence, when a descriptor did not survive.
    pub(crate) fn take_over(
        left: Vec<RegionLeft>,
        take: impl Fn(RawFd, &str) -> Result<OwnedFd, String>,
    ) -> Result<Regions, String> {
        let held = left.into_iter().map(|RegionLeft { purpose, fd, file }| {
            let file = file.map(|number| take(number, "the file of a shared area")).transpose()?;
            Ok((purpose, Held { file, ..Held::new(take(fd, "shared memory")?) }))
        });
        Ok(Regions { held: held.collect::<Result<_, String>>()? })
    }
}

fn named_metrics(config: &configured::Shared) -> Vec<(String, i64)> {
    config.metrics.iter().map(|metric| (metric.name.clone(), metric.initial)).collect()
}

fn shape(cache: &configured::Cache) -> Shape {
    Shape {
        items: cache.items,
        block_bytes: cache.block_bytes,
        blocks: cache.blocks,
        hashes: cache.hashes,
        key_max_bytes: cache.key_max_bytes,
        bitmap: cache.bitmap,
    }
}

fn rules(cache: &configured::Cache) -> Rules {
    Rules {
        expiry: match (cache.lazy, cache.no_expire) {
            (true, _) => Expiry::Lazy,
            (false, true) => Expiry::Never,
            (false, false) => Expiry::Swept { every_s: cache.sweep_every_s },
        },
        purge_lru: cache.purge_lru,
        clear_on_full: cache.clear_on_full,
        math_initial: cache.math_initial,
        last_modified: cache.last_modified,
    }
}

/// The region in a file, which is made anew where there is none, or where it is of another shape and may be deleted.
fn stored(
    path: &Path,
    length: usize,
    may_delete: bool,
    is_right: impl Fn(&Locked<'_>) -> bool,
) -> Result<(Region, OwnedFd, Found), String> {
    let opened = Region::in_file(path, length).map_err(|error| error.to_string()).and_then(|(region, fd, found)| {
        let right = found == Found::New || is_right(&region.lock().map_err(|error| error.to_string())?);
        if right { Ok((region, fd, found)) } else { Err("it holds something else".to_owned()) }
    });
    match opened {
        Err(_) if may_delete && path.is_file() => {
            std::fs::remove_file(path).map_err(|error| error.to_string())?;
            Region::in_file(path, length).map_err(|error| error.to_string())
        }
        Err(error) if path.is_file() => Err(format!(
            "{error}; remove the file, or give the sizes back that it was made with (`store_delete = 1` replaces it)"
        )),
        opened => opened,
    }
}

/// The file of an area, which must be as long as the area.
fn area_file(path: &Path, bytes: u64) -> Result<OwnedFd, String> {
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    let file = std::fs::File::options().read(true).write(true).open(path).map_err(failed)?;
    let there = file.metadata().map_err(failed)?.len();
    if there < bytes {
        return Err(format!("{} has {there} bytes, and the area {bytes}: make it longer", path.display()));
    }
    Ok(file.into())
}

/// Something that whoever chooses keys cannot know.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests;
