//! Why a worker ended, as far as can be known: how, what it was serving, where it was (faulthandler's file), whether the
//! kernel killed it for want of memory, and what was written to the log last. One sentence first, evidence below it.

use std::sync::atomic::Ordering;

use empery_control::{
    link::{EVIDENCE_MAX_BYTES, Severity, WorkerPhase},
    stacks::{Frame, RequestView, ThreadStack, WorkerStacks, of_faulthandler},
};
use empery_lifecycle::ids::WorkerRef;
use empery_sys::{oom, process::How};
use nix::sys::signal::Signal;

use super::{Supervisor, generation::WorkerHandle, in_flight, stacks::crash_text};
use crate::{clock, log};

/// How many lines of the log are shown.
const LAST_LINES: usize = 20;

/// What the master knows of its own part in a death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KilledFor {
    /// It had closed its channel: nobody could ask it anything any more.
    Silence,
    /// Its time to finish was over.
    Mercy,
    /// It booted for something that was given up, or for too long.
    Boot,
}

/// What is known of a death.
pub(super) struct Death {
    /// In one sentence, without the subject.
    pub(super) how: String,
    /// Everything else.
    pub(super) evidence: String,
}

impl Supervisor {
    /// A worker has ended: what is known, before its handle goes.
    pub(super) fn explain(&mut self, worker: WorkerRef, how: How) -> Death {
        let requests = self.take_lost_requests(worker);
        let Some(handle) = self.worker_mut(worker) else {
            return Death { how: how.to_string(), evidence: String::new() };
        };
        let crash = if is_fatal(how) { crash_text(handle) } else { String::new() };
        let threads = of_faulthandler(&crash);
        let sentence = sentence(handle, how, &threads, &requests);
        let is_ours = handle.condemned.is_some() || handle.killed_for.is_some();
        let counts =
            handle.kill_counts.clone().filter(|counts| is_kill(how) && !is_ours && counts.sentence().is_some());
        let last_words = handle.last_words.take();
        let mut evidence = String::new();
        if !requests.is_empty() {
            evidence.push_str("it was serving:\n");
            requests.iter().for_each(|request| evidence.push_str(&format!("  {}\n", request.sentence())));
        }
        if let Some(pressure) = handle.kill_counts.as_ref().and_then(oom::KillCounts::evidence).filter(|_| is_kill(how))
        {
            evidence.push_str(&pressure);
            evidence.push('\n');
        }
        if !crash.trim().is_empty() {
            evidence.push_str(&format!("its stack, as faulthandler wrote it:\n{}\n", crash.trim_end()));
        }
        if let Some(words) = &last_words {
            evidence.push_str(&format!("where it was when its mercy was over:\n{}\n", words.trim_end()));
        }
        let output = log::last_lines(LAST_LINES, matches!(self.station, crate::station::Station::Alone(_)));
        if !output.is_empty() {
            evidence.push_str(&format!("the last lines of the log:\n{}\n", output.trim_end()));
        }
        if let Some(counts) = counts {
            self.memory_kill_told(&counts);
        }
        Death { how: sentence, evidence: inert(&evidence) }
    }

    /// The kernel has killed one for want of memory, and it is told: the ends of others have other reasons.
    pub(super) fn memory_kill_told(&mut self, counts: &oom::KillCounts) {
        for generation in self.generations.values_mut() {
            let of_workers = generation.workers.values_mut().filter_map(|handle| handle.kill_counts.as_mut());
            let of_zygote = generation.zygote.iter_mut().map(|zygote| &mut zygote.kill_counts);
            of_workers.chain(of_zygote).for_each(|others| others.told_of(counts));
        }
        let of_orphans = self.orphans.values_mut().filter_map(|orphan| orphan.handle.kill_counts.as_mut());
        of_orphans.for_each(|others| others.told_of(counts));
    }

    /// Whether one that is to be killed is asked before what it does: a request keeps it from leaving. Somebody who has the
    /// vassal stop at once does not have that second.
    pub(super) fn is_worth_asking(&self, worker: WorkerRef) -> bool {
        let drains = |handle: &WorkerHandle| handle.phase == WorkerPhase::Draining && handle.exit.is_none();
        let serves = |board| in_flight::serves(board, worker);
        !self.stops_at_once
            && self.worker(worker).is_some_and(drains)
            && self.scoreboard_of(worker.generation).is_some_and(serves)
    }

    /// It has told, or cannot: now it is killed.
    pub(super) fn last_words_are(&mut self, worker: WorkerRef, stacks: &WorkerStacks) {
        if let Some(handle) = self.worker_mut(worker).filter(|handle| handle.exit.is_none()) {
            handle.last_words = Some(stacks.text());
            self.kill(worker);
        }
    }

    /// Of one that was on its way out no report tells.
    pub(super) fn tell_of_unfinished(&mut self, worker: WorkerRef, death: &Death) {
        let text =
            format!("worker {} of generation {} did not finish: {}", worker.worker.0, worker.generation, death.how);
        let text = if death.evidence.is_empty() { text } else { format!("{text}\n{}", death.evidence) };
        self.notice(Severity::Incident, "worker-unfinished", text, Some(worker));
    }

