//! Long histories of one vassal in a world of processes that boot slowly, hang, crash and are killed, told of late,
//! twice, out of order or (except exits, which the kernel keeps) never. [`Witness`] checks every step; when the world
//! calms down, what serves must be what was asked for last. A failure names its seed.

use std::{collections::BTreeMap, time::Duration};

use super::{
    departures::Process,
    witness::{Stopped, Witness},
    *,
};
use crate::{
    chance::{self, Chance},
    ids::RevisionId,
};

const POLICY: Policy = Policy {
    mercy: Duration::from_secs(8),
    respawn_delay_first: Duration::from_millis(500),
    respawn_delay_longest: Duration::from_secs(4),
    told_within: Duration::from_millis(200),
    first_generation: GenerationId(1),
};
const PLAN: Plan =
    Plan { workers: 3, first: 3, least: 3, mercy: Duration::from_secs(8), boot_deadline: Duration::from_secs(10) };

/// One whose number of workers changes.
const ADAPTIVE: Plan = Plan { first: 1, least: 0, ..PLAN };

/// What goes wrong, in percent.
struct Weather {
    boots_fail: u64,
    hangs: u64,
    crashes: u64,
    words_lost: u64,
    words_doubled: u64,
    shortages: u64,
}

const STORM: Weather =
    Weather { boots_fail: 15, hangs: 8, crashes: 12, words_lost: 8, words_doubled: 10, shortages: 30 };
const CALM: Weather = Weather { boots_fail: 0, hangs: 0, crashes: 0, words_lost: 0, words_doubled: 0, shortages: 0 };

