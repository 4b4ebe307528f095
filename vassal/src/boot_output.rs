//! What a zygote and its workers print before they serve: copied to the log as it comes, and its end kept for the
//! report of a deployment.

use std::{
    collections::VecDeque,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use empery_control::link::BOOT_OUTPUT_MAX_BYTES;
use tokio::net::unix::pipe;

use crate::log::Stream;

/// See the module.
pub(crate) struct BootOutput {
    pipe: Arc<pipe::Receiver>,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Default)]
struct Heard {
    log: Stream,
    /// The end of it.
    kept: VecDeque<u8>,
}

impl BootOutput {
    /// Reads from this end of the pipe until every writer is gone.
    pub(crate) fn start(read_end: OwnedFd) -> std::io::Result<Self> {
        let pipe = Arc::new(pipe::Receiver::from_owned_fd(read_end)?);
        let heard = Arc::<Mutex<Heard>>::default();
        let (reading, hearing) = (Arc::clone(&pipe), Arc::clone(&heard));
        tokio::spawn(async move {
            while reading.readable().await.is_ok() && drain(&reading, &hearing) {}
            lock(&hearing).log.end();
        });
        Ok(Self { pipe, heard })
    }

    /// Everything printed so far (its end, when it is long), as text without control characters.
    pub(crate) fn text(&self) -> String {
        // What a process printed before its last word or its death is in the pipe already; the task may not have run since.
        drain(&self.pipe, &self.heard);
        let heard = lock(&self.heard);
        let (first, second) = heard.kept.as_slices();
        let bytes = [first, second].concat();
        String::from_utf8_lossy(&bytes)
            .chars()
            .filter(|letter| !letter.is_control() || matches!(letter, '\n' | '\t'))
            .collect()
    }
}

/// Reads what is there. False when nothing can come any more.
fn drain(pipe: &pipe::Receiver, heard: &Mutex<Heard>) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match pipe.try_read(&mut buffer) {
            Ok(0) => return false,
            Ok(length) => {
                let Heard { log, kept } = &mut *lock(heard);
                log.write(&buffer[..length]);
                kept.extend(&buffer[..length]);
                let excess = kept.len().saturating_sub(BOOT_OUTPUT_MAX_BYTES);
                kept.drain(..excess);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return true,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}
