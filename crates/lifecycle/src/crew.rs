//! How many workers of what serves there should be: between none and `processes`, as the load has it. Fed with looks at
//! the scoreboard, answers with a number; that it comes about is the generation machine's business.
//!
//! The rules are those of uWSGI's `cheaper` (core/master_utils.c, plugins/cheaper_busyness), `idle` and `cheap`.

mod busyness;
mod spare;

use std::{collections::BTreeMap, time::Duration};

pub use busyness::Busyness;

use crate::{ids::WorkerId, moment::Moment};
use busyness::BusynessWatch;
use spare::SpareWatch;

/// How often is looked while there is a choice: a cycle of uWSGI's master.
const CYCLE: Duration = Duration::from_secs(1);

/// The quickest look for idleness.
const IDLE_LOOK_SHORTEST: Duration = Duration::from_millis(250);

/// What is asked of the number of workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// `processes`.
    pub most: u32,
    /// `cheaper`; as many as `most` when the number does not follow the load.
    pub least: u32,
    /// How many come when somebody connects to a vassal at rest (`cheaper-initial`, or all).
    pub first: u32,
    /// `cheaper-step`.
    pub step: u32,
    /// `cheaper-algo` with `cheaper-overload`.
    pub algorithm: Algorithm,
    /// `cheaper-rss-limit-soft`, in bytes; None is no limit.
    pub rss_soft_bytes: Option<u64>,
    /// `cheaper-rss-limit-hard`, in bytes.
    pub rss_hard_bytes: Option<u64>,
    /// `idle`: after so long without a request nobody is wanted.
    pub idle: Option<Duration>,
    /// `die-on-idle`: then the vassal ends.
    pub at_rest: AtRest,
}

/// What becomes of a vassal that nobody wants anything of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtRest {
    /// It waits for a client without workers.
    Waits,
    /// It ends.
    Ends,
}

/// How the number follows the load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Algorithm {
    /// Not at all: an operator says it.
    Manual,
    /// More when all have been busy for more than so many looks; fewer while more than one is idle, one in so many looks.
    Spare {
        /// So many looks.
        overload: u64,
    },
    /// So many as `least` says are idle; one more than that goes after so many looks.
    Spare2 {
        /// So many looks.
        idle: u64,
    },
    /// More when more connections than that wait, fewer when fewer do.
    Backlog {
        /// So many connections.
        overload: u64,
    },
    /// As busy as that.
    Busyness(Busyness),
}

/// One look at the workers that are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Those that accept, or soon will.
    pub workers: Vec<Seen>,
    /// The longest queue of a socket.
    pub backlog: u64,
    /// Resident memory of all of them together, in bytes; looked at where a limit needs it.
    pub rss_bytes: u64,
    /// Requests that have ended since the generation began.
    pub requests: u64,
}

/// One worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Which.
    pub worker: WorkerId,
    /// Whether no thread of it is idle.
    pub is_busy: bool,
    /// Whether any thread of it is inside a request.
    pub serves: bool,
    /// Time spent in requests since the generation began, those that run included, in microseconds.
    pub running_us: u64,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Stay,
    /// So many workers are wanted, for a reason in words.
    Want(u32, String),
    /// The vassal ends.
    End,
}

/// The machine. See the module.
#[derive(Debug, Clone)]
pub struct Crew {
    rules: Rules,
    wanted: u32,
    next_look: Moment,
    requests: u64,
    active_at: Moment,
    spare: SpareWatch,
    busyness: BusynessWatch,
}

impl Crew {
    /// For a generation that begins to serve with so many workers.
    #[must_use]
    pub fn new(rules: Rules, wanted: u32, now: Moment) -> Self {
        let busyness = BusynessWatch::new(&rules.algorithm, now);
        Self {
            wanted,
            next_look: now.after(CYCLE),
            requests: 0,
            active_at: now,
            spare: SpareWatch::default(),
            busyness,
            rules,
        }
    }

    /// Goes on where the generation before has stopped: what was learned of the load holds for the next one too.
    #[must_use]
    pub fn succeed(self, rules: Rules, wanted: u32, now: Moment) -> Self {
        if self.rules == rules {
            Self { wanted, requests: 0, busyness: self.busyness.without_workers(), ..self }
        } else {
            Self::new(rules, wanted, now)
        }
    }

    /// When a look is due; None while nothing can be learned by one.
    #[must_use]
    pub fn look_at(&self) -> Option<Moment> {
        if self.wanted == 0 {
            return None;
        }
        match self.rules.idle {
            Some(idle) => Some(self.next_look.min(self.active_at.after(idle))),
            None => self.adapts().then_some(self.next_look),
        }
    }

