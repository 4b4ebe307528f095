//! Whether an alarm is raised: not the same message again and again (core/alarm.c, `uwsgi_alarm_run`), and not with more commands
//! at once than anybody would read. Also when a metric has reached its threshold. What is done is the master's.

use std::{collections::BTreeMap, time::Duration};

use crate::moment::Moment;

/// Most commands that run at once.
pub const RUNS_MAX: usize = 16;

/// How long a command of an alarm may run.
pub const RUN_MAX: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alarms {
    repeats_after: Duration,
    /// The last message of each alarm, and when it was raised.
    last: BTreeMap<String, (String, Moment)>,
    /// Commands that run, by a number of the caller's choice, and when each is killed; None when it was.
    runs: Vec<(u64, Option<Moment>)>,
    /// How many were not run since one was.
    dropped: u64,
}

/// Whether a command may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may. So many were dropped before it.
    Run {
        /// How many.
        dropped: u64,
    },
    /// Too many run; this is the first that is dropped.
    FirstDropped,
    /// Too many run still.
    Dropped,
}

impl Alarms {
    /// The same message of an alarm counts again after so long.
    pub fn set_repeats_after(&mut self, after: Duration) {
        self.repeats_after = after;
    }

    /// Somebody raises an alarm; whether it counts.
    pub fn raised(&mut self, name: &str, message: &str, now: Moment) -> bool {
        let repeats =
            self.last.get(name).is_some_and(|(last, at)| last == message && now.since(*at) < self.repeats_after);
        if !repeats {
            self.last.insert(name.to_owned(), (message.to_owned(), now));
        }
        !repeats
    }

    /// An alarm wants a command.
    pub fn wants_command(&mut self) -> Verdict {
        if self.runs.len() < RUNS_MAX {
            return Verdict::Run { dropped: std::mem::take(&mut self.dropped) };
        }
        self.dropped = self.dropped.saturating_add(1);
        if self.dropped == 1 { Verdict::FirstDropped } else { Verdict::Dropped }
    }

    /// A command runs.
    pub fn started(&mut self, run: u64, now: Moment) {
        self.runs.push((run, Some(now.after(RUN_MAX))));
    }

    /// A command has ended. Whether it was one of these.
    pub fn ended(&mut self, run: u64) -> bool {
        let before = self.runs.len();
        self.runs.retain(|(other, _)| *other != run);
        before != self.runs.len()
    }

    /// Commands that have taken too long, each once.
    pub fn overdue(&mut self, now: Moment) -> Vec<u64> {
        let due = |(run, at): &mut (u64, Option<Moment>)| at.take_if(|at| *at <= now).map(|_| *run);
        self.runs.iter_mut().filter_map(due).collect()
    }

    /// When the next of them will have.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        self.runs.iter().filter_map(|(_, at)| *at).min()
    }

    /// The commands that run.
    pub fn runs(&self) -> impl Iterator<Item = u64> {
        self.runs.iter().map(|(run, _)| *run)
    }
}

/// A limit of a number that is looked at again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    /// Reached at this or more.
    pub value: i64,
    /// Raises not more often than this.
    pub rate: Duration,
    last: Option<Moment>,
}

/// What a look at a number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// It is below.
    Below,
    /// It is reached, and an alarm may be raised.
    Raises,
    /// It is reached, and an alarm was raised not long ago.
    Reached,
}

impl Threshold {
    /// One that nobody has looked at.
    #[must_use]
    pub fn new(value: i64, rate: Duration) -> Threshold {
        Threshold { value, rate, last: None }
    }

    /// The number is this now.
    pub fn looked(&mut self, number: i64, now: Moment) -> Look {
        if number < self.value {
            return Look::Below;
        }
        if self.last.is_some_and(|last| now < last.after(self.rate)) {
            return Look::Reached;
        }
        self.last = Some(now);
        Look::Raises
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::START.after(Duration::from_secs(seconds))
    }

    #[test]
    fn the_same_message_counts_again_after_a_while_and_another_one_at_once() {
        let mut alarms = Alarms::default();
        alarms.set_repeats_after(Duration::from_secs(3));
        let mut raise = |name, message, s| alarms.raised(name, message, at(s));
        assert!(raise("a", "x", 10));
        assert!(!raise("a", "x", 12), "an echo of itself");
        assert!(raise("b", "x", 12), "another alarm");
        assert!(raise("a", "x", 13), "the time is from the last that counted");
        assert!(raise("a", "y", 13) && raise("a", "x", 13), "another message");
    }

    #[test]
    fn commands_are_bounded_in_number_and_time_and_what_is_dropped_is_counted() {
        let mut alarms = Alarms::default();
        for run in 0..RUNS_MAX as u64 {
            assert_eq!(alarms.wants_command(), Verdict::Run { dropped: 0 });
            alarms.started(run, at(run));
        }
        assert_eq!(alarms.wants_command(), Verdict::FirstDropped);
        assert_eq!(alarms.wants_command(), Verdict::Dropped);
        assert!(alarms.ended(3) && !alarms.ended(3));
        assert_eq!(alarms.wants_command(), Verdict::Run { dropped: 2 });
        assert_eq!(alarms.deadline(), Some(at(60)));
        assert_eq!(alarms.overdue(at(61)), [0, 1]);
        assert_eq!(alarms.overdue(at(61)), [0; 0], "each is killed once");
        assert_eq!((alarms.deadline(), alarms.runs().count()), (Some(at(62)), RUNS_MAX - 1));
    }

    #[test]
    fn a_threshold_raises_when_it_is_reached_and_not_more_often_than_its_rate() {
        let mut threshold = Threshold::new(5, Duration::from_secs(10));
        assert_eq!(threshold.looked(4, at(0)), Look::Below);
        assert_eq!(threshold.looked(5, at(1)), Look::Raises);
        assert_eq!(threshold.looked(9, at(10)), Look::Reached);
        assert_eq!(threshold.looked(9, at(11)), Look::Raises);
        let mut always = Threshold::new(-1, Duration::ZERO);
        assert!([1, 2].iter().all(|s| always.looked(0, at(*s)) == Look::Raises));
    }
}
