//! uWSGI signals of one generation: what its app has registered, when its timers come, and who gets a signal. Fed and
//! performed by the vassal's master. They begin when the generation serves and end with it (core/signal.c).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use crate::{
    cron::{Local, Pattern},
    moment::Moment,
};

/// Signals that wait for somebody to be there, at most; the oldest go first.
const WAITING_MAX: usize = 1000;

/// A process of the generation that can run functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A worker, from 1.
    Worker(u32),
    /// A mule, from 1.
    Mule(u32),
    /// A spooler, from 1.
    Spooler(u32),
}

/// Who runs the function of a signal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// ``, `worker`, `worker0`: any worker.
    AnyWorker,
    /// `workers`, `active-workers`: each that serves.
    Workers,
    /// `workerN`.
    Worker(u32),
    /// `mule`, `mule0`: any mule.
    AnyMule,
    /// `mules`.
    Mules,
    /// `muleN`.
    Mule(u32),
    /// `farm_NAME`, `farmN`: any mule of it.
    Farm(BTreeSet<u32>),
    /// `spooler`: any spooler.
    Spooler,
}

impl Target {
    /// Reads uWSGI's text. `farms` are those of the vassal, with their mules. None when it means nothing.
    #[must_use]
    pub fn read(text: &str, farms: &[(String, BTreeSet<u32>)]) -> Option<Target> {
        let number = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u32>().ok() };
        match text {
            "workers" | "active-workers" => return Some(Target::Workers),
            "mules" => return Some(Target::Mules),
            "spooler" => return Some(Target::Spooler),
            "" => return Some(Target::AnyWorker),
            _ => {}
        }
        if let Some(rest) = text.strip_prefix("worker") {
            return number(rest).map(|number| if number == 0 { Target::AnyWorker } else { Target::Worker(number) });
        }
        if let Some(rest) = text.strip_prefix("mule") {
            return number(rest).map(|number| if number == 0 { Target::AnyMule } else { Target::Mule(number) });
        }
        if let Some(name) = text.strip_prefix("farm_") {
            let farm = farms.iter().find(|(other, _)| other == name)?;
            return Some(Target::Farm(farm.1.clone()));
        }
        let place = text.strip_prefix("farm")?.parse::<usize>().ok()?.checked_sub(1)?;
        farms.get(place).map(|(_, mules)| Target::Farm(mules.clone()))
    }

    fn takes(&self, place: Place) -> bool {
        match (self, place) {
            (Target::AnyWorker | Target::Workers, Place::Worker(_))
            | (Target::AnyMule | Target::Mules, Place::Mule(_))
            | (Target::Spooler, Place::Spooler(_)) => true,
            (Target::Worker(wanted), Place::Worker(number)) | (Target::Mule(wanted), Place::Mule(number)) => {
                *wanted == number
            }
            (Target::Farm(mules), Place::Mule(number)) => mules.contains(&number),
            (
                Target::AnyWorker
                | Target::Workers
                | Target::Worker(_)
                | Target::AnyMule
                | Target::Mules
                | Target::Mule(_)
                | Target::Farm(_)
                | Target::Spooler,
                Place::Worker(_) | Place::Mule(_) | Place::Spooler(_),
            ) => false,
        }
    }

    fn is_for_all(&self) -> bool {
        match self {
            Target::Workers | Target::Mules => true,
            Target::AnyWorker
            | Target::Worker(_)
            | Target::AnyMule
            | Target::Mule(_)
            | Target::Farm(_)
            | Target::Spooler => false,
        }
    }
}

/// A process as it is seen when a signal is to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Which.
    pub place: Place,
    /// It is inside a request or a function.
    pub is_busy: bool,
}

/// What becomes of a signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// These get it: places in the list of those seen.
    To(Vec<usize>),
    /// Nobody is there who could get it; it waits.
    Waits,
    /// Nobody has registered a function for it.
    Unknown,
}