    /// A look was taken.
    pub fn looked(&mut self, look: &Look, now: Moment) -> Verdict {
        if self.wanted == 0 {
            return Verdict::Stay;
        }
        self.next_look = now.after(self.pace());
        if look.requests != self.requests || look.backlog > 0 || look.workers.iter().any(|worker| worker.serves) {
            self.requests = look.requests;
            self.active_at = now;
        }
        if let Some(idle) = self.rules.idle.filter(|idle| now.since(self.active_at) >= *idle) {
            return self.rest(&format!("no request for {} s", idle.as_secs()));
        }
        if self.adapts() { self.follow(look, now) } else { Verdict::Stay }
    }

    /// Somebody has connected to a vassal at rest.
    pub fn client_waits(&mut self, now: Moment) -> Verdict {
        if self.wanted > 0 {
            return Verdict::Stay;
        }
        (self.active_at, self.next_look) = (now, now.after(self.pace()));
        self.want(self.rules.first.max(1), "a client waits".to_owned())
    }

    /// An operator wants more or fewer.
    pub fn asked_for(&mut self, change: i64) -> Verdict {
        // Fewer than nobody is nobody: what rests goes on resting.
        if self.wanted == 0 && change <= 0 {
            return Verdict::Stay;
        }
        let wanted = (i64::from(self.wanted) + change).clamp(self.rules.least.into(), self.rules.most.into());
        self.want(u32::try_from(wanted).unwrap_or(self.wanted), "an operator asked for it".to_owned())
    }

    /// Nobody is wanted any more.
    pub fn rest(&mut self, why: &str) -> Verdict {
        match self.rules.at_rest {
            AtRest::Waits => self.want(0, why.to_owned()),
            AtRest::Ends => Verdict::End,
        }
    }

    /// How often is looked: where only idleness counts, four times before it is enough.
    fn pace(&self) -> Duration {
        match self.rules.idle {
            Some(idle) if !self.adapts() => (idle / 4).max(IDLE_LOOK_SHORTEST),
            Some(_) | None => CYCLE,
        }
    }

    fn adapts(&self) -> bool {
        self.rules.least < self.rules.most
    }

    fn want(&mut self, wanted: u32, why: String) -> Verdict {
        if wanted == self.wanted {
            return Verdict::Stay;
        }
        self.wanted = wanted;
        Verdict::Want(wanted, why)
    }

    /// uWSGI's order: memory first, then the algorithm, which may add nobody above the soft limit.
    fn follow(&mut self, look: &Look, now: Moment) -> Verdict {
        // Those that were asked for and are not there yet have not helped yet.
        let all_there = look.workers.len() >= self.wanted as usize;
        let above = |limit: Option<u64>| limit.is_some_and(|limit| look.rss_bytes >= limit);
        let soft = above(self.rules.rss_soft_bytes);
        if self.rules.rss_soft_bytes.is_some() && above(self.rules.rss_hard_bytes) && self.wanted > 1 {
            let why = format!("all together have {} MB", look.rss_bytes / 1024 / 1024);
            return self.want(self.wanted - 1, why);
        }
        let room = if soft || !all_there { 0 } else { self.rules.most - self.wanted.min(self.rules.most) };
        let least = self.rules.least.max(1);
        let spare = self.wanted.saturating_sub(least);
        let step = match &self.rules.algorithm {
            Algorithm::Manual => Step::Stay,
            Algorithm::Spare { overload } => self.spare.spare(look, *overload, self.rules.step),
            Algorithm::Spare2 { idle } => self.spare.spare2(look, least, *idle, self.rules.step),
            Algorithm::Backlog { overload } => spare::backlog(look, *overload, self.rules.step),
            Algorithm::Busyness(rules) => self.busyness.look(look, rules, (self.rules.step, room, spare), now),
        };
        match step {
            Step::Stay => Verdict::Stay,
            Step::More(more, why) => self.want(self.wanted + more.min(room), why),
            Step::Fewer(why) => self.want(self.wanted - spare.min(1), why),
        }
    }
}

/// What an algorithm wants.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Nothing.
    Stay,
    /// So many more at most, for a reason.
    More(u32, String),
    /// One fewer, for a reason.
    Fewer(String),
}

/// Busy time of each worker at the last look.
type Busy = BTreeMap<WorkerId, u64>;

#[cfg(test)]
mod tests;
