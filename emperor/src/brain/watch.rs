//! Wakes the scanner when something happens in the vassals directory. Carries nothing else: what changed is found out by
//! looking (D7). Where inotify is not to be had, the scanner's own period is the only wake, and a shorter one.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{Config, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// How often the directory is looked at when nothing woke the scanner: an event can be lost (inotify(7), queue overflow), and
/// some file systems send none. A look at fifty files costs keeper and brain 2 ms together, most of what they need when idle.
const RESCAN_WATCHED: Duration = Duration::from_secs(10);

/// The same without inotify.
const RESCAN_UNWATCHED: Duration = Duration::from_secs(1);

/// A watch on one directory that follows it when it is replaced.
pub(crate) struct Watch {
    directory: PathBuf,
    wake: Arc<Notify>,
    watcher: Option<RecommendedWatcher>,
    /// Device and inode of what is being watched.
    watched: Option<(u64, u64)>,
    complained: bool,
}

impl Watch {
    /// Watches the directory, as well as it can; `wake` is notified.
    pub(crate) fn new(directory: &Path, wake: Arc<Notify>) -> Watch {
        let mut watch =
            Watch { directory: directory.to_owned(), wake, watcher: None, watched: None, complained: false };
        watch.follow();
        watch
    }

    /// Makes sure that the directory that is there now is the one being watched. Called before each look.
    pub(crate) fn follow(&mut self) {
        let here = std::fs::metadata(&self.directory).ok().map(|facts| (facts.dev(), facts.ino()));
        if here == self.watched && (here.is_none() || self.watcher.is_some()) {
            return;
        }
        self.watched = None;
        self.watcher = None;
        if here.is_none() {
            return;
        }
        match self.add() {
            Ok(watcher) => {
                self.watcher = Some(watcher);
                self.watched = here;
                self.complained = false;
            }
            Err(error) if !self.complained => {
                self.complained = true;
                let directory = self.directory.display();
                tracing::warn!(%directory, %error, "the directory cannot be watched; it is looked at every second instead");
            }
            Err(_) => {}
        }
    }

    /// How long the scanner may wait for a wake.
    pub(crate) fn period(&self) -> Duration {
        if self.watcher.is_some() { RESCAN_WATCHED } else { RESCAN_UNWATCHED }
    }

    fn add(&self) -> notify::Result<RecommendedWatcher> {
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
        watcher.watch(&self.directory, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    }
}
