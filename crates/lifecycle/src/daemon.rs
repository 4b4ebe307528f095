//! One program that is kept running beside the workers (uWSGI's `attach-daemon`): when it is started, how long it is waited
//! for after a quick end, how it is told to stop. Fed and performed by the vassal's master, one machine for each daemon.
//!
//! A plain one is a child, whose end is told. One with a pidfile is looked for once a second; it outlives the vassal, and
//! what was started may be only its launcher (core/daemons.c).

use std::time::Duration;

use crate::moment::Moment;

/// An end sooner than this after its start is a failure, and the next start waits.
pub const QUICK: Duration = Duration::from_secs(3);

/// How often the process of a pidfile is looked for.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a daemon is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A child that is started again.
    Plain,
    /// A child whose end stops the vassal.
    Control,
    /// A process whose pid stands in a file.
    Pidfile {
        /// After so many looks without one it is started again.
        looks: u32,
        /// Whether it wants to know of reloads and stops.
        notify: bool,
    },
}

/// What may be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rules {
    /// What it is.
    pub kind: Kind,
    /// Longest wait before it is started again; the wait grows by a second with each quick end.
    pub throttle_max: Duration,
    /// How long it may take to stop.
    pub mercy: Duration,
    /// Whether it is told of reloads.
    pub hears_reloads: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Start it. An end is to follow, also when it cannot be started.
    Spawn,
    /// Tell it to stop.
    Stop,
    /// Tell it of a reload.
    Reload,
    /// SIGKILL.
    Kill,
    /// Stop the vassal.
    StopVassal,
    /// Say that it has no valid pidfile although what was started runs still.
    SayNoPidfile,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Daemon {
    rules: Rules,
    state: State,
    /// Quick ends in a row.
    quick: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum State {
    /// Not there; to be started then.
    Due(Moment),
    /// A child runs.
    Runs {
        since: Moment,
        /// Its end was asked for, and is no failure.
        told: bool,
        /// It is not started again; killed then, once.
        leaves: Option<Leaving>,
    },
    /// By its pidfile.
    Watched {
        since: Moment,
        /// The child that was started runs still.
        launcher: bool,
        /// It was there at the last look.
        seen: bool,
        /// Looks at which it was not.
        missed: u32,
        look_at: Moment,
    },
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Leaving {
    KilledAt(Moment),
    Killed,
}

impl Daemon {
    /// One that is to be started. `is_there` says that the process of its pidfile lives.
    #[must_use]
    pub fn new(rules: Rules, is_there: bool, now: Moment) -> Daemon {
        let state = match rules.kind {
            Kind::Pidfile { .. } if is_there => watched(now, false, true),
            Kind::Pidfile { .. } | Kind::Plain | Kind::Control => State::Due(now),
        };
        Daemon { rules, state, quick: 0 }
    }

    /// One whose child runs already, started by an earlier image of the same master.
    #[must_use]
    pub fn carried(rules: Rules, now: Moment) -> Daemon {
        let state = match rules.kind {
            Kind::Plain | Kind::Control => State::Runs { since: now, told: false, leaves: None },
            Kind::Pidfile { .. } => watched(now, true, true),
        };
        Daemon { rules, state, quick: 0 }
    }

    /// When something is to be done even if nothing happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        match self.state {
            State::Due(at) => Some(at),
            State::Runs { leaves: Some(Leaving::KilledAt(at)), .. } => Some(at),
            State::Watched { look_at, .. } => Some(look_at),
            State::Runs { .. } | State::Over => None,
        }
    }

    /// Whether the process of the pidfile is to be looked for now; [`Daemon::looked`] tells what was found.
    #[must_use]
    pub fn wants_look(&self, now: Moment) -> bool {
        matches!(self.state, State::Watched { look_at, .. } if look_at <= now)
    }

    /// The deadline has come.
    pub fn wake(&mut self, now: Moment) -> Vec<Step> {
        match self.state {
            State::Due(at) if at <= now => {
                self.state = match self.rules.kind {
                    Kind::Plain | Kind::Control => State::Runs { since: now, told: false, leaves: None },
                    Kind::Pidfile { .. } => watched(now, true, false),
                };
                vec![Step::Spawn]
            }
            State::Runs { since, told, leaves: Some(Leaving::KilledAt(at)) } if at <= now => {
                self.state = State::Runs { since, told, leaves: Some(Leaving::Killed) };
                vec![Step::Kill]
            }
            State::Due(_) | State::Runs { .. } | State::Watched { .. } | State::Over => Vec::new(),
        }
    }

    /// What was started has ended, or could not be started.
    pub fn ended(&mut self, now: Moment) -> Vec<Step> {
        match self.state {
            State::Runs { leaves: Some(_), .. } => self.state = State::Over,
            State::Runs { .. } if self.rules.kind == Kind::Control => {
                self.state = State::Over;
                return vec![Step::StopVassal];
            }
            State::Runs { told: true, .. } => {
                self.quick = 0;
                self.state = State::Due(now);
            }
            State::Runs { since, .. } => self.start_again(since, now),
            State::Watched { since, seen, missed, look_at, .. } => {
                self.state = State::Watched { since, launcher: false, seen, missed, look_at };
            }
            State::Due(_) | State::Over => {}
        }
        Vec::new()
    }

    /// The process of the pidfile was looked for.
    pub fn looked(&mut self, is_there: bool, now: Moment) -> Vec<Step> {
        let State::Watched { since, launcher, seen, missed, .. } = self.state else { return Vec::new() };
        let look_at = now.after(LOOK_EVERY);
        let Kind::Pidfile { looks, .. } = self.rules.kind else { return Vec::new() };
        if is_there {
            self.state = State::Watched { since, launcher, seen: true, missed: 0, look_at };
            return Vec::new();
        }
        let missed = missed.saturating_add(1);
        match (seen, launcher) {
            // What runs may be on its way to the background; a second one must not be started beside it.
            (_, true) if missed < looks.max(1) => {
                self.state = State::Watched { since, launcher, seen, missed, look_at };
                Vec::new()
            }
            (_, true) => {
                self.state = State::Watched { since, launcher, seen: false, missed: 0, look_at };
                vec![Step::SayNoPidfile]
            }
            (false, false) if missed < looks => {
                self.state = State::Watched { since, launcher, seen, missed, look_at };
                Vec::new()
            }
            (true | false, false) => {
                self.start_again(since, now);
                Vec::new()
            }
        }
    }

    /// One of its files was touched.
    pub fn touched(&mut self) -> Vec<Step> {
        match &mut self.state {
            State::Runs { told, leaves: None, .. } => {
                *told = true;
                vec![Step::Stop]
            }
            State::Watched { seen: true, .. } => vec![Step::Stop],
            State::Runs { .. } | State::Watched { .. } | State::Due(_) | State::Over => Vec::new(),
        }
    }

    /// Another generation serves.
    pub fn reloaded(&mut self) -> Vec<Step> {
        let (hears, notifies) = (self.rules.hears_reloads, self.notifies());
        match &mut self.state {
            State::Runs { told, leaves: None, .. } if hears => {
                *told = true;
                vec![Step::Reload]
            }
            State::Watched { seen: true, .. } if notifies => vec![Step::Reload],
            State::Runs { .. } | State::Watched { .. } | State::Due(_) | State::Over => Vec::new(),
        }
    }

    /// It is no longer wanted, or the vassal stops. One with a pidfile lives on, and may be told.
    pub fn retire(&mut self, now: Moment) -> Vec<Step> {
        match self.state {
            State::Runs { since, told, leaves: None } => {
                let leaves = Some(Leaving::KilledAt(now.after(self.rules.mercy)));
                self.state = State::Runs { since, told, leaves };
                vec![Step::Stop]
            }
            State::Watched { seen, .. } => {
                self.state = State::Over;
                if seen && self.notifies() { vec![Step::Stop] } else { Vec::new() }
            }
            State::Due(_) => {
                self.state = State::Over;
                Vec::new()
            }
            State::Runs { .. } | State::Over => Vec::new(),
        }
    }

    /// There is no time left for it to stop by itself.
    pub fn hurry(&mut self) -> Vec<Step> {
        match self.state {
            State::Runs { since, told, leaves: Some(Leaving::KilledAt(_)) } => {
                self.state = State::Runs { since, told, leaves: Some(Leaving::Killed) };
                vec![Step::Kill]
            }
            State::Runs { .. } | State::Watched { .. } | State::Due(_) | State::Over => Vec::new(),
        }
    }

    /// Whether nothing of it is left that this machine cares for.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// How long the next start waits; None when none is due.
    #[must_use]
    pub fn waits(&self, now: Moment) -> Option<Duration> {
        match self.state {
            State::Due(at) => Some(at.since(now)),
            State::Runs { .. } | State::Watched { .. } | State::Over => None,
        }
    }

    fn notifies(&self) -> bool {
        matches!(self.rules.kind, Kind::Pidfile { notify: true, .. })
    }

    fn start_again(&mut self, since: Moment, now: Moment) {
        self.quick = if now.since(since) <= QUICK { self.quick.saturating_add(1) } else { 0 };
        let wait = Duration::from_secs(self.quick.into()).min(self.rules.throttle_max);
        self.state = State::Due(now.after(wait));
    }
}

fn watched(now: Moment, launcher: bool, seen: bool) -> State {
    State::Watched { since: now, launcher, seen, missed: 0, look_at: now.after(LOOK_EVERY) }
}

#[cfg(test)]
mod tests;
