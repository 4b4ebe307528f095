//! What the threads of a worker do at one moment, and for whom: collected by the worker in Python, or written by
//! faulthandler when no thread of it can run Python, and completed by its master from the scoreboard.

use std::fmt::Write;

use empery_lifecycle::ids::WorkerRef;
use serde::{Deserialize, Serialize};

/// Innermost frames that are kept of each thread.
pub const FRAMES_MAX: usize = 100;

/// Longest text of one word with stacks, in bytes, before JSON escapes it: it has to fit a control message.
pub const TEXT_MAX_BYTES: usize = 40 * 1024;

/// The threads of one worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStacks {
    /// Who it is.
    pub worker: WorkerRef,
    /// Its pid.
    pub pid: i32,
    /// How the stacks came about.
    pub source: Source,
    /// How long it took, in ms.
    pub took_ms: u64,
    /// What else is to be known: why there are no stacks, or why they did not come from Python.
    pub note: Option<String>,
    /// Those that serve a request first, the oldest request before the others.
    pub threads: Vec<ThreadStack>,
}

/// Who told the stacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A thread of the worker, in Python: with the names of the threads and the source lines.
    Python,
    /// faulthandler's signal handler, because no thread could run Python.
    Faulthandler,
    /// Nobody.
    Nobody,
}

/// One thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadStack {
    /// `threading`'s name for it, if it has one.
    pub name: Option<String>,
    /// `threading.get_ident()`.
    pub ident: u64,
    /// The number of the serving thread, from 0; None for a thread of the app's own.
    pub core: Option<u32>,
    /// The request it is inside.
    pub request: Option<RequestView>,
    /// Its Python frames, the outermost first.
    pub frames: Vec<Frame>,
    /// How many outer frames were left out.
    #[serde(default)]
    pub frames_left_out: u64,
    /// The one that faulthandler ran on: of a crash, the one that crashed.
    #[serde(default)]
    pub is_current: bool,
}

/// One Python frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// As its code object says.
    pub file: String,
    /// From 1; 0 when it is not known.
    pub line: u32,
    /// The function's name.
    pub function: String,
    /// The source line, when it could be read.
    pub code: Option<String>,
}

/// A request in flight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestView {
    /// Its method.
    pub method: String,
    /// Its target as it came.
    pub uri: String,
    /// Who asked; None on a unix socket.
    pub peer: Option<String>,
    /// For how long it has been running, in ms.
    pub age_ms: u64,
    /// The serving thread, from 0.
    pub core: u32,
    /// The how-many-eth request of its thread in this generation.
    pub number: u64,
    /// Its `X-Request-ID`, if it brought one.
    pub request_id: Option<String>,
}

impl RequestView {
    /// `GET /path (0.3 s, thread 2, from 192.0.2.7, request id abc)`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut text = format!(
            "{} {} ({}.{} s, thread {}",
            self.method,
            self.uri,
            self.age_ms / 1000,
            self.age_ms % 1000 / 100,
            self.core
        );
        if let Some(peer) = &self.peer {
            text.push_str(", from ");
            text.push_str(peer);
        }
        if let Some(id) = &self.request_id {
            text.push_str(", request id ");
            text.push_str(id);
        }
        text.push(')');
        text
    }
}

impl WorkerStacks {
    /// For people: what the log, an incident, the command line and the dashboard show.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let (worker, pid) = (self.worker, self.pid);
        let by = match self.source {
            Source::Python => "in Python",
            Source::Faulthandler => "by faulthandler",
            Source::Nobody => "no stack",
        };
        let _ = writeln!(
            text,
            "worker {} of generation {} (pid: {pid}): {by}, after {} ms",
            worker.worker.0, worker.generation, self.took_ms
        );
        if let Some(note) = &self.note {
            let _ = writeln!(text, "{note}");
        }
        for thread in &self.threads {
            thread.write(&mut text);
        }
        text
    }

    /// Puts those first that serve, and of these the oldest request.
    pub fn sort(&mut self) {
        self.threads.sort_by_key(|thread| {
            let age_ms = thread.request.as_ref().map_or(0, |request| request.age_ms);
            (thread.request.is_none(), u64::MAX - age_ms, thread.core.unwrap_or(u32::MAX))
        });
    }
}

impl ThreadStack {
    fn write(&self, text: &mut String) {
        let _ = match (&self.name, self.core) {
            (Some(name), _) => write!(text, "\nthread {name}"),
            (None, Some(core)) => write!(text, "\nserving thread {core}"),
            (None, None) => write!(text, "\nthread {:#x}", self.ident),
        };
        match (&self.request, self.core) {
            (Some(request), _) => {
                let _ = write!(text, " in {}", request.sentence());
            }
            (None, Some(_)) => text.push_str(", in no request"),
            (None, None) => {}
        }
        text.push('\n');
        text.push_str(&self.frames_text());
    }

