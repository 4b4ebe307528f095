//! Where everything that the vassal says and its app prints goes: the vassal's own stderr, or a file that rotates (`logto`;
//! under an emperor always).
//!
//! Where loggers, routes or encoders are named, each line is looked at, and goes where [`sorter`] sends it.
//!
//! Saying something never fails: a full disk loses lines of the log, never a request, and how much was lost is told when
//! there is room again.

pub(crate) mod alarms;
mod encode;
pub(crate) mod file;
mod last;
mod lines;
mod outlet;
pub(crate) mod pump;
mod retire;
mod sorter;

use std::{
    borrow::Cow,
    io::Write,
    sync::{Mutex, MutexGuard, PoisonError},
};

use empery_config::vassal::Log as Configured;
use empery_control::boot::REQUEST_LINE_MARK;

use self::{
    alarms::Watch,
    file::{Care, LogFile},
    lines::{Kind, Lines, Rate, Shape},
    sorter::{Sorter, Whose},
};

static LOG: Mutex<Log> = Mutex::new(Log {
    file: None,
    sorter: None,
    watch: None,
    shape: Shape::Plain,
    prefix: None,
    rate: Rate::unlimited(),
    made: Vec::new(),
    sorted: Vec::new(),
});

struct Log {
    /// None: stderr is the log.
    file: Option<LogFile>,
    /// None: every line goes there as it is.
    sorter: Option<Sorter>,
    /// What lines raise alarms.
    watch: Option<Watch>,
    /// What lines look like.
    shape: Shape,
    /// What the vassal's own lines begin with (`log-date`), a format of strftime(3).
    prefix: Option<String>,
    rate: Rate,
    /// Room for what is about to be written.
    made: Vec<u8>,
    /// Room for what of it no logger takes.
    sorted: Vec<u8>,
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
    log.prefix = config.prefix.clone().filter(|_| !config.json);
    log.rate = Rate::of(config.lines_per_s_max);
    log.watch = Watch::of(&config.alarms);
}

/// Opens the loggers that a configuration names, with the rights that this process has by now.
pub(crate) fn open_loggers(config: &Configured) {
    let mut log = lock();
    log.sorter = Sorter::open(config, log.sorter.take());
}

/// One line of the master's own: never dropped by the rate.
pub(crate) fn say(line: &str) {
    let mut log = lock();
    let dated = log.dated(line);
    if let Some(watch) = &mut log.watch {
        watch.look(dated.as_bytes());
    }
    log.put_own(&dated);
}

/// The same of a line that raises no alarm: one about an alarm, which would have no end, and what was in the log before.
pub(crate) fn say_quietly(line: &str) {
    let mut log = lock();
    let dated = log.dated(line);
    log.put_own(&dated);
}

/// Whether the vassal's own lines begin with a date.
pub(crate) fn is_dated() -> bool {
    lock().prefix.is_some()
}

impl Stream {
    /// Bytes of the app, as they came.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        last::keep(bytes);
        let mut log = lock();
        log.made.clear();
        let shape = log.shape_of_prints();
        let Log { rate, made, .. } = &mut *log;
        self.0.take(bytes, shape, rate, crate::clock::unix_s(), made);
        log.put(Made::AsPrinted);
    }

    /// Nothing more comes: what has no line's end is a line.
    pub(crate) fn end(&mut self) {
        let mut log = lock();
        log.made.clear();
        let shape = log.shape_of_prints();
        self.0.end(shape, &mut log.made);
        log.put(Made::AsPrinted);
    }
}

/// The last lines that the app wrote. Where it writes to a file itself, those of the file, with the master's own among them.
pub(crate) fn last_lines(number: usize, alone: bool) -> String {
    pump::drain_now();
    last::lines(number, alone)
}

/// Whether lines were dropped that nobody was told of yet.
pub(crate) fn owes_note() -> bool {
    lock().rate.owes_note()
}

/// Tells how many lines were dropped, when the second in which they came is over.
pub(crate) fn tell_dropped() {
    let mut log = lock();
    log.made.clear();
    let shape = log.shape_of_prints();
    let Log { rate, made, .. } = &mut *log;
    rate.tell(shape, crate::clock::unix_s(), made);
    log.put(Made::AsPrinted);
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
    lock().each_file(LogFile::reopen);
}

/// Begins a new file; nothing to do on stderr.
pub(crate) fn rotate() {
    lock().each_file(LogFile::rotate);
}

impl Log {
    fn dated<'l>(&self, line: &'l str) -> Cow<'l, str> {
        match self.prefix.as_deref() {
            Some(format) => Cow::Owned(crate::clock::local_time(format) + line),
            None => Cow::Borrowed(line),
        }
    }

    fn put_own(&mut self, line: &str) {
        self.made.clear();
        let shape = self.shape;
        shape.line(Kind::Vassal, line.as_bytes(), &mut self.made);
        self.put(Made::InShape);
    }

    fn put(&mut self, how: Made) {
        let Log { file, sorter, watch, shape, made, sorted, .. } = self;
        let bytes = match sorter {
            Some(sorter) => {
                sorted.clear();
                match how {
                    Made::InShape => sort(sorter, None, Shape::Whole, made, sorted),
                    Made::AsPrinted => sort(sorter, watch.as_mut(), *shape, made, sorted),
                }
                sorted
            }
            None => made,
        };
        if bytes.is_empty() {
            return;
        }
        match file {
            Some(file) => file.append(bytes, *shape),
            // Nobody is left to be told when stderr itself is gone.
            None => drop(std::io::stderr().write_all(bytes)),
        }
    }

    /// Lines that are sorted are waited for until they are whole, and take their shape only then.
    fn shape_of_prints(&self) -> Shape {
        if self.sorter.is_some() { Shape::Whole } else { self.shape }
    }

    fn each_file(&mut self, mut act: impl FnMut(&mut LogFile)) {
        if let Some(sorter) = &mut self.sorter {
            sorter.each_file(&mut act);
        }
        self.file.iter_mut().for_each(act);
    }
}

/// How lines were made that are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    /// They look as they shall.
    InShape,
    /// They are what somebody has printed.
    AsPrinted,
}

/// Sends each of these lines its way, in this shape.
fn sort(sorter: &mut Sorter, mut watch: Option<&mut Watch>, shape: Shape, lines: &[u8], standard: &mut Vec<u8>) {
    let mut mark = [0; 4];
    let mark = REQUEST_LINE_MARK.encode_utf8(&mut mark).as_bytes();
    let mut object = Vec::new();
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let of_request = line.strip_prefix(mark);
        let whose = if of_request.is_some() { Whose::Request } else { Whose::Other };
        // Lines of requests that have loggers of their own raise none, as in uWSGI.
        if let Some(watch) = watch.as_mut().filter(|_| whose == Whose::Other || !sorter.separates_requests()) {
            watch.look(of_request.unwrap_or(line));
        }
        let text = match shape {
            Shape::Json => {
                object.clear();
                shape.line(Kind::App, line, &mut object);
                object.strip_suffix(b"\n").unwrap_or(&object)
            }
            Shape::Plain | Shape::Whole => of_request.unwrap_or(line),
        };
        sorter.put(whose, text, standard);
    }
}

fn lock() -> MutexGuard<'static, Log> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}
