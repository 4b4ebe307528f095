//! Moves what the workers write from the vassal's log pipe into the log. Under an emperor the keeper holds a spare read end,
//! so the pipe outlives this process and its successor goes on reading.

use std::{os::fd::OwnedFd, time::Duration};

use tokio::net::unix::pipe;

use super::Stream;

/// Most bytes taken at once: the capacity of a pipe on Linux (pipe(7)).
const READ_MAX_BYTES: usize = 64 * 1024;

/// When nothing more comes, what was dropped is told after this.
const TELL_AFTER: Duration = Duration::from_secs(1);

/// Pumps until every writer is gone.
///
/// # Errors
/// When the descriptor is no pipe.
pub(crate) fn start(read_end: OwnedFd) -> std::io::Result<()> {
    let pipe = pipe::Receiver::from_owned_fd(read_end)?;
    tokio::spawn(async move {
        let mut stream = Stream::default();
        loop {
            let readable = match super::owes_note() {
                true => tokio::time::timeout(TELL_AFTER, pipe.readable()).await,
                false => Ok(pipe.readable().await),
            };
            match readable {
                Err(_elapsed) => super::tell_dropped(),
                Ok(Ok(())) if drain(&pipe, &mut stream) == Drained::Empty => {}
                Ok(_) => break,
            }
        }
        stream.end();
    });
    Ok(())
}

#[derive(PartialEq, Eq)]
enum Drained {
    Empty,
    Ended,
}

fn drain(pipe: &pipe::Receiver, stream: &mut Stream) -> Drained {
    let mut buffer = vec![0; READ_MAX_BYTES];
    // Whoever prints without end leaves the others of this process their turn.
    for _ in 0..16 {
        match pipe.try_read(&mut buffer) {
            Ok(0) => return Drained::Ended,
            Ok(length) => stream.write(&buffer[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Drained::Empty,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return Drained::Ended,
        }
    }
    Drained::Empty
}