    /// Its frames as Python prints a traceback.
    #[must_use]
    pub fn frames_text(&self) -> String {
        let mut text = String::new();
        if self.frames.is_empty() {
            text.push_str("  (no Python frame)\n");
        }
        if self.frames_left_out > 0 {
            let _ = writeln!(text, "  ({} outer frames are left out)", self.frames_left_out);
        }
        for frame in &self.frames {
            let _ = writeln!(text, "  File \"{}\", line {}, in {}", frame.file, frame.line, frame.function);
            if let Some(code) = &frame.code {
                let _ = writeln!(text, "    {code}");
            }
        }
        text
    }
}

/// Reads what faulthandler wrote (`_Py_DumpTracebackThreads`): a paragraph for each thread, the innermost frame first.
/// What is none of its lines is skipped.
#[must_use]
pub fn of_faulthandler(dump: &str) -> Vec<ThreadStack> {
    let mut threads: Vec<ThreadStack> = Vec::new();
    for line in dump.lines() {
        if let Some(thread) = thread_line(line) {
            threads.push(thread);
        } else if let Some(frame) = frame_line(line)
            && let Some(thread) = threads.last_mut()
            && thread.frames.len() < FRAMES_MAX
        {
            thread.frames.insert(0, frame);
        }
    }
    threads
}

/// `Thread 0x00007f3c2b7fe6c0 [name] (most recent call first):`, with `Current thread` for the one it ran on.
fn thread_line(line: &str) -> Option<ThreadStack> {
    let current = line.strip_prefix("Current thread ");
    let is_current = current.is_some();
    let rest = current.or_else(|| line.strip_prefix("Thread "))?;
    let (ident, rest) = rest.strip_prefix("0x")?.split_once(' ')?;
    let name = rest.strip_prefix('[').and_then(|rest| Some(rest.split_once(']')?.0.to_owned()));
    rest.ends_with("(most recent call first):").then_some(())?;
    let ident = u64::from_str_radix(ident, 16).ok()?;
    Some(ThreadStack { name, ident, core: None, request: None, frames: Vec::new(), frames_left_out: 0, is_current })
}

/// `  File "app.py", line 3 in view`.
fn frame_line(line: &str) -> Option<Frame> {
    let (file, rest) = line.strip_prefix("  File \"")?.rsplit_once("\", line ")?;
    let (number, function) = rest.split_once(" in ")?;
    let line = number.parse().unwrap_or(0);
    Some(Frame { file: file.to_owned(), line, function: function.to_owned(), code: None })
}

#[cfg(test)]
mod tests {
    use empery_lifecycle::ids::{GenerationId, WorkerId};

    use super::*;

    const DUMP: &str = "garbage\nThread 0x00007f3c2b7fe6c0 (most recent call first):\n  File \"/a/b.py\", line 7 in <lambda>\n  \
                        File \"/a/c \"d\".py\", line 9 in run\n\nCurrent thread 0x10 [main] (most recent call first):\n  <no Python frame>\n";

    #[test]
    fn what_faulthandler_writes_is_read_with_the_outermost_frame_first() {
        let threads = of_faulthandler(DUMP);
        assert_eq!(threads.iter().map(|thread| thread.ident).collect::<Vec<_>>(), [0x7f3c_2b7f_e6c0, 0x10]);
        let lines: Vec<_> = threads[0].frames.iter().map(|frame| (frame.file.as_str(), frame.line)).collect();
        assert_eq!(lines, [("/a/c \"d\".py", 9), ("/a/b.py", 7)]);
        assert_eq!(threads[0].frames[1].function, "<lambda>");
        assert_eq!((threads[1].name.as_deref(), threads[1].frames.len()), (Some("main"), 0));
        assert_eq!((threads[0].is_current, threads[1].is_current), (false, true));
    }

    #[test]
    fn the_text_begins_with_the_thread_that_has_been_stuck_for_longest() {
        let request = |age_ms, core| RequestView {
            method: "GET".to_owned(),
            uri: "/x".to_owned(),
            peer: Some("192.0.2.7".to_owned()),
            age_ms,
            core,
            number: 1,
            request_id: Some("abc".to_owned()),
        };
        let mut threads = of_faulthandler(DUMP);
        threads.push(ThreadStack { core: Some(3), request: Some(request(1_250, 3)), ..threads[0].clone() });
        threads.push(ThreadStack { core: Some(4), request: Some(request(99, 4)), ..threads[0].clone() });
        let worker = WorkerRef { generation: GenerationId(2), worker: WorkerId(1), spawn: 0 };
        let mut stacks =
            WorkerStacks { worker, pid: 7, source: Source::Faulthandler, took_ms: 600, note: None, threads };
        stacks.sort();
        let text = stacks.text();
        let first = text.lines().nth(2).unwrap();
        assert_eq!(first, "serving thread 3 in GET /x (1.2 s, thread 3, from 192.0.2.7, request id abc)");
        assert!(text.contains("  File \"/a/b.py\", line 7, in <lambda>\n"), "{text}");
    }
}