struct World {
    machine: Generations,
    witness: Witness,
    chance: Chance,
    weather: Weather,
    now: Moment,
    /// Words on their way, in the order of their arrival.
    mail: BTreeMap<(Moment, u64), Event>,
    posted: u64,
    /// What is really alive.
    alive: BTreeMap<Process, ()>,
    operations: u64,
    orphans: u64,
    steps: u64,
    log: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        World {
            machine: Generations::new(POLICY),
            witness: Witness::new(POLICY, if seed.is_multiple_of(2) { PLAN } else { ADAPTIVE }),
            chance: Chance::seeded(seed),
            weather: STORM,
            now: Moment::START,
            mail: BTreeMap::new(),
            posted: 0,
            alive: BTreeMap::new(),
            operations: 0,
            orphans: 0,
            steps: 0,
            log: Vec::new(),
        }
    }

    fn post_in(&mut self, delay_ms: u64, event: Event) {
        self.posted += 1;
        self.mail.insert((self.now.after(Duration::from_millis(delay_ms)), self.posted), event);
    }

    /// A word that may be lost or doubled on its way.
    fn say(&mut self, within_ms: u64, event: Event) {
        if self.chance.percent(self.weather.words_lost) {
            return;
        }
        if self.chance.percent(self.weather.words_doubled) {
            let late = self.chance.below(5 * within_ms);
            self.post_in(late, event.clone());
        }
        let delay = self.chance.below(within_ms);
        self.post_in(delay, event);
    }

    /// A process ends; the machine hears of it, at some time.
    fn dies(&mut self, process: Process, exit: Exit, within_ms: u64) {
        if self.alive.remove(&process).is_none() {
            return;
        }
        let how = "of chance".to_owned();
        let event = match process {
            Process::Zygote(generation) => Event::ZygoteExited { generation, how },
            Process::Worker(worker) => Event::WorkerExited { worker, exit, how },
            Process::Orphan(orphan) => Event::OrphanExited { orphan },
        };
        if self.chance.percent(self.weather.words_doubled) {
            self.post_in(within_ms + 700, event.clone());
        }
        let delay = self.chance.below(within_ms);
        self.post_in(delay, event);
    }

    fn performs(&mut self, action: &Action) {
        match action {
            Action::Boot { generation, .. } => {
                let generation = *generation;
                if self.machine.serving().is_some() && self.chance.percent(self.weather.shortages) {
                    return self.post_in(0, Event::NoRoom { generation });
                }
                self.alive.insert(Process::Zygote(generation), ());
                if self.chance.percent(self.weather.boots_fail) {
                    let reason = FailureReason::Setup { sentence: "of chance".into() };
                    self.say(3000, Event::BootFailed { generation, reason });
                    self.dies(Process::Zygote(generation), Exit::Died, 3000);
                } else if self.chance.percent(self.weather.crashes) {
                    self.dies(Process::Zygote(generation), Exit::Died, 3000);
                } else if !self.chance.percent(self.weather.hangs) {
                    self.say(3000, Event::Loaded { generation });
                }
            }
            Action::Spawn(worker) => {
                let process = Process::Worker(*worker);
                self.alive.insert(process, ());
                if !self.alive.contains_key(&Process::Zygote(worker.generation))
                    || self.chance.percent(self.weather.crashes)
                {
                    self.dies(process, Exit::Died, 1000);
                } else if !self.chance.percent(self.weather.hangs) {
                    self.say(1000, Event::Proved { worker: *worker });
                }
            }
            Action::Weigh(what) => {
                let room = if self.chance.percent(self.weather.shortages) { Room::Short } else { Room::Enough };
                self.post_in(0, Event::Weighed { what: *what, room });
            }
            Action::Drain(worker) => {
                self.say(400, Event::GateClosed { worker: *worker });
                self.finishes(Process::Worker(*worker));
            }
            Action::RetireZygote(generation) => self.finishes(Process::Zygote(*generation)),
            Action::DrainOrphan(orphan) => {
                self.say(400, Event::OrphanGateClosed { orphan: *orphan });
                self.finishes(Process::Orphan(*orphan));
            }
            Action::Kill(worker) => self.dies(Process::Worker(*worker), Exit::Died, 50),
            Action::KillZygote(generation) if !self.alive.contains_key(&Process::Zygote(*generation)) => {
                // One that was never there is gone at once.
                self.post_in(0, Event::ZygoteExited { generation: *generation, how: "of chance".to_owned() });
            }
            Action::KillZygote(generation) => self.dies(Process::Zygote(*generation), Exit::Died, 50),
            Action::KillOrphan(orphan) => self.dies(Process::Orphan(*orphan), Exit::Died, 50),
            Action::OpenGate(_) | Action::Report(_) | Action::Leave => {}
        }
    }

    fn finishes(&mut self, process: Process) {
        if !self.chance.percent(self.weather.hangs) {
            self.dies(process, Exit::Clean, 4000);
        }
    }

    fn tell(&mut self, event: Event) -> Result<(), String> {
        self.steps += 1;
        let actions = self.machine.handle(event.clone(), self.now);
        self.log.push(format!("{:>9} ms {event:?}\n{actions:#?}", self.now.0 / 1_000_000));
        self.witness.step(&event, &actions, &self.machine, self.now)?;
        for action in &actions {
            self.performs(action);
        }
        Ok(())
    }

    /// The next word arrives, or the deadline comes, whichever is first.
    fn goes_on(&mut self) -> Result<bool, String> {
        let arrival = self.mail.first_key_value().map(|(key, _)| *key);
        let deadline = self.machine.deadline();
        match (arrival, deadline) {
            (Some((at, number)), _) if deadline.is_none_or(|deadline| at <= deadline.max(self.now)) => {
                self.now = self.now.max(at);
                if let Some(event) = self.mail.remove(&(at, number)) {
                    self.tell(event)?;
                }
            }
            (_, Some(deadline)) => {
                self.now = self.now.max(deadline);
                self.tell(Event::DeadlineReached)?;
            }
            (_, None) => return Ok(false),
        }
        Ok(true)
    }

    fn deploy(&mut self) -> Result<RevisionId, String> {
        self.operations += 1;
        let revision = RevisionId(self.operations);
        self.tell(Event::Deploy { operation: OperationId(self.operations), revision, plan: self.witness.plan })?;
        Ok(revision)
    }

    fn somebody_acts(&mut self) -> Result<(), String> {
        let alive: Vec<Process> = self.alive.keys().copied().collect();
        match self.chance.below(100) {
            0..30 => drop(self.deploy()?),
            30..36 => {
                let operation = OperationId(self.operations.saturating_sub(self.chance.below(2)));
                self.tell(Event::Cancel { operation })?;
            }
            36..60 if !alive.is_empty() => {
                let victim = *self.chance.pick(&alive);
                self.dies(victim, Exit::Died, 300);
            }
            60..75 if !alive.is_empty() => match *self.chance.pick(&alive) {
                Process::Worker(worker) => {
                    self.say(100, Event::RecycleAsked { worker, why: RecycleReason::Memory });
                }
                Process::Zygote(_) | Process::Orphan(_) => {}
            },
            75..80 if self.orphans < 3 => {
                self.orphans += 1;
                let orphan = OrphanId(self.orphans);
                self.alive.insert(Process::Orphan(orphan), ());
                self.tell(Event::OrphanFound { orphan })?;
            }
            80..85 => self.now = self.now.after(Duration::from_secs(self.chance.below(40))),
            87..93 => {
                let workers = self.chance.below(5) as u32;
                self.tell(Event::Resize { workers })?;
            }
            85..86 => self.tell(Event::Stop)?,
            86..87 if self.witness.stopped != Stopped::No => self.tell(Event::StopNow)?,
            _ => {}
        }
        Ok(())
    }

    fn lives(&mut self) -> Result<(), String> {
        if self.chance.percent(75) {
            self.weather = CALM;
        }
        self.deploy()?;
        while self.weather.hangs == 0 && self.goes_on()? {}
        self.weather = STORM;
        for _ in 0..60 {
            if self.witness.left {
                return Ok(());
            }
            self.somebody_acts()?;
            for _ in 0..self.chance.below(8) {
                self.goes_on()?;
            }
        }
        self.weather = CALM;
        while self.goes_on()? {}
        if self.witness.left {
            return Ok(());
        }
        let wanted = self.deploy()?;
        while self.goes_on()? {}
        self.witness.at_rest()?;
        if self.witness.stopped == Stopped::No && self.machine.serving().map(|(_, revision)| revision) != Some(wanted) {
            return Err(format!("revision {wanted} was asked for last, but {:?} serves", self.machine.serving()));
        }
        let known: Vec<_> = self.witness.processes.keys().collect();
        let unknown = self.alive.keys().find(|process| !known.contains(process));
        unknown.map_or(Ok(()), |process| Err(format!("{process:?} is alive and forgotten")))
    }
}

#[test]
fn every_history_settles_at_what_was_asked_for_last() {
    chance::histories("simulation of generations", 60_000, |seed| {
        let mut world = World::new(seed);
        if let Err(broken) = world.lives() {
            let tail = world.log.split_off(world.log.len().saturating_sub(40)).join("\n");
            panic!("seed {seed}: {broken}\n{tail}");
        }
        world.steps
    });
}
