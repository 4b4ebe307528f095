//! The worker's own lines in the log: those of requests, and what it has to say itself. A worker never waits for whoever
//! reads the log: a line without room is dropped, counted, and told of as soon as there is room again. What the app prints
//! does wait (pipe(7)), and is never dropped here.

use std::{
    ffi::CString,
    sync::atomic::{AtomicU64, Ordering},
};

use empery_control::boot::AppBoot;

use crate::os;

/// What a line of the worker's own begins with (`log-date`).
pub(crate) fn date(boot: &AppBoot) -> String {
    let format = boot.request_log.prefix.as_deref().and_then(|text| CString::new(text).ok());
    format.map_or_else(String::new, |format| os::local_time(os::realtime_ns() / 1_000_000_000, &format))
}

/// See the module.
pub(crate) struct Log {
    /// A pipe to the master; else it is a file or a terminal.
    is_pipe: bool,
    lost_lines: AtomicU64,
}

impl Log {
    /// Of this process's stderr.
    pub(crate) fn new() -> Self {
        Self { is_pipe: os::is_pipe(libc::STDERR_FILENO), lost_lines: AtomicU64::new(0) }
    }

    /// Writes a line, its end included; lines up to PIPE_BUF are not mixed with others.
    pub(crate) fn write(&self, worker: u32, line: &[u8]) {
        if !self.is_pipe {
            return os::write_stderr(line);
        }
        let lost = self.lost_lines.load(Ordering::Relaxed);
        if lost > 0 {
            let note = format!("[worker {worker}] {lost} lines of this log were lost: nobody read it\n");
            match os::write_now(libc::STDERR_FILENO, note.as_bytes()) {
                Ok(()) => drop(self.lost_lines.fetch_sub(lost, Ordering::Relaxed)),
                Err(error) => return self.count(&error),
            }
        }
        if let Err(error) = os::write_now(libc::STDERR_FILENO, line) {
            self.count(&error);
        }
    }

    fn count(&self, error: &std::io::Error) {
        // Anything else than "no room" is the end of the log: nobody is left to be told.
        if os::would_block(error) {
            self.lost_lines.fetch_add(1, Ordering::Relaxed);
        }
    }
}