    /// What it was serving is counted as failed, and its slots are free.
    fn take_lost_requests(&mut self, worker: WorkerRef) -> Vec<RequestView> {
        let Some(board) = self.scoreboard_of(worker.generation) else { return Vec::new() };
        let Some(pid) = self.worker(worker).and_then(|handle| handle.pid) else { return Vec::new() };
        let now = clock::now();
        let mut lost = Vec::new();
        for serving in in_flight::serving_of(board, worker, pid) {
            if let Some(view) = serving.view(now) {
                serving.slot.counters.requests.fetch_add(1, Ordering::Relaxed);
                serving.slot.counters.errors_5xx.fetch_add(1, Ordering::Relaxed);
                lost.push(view);
            }
            serving.slot.end();
        }
        lost
    }
}

/// Whether faulthandler catches it.
pub(super) fn is_fatal(how: How) -> bool {
    let fatal = [Signal::SIGSEGV, Signal::SIGABRT, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL];
    matches!(how, How::Signal(number) if fatal.iter().any(|signal| *signal as i32 == number))
}

pub(super) fn is_kill(how: How) -> bool {
    how == How::Signal(Signal::SIGKILL as i32)
}

fn sentence(handle: &WorkerHandle, how: How, threads: &[ThreadStack], requests: &[RequestView]) -> String {
    let serving = match requests {
        [] => String::new(),
        [only] => format!(" while it served {} {}", only.method, only.uri),
        [first, rest @ ..] => format!(" while it served {} {} and {} more", first.method, first.uri, rest.len()),
    };
    if let Some(condemned) = &handle.condemned {
        return condemned.clone();
    }
    let out_of_memory = handle.kill_counts.as_ref().and_then(oom::KillCounts::sentence);
    match (how, handle.killed_for, out_of_memory) {
        (How::Signal(_), Some(KilledFor::Mercy), _) if is_kill(how) => {
            format!("its mercy was over and it was killed{serving}")
        }
        (How::Signal(_), Some(KilledFor::Boot), _) if is_kill(how) => "it was given up while it booted".to_owned(),
        (How::Signal(_), Some(KilledFor::Silence), _) if is_kill(how) => format!(
            "it closed its channel to the master{serving} (the app closes descriptors that are not its own?) and was killed"
        ),
        (How::Signal(_), None, Some(memory)) if is_kill(how) => format!("{memory}{serving}"),
        (How::Signal(_), ..) if is_kill(how) => format!("{how}{serving}; somebody sent it, not the master"),
        (How::Signal(_), ..) => format!("{how}{}{serving}", at(threads)),
        (How::Code(_), ..) if requests.is_empty() => how.to_string(),
        // Not by an exception: that is a 500.
        (How::Code(_), ..) => format!("{how}{serving}; the app, or C code in it, ended the process"),
    }
}

/// Where the thread was that got the signal.
fn at(threads: &[ThreadStack]) -> String {
    let current = threads.iter().find(|thread| thread.is_current);
    // A thread that Python does not know is in no function of it; a guess would blame another.
    let crashed = current.or(match threads {
        [only] => Some(only),
        _ => None,
    });
    let innermost: Option<&Frame> = crashed.and_then(|thread| thread.frames.last());
    innermost.map_or_else(String::new, |frame| format!(" in {} ({}:{})", frame.function, frame.file, frame.line))
}

/// For logs and terminals; its beginning, when it is long.
fn inert(text: &str) -> String {
    let clean = text.chars().filter(|letter| !letter.is_control() || matches!(letter, '\n' | '\t'));
    let mut kept = String::new();
    for letter in clean {
        if kept.len() + letter.len_utf8() > EVIDENCE_MAX_BYTES {
            break;
        }
        kept.push(letter);
    }
    kept
}

impl WorkerHandle {
    /// The machine wants it killed.
    pub(super) fn kill_reason(&self) -> KilledFor {
        match self.phase {
            WorkerPhase::Draining | WorkerPhase::Serving | WorkerPhase::Orphan => KilledFor::Mercy,
            WorkerPhase::Booting => KilledFor::Boot,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_cannot_steer_a_terminal_and_ends() {
        assert_eq!(inert("a\u{1b}[2Jb\tc\n"), "a[2Jb\tc\n");
        assert!(inert(&"ä".repeat(EVIDENCE_MAX_BYTES)).len() <= EVIDENCE_MAX_BYTES);
    }

    #[test]
    fn a_crash_is_where_the_thread_was_that_faulthandler_ran_on() {
        let other = "Thread 0x1 (most recent call first):\n  File \"a.py\", line 1 in waits\n\n";
        let crashed = "Current thread 0x2 (most recent call first):\n  File \"b.py\", line 2 in crashes\n";
        assert_eq!(at(&of_faulthandler(&format!("{other}{crashed}"))), " in crashes (b.py:2)");
        assert_eq!(at(&of_faulthandler(&format!("{other}{}", other.replace("0x1", "0x3")))), "", "nobody knows");
        assert_eq!(at(&of_faulthandler(other)), " in waits (a.py:1)");
    }

    #[test]
    fn a_segfault_is_fatal_and_a_kill_is_not() {
        assert!(is_fatal(How::Signal(11)) && !is_fatal(How::Signal(9)) && !is_fatal(How::Code(11)));
    }
}
