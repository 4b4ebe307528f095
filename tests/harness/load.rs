//! A load that keeps a ledger: every request is accounted for, every failure with its moment and its kind, and the
//! longest time in which nobody got an answer.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::{
    http::{Answer, Ask, Connection, Failure, Target},
    wait,
};

/// What becomes of a connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is used again.
    KeepAlive,
    /// A new one for every request.
    Close,
}

/// What to ask, how often.
#[derive(Debug, Clone)]
pub struct Load {
    /// Of whom.
    pub target: Target,
    /// What.
    pub path: String,
    /// See [`Mode`].
    pub mode: Mode,
    /// So many at a time.
    pub clients: usize,
    /// Pause of a client between an answer and its next request.
    pub think: Duration,
}

impl Load {
    /// Four clients, two milliseconds of thought.
    pub fn on(target: impl Into<Target>, mode: Mode) -> Load {
        Load { target: target.into(), path: "/".to_owned(), mode, clients: 4, think: Duration::from_millis(2) }
    }

    /// Begins.
    #[must_use]
    pub fn start(self) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let clients = (0..self.clients)
            .map(|_| {
                let (load, stop, answered) = (self.clone(), Arc::clone(&stop), Arc::clone(&answered));
                thread::spawn(move || client(&load, &stop, &answered))
            })
            .collect();
        Running { stop, answered, clients, began: Instant::now() }
    }

    /// Runs for `length`.
    #[must_use]
    pub fn run(self, length: Duration) -> Ledger {
        let running = self.start();
        wait::pause(length);
        running.stop()
    }
}

/// A load that goes on.
#[derive(Debug)]
pub struct Running {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<Entry>>>,
    began: Instant,
}

impl Running {
    /// Answers so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until `more` further answers have come.
    ///
    /// # Errors
    /// When they do not come within ten seconds.
    pub fn goes_on(&self, more: u64) -> Result<()> {
        let goal = self.answered() + more;
        wait::until("the load to get more answers", Duration::from_secs(10), || (self.answered() >= goal).then_some(()))
    }

    /// Ends it and sums up.
    #[must_use]
    pub fn stop(self) -> Ledger {
        self.stop.store(true, Ordering::Relaxed);
        let mut entries = Vec::new();
        for client in self.clients {
            match client.join() {
                Ok(mine) => entries.extend(mine),
                Err(_) => entries
                    .push(Entry { at: Instant::now(), outcome: Err(Failure::Other("a client panicked".to_owned())) }),
            }
        }
        Ledger::of(self.began, entries)
    }
}

#[derive(Debug)]
struct Entry {
    at: Instant,
    /// The body of a 200, or what went wrong.
    outcome: Result<String, Failure>,
}

fn client(load: &Load, stop: &AtomicBool, answered: &AtomicU64) -> Vec<Entry> {
    const TIMEOUT: Duration = Duration::from_secs(20);
    let mut ask = Ask::get(&load.path);
    if load.mode == Mode::Close {
        ask = ask.header("Connection", "close");
    }
    let mut entries = Vec::new();
    let mut open: Option<Connection> = None;
    while !stop.load(Ordering::Relaxed) {
        let outcome = one(load, &ask, &mut open, TIMEOUT);
        if outcome.is_ok() {
            answered.fetch_add(1, Ordering::Relaxed);
        } else {
            open = None;
        }
        entries.push(Entry { at: Instant::now(), outcome });
        wait::pause(load.think);
    }
    entries
}

fn one(load: &Load, ask: &Ask, open: &mut Option<Connection>, timeout: Duration) -> Result<String, Failure> {
    let mut connection = match open.take() {
        Some(connection) => connection,
        None => Connection::open(&load.target, timeout)?,
    };
    let answer: Answer = connection.ask(ask)?;
    if answer.status != 200 {
        return Err(Failure::Unexpected(format!("{} {}", answer.status, answer.text())));
    }
    if load.mode == Mode::KeepAlive && !answer.closes() {
        *open = Some(connection);
    }
    Ok(answer.text())
}

/// The account of a load.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// Answers with 200.
    pub answers: u64,
    /// Failures, with the time since the beginning.
    pub failures: Vec<(Duration, Failure)>,
    /// The longest time between two answers, whoever got them.
    pub longest_gap: Duration,
    /// When it ended, since the beginning.
    pub longest_gap_at: Duration,
    /// How often each body came, in the order of first coming.
    pub bodies: Vec<(String, u64)>,
    /// How long it went.
    pub length: Duration,
}

impl Ledger {
    fn of(began: Instant, mut entries: Vec<Entry>) -> Ledger {
        entries.sort_by_key(|entry| entry.at);
        let mut ledger = Ledger {
            answers: 0,
            failures: Vec::new(),
            longest_gap: Duration::ZERO,
            longest_gap_at: Duration::ZERO,
            bodies: Vec::new(),
            length: began.elapsed(),
        };
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut last: Option<Instant> = None;
        for entry in entries {
            let body = match entry.outcome {
                Ok(body) => body,
                Err(failure) => {
                    ledger.failures.push((entry.at.duration_since(began), failure));
                    continue;
                }
            };
            ledger.answers += 1;
            if let Some(gap) = last.map(|last| entry.at.duration_since(last))
                && gap > ledger.longest_gap
            {
                ledger.longest_gap = gap;
                ledger.longest_gap_at = entry.at.duration_since(began);
            }
            last = Some(entry.at);
            let place = *seen.entry(body.clone()).or_insert_with(|| {
                ledger.bodies.push((body, 0));
                ledger.bodies.len() - 1
            });
            if let Some((_, count)) = ledger.bodies.get_mut(place) {
                *count += 1;
            }
        }
        ledger
    }

    /// No request failed, and there were some.
    ///
    /// # Errors
    /// With the first failures.
    pub fn flawless(&self) -> Result<()> {
        if self.answers == 0 {
            bail!("the load got no answer at all: {self}");
        }
        if !self.failures.is_empty() {
            bail!("{self}");
        }
        Ok(())
    }

    /// Failures other than those a killed worker may cause: its own requests and its own connections.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.failures.iter().filter(|(_, failure)| matches!(failure, Failure::Refused(_))).count()
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.length.as_secs_f64();
        write!(
            f,
            "{} answers in {seconds:.1} s, {} failures, longest gap {:.1} ms (at {:.1} s)",
            self.answers,
            self.failures.len(),
            self.longest_gap.as_secs_f64() * 1e3,
            self.longest_gap_at.as_secs_f64()
        )?;
        for (at, failure) in self.failures.iter().take(5) {
            write!(f, "\n  at {:.3} s: {failure}", at.as_secs_f64())?;
        }
        Ok(())
    }
}
