//! What is said of signals to the master: at once by a process that has a line to it, and at import kept for the zygote
//! to say.

use std::{
    io,
    os::fd::BorrowedFd,
    sync::{Mutex, PoisonError},
};

use empery_control::{posts::FromPost, signals::SignalWord, worker::FromWorker};

use crate::{posts::PostProcess, worker::Worker};

static AT_IMPORT: Mutex<Vec<SignalWord>> = Mutex::new(Vec::new());

/// What the app has said while it was imported, where there was no line.
pub(crate) fn told_at_import() -> Vec<SignalWord> {
    std::mem::take(&mut *AT_IMPORT.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Whether anybody hears it at once.
pub(super) fn has_line() -> bool {
    Worker::here().is_some() || PostProcess::here().is_some()
}

/// Says it, with descriptors.
pub(super) fn say(word: SignalWord, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    if let Some(post) = PostProcess::here() {
        return post.say(&FromPost::Signals { word }, descriptors);
    }
    match Worker::here() {
        Some(worker) => worker.line.say(&FromWorker::Signals { word }, descriptors),
        None => {
            AT_IMPORT.lock().unwrap_or_else(PoisonError::into_inner).push(word);
            Ok(())
        }
    }
}
