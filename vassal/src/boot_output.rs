//! What a zygote and its workers print before they serve: copied to the log as it comes, and its end kept for the
//! report of a deployment.

use std::{
    collections::VecDeque,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
};

use empery_control::link::BOOT_OUTPUT_MAX_BYTES;
use tokio::net::unix::pipe;

/// See the module.
pub(crate) struct BootOutput {
    pipe: Arc<pipe::Receiver>,
    kept: Arc<Mutex<VecDeque<u8>>>,
}

impl BootOutput {
    /// Reads from this end of the pipe until every writer is gone.
    pub(crate) fn start(read_end: OwnedFd) -> std::io::Result<Self> {
        let pipe = Arc::new(pipe::Receiver::from_owned_fd(read_end)?);
        let kept = Arc::new(Mutex::new(VecDeque::new()));
        let (reading, keeping) = (Arc::clone(&pipe), Arc::clone(&kept));
        tokio::spawn(async move { while reading.readable().await.is_ok() && drain(&reading, &keeping) {} });
        Ok(Self { pipe, kept })
    }

    /// Everything printed so far (its end, when it is long), as text without control characters.
    pub(crate) fn text(&self) -> String {
        // What a process printed before its last word or its death is in the pipe already; the task may not have run since.
        drain(&self.pipe, &self.kept);
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, second) = kept.as_slices();
        let bytes = [first, second].concat();
        String::from_utf8_lossy(&bytes)
            .chars()
            .filter(|letter| !letter.is_control() || matches!(letter, '\n' | '\t'))
            .collect()
    }
}

/// Reads what is there. False when nothing can come any more.
fn drain(pipe: &pipe::Receiver, kept: &Mutex<VecDeque<u8>>) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match pipe.try_read(&mut buffer) {
            Ok(0) => return false,
            Ok(length) => {
                crate::log::write(&buffer[..length]);
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
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
