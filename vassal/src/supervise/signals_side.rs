//! uWSGI signals: what the processes of a generation say of them reaches its machine, and what is raised goes into the
//! letterboxes of those that the machine names. Signals stay within the generation that registered them.

use std::{
    collections::BTreeSet,
    os::fd::{AsFd, OwnedFd},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use empery_config::{beside::SignalOptions, vassal::VassalConfig};
use empery_control::{scoreboard::Header, signals::SignalWord};
use empery_lifecycle::{
    cron::{Local, Pattern},
    ids::{GenerationId, WorkerRef},
    moment::Moment,
    signals::{Delivery, Place, Seen, Signals, Target},
};
use empery_sys::seqpacket;

use super::{
    Supervisor,
    generation::{Generation, WorkerHandle},
};
use crate::{clock, file_monitor::FileMonitor, log};

/// What a generation has registered.
#[derive(Default)]
pub(crate) struct SignalDesk {
    machine: Signals,
    monitors: Vec<FileMonitor>,
}

impl Supervisor {
    /// A process of a generation said something; nobody in particular when it was at import.
    pub(super) fn heard_signals(
        &mut self,
        id: GenerationId,
        by: Option<Place>,
        word: SignalWord,
        descriptors: Vec<OwnedFd>,
    ) {
        let inbox = self.inbox.clone();
        let now = clock::now();
        let Some(generation) = self.generations.get_mut(&id) else { return };
        let desk = &mut generation.signals;
        match word {
            SignalWord::Letterbox => {
                if let (Some(place), Some(letterbox)) = (by, descriptors.into_iter().next()) {
                    // A master must not wait for a process that does not read.
                    let _ = empery_sys::channel::set_nonblocking(letterbox.as_fd());
                    match place {
                        Place::Worker(number) => generation.put_letterbox(number, letterbox),
                        Place::Mule(_) | Place::Spooler(_) => self.put_letterbox_of_post(id, place, letterbox),
                    }
                    self.receiver_came(id, place);
                }
            }
            SignalWord::Registered { signal, target } => {
                match Target::read(&target, &farms(&generation.revision.config)) {
                    Some(wanted) => {
                        desk.machine.register(signal, wanted, by);
                        if by.is_none() {
                            log::say(&format!(
                                "[uwsgi-signal] signum {signal} registered (target: {})",
                                shown(&target)
                            ));
                        }
                    }
                    None => log::say(&format!("*** signal {signal} has no receiver: {target:?} is nobody ***")),
                }
            }
            SignalWord::Timer { signal, every_ms, times } => {
                desk.machine.add_timer(signal, Duration::from_millis(every_ms.max(1)), times, now);
            }
            SignalWord::Cron { signal, when: [minute, hour, day, month, week] } => {
                desk.machine.add_cron(signal, Pattern { minute, hour, day, month, week });
                self.clock_concerns_signals();
            }
            SignalWord::FileMonitor { signal, path } => desk.monitor(&path, signal, id, inbox),
            SignalWord::Raised { signal } => {
                generation.count_signal(|header| &header.routed_signals);
                self.raise(id, signal);
            }
        }
    }

    /// What has waited is delivered.
    fn receiver_came(&mut self, id: GenerationId, place: Place) {
        let Some(generation) = self.generations.get_mut(&id) else { return };
        let arrival = generation.signals.machine.arrived(place);
        for signal in arrival.his {
            self.put(id, place, signal);
        }
        for signal in arrival.again {
            self.raise(id, signal);
        }
    }

    /// A generation serves: its time begins, and that of all others ends.
    pub(super) fn signals_begin(&mut self, id: GenerationId, config: &VassalConfig) {
        self.signals_end(|other| other != id);
        let (now, inbox) = (clock::now(), self.inbox.clone());
        let SignalOptions { timers, monitored, .. } = &config.beside.signals;
        let expected = super::posts_side::posts_of(config).into_iter().map(super::posts_side::place).collect();
        if let Some(generation) = self.generations.get_mut(&id) {
            let desk = &mut generation.signals;
            desk.machine.expect(expected);
            for (signal, seconds) in timers {
                desk.machine.add_timer(*signal, Duration::from_secs((*seconds).into()), 0, now);
            }
            for (path, signal) in monitored {
                desk.monitor(path, *signal, id, inbox.clone());
            }
            desk.machine.start(now);
        }
        self.clock_concerns_signals();
    }

    /// Nothing is raised by time any more in these.
    pub(super) fn signals_end(&mut self, which: impl Fn(GenerationId) -> bool) {
        for (_, generation) in self.generations.iter_mut().filter(|(id, _)| which(**id)) {
            generation.signals.machine.stop();
            generation.signals.monitors.clear();
        }
    }

    pub(super) fn signals_deadline(&self) -> Option<Moment> {
        self.generations.values().filter_map(|generation| generation.signals.machine.deadline()).min()
    }

    pub(super) fn wake_signals(&mut self, now: Moment) {
        let due = |(id, generation): (&GenerationId, &mut Generation)| {
            let signals = generation.signals.machine.due(now);
            signals.into_iter().map(|signal| (*id, signal)).collect::<Vec<_>>()
        };
        let due: Vec<_> = self.generations.iter_mut().flat_map(due).collect();
        for (id, signal) in due {
            self.raise(id, signal);
        }
    }

    /// These minutes have come.
    pub(super) fn minutes_came(&mut self, minutes: &[Local]) {
        let of = |(id, generation): (&GenerationId, &Generation)| {
            let signals = generation.signals.machine.of_minutes(minutes);
            signals.into_iter().map(|signal| (*id, signal)).collect::<Vec<_>>()
        };
        let due: Vec<_> = self.generations.iter().flat_map(of).collect();
        for (id, signal) in due {
            log::say(&format!("[uwsgi-cron] routing signal {signal}"));
            self.raise(id, signal);
        }
    }

    fn clock_concerns_signals(&mut self) {
        let concerns = self.generations.values().any(|generation| generation.signals.machine.has_crons());
        self.beside.crons.concern_signals(concerns);
    }

    /// `touch-signal`.
    pub(super) fn signals_of_touched(&mut self, path: &std::path::Path) {
        let Some((id, _)) = self.machine.serving() else { return };
        let Some(generation) = self.generations.get(&id) else { return };
        let touched = generation.revision.config.beside.signals.touched.iter();
        let raised: Vec<u8> = touched.filter(|(of, _)| of == path).map(|(_, signal)| *signal).collect();
        for signal in raised {
            log::say(&format!("*** {} has been modified... sending signal {signal} ***", path.display()));
            self.raise(id, signal);
        }
    }

    /// Puts a signal into the letterbox of one process.
    fn put(&self, id: GenerationId, place: Place, signal: u8) {
        let letterbox = match place {
            Place::Worker(number) => self.generations.get(&id).and_then(|generation| generation.letterbox_of(number)),
            Place::Mule(_) | Place::Spooler(_) => self.posts.letterbox_of(id, place),
        };
        let Some(generation) = self.generations.get(&id) else { return };
        match letterbox.map(|letterbox| seqpacket::send(letterbox.as_fd(), &[signal], &[])) {
            Some(Ok(())) => generation.count_signal(|header| &header.routed_signals),
            Some(Err(error)) => {
                generation.count_signal(|header| &header.unrouted_signals);
                log::say(&format!("*** signal {signal} cannot be delivered: {error} ***"));
            }
            None => generation.count_signal(|header| &header.unrouted_signals),
        }
    }

    /// Delivers a signal.
    pub(super) fn raise(&mut self, id: GenerationId, signal: u8) {
        let now = clock::now();
        let Some(generation) = self.generations.get_mut(&id) else { return };
        let mut seen = generation.receivers(now);
        seen.extend(self.posts.receivers(id).map(|(place, is_busy)| Seen { place, is_busy }));
        match generation.signals.machine.deliver(signal, &seen) {
            Delivery::To(places) => {
                for place in places {
                    self.put(id, seen[place].place, signal);
                }
            }
            Delivery::Waits => {}
            Delivery::Unknown => {
                log::say(&format!("*** signal {signal} was raised, and nobody has registered a function for it ***"));
            }
        }
    }
}

impl SignalDesk {
    fn monitor(&mut self, path: &std::path::Path, signal: u8, id: GenerationId, inbox: super::input::Inbox) {
        if self.monitors.iter().any(|monitor| monitor.is(path, signal)) {
            return;
        }
        match FileMonitor::start(path, signal, id, inbox) {
            Ok(monitor) => self.monitors.push(monitor),
            Err(error) => {
                log::say(&format!("*** {} cannot be watched for signal {signal}: {error} ***", path.display()))
            }
        }
    }
}

impl Generation {
    fn count_signal(&self, of: fn(&Header) -> &AtomicU64) {
        of(self.scoreboard.header()).fetch_add(1, Ordering::Relaxed);
    }

    /// Of the newest process of that worker.
    fn put_letterbox(&mut self, number: u32, letterbox: OwnedFd) {
        let mut its = self.workers.iter_mut().filter(|(worker, _)| worker.worker.0 == number);
        if let Some((_, handle)) = its.next_back() {
            handle.letterbox = Some(letterbox);
        }
    }

    fn letterbox_of(&self, number: u32) -> Option<&OwnedFd> {
        let its = self.listening().filter(|(worker, _)| worker.worker.0 == number);
        its.last().and_then(|(_, handle)| handle.letterbox.as_ref())
    }

    /// Workers that accept, or, when none does, those that finish what they have.
    fn listening(&self) -> impl Iterator<Item = (&WorkerRef, &WorkerHandle)> {
        let listens = || self.workers.iter().filter(|(_, handle)| handle.letterbox.is_some() && handle.exit.is_none());
        let some_accept = listens().any(|(_, handle)| handle.accepts());
        listens().filter(move |(_, handle)| !some_accept || handle.accepts())
    }

    fn receivers(&self, now: Moment) -> Vec<Seen> {
        let seen = |(worker, _): (&WorkerRef, &WorkerHandle)| {
            let is_busy = self.inside_for_ns(*worker, now) > 0;
            Seen { place: Place::Worker(worker.worker.0), is_busy }
        };
        self.listening().map(seen).collect()
    }
}

fn shown(target: &str) -> &str {
    if target.is_empty() { "default, any worker" } else { target }
}

fn farms(config: &VassalConfig) -> Vec<(String, BTreeSet<u32>)> {
    config.beside.mules.farms.iter().map(|farm| (farm.name.clone(), farm.mules.iter().copied().collect())).collect()
}
