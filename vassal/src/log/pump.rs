//! Moves what the workers write from the vassal's log pipe into the log. The emperor's keeper holds a spare read end,
//! so the pipe outlives this process and its successor goes on reading.

use std::os::fd::OwnedFd;

use tokio::net::unix::pipe;

/// Most bytes taken at once: the capacity of a pipe on Linux (pipe(7)).
const READ_MAX_BYTES: usize = 64 * 1024;

/// Pumps until every writer is gone.
///
/// # Errors
/// When the descriptor is no pipe.
pub(crate) fn start(read_end: OwnedFd) -> std::io::Result<()> {
    let pipe = pipe::Receiver::from_owned_fd(read_end)?;
    tokio::spawn(async move {
        while pipe.readable().await.is_ok() {
            if drain(&pipe) == Drained::Ended {
                break;
            }
        }
    });
    Ok(())
}

#[derive(PartialEq, Eq)]
enum Drained {
    Empty,
    Ended,
}

fn drain(pipe: &pipe::Receiver) -> Drained {
    let mut buffer = vec![0; READ_MAX_BYTES];
    loop {
        match pipe.try_read(&mut buffer) {
            Ok(0) => return Drained::Ended,
            Ok(length) => super::write(&buffer[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Drained::Empty,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return Drained::Ended,
        }
    }
}
