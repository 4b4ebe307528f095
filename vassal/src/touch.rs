//! `touch-reload`, `touch-logreopen`, `touch-logrotate`: looks at the files once a second, as uWSGI does, and only while there are any to look at.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio::task::AbortHandle;

use crate::supervise::input::{Inbox, Input};

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Watches until dropped.
pub(crate) struct Watch {
    paths: Vec<PathBuf>,
    task: AbortHandle,
}

impl Watch {
    /// Starts to watch; None when there is nothing to watch.
    pub(crate) fn start(paths: &[PathBuf], inbox: Inbox) -> Option<Self> {
        if paths.is_empty() {
            return None;
        }
        let mut seen: Vec<_> = paths.iter().map(|path| (path.clone(), modified(path))).collect();
        let task = tokio::spawn(async move {
            let mut clock = tokio::time::interval(EVERY);
            clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                clock.tick().await;
                for (path, before) in &mut seen {
                    let now = modified(path);
                    if now != *before {
                        *before = now;
                        inbox.put(Input::Touched(path.clone()));
                    }
                }
            }
        });
        Some(Self { paths: paths.to_vec(), task: task.abort_handle() })
    }

    /// What is watched.
    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// None while the file is not there: coming and going are changes too.
fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|facts| facts.modified()).ok()
}
