//! The algorithm that measures: for which share of the time workers are inside requests (uWSGI's plugin
//! `cheaper_busyness`). Workers come when they are busier than `max_percent`; one goes when they were less busy than
//! `min_percent` for long enough; one that was needed again soon makes the next wait longer.

use std::time::Duration;

use super::{Algorithm, Busy, Look, Step};
use crate::moment::Moment;

/// Its knobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Busyness {
    /// `cheaper-overload`: over how long it is measured.
    pub window: Duration,
    /// `cheaper-busyness-max`.
    pub max_percent: u64,
    /// `cheaper-busyness-min`.
    pub min_percent: u64,
    /// `cheaper-busyness-multiplier`: for so many windows they must be less busy before one goes.
    pub multiplier: u64,
    /// `cheaper-busyness-penalty`.
    pub penalty: u64,
    /// `cheaper-busyness-backlog-alert`: more connections than that in the queue are an emergency.
    pub backlog_alert: u64,
    /// `cheaper-busyness-backlog-multiplier`.
    pub backlog_multiplier: u64,
    /// `cheaper-busyness-backlog-step`.
    pub backlog_step: u32,
    /// `cheaper-busyness-backlog-nonzero`: a queue that is not empty for so long is one, too.
    pub backlog_nonzero: Duration,
}

/// Windows in a row that are neither too busy nor too idle after which the waiting begins anew.
const TOLERATED: u32 = 3;

/// What it remembers between two looks.
#[derive(Debug, Clone)]
pub(super) struct BusynessWatch {
    window_began: Moment,
    busy: Busy,
    multiplier: u64,
    /// Nobody goes before then.
    next_fewer: Moment,
    last_fewer: Option<Moment>,
    last: Last,
    tolerated: u32,
    emergency_workers: u32,
    /// Since when the queue is not empty.
    queue_since: Option<Moment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    More,
    Fewer,
}

impl BusynessWatch {
    pub(super) fn new(algorithm: &Algorithm, now: Moment) -> Self {
        let mut watch = Self {
            window_began: now,
            busy: Busy::new(),
            multiplier: 0,
            next_fewer: now,
            last_fewer: None,
            last: Last::More,
            tolerated: 0,
            emergency_workers: 0,
            queue_since: None,
        };
        match algorithm {
            Algorithm::Busyness(rules) => {
                watch.multiplier = rules.multiplier;
                watch.wait(rules, now);
            }
            Algorithm::Manual | Algorithm::Spare { .. } | Algorithm::Spare2 { .. } | Algorithm::Backlog { .. } => {}
        }
        watch
    }

    /// For a generation whose workers count from nothing.
    pub(super) fn without_workers(self) -> Self {
        Self { busy: Busy::new(), ..self }
    }

    /// One look; `step` more come at a time, for at most `room` there is room, and `spare` are more than there must be.
    pub(super) fn look(
        &mut self,
        look: &Look,
        rules: &Busyness,
        (step, room, spare): (u32, u32, u32),
        now: Moment,
    ) -> Step {
        let emergency = self.emergency(look, rules, now) && room > 0;
        if now.since(self.window_began) < rules.window {
            return if emergency { self.alarm(look, rules, room, now) } else { Step::Stay };
        }
        let percent = self.percent(look, now.since(self.window_began));
        self.window_began = now;
        let measured = format!("they are busy for {percent} % of the time");
        if percent > rules.max_percent {
            self.tolerated = 0;
            if room == 0 {
                return Step::Stay;
            }
            self.last = Last::More;
            let long_ago = rules.window.saturating_mul(u32::try_from(self.multiplier).unwrap_or(u32::MAX));
            match self.last_fewer {
                Some(then) if now.since(then) <= long_ago => self.multiplier += rules.penalty,
                Some(_) | None => self.relent(rules),
            }
            self.wait(rules, now);
            return Step::More(step, measured);
        }
        if emergency {
            return self.alarm(look, rules, room, now);
        }
        if look.workers.len() <= 1 {
            return Step::Stay;
        }
        if percent < rules.min_percent {
            self.tolerated = 0;
            if spare == 0 || now < self.next_fewer {
                return Step::Stay;
            }
            if self.last == Last::Fewer {
                self.relent(rules);
            }
            self.wait(rules, now);
            self.last_fewer = Some(now);
            self.last = Last::Fewer;
            self.emergency_workers = self.emergency_workers.saturating_sub(1);
            return Step::Fewer(measured);
        }
        self.emergency_workers = self.emergency_workers.saturating_sub(1);
        self.tolerated += 1;
        if self.tolerated >= TOLERATED {
            self.wait(rules, now);
        } else {
            // One busy window does not count as an idle one, and is no reason to begin anew either.
            self.next_fewer = self.next_fewer.after(rules.window);
        }
        Step::Stay
    }

    fn emergency(&mut self, look: &Look, rules: &Busyness, now: Moment) -> bool {
        if look.backlog == 0 {
            self.queue_since = None;
            return false;
        }
        let since = *self.queue_since.get_or_insert(now);
        look.backlog > rules.backlog_alert || now.since(since) >= rules.backlog_nonzero
    }

    fn alarm(&mut self, look: &Look, rules: &Busyness, room: u32, now: Moment) -> Step {
        self.multiplier = rules.multiplier;
        self.last = Last::More;
        self.queue_since = None;
        self.emergency_workers = self.emergency_workers.saturating_add(rules.backlog_step.min(room));
        self.wait(rules, now);
        Step::More(rules.backlog_step, format!("{} connections wait", look.backlog))
    }

    /// The multiplier shrinks, down to where it began.
    fn relent(&mut self, rules: &Busyness) {
        if self.multiplier > rules.multiplier {
            self.multiplier -= 1;
        }
    }

    /// From now on it takes a while until one goes; emergency workers go sooner.
    fn wait(&mut self, rules: &Busyness, now: Moment) {
        let windows = if self.emergency_workers > 0 { rules.backlog_multiplier } else { self.multiplier };
        self.next_fewer = now.after(rules.window.saturating_mul(u32::try_from(windows).unwrap_or(u32::MAX)));
    }

    /// Of the time, on average over the workers.
    fn percent(&mut self, look: &Look, window: Duration) -> u64 {
        let window_us = u64::try_from(window.as_micros()).unwrap_or(u64::MAX).max(1);
        let before = std::mem::take(&mut self.busy);
        let mut sum = 0;
        for seen in &look.workers {
            // One that was not there at the last look has not been measured for a window.
            let since = before.get(&seen.worker).copied().unwrap_or(seen.running_us);
            let busy_us = seen.running_us.saturating_sub(since);
            sum += (busy_us.saturating_mul(100) / window_us).min(100);
            self.busy.insert(seen.worker, seen.running_us);
        }
        sum / (look.workers.len() as u64).max(1)
    }
}