/// What waited when somebody came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arrival {
    /// For him.
    pub his: Vec<u8>,
    /// For anybody.
    pub again: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Registered {
    target: Target,
    /// Who has: everybody when it was at import.
    by: Option<BTreeSet<Place>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Timer {
    signal: u8,
    every: Duration,
    /// How many times more; None is for ever.
    left: Option<u64>,
    /// None until the generation serves.
    next: Option<Moment>,
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signals {
    registered: BTreeMap<u8, Registered>,
    timers: Vec<Timer>,
    crons: Vec<(u8, Pattern)>,
    serves: bool,
    /// Signals that nobody could get, and for whom: None is whoever comes.
    waiting: VecDeque<(Option<Place>, u8)>,
    /// Mules and spoolers that are there, or will be.
    expected: BTreeSet<Place>,
    /// Counts up, so that everybody gets a turn.
    turn: usize,
}

impl Signals {
    /// A function was registered by a process, or at import by what all are forked from.
    pub fn register(&mut self, signal: u8, target: Target, by: Option<Place>) {
        let before = self.registered.remove(&signal);
        let by = match (by, before) {
            (None, _) | (Some(_), Some(Registered { by: None, .. })) => None,
            (Some(place), Some(Registered { by: Some(mut places), .. })) => {
                places.insert(place);
                Some(places)
            }
            (Some(place), None) => Some(BTreeSet::from([place])),
        };
        self.registered.insert(signal, Registered { target, by });
    }

    /// Raise it every so often. The same from another process that imports the app itself (`lazy-apps`) is the same timer.
    pub fn add_timer(&mut self, signal: u8, every: Duration, times: u64, now: Moment) {
        let is_same = |timer: &Timer| timer.signal == signal && timer.every == every && timer.left.is_none();
        if times == 0 && self.timers.iter().any(is_same) {
            return;
        }
        let next = self.serves.then(|| now.after(every));
        self.timers.push(Timer { signal, every, left: (times > 0).then_some(times), next });
    }

    /// Raise it at these times.
    pub fn add_cron(&mut self, signal: u8, pattern: Pattern) {
        if !self.crons.contains(&(signal, pattern)) {
            self.crons.push((signal, pattern));
        }
    }

    /// The generation serves: time begins.
    pub fn start(&mut self, now: Moment) {
        self.serves = true;
        for timer in &mut self.timers {
            timer.next.get_or_insert(now.after(timer.every));
        }
    }

    /// Another one serves, or the vassal stops: nothing comes of time any more.
    pub fn stop(&mut self) {
        self.serves = false;
        self.timers.clear();
        self.crons.clear();
        self.waiting.clear();
    }

    /// Whether minutes are of interest.
    #[must_use]
    pub fn has_crons(&self) -> bool {
        self.serves && !self.crons.is_empty()
    }

    /// When the next timer comes.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        self.timers.iter().filter_map(|timer| timer.next).min()
    }

    /// Signals whose timers have come, each once however late it is.
    pub fn due(&mut self, now: Moment) -> Vec<u8> {
        let mut due = Vec::new();
        for timer in &mut self.timers {
            let Some(next) = timer.next.filter(|next| *next <= now) else { continue };
            due.push(timer.signal);
            timer.left = timer.left.map(|left| left - 1);
            // In step with the beginning, but never in the past.
            let in_step = next.after(timer.every);
            timer.next = Some(if in_step > now { in_step } else { now.after(timer.every) });
        }
        self.timers.retain(|timer| timer.left != Some(0));
        due
    }

    /// Signals of these minutes, each once.
    #[must_use]
    pub fn of_minutes(&self, minutes: &[Local]) -> Vec<u8> {
        let fits = |pattern: &Pattern| self.serves && minutes.iter().any(|local| pattern.fits(local));
        self.crons.iter().filter(|(_, pattern)| fits(pattern)).map(|(signal, _)| *signal).collect()
    }

    /// Who gets a signal, of these. One that is for anybody goes to somebody who has nothing to do, in turn.
    pub fn deliver(&mut self, signal: u8, seen: &[Seen]) -> Delivery {
        let Some(Registered { target, by }) = self.registered.get(&signal) else { return Delivery::Unknown };
        let knows = |place: Place| by.as_ref().is_none_or(|places| places.contains(&place));
        let able: Vec<usize> =
            (0..seen.len()).filter(|index| target.takes(seen[*index].place) && knows(seen[*index].place)).collect();
        if target.is_for_all() {
            // Each gets it, also those that are just being started.
            let is_seen = |place: &Place| seen.iter().any(|seen| seen.place == *place);
            let missing: Vec<Place> =
                self.expected.iter().copied().filter(|place| target.takes(*place) && !is_seen(place)).collect();
            for place in missing {
                self.wait(Some(place), signal);
            }
            return Delivery::To(able);
        }
        let idle: Vec<usize> = able.iter().copied().filter(|index| !seen[*index].is_busy).collect();
        let choice = if idle.is_empty() { able } else { idle };
        self.turn = self.turn.wrapping_add(1);
        match choice.get(self.turn % choice.len().max(1)) {
            Some(index) => Delivery::To(vec![*index]),
            None => {
                self.wait(None, signal);
                Delivery::Waits
            }
        }
    }

    fn wait(&mut self, whom: Option<Place>, signal: u8) {
        if self.waiting.len() == WAITING_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back((whom, signal));
    }

    /// Mules and spoolers that the generation has.
    pub fn expect(&mut self, places: BTreeSet<Place>) {
        self.expected = places;
    }

    /// Somebody is there who was not. What waited for him is his; what waited for anybody is to be delivered again.
    pub fn arrived(&mut self, place: Place) -> Arrival {
        let (his, others) = std::mem::take(&mut self.waiting).into_iter().partition(|(whom, _)| *whom == Some(place));
        let (again, others): (VecDeque<_>, VecDeque<_>) =
            VecDeque::into_iter(others).partition(|(whom, _)| whom.is_none());
        self.waiting = others;
        let signals = |waiting: VecDeque<(Option<Place>, u8)>| waiting.into_iter().map(|(_, signal)| signal).collect();
        Arrival { his: signals(his), again: signals(again) }
    }
}

#[cfg(test)]
mod tests;
