//! Moves what the workers write from the vassal's log pipe into the log. Under an emperor the keeper holds a spare read end,
//! so the pipe outlives this process and its successor goes on reading.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use tokio::net::unix::pipe;

use super::Stream;

/// Most bytes taken at once: the capacity of a pipe on Linux (pipe(7)).
const READ_MAX_BYTES: usize = 64 * 1024;

/// When nothing more comes, what was dropped is told after this.
const TELL_AFTER: Duration = Duration::from_secs(1);

/// What is pumped: there is one pipe in a process.
static PUMP: OnceLock<Arc<Pump>> = OnceLock::new();

struct Pump {
    pipe: pipe::Receiver,
    stream: Mutex<Stream>,
}

/// Moves at once what is in the pipe: what a process wrote before its death is there, but the task may not have run since.
pub(crate) fn drain_now() {
    if let Some(pump) = PUMP.get() {
        pump.drain();
    }
}

/// Pumps until every writer is gone.
///
/// # Errors
/// When the descriptor is no pipe.
pub(crate) fn start(read_end: OwnedFd) -> std::io::Result<()> {
    let pump = Arc::new(Pump { pipe: pipe::Receiver::from_owned_fd(read_end)?, stream: Mutex::default() });
    PUMP.get_or_init(|| Arc::clone(&pump));
    tokio::spawn(async move {
        loop {
            let readable = match super::owes_note() {
                true => tokio::time::timeout(TELL_AFTER, pump.pipe.readable()).await,
                false => Ok(pump.pipe.readable().await),
            };
            match readable {
                Err(_elapsed) => super::tell_dropped(),
                Ok(Ok(())) if pump.drain() == Drained::Empty => {}
                Ok(_) => break,
            }
        }
        pump.stream().end();
    });
    Ok(())
}

#[derive(PartialEq, Eq)]
enum Drained {
    Empty,
    Ended,
}

impl Pump {
    fn drain(&self) -> Drained {
        let mut buffer = vec![0; READ_MAX_BYTES];
        // Whoever prints without end leaves the others of this process their turn.
        for _ in 0..16 {
            match self.pipe.try_read(&mut buffer) {
                Ok(0) => return Drained::Ended,
                Ok(length) => self.stream().write(&buffer[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Drained::Empty,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return Drained::Ended,
            }
        }
        Drained::Empty
    }

    fn stream(&self) -> MutexGuard<'_, Stream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
