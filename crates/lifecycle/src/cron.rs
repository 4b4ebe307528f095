//! Times at which something is to happen every now and then, as uWSGI's `cron` writes them, and which minutes are judged
//! by them. No clock and no time zone: the caller says what a minute is called where the vassal lives.

use std::time::Duration;

use crate::moment::Moment;

/// A minute as the calendar and the clock on the wall have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Local {
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 1 to 31.
    pub day: u8,
    /// 1 to 12.
    pub month: u8,
    /// 0 (Sunday) to 6.
    pub weekday: u8,
}

/// When: a number is that minute (and so on), a negative one -N every one that N divides, so that -1 is any
/// (`uwsgi_cron_task_needs_execution`, core/master_utils.c).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    /// 0 to 59.
    pub minute: i32,
    /// 0 to 23.
    pub hour: i32,
    /// 1 to 31.
    pub day: i32,
    /// 1 to 12.
    pub month: i32,
    /// 0 to 7, where 0 and 7 are Sunday.
    pub week: i32,
}

impl Pattern {
    /// Whether that minute is one of its. Where a day of the month and a day of the week are both named, either will do.
    #[must_use]
    pub fn fits(&self, local: &Local) -> bool {
        let week = if self.week == 7 { 0 } else { self.week };
        let day = one(self.day, local.day);
        let weekday = one(week, local.weekday);
        let both_named = self.day >= 0 && self.week >= 0;
        one(self.minute, local.minute)
            && one(self.hour, local.hour)
            && one(self.month, local.month)
            && if both_named { day || weekday } else { day && weekday }
    }
}

fn one(wanted: i32, is: u8) -> bool {
    if wanted < 0 { u32::from(is).is_multiple_of(wanted.unsigned_abs()) } else { wanted == i32::from(is) }
}

/// So many minutes that went by unseen, since the master was held up, are still judged.
pub const MADE_UP_MAX_MINUTES: i64 = 3;

/// A clock that is set back by no more than this goes through minutes that were judged already; by more, it was wrong
/// before (as cron(8) has it).
pub const SET_BACK_MAX_MINUTES: i64 = 180;

/// Which minutes are judged: each once, whatever becomes of the clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minutes {
    /// The last one, in minutes since 1970.
    last: Option<i64>,
}

impl Minutes {
    /// One that goes on where an earlier image of the master stopped.
    #[must_use]
    pub fn after(last: Option<i64>) -> Minutes {
        Minutes { last }
    }

    /// The last minute that was judged, since 1970.
    #[must_use]
    pub fn last(&self) -> Option<i64> {
        self.last
    }

    /// It is so many seconds after 1970: the minutes to be judged now, in order.
    pub fn come(&mut self, unix_s: i64) -> std::ops::Range<i64> {
        let now = unix_s.div_euclid(60);
        let first = match self.last {
            Some(last) if last >= now && last - now <= SET_BACK_MAX_MINUTES => return now..now,
            Some(last) if last < now && now - last <= MADE_UP_MAX_MINUTES => last + 1,
            Some(_) | None => now,
        };
        self.last = Some(now);
        first..now.saturating_add(1)
    }
}

/// How long to wait at most before the clock is looked at again: until the next minute begins, but not much longer than
/// a clock that was set could go unnoticed.
#[must_use]
pub fn look_again_in(unix_ms: i64) -> Duration {
    const UNNOTICED_MAX_MS: i64 = 20_000;
    let left_ms = 60_000 - unix_ms.rem_euclid(60_000);
    // A little behind the edge: clocks that are read and clocks that wake are not the same.
    Duration::from_millis(left_ms.min(UNNOTICED_MAX_MS).unsigned_abs() + 5)
}

/// What may be said of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rules {
    /// When.
    pub pattern: Pattern,
    /// Not while it runs still.
    pub unique: bool,
    /// Killed after so long.
    pub harakiri: Option<Duration>,
}

/// The runs of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    rules: Rules,
    /// What runs, by a number of the caller's choice, and when it is killed.
    runs: Vec<(u64, Option<Moment>)>,
}

impl Job {
    /// One that does not run.
    #[must_use]
    pub fn new(rules: Rules) -> Job {
        Job { rules, runs: Vec::new() }
    }

    /// Whether it is to be started, of these minutes; once for all of them.
    #[must_use]
    pub fn is_due(&self, minutes: &[Local]) -> bool {
        let free = !self.rules.unique || self.runs.is_empty();
        free && minutes.iter().any(|local| self.rules.pattern.fits(local))
    }

    /// It was started.
    pub fn started(&mut self, run: u64, now: Moment) {
        self.runs.push((run, self.rules.harakiri.map(|within| now.after(within))));
    }

    /// A run has ended. Whether it was one of its.
    pub fn ended(&mut self, run: u64) -> bool {
        let before = self.runs.len();
        self.runs.retain(|(other, _)| *other != run);
        before != self.runs.len()
    }

    /// Runs that have taken too long, each once.
    pub fn overdue(&mut self, now: Moment) -> Vec<u64> {
        let mut overdue = Vec::new();
        for (run, killed_at) in &mut self.runs {
            if killed_at.take_if(|at| *at <= now).is_some() {
                overdue.push(*run);
            }
        }
        overdue
    }

    /// When the next of them will have.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        self.runs.iter().filter_map(|(_, killed_at)| *killed_at).min()
    }

    /// The runs there are.
    pub fn runs(&self) -> impl Iterator<Item = u64> {
        self.runs.iter().map(|(run, _)| *run)
    }
}

#[cfg(test)]
mod tests;
