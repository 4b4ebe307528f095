//! Where everything that the vassal says and its app prints goes: the vassal's own stderr when it runs alone (a
//! `logto` file has taken the place of stderr by then), a file that rotates under an emperor.
//!
//! Saying something never fails: a full disk loses lines of the log, never a request.

pub(crate) mod file;
pub(crate) mod pump;

use std::{
    io::Write,
    sync::{Mutex, MutexGuard, PoisonError},
};

use self::file::LogFile;

/// Some under an emperor; without it stderr is the log.
static FILE: Mutex<Option<LogFile>> = Mutex::new(None);

/// Sends what is said from now on to this file.
pub(crate) fn use_file(file: LogFile) {
    *lock() = Some(file);
}

/// One line of the master's own.
pub(crate) fn say(line: &str) {
    let mut bytes = Vec::with_capacity(line.len() + 1);
    bytes.extend_from_slice(line.as_bytes());
    bytes.push(b'\n');
    write(&bytes);
}

/// Bytes of the app, as they came.
pub(crate) fn write(bytes: &[u8]) {
    match lock().as_mut() {
        Some(file) => file.append(bytes),
        // Nobody is left to be told when stderr itself is gone.
        None => drop(std::io::stderr().write_all(bytes)),
    }
}

/// Reopens the file under its name (logrotate has moved it); nothing to do on stderr.
pub(crate) fn reopen() {
    if let Some(file) = lock().as_mut() {
        file.reopen();
    }
}

fn lock() -> MutexGuard<'static, Option<LogFile>> {
    FILE.lock().unwrap_or_else(PoisonError::into_inner)
}
