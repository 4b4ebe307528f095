//! Writes a store to the disk every so many seconds (`cache-store-sync`, `queue-store-sync`), and once more at the end.
//! The master itself never waits for a disk.

use std::{
    fs::File,
    os::fd::OwnedFd,
    sync::mpsc::{self, RecvTimeoutError},
    time::Duration,
};

use crate::log;

/// Runs as long as this lives.
#[derive(Debug)]
pub(crate) struct Sync {
    every_s: u64,
    _end: mpsc::Sender<()>,
}

impl Sync {
    /// Whether it does it so often.
    pub(crate) fn is_every(&self, every_s: u64) -> bool {
        self.every_s == every_s
    }

    /// Begins.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub(crate) fn start(store: OwnedFd, every_s: u64) -> std::io::Result<Sync> {
        let (end, ended) = mpsc::channel();
        let file = File::from(store);
        let period = Duration::from_secs(every_s.max(1));
        std::thread::Builder::new().name("store".to_owned()).spawn(move || {
            loop {
                let is_over = ended.recv_timeout(period) == Err(RecvTimeoutError::Disconnected);
                if let Err(error) = file.sync_data() {
                    log::say(&format!("*** a store cannot be written to the disk: {error} ***"));
                    return;
                }
                if is_over {
                    return;
                }
            }
        })?;
        Ok(Sync { every_s, _end: end })
    }
}
