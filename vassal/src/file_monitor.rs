//! Watches one file or directory for a uWSGI signal until dropped. What is replaced under its name, as editors do it, is
//! watched on.

use std::path::{Path, PathBuf};

use empery_lifecycle::ids::GenerationId;
use empery_sys::{inotify::Inotify, readable::Readable};
use tokio::task::AbortHandle;

use crate::{
    log,
    supervise::input::{Inbox, Input},
};

/// See the module.
pub(crate) struct FileMonitor {
    signal: u8,
    path: PathBuf,
    task: AbortHandle,
}

impl FileMonitor {
    /// Begins; each change is an [`Input::FileChanged`].
    ///
    /// # Errors
    /// When there is no such file, or nothing to watch it with.
    pub(crate) fn start(path: &Path, signal: u8, generation: GenerationId, inbox: Inbox) -> std::io::Result<Self> {
        let inotify = Inotify::new()?;
        inotify.watch(path)?;
        let readable = Readable::watch(inotify.descriptor()?)?;
        let watched = path.to_owned();
        let task = tokio::spawn(async move {
            while readable.more().await.is_ok() {
                let Ok(changes) = inotify.read() else { return };
                for _ in 0..changes.number {
                    inbox.put(Input::FileChanged(generation, signal));
                }
                if changes.is_gone
                    && let Err(error) = inotify.watch(&watched)
                {
                    log::say(&format!("*** {} is watched no more: {error} ***", watched.display()));
                    return;
                }
            }
        });
        Ok(Self { signal, path: path.to_owned(), task: task.abort_handle() })
    }

    /// Whether it does this.
    pub(crate) fn is(&self, path: &Path, signal: u8) -> bool {
        self.signal == signal && self.path == path
    }
}

impl Drop for FileMonitor {
    fn drop(&mut self) {
        self.task.abort();
    }
}
