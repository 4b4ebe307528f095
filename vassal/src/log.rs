//! Where everything that the vassal says and its app prints goes: the vassal's own stderr, or a file that rotates (`logto`;
//! under an emperor always).
//!
//! Saying something never fails: a full disk loses lines of the log, never a request, and how much was lost is told when
//! there is room again.

pub(crate) mod file;
mod last;
mod lines;
pub(crate) mod pump;
mod retire;

use std::{
    io::Write,
    sync::{Mutex, MutexGuard, PoisonError},
};

use empery_config::vassal::Log as Configured;

use self::{
    file::{Care, LogFile},
    lines::{Kind, Lines, Rate, Shape},
};

static LOG: Mutex<Log> = Mutex::new(Log { file: None, shape: Shape::Plain, rate: Rate::unlimited(), made: Vec::new() });

struct Log {
    /// None: stderr is the log.
    file: Option<LogFile>,
    shape: Shape,
    rate: Rate,
    /// Room for what is about to be written.
    made: Vec<u8>,
}

/// What one writer prints, in pieces as they come.
#[derive(Default)]
pub(crate) struct Stream(Lines);

/// Sends what is said from now on to this file.
pub(crate) fn use_file(file: LogFile) {
    lock().file = Some(file);
}

/// Shapes and bounds what is said from now on as a configuration wants it.
pub(crate) fn follow(config: &Configured) {
    let mut log = lock();
    log.shape = if config.json { Shape::Json } else { Shape::Plain };
    log.rate = Rate::of(config.lines_per_s_max);
}

/// One line of the master's own: never dropped by the rate.
pub(crate) fn say(line: &str) {
    let mut log = lock();
    log.made.clear();
    let Log { shape, made, .. } = &mut *log;
    shape.line(Kind::Vassal, line.as_bytes(), made);
    log.put();
}

impl Stream {
    /// Bytes of the app, as they came.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        last::keep(bytes);
        let mut log = lock();
        log.made.clear();
        let Log { shape, rate, made, .. } = &mut *log;
        self.0.take(bytes, *shape, rate, crate::clock::unix_s(), made);
        log.put();
    }

    /// Nothing more comes: what has no line's end is a line.
    pub(crate) fn end(&mut self) {
        let mut log = lock();
        log.made.clear();
        let Log { shape, made, .. } = &mut *log;
        self.0.end(*shape, made);
        log.put();
    }
}

/// The last lines that the app wrote. Where it writes to a file itself, those of the file, with the master's own among them.
pub(crate) fn last_lines(number: usize) -> String {
    pump::drain_now();
    last::lines(number)
}

/// Whether lines were dropped that nobody was told of yet.
pub(crate) fn owes_note() -> bool {
    lock().rate.owes_note()
}

/// Tells how many lines were dropped, when the second in which they came is over.
pub(crate) fn tell_dropped() {
    let mut log = lock();
    log.made.clear();
    let Log { shape, rate, made, .. } = &mut *log;
    rate.tell(*shape, crate::clock::unix_s(), made);
    log.put();
}

/// Takes care of the file otherwise from now on.
pub(crate) fn take_care(care: Care) {
    if let Some(file) = lock().file.as_mut() {
        file.set_care(care);
    }
}

/// Empties the file.
pub(crate) fn truncate() {
    if let Some(file) = lock().file.as_mut() {
        // One that cannot be emptied is appended to.
        let _ = file.truncate();
    }
}

/// Closes the file and opens what has its name now; nothing to do on stderr.
pub(crate) fn reopen() {
    if let Some(file) = lock().file.as_mut() {
        file.reopen();
    }
}

/// Begins a new file; nothing to do on stderr.
pub(crate) fn rotate() {
    if let Some(file) = lock().file.as_mut() {
        file.rotate();
    }
}

impl Log {
    fn put(&mut self) {
        if self.made.is_empty() {
            return;
        }
        match &mut self.file {
            Some(file) => file.append(&self.made, self.shape),
            // Nobody is left to be told when stderr itself is gone.
            None => drop(std::io::stderr().write_all(&self.made)),
        }
    }
}

fn lock() -> MutexGuard<'static, Log> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}
