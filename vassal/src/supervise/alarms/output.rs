//! What the commands of alarms print: said as lines about an alarm, so that none of them raises one.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
};

use empery_sys::pipe::cloexec_pipe;
use tokio::net::unix::pipe::Receiver;

use crate::log;

/// Longest line, in bytes: a longer one is broken.
const LINE_MAX_BYTES: usize = 4096;

/// How much of one command is said, in bytes: it prints past `log-max-rate`.
const OUTPUT_MAX_BYTES: usize = 64 * 1024;

/// Most reads before others get their turn: as much as a pipe holds (pipe(7)).
const READS_MAX: usize = 16;

/// The end of a command's pipe that is read.
#[derive(Clone)]
pub(super) struct Output(Arc<Pipe>);

struct Pipe {
    end: Receiver,
    lines: Mutex<Lines>,
}

impl Output {
    /// A new pipe, read until every writer is gone, and the end for the writers.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub(super) fn new() -> io::Result<(Output, OwnedFd)> {
        let (read, write) = cloexec_pipe()?;
        Ok((Output::follow(read)?, write))
    }

    /// Reads a pipe until every writer is gone.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn follow(read: OwnedFd) -> io::Result<Output> {
        let output = Output(Arc::new(Pipe { end: Receiver::from_owned_fd(read)?, lines: Mutex::default() }));
        let followed = output.clone();
        tokio::spawn(async move {
            let end = &followed.0.end;
            while end.readable().await.is_ok() && !followed.say(|room| end.try_read(room)) {}
        });
        Ok(output)
    }

    /// Says at once what is there: what a process wrote before its end is, but the task may not have run since.
    pub(super) fn say_now(&self) {
        self.say(|room| Ok(nix::unistd::read(self, room)?));
    }

    /// Says what is there; whether its end is reached.
    fn say(&self, read: impl Fn(&mut [u8]) -> io::Result<usize>) -> bool {
        let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut room = [0; LINE_MAX_BYTES];
        for _ in 0..READS_MAX {
            let bytes = match read(&mut room) {
                Ok(length @ 1..) => &room[..length],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(0) | Err(_) => {
                    lines.end(say);
                    return true;
                }
            };
            lines.take(bytes, say);
        }
        false
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.end.as_fd()
    }
}

fn say(line: &str) {
    log::say_quietly(&format!("[uwsgi-alarm] {line}"));
}

/// From pieces to lines.
#[derive(Default)]
struct Lines {
    begun: Vec<u8>,
    taken_bytes: usize,
}

impl Lines {
    fn take(&mut self, bytes: &[u8], mut say: impl FnMut(&str)) {
        let room = OUTPUT_MAX_BYTES - self.taken_bytes;
        let taken = &bytes[..bytes.len().min(room)];
        self.taken_bytes += taken.len();
        for piece in taken.split_inclusive(|byte| *byte == b'\n') {
            for part in piece.chunks(LINE_MAX_BYTES) {
                if self.begun.len() + part.len() > LINE_MAX_BYTES {
                    self.end(&mut say);
                }
                self.begun.extend_from_slice(part);
            }
            if piece.ends_with(b"\n") {
                self.begun.pop();
                self.end_line(&mut say);
            }
        }
        if room > 0 && taken.len() < bytes.len() {
            self.end(&mut say);
            say(&format!("the command prints more than {OUTPUT_MAX_BYTES} bytes: the rest is not logged"));
        }
    }

    /// What has no line's end is a line.
    fn end(&mut self, say: impl FnMut(&str)) {
        if !self.begun.is_empty() {
            self.end_line(say);
        }
    }

    fn end_line(&mut self, mut say: impl FnMut(&str)) {
        say(&String::from_utf8_lossy(&self.begun));
        self.begun.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(pieces: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut said) = (Lines::default(), Vec::new());
        pieces.iter().for_each(|piece| lines.take(piece, |line| said.push(line.to_owned())));
        lines.end(|line| said.push(line.to_owned()));
        said
    }

    #[test]
    fn pieces_become_lines_and_long_ones_are_broken() {
        assert_eq!(said(&[b"a", b"b\n\nc\n", b"end \xff"]), ["ab", "", "c", "end \u{fffd}"]);
        let long = vec![b'x'; LINE_MAX_BYTES + 1];
        let lengths: Vec<_> = said(&[&long[..10], &long]).iter().map(String::len).collect();
        assert_eq!(lengths, [10, LINE_MAX_BYTES, 1]);
    }

    #[test]
    fn a_command_that_prints_without_end_is_not_all_said() {
        let full = vec![b'x'; OUTPUT_MAX_BYTES];
        let said = said(&[&full[1..], b"\nlost\n", b"lost\n"]);
        assert!(said.last().unwrap().contains("the rest is not logged"), "{:?}", said.last());
        assert!(!said.iter().any(|line| line == "lost"));
        assert_eq!(said.len(), OUTPUT_MAX_BYTES / LINE_MAX_BYTES + 1);
    }
}
