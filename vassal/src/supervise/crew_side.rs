//! How many workers there should be: the crew is shown the scoreboard, and the machine is told what it answers. While
//! nobody is wanted, the sockets are watched for a client.

use std::{os::fd::AsFd, time::Duration};

use empery_config::{crew::Algorithm as Configured, vassal::VassalConfig};
use empery_lifecycle::{
    crew::{Algorithm, AtRest, Busyness, Crew, Look, Rules, Seen, Verdict},
    generations::Event,
    moment::Moment,
};
use empery_sys::{listen, process};

use super::{Supervisor, generation::Generation};
use crate::{clock, doorbell::Doorbell, log};

impl Supervisor {
    /// Another generation serves.
    pub(super) fn crew_follows(&mut self, config: &VassalConfig) {
        let Some(wanted) = self.machine.wanted() else { return };
        let (rules, now) = (rules(config), clock::now());
        self.crew = Some(match self.crew.take() {
            Some(crew) => crew.succeed(rules, wanted, now),
            None => Crew::new(rules, wanted, now),
        });
        // Its sockets may be others.
        self.doorbell = None;
    }

    /// When it is to be looked at.
    pub(super) fn crew_at(&self) -> Option<Moment> {
        if self.stop_asked { None } else { self.crew.as_ref()?.look_at() }
    }

    pub(super) fn look_at_crew(&mut self, now: Moment) {
        let Some(look) = self.look(now) else { return };
        let verdict = self.crew.as_mut().map_or(Verdict::Stay, |crew| crew.looked(&look, now));
        self.obey_crew(verdict);
    }

    /// Somebody has connected while nobody serves.
    pub(super) fn client_waits(&mut self) {
        self.doorbell = None;
        let verdict = self.crew.as_mut().map_or(Verdict::Stay, |crew| crew.client_waits(clock::now()));
        self.obey_crew(verdict);
    }

    /// `+` and `-` of `master-fifo`.
    pub(super) fn asked_for_workers(&mut self, change: i64) {
        let verdict = self.crew.as_mut().map_or(Verdict::Stay, |crew| crew.asked_for(change));
        if verdict == Verdict::Stay {
            log::say("*** there are as many workers as `cheaper` and `processes` allow ***");
        }
        self.obey_crew(verdict);
    }

    fn obey_crew(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Stay => {}
            Verdict::Want(0, why) => {
                log::say(&format!("*** the workers go to rest: {why}; the next connection wakes them ***"));
                self.tell(Event::Resize { workers: 0 });
            }
            Verdict::Want(workers, why) => {
                log::say(&format!("*** {workers} workers are wanted: {why} ***"));
                self.tell(Event::Resize { workers });
            }
            Verdict::End => {
                log::say("*** nobody has asked for anything, and die-on-idle ends this vassal ***");
                self.stop();
            }
        }
    }

    /// A vassal at rest listens for the bell.
    pub(super) fn mind_the_door(&mut self) {
        let rests = self.machine.wanted() == Some(0) && !self.stop_asked && self.leaving.is_none();
        if !rests {
            self.doorbell = None;
            return;
        }
        if self.doorbell.is_some() {
            return;
        }
        let Some((serving, _)) = self.machine.serving() else { return };
        let Some(generation) = self.generations.get(&serving) else { return };
        let doors = generation.revision.config.listeners.iter().filter(|listener| listener.door.is_workers());
        let held = doors.filter_map(|listener| self.listeners.get(&listener.address.to_string()));
        let sockets = held.filter_map(|held| held.socket.try_clone().ok()).collect();
        match Doorbell::watch(sockets, &self.inbox) {
            Ok(doorbell) => self.doorbell = Some(doorbell),
            Err(error) => {
                // Better workers that nobody asked for than a client that nobody hears.
                log::say(&format!("*** the sockets cannot be watched ({error}): the workers start again ***"));
                self.client_waits();
            }
        }
    }

    fn look(&self, now: Moment) -> Option<Look> {
        let (serving, _) = self.machine.serving()?;
        let generation = self.generations.get(&serving)?;
        let config = &generation.revision.config;
        let there = || generation.workers.iter().filter(|(_, handle)| handle.accepts());
        let workers = there().map(|(worker, _)| Seen {
            worker: worker.worker,
            is_busy: generation.inside_for_ns(*worker, now) > 0,
            serves: generation.serves(*worker),
            running_us: generation.running_us(*worker, now),
        });
        let limited = config.crew.cheaper.as_ref().is_some_and(|cheaper| cheaper.rss_soft_bytes > 0);
        let pids = there().filter(|_| limited).filter_map(|(_, handle)| handle.pid);
        Some(Look {
            workers: workers.collect(),
            backlog: self.backlog(generation),
            rss_bytes: pids.filter_map(process::memory).map(|memory| memory.rss_bytes).sum(),
            requests: generation.scoreboard.totals().requests,
        })
    }

    /// The longest queue of a socket of its workers.
    fn backlog(&self, generation: &Generation) -> u64 {
        let doors = generation.revision.config.listeners.iter().filter(|listener| listener.door.is_workers());
        let held = doors.filter_map(|listener| self.listeners.get(&listener.address.to_string()));
        held.filter_map(|held| listen::queue_length(held.socket.as_fd())).map(|(queue, _)| queue).max().unwrap_or(0)
    }
}

fn rules(config: &VassalConfig) -> Rules {
    let (most, crew) = (config.processes, &config.crew);
    let cheaper = crew.cheaper.as_ref();
    let limit = |bytes: u64| (bytes > 0).then_some(bytes);
    Rules {
        most,
        least: cheaper.map_or(most, |cheaper| cheaper.least),
        first: cheaper.map_or(most, |cheaper| cheaper.first),
        step: cheaper.map_or(1, |cheaper| cheaper.step),
        algorithm: cheaper.map_or(Algorithm::Manual, |cheaper| match cheaper.algorithm {
            Configured::Manual => Algorithm::Manual,
            Configured::Spare => Algorithm::Spare { overload: cheaper.overload },
            Configured::Spare2 => Algorithm::Spare2 { idle: cheaper.idle_s },
            Configured::Backlog => Algorithm::Backlog { overload: cheaper.overload },
            Configured::Busyness => Algorithm::Busyness(busyness(cheaper)),
        }),
        rss_soft_bytes: cheaper.and_then(|cheaper| limit(cheaper.rss_soft_bytes)),
        rss_hard_bytes: cheaper.and_then(|cheaper| limit(cheaper.rss_hard_bytes)),
        idle: limit(crew.idle_s).map(Duration::from_secs),
        at_rest: if crew.die_on_idle { AtRest::Ends } else { AtRest::Waits },
    }
}

fn busyness(cheaper: &empery_config::crew::Cheaper) -> Busyness {
    let rules = &cheaper.busyness;
    Busyness {
        window: Duration::from_secs(cheaper.overload),
        max_percent: rules.max_percent,
        min_percent: rules.min_percent,
        multiplier: rules.multiplier,
        penalty: rules.penalty,
        backlog_alert: rules.backlog_alert,
        backlog_multiplier: rules.backlog_multiplier,
        backlog_step: rules.backlog_step,
        backlog_nonzero: Duration::from_secs(rules.backlog_nonzero_s),
    }
}
