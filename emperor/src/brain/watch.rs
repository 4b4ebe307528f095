//! Wakes the scanner when something happens in a vassals directory. Carries nothing else: what changed is found out by
//! looking (D7). Where inotify is not to be had, the scanner's own period is the only wake, and a shorter one.

use std::{collections::BTreeMap, os::unix::fs::MetadataExt, path::PathBuf, sync::Arc, time::Duration};

use notify::{Config, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use crate::sources::Sources;

/// How often directories are looked at when nothing woke the scanner: an event can be lost (inotify(7), queue overflow), and
/// some file systems send none. A look at fifty files costs keeper and brain 2 ms together, most of what they need when idle.
const RESCAN_WATCHED: Duration = Duration::from_secs(10);

/// The same without inotify.
const RESCAN_UNWATCHED: Duration = Duration::from_secs(1);

/// A watch on directories that follows them when they are replaced, or others come.
pub(crate) struct Watch {
    sources: Arc<Sources>,
    wake: Arc<Notify>,
    watcher: Option<RecommendedWatcher>,
    /// Device and inode of what is being watched.
    watched: BTreeMap<PathBuf, (u64, u64)>,
    complained: bool,
}

impl Watch {
    /// Watches the directories, as well as it can; `wake` is notified.
    pub(crate) fn new(sources: Arc<Sources>, wake: Arc<Notify>) -> Watch {
        let mut watch = Watch { sources, wake, watcher: None, watched: BTreeMap::new(), complained: false };
        watch.follow();
        watch
    }

    /// Makes sure that the directories that are there now are those being watched. Called before each look.
    pub(crate) fn follow(&mut self) {
        let facts = |path: PathBuf| std::fs::metadata(&path).ok().map(|facts| (path, (facts.dev(), facts.ino())));
        let here: BTreeMap<_, _> = self.sources.directories().into_iter().filter_map(facts).collect();
        if here == self.watched && (here.is_empty() || self.watcher.is_some()) {
            return;
        }
        self.watched.clear();
        self.watcher = None;
        if here.is_empty() {
            return;
        }
        match self.add(here.keys()) {
            Ok(watcher) => {
                self.watcher = Some(watcher);
                self.watched = here;
                self.complained = false;
            }
            Err(error) if !self.complained => {
                self.complained = true;
                let watched = &self.sources;
                tracing::warn!(%watched, %error, "it cannot be watched; it is looked at every second instead");
            }
            Err(_) => {}
        }
    }

    /// How long the scanner may wait for a wake.
    pub(crate) fn period(&self) -> Duration {
        if self.watcher.is_some() { RESCAN_WATCHED } else { RESCAN_UNWATCHED }
    }

    fn add<'p>(&self, directories: impl Iterator<Item = &'p PathBuf>) -> notify::Result<RecommendedWatcher> {
        let wake = Arc::clone(&self.wake);
        let woken = move |event: notify::Result<notify::Event>| {
            // Our own reads are events too; everything else, errors included, is worth a look.
            if !matches!(event, Ok(notify::Event { kind: EventKind::Access(kind), .. })
                if kind != notify::event::AccessKind::Close(notify::event::AccessMode::Write))
            {
                wake.notify_one();
            }
        };
        let mut watcher = RecommendedWatcher::new(woken, Config::default())?;
        for directory in directories {
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    }
}
