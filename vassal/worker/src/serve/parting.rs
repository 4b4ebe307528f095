//! Parting: a worker with one thread that is stuck in a request gives its other connections to a sibling, through the
//! master, so that no client waits behind somebody else's slow view. A thread for that would be a thread beside apps that
//! fork; so it is a signal handler, raised by a timer, that acts only while the app runs.
//!
//! A worker that its master has relieved while it is stuck gives all of them away, whether it has siblings or not: there
//! is a new generation, or a successor, which only the master knows.
//!
//! What runs in the handler allocates nothing, waits for nothing, and touches what the loop owns only because the loop
//! cannot be at work: it has called the app. The loop settles what happened when it comes back ([`Serving::settle`]).
//!
//! The handler restarts system calls (SA_RESTART) and tells Python nothing, so Python code does not see it (PEP 475). It
//! comes at 10 ms, 20 ms, 40 ms and so on: code in C that waits again for its whole timeout whenever it is interrupted
//! still reaches its end.

use std::{
    io,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use empery_control::{
    boot::AppListener,
    framing,
    scoreboard::{FLAG_ACCEPTING, Slot},
    worker::{self as words, FromWorker, Proxied},
};

use super::{
    Phase, SERVING, Serving,
    connection::Connection,
    lead::{self, SPECIAL},
    now_ms,
    slab::Place,
};
use crate::{
    alarm::{self, Timer},
    epoll::{Events, NO_EVENTS, Watch},
    os,
    worker::Worker,
};

/// How long a request may run before connections with something to read are given away, in ms.
const FIRST_MS: u64 = 10;

/// How long before those are, too, from which nothing has come, in ms.
const IDLE_TOO_MS: u64 = 50;

/// Such a connection must have been in use so lately, in ms.
const LATELY_MS: u64 = 10_000;

/// How soon a relieved worker begins, in ms.
const AT_ONCE_MS: u64 = 1;

/// Most connections that are given away at once.
const AT_ONCE_MAX: usize = 64;

/// A sibling that has been inside a request for so long is not one to give anything to, in ms.
const SIBLING_MAX_MS: u64 = 5;

/// Which of the real-time signals the timer raises.
fn signal() -> i32 {
    libc::SIGRTMIN() + 7
}

/// Which of them the master raises that relieves this worker.
fn relief_signal() -> i32 {
    libc::SIGRTMIN() + 13
}

/// Takes the signal of a master that relieves a worker of one thread, if it is free.
pub(crate) fn install() -> Option<i32> {
    alarm::catch_if_default(relief_signal(), on_relief).unwrap_or(false).then(relief_signal)
}

/// See the module.
pub(super) struct Parting {
    timer: Timer,
    is_armed: AtomicBool,
    /// The timer is set for a request that is old: too far away for the next one.
    is_far: AtomicBool,
    has_parted: AtomicBool,
    /// When to try again to give everything away, in ms from a try; 0 when this worker was not relieved.
    relieved_ms: AtomicU64,
    has_siblings: bool,
    /// When the request began, on the monotonic clock in ns, that goes on and is not shown any more; 0 when there is none.
    hidden_since_ns: AtomicU64,
    /// The words that say where a connection goes, for each listener: a handler cannot make them.
    words: Vec<Template>,
}

impl Parting {
    /// For a worker that has one thread; called on that thread.
    pub(super) fn new(worker: &Worker) -> io::Result<Option<Self>> {
        let boot = worker.boot;
        if boot.threads > 1 {
            return Ok(None);
        }
        if !alarm::catch_if_default(signal(), on_signal)? {
            worker.log(&format!("the app uses signal {}: clients may wait behind slow requests", signal()));
            return Ok(None);
        }
        let words = boot.listeners.iter().map(|listener| Template::new(listener, None, !listener.proxy_protocol));
        Ok(Some(Self {
            timer: Timer::for_this_thread(signal())?,
            is_armed: AtomicBool::new(false),
            is_far: AtomicBool::new(false),
            has_parted: AtomicBool::new(false),
            relieved_ms: AtomicU64::new(0),
            has_siblings: boot.processes > 1,
            hidden_since_ns: AtomicU64::new(0),
            words: words.collect::<io::Result<_>>()?,
        }))
    }

    fn is_relieved(&self) -> bool {
        self.relieved_ms.load(Ordering::Relaxed) != 0
    }

    /// Twice as long each time, as for those that are not relieved.
    fn relief_pause_ms(&self) -> u64 {
        let pause_ms = self.relieved_ms.load(Ordering::Relaxed);
        self.relieved_ms.store(pause_ms.saturating_mul(2), Ordering::Relaxed);
        pause_ms
    }

    fn arm(&self, in_ms: u64) {
        self.is_armed.store(true, Ordering::Relaxed);
        if self.timer.set(in_ms).is_err() {
            self.is_armed.store(false, Ordering::Relaxed);
        }
    }
}

extern "C" fn on_signal(_: libc::c_int) {
    let error_number = alarm::error_number();
    if let Some(serving) = SERVING.get()
        && let Some(parting) = &serving.parting
    {
        parting.is_armed.store(false, Ordering::Relaxed);
        // A child that the app has forked is not this worker.
        let is_ours = alarm::process_id() == serving.worker.pid;
        if is_ours && serving.relay.leader_is_inside() {
            serving.part(parting);
        } else if is_ours && parting.is_relieved() && serving.phase() == Phase::Serving {
            // It is about to hear it from the master, or to begin another request before that.
            parting.arm(FIRST_MS);
        }
    }
    alarm::set_error_number(error_number);
}

/// It may run on any thread; what the timer raises comes to ours.
extern "C" fn on_relief(_: libc::c_int) {
    let error_number = alarm::error_number();
    if let Some(serving) = SERVING.get()
        && let Some(parting) = &serving.parting
        && alarm::process_id() == serving.worker.pid
    {
        parting.relieved_ms.store(FIRST_MS, Ordering::Relaxed);
        parting.arm(AT_ONCE_MS);
    }
    alarm::set_error_number(error_number);
}

impl Serving {
    /// The app is about to be called. The timer is set when it is not yet, not for every request: when it comes it sees
    /// how old the request is that runs then.
    pub(super) fn watch_for_parting(&self) {
        if let Some(parting) = &self.parting
            && parting.has_siblings
            && !parting.is_armed.load(Ordering::Relaxed)
            && self.slab().count() > 1
        {
            parting.arm(FIRST_MS);
        }
    }

    /// How this connection would be given away, made while that can be done; None when as any of its listener, or not at all.
    pub(crate) fn parting_word(&self, connection: &Connection) -> Option<Box<Template>> {
        if self.parting.is_none() || connection.is_as_any() {
            return None;
        }
        let listener = self.worker.boot.listeners.get(connection.listener)?;
        let has_no_proxy_header = connection.has_no_proxy_header || !listener.proxy_protocol;
        Template::new(listener, connection.proxied, has_no_proxy_header).ok().map(Box::new)
    }

    /// In the handler.
    fn part(&self, parting: &Parting) {
        let shown_ns = self.worker.slot(0).state.started_monotonic_ns.load(Ordering::Relaxed);
        let began_ns = if shown_ns == 0 { parting.hidden_since_ns.load(Ordering::Relaxed) } else { shown_ns };
        let age_ms = if began_ns == 0 { 0 } else { os::monotonic_ns().saturating_sub(began_ns) / 1_000_000 };
        if age_ms < FIRST_MS {
            return parting.arm(FIRST_MS - age_ms);
        }
        // A master that stands still may be killed, and what is on its way to it is lost then.
        let is_heard = self.worker.line.raw_now().is_some_and(|line| os::unsent_bytes(line) == 0);
        let again_ms = if parting.is_relieved() {
            let mut goes_on = false;
            if is_heard {
                self.part_what_is_ready(parting);
                goes_on = self.part_what_is_idle(parting, 0);
            }
            // As long as there is more to give, or nobody has heard of what was given, it is no time to wait longer.
            if is_heard && !goes_on { parting.relief_pause_ms() } else { FIRST_MS }
        } else {
            if is_heard && self.a_sibling(|_| true) {
                self.part_what_is_ready(parting);
                if age_ms >= IDLE_TOO_MS {
                    self.part_what_is_idle(parting, now_ms().saturating_sub(LATELY_MS));
                }
            }
            age_ms
        };
        parting.is_far.store(true, Ordering::Relaxed);
        parting.arm(again_ms);
    }

    /// The request that began then goes on, though the scoreboard does not show it; 0 when it has ended.
    pub(crate) fn goes_on_hidden(&self, since_ns: u64) {
        if let Some(parting) = &self.parting {
            parting.hidden_since_ns.store(since_ns, Ordering::Relaxed);
        }
    }

    /// There is no master any more that could have relieved this worker.
    pub(super) fn forget_relief(&self) {
        if let Some(parting) = &self.parting {
            parting.relieved_ms.store(0, Ordering::Relaxed);
        }
    }

    /// Whether there is a sibling that serves, has a thread that is not inside a long request, and is as asked by the slot
    /// of its first thread.
    pub(super) fn a_sibling(&self, is_so: impl Fn(&Slot) -> bool) -> bool {
        let (worker, now_ns) = (self.worker, os::monotonic_ns());
        let serves = |sibling: u32, spawn: u32| {
            (0..worker.boot.threads).any(|core| {
                let state = &worker.slot_of(sibling, spawn, core).state;
                let began_ns = state.started_monotonic_ns.load(Ordering::Relaxed);
                state.flags.load(Ordering::Relaxed) & FLAG_ACCEPTING != 0
                    && (began_ns == 0 || now_ns.saturating_sub(began_ns) < SIBLING_MAX_MS * 1_000_000)
            })
        };
        let ourselves = worker.reference.worker.0;
        (1..=worker.boot.processes).filter(|sibling| *sibling != ourselves).any(|sibling| {
            // The slots of one that was killed say for ever that it serves; its successor has the others.
            let age = |spawn: u32| {
                let state = &worker.slot_of(sibling, spawn, 0).state;
                (state.pid.load(Ordering::Relaxed) != 0, state.spawn.load(Ordering::Relaxed))
            };
            let spawn = u32::from(age(1) > age(0));
            serves(sibling, spawn) && is_so(worker.slot_of(sibling, spawn, 0))
        })
    }

    fn part_what_is_ready(&self, parting: &Parting) {
        let mut events: Events = NO_EVENTS;
        // What cannot be looked at now will be when the timer comes again.
        let _ = self.epoll.wait(&mut events, Some(0), |token| {
            if token & SPECIAL == 0 {
                self.part_with(parting, lead::place(token));
            }
        });
    }

    /// Whether there may be more.
    fn part_what_is_idle(&self, parting: &Parting, used_since_ms: u64) -> bool {
        let (mut from, mut given) = (0, 0);
        for _ in 0..AT_ONCE_MAX {
            let Ok(slab) = self.slab.try_lock() else { return true };
            let found =
                slab.find(from, |connection| connection.may_be_parted() && connection.waits_since_ms >= used_since_ms);
            drop(slab);
            let Some(place) = found else { return false };
            from = place.index as usize + 1;
            // One that stays, such as one that is frozen, keeps none behind it.
            given += usize::from(self.part_with(parting, place));
        }
        given > 0
    }

    /// Gives one connection away. False when it stays.
    fn part_with(&self, parting: &Parting, place: Place) -> bool {
        let Ok(mut slab) = self.slab.try_lock() else { return false };
        let Some(connection) = slab.look(place).filter(|connection| connection.may_be_parted()) else { return false };
        let (raw, token) = (connection.raw(), self.next_token.fetch_add(1, Ordering::Relaxed));
        let of_listener = || parting.words.get(connection.listener);
        let Some(template) = connection.parting_word.as_deref().or_else(of_listener) else { return false };
        let word = template.filled(token, connection.requests);
        let Some(line) = self.worker.line.raw_now() else { return false };
        // First out of epoll: what its client sends from now on is the sibling's to hear.
        if word.is_cut || self.epoll.remove(raw).is_err() {
            return false;
        }
        if os::send_with_descriptor(line, word.bytes(), raw).is_err() {
            let _ = self.epoll.add(raw, Watch::Level, lead::token(place));
            return false;
        }
        slab.mark_parted(place, token);
        parting.has_parted.store(true, Ordering::Relaxed);
        true
    }

    /// The app has returned: what was given away meanwhile is on its way to another worker.
    pub(super) fn settle(&self) {
        let Some(parting) = &self.parting else { return };
        // The handler changes none of this while the app does not run.
        if parting.is_far.load(Ordering::Relaxed) {
            parting.is_far.store(false, Ordering::Relaxed);
            parting.is_armed.store(false, Ordering::Relaxed);
        }
        if parting.has_parted.load(Ordering::Relaxed) {
            parting.has_parted.store(false, Ordering::Relaxed);
            let parted: Vec<(u64, Box<Connection>)> = self.slab().take_parted();
            let mut lead = self.lead();
            for (token, connection) in parted {
                lead.handovers.departed(token, connection);
            }
        }
    }
}

/// [`FromWorker::Handover`] as it is sent, but for its numbers.
pub(crate) struct Template {
    parts: Vec<Vec<u8>>,
}

impl Template {
    fn new(listener: &AppListener, proxied: Option<Proxied>, has_no_proxy_header: bool) -> io::Result<Self> {
        // Numbers that occur nowhere else in the text.
        const TOKEN: u64 = u64::MAX;
        const REQUESTS: u64 = u64::MAX - 1;
        let connection = words::Connection {
            token: TOKEN,
            listener: listener.key.clone(),
            requests: REQUESTS,
            protocol: Some(listener.protocol),
            proxied,
            has_no_proxy_header,
        };
        let word = framing::encode(&FromWorker::Handover { token: TOKEN, connection }).map_err(io::Error::other)?;
        let text = String::from_utf8(word).map_err(io::Error::other)?;
        let (before, last) = text.split_once(&REQUESTS.to_string()).ok_or_else(|| io::Error::other("no place"))?;
        let mut parts: Vec<Vec<u8>> = before.split(&TOKEN.to_string()).map(|part| part.as_bytes().to_vec()).collect();
        parts.push(last.as_bytes().to_vec());
        Ok(Self { parts })
    }

    /// In the handler.
    fn filled(&self, token: u64, requests: u64) -> Word {
        let mut word = Word::new();
        for (index, part) in self.parts.iter().enumerate() {
            word.put(part);
            match self.parts.len() - index {
                1 => {}
                2 => word.number(requests),
                _ => word.number(token),
            }
        }
        word
    }
}

/// A word in the making, on the stack.
struct Word {
    bytes: [u8; 512],
    length: usize,
    /// It did not fit.
    is_cut: bool,
}

impl Word {
    fn new() -> Self {
        Self { bytes: [0; 512], length: 0, is_cut: false }
    }

    fn put(&mut self, text: &[u8]) {
        match self.bytes.get_mut(self.length..self.length + text.len()) {
            Some(place) => {
                place.copy_from_slice(text);
                self.length += text.len();
            }
            None => self.is_cut = true,
        }
    }

    fn number(&mut self, mut number: u64) {
        let mut digits = [0_u8; 20];
        let mut first = digits.len();
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
            first -= 1;
            if number == 0 {
                break;
            }
        }
        self.put(digits.get(first..).unwrap_or_default());
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}
