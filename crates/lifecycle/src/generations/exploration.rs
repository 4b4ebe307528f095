//! Every state that the machine can reach within stated bounds, by breadth-first search over everything that can
//! happen next. Each step is checked by [`Witness`], and from each state an undisturbed machine must come to rest.
//!
//! States that differ only in numbering or in the hour are one: [`Node::canonical`] counts generations and spawns
//! by rank among those that are there, and moments from now.

use std::{
    collections::{BTreeSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
    time::Duration,
};

use super::{
    canonical::Renaming,
    departures::Process,
    witness::{Asked, Stopped, Witness},
    *,
};
use crate::chance;

pub(super) const BOOT_DEADLINE: Duration = Duration::from_secs(2);

pub(super) const POLICY: Policy = Policy {
    mercy: Duration::from_secs(2),
    respawn_delay_first: Duration::from_secs(1),
    respawn_delay_longest: Duration::from_secs(1),
    told_within: Duration::from_secs(1),
    first_generation: GenerationId(1),
};

/// "Now" of every canonical state; everything the machine remembers lies less than this back.
pub(super) const NOW: Moment = Moment(1_000_000_000_000);

/// How much may happen in one history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Bounds {
    workers: u32,
    deploys: u8,
    /// Deaths and failures of processes that were not asked to go.
    deaths: u8,
    recycles: u8,
    orphans: u8,
    /// Times the number of wanted workers changes.
    resizes: u8,
    /// Answers that there is no room.
    shortages: u8,
    /// Times the clock jumps past every deadline without anybody being told.
    sleeps: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) machine: Generations,
    pub(super) witness: Witness,
    left: Bounds,
    pub(super) now: Moment,
}

/// Something that may happen next.
#[derive(Debug, Clone)]
enum Happening {
    Told(Event),
    /// The moment of the deadline comes and is told.
    Deadline,
    /// Time passes and nobody is told.
    Sleep(Duration),
}

/// How a state was reached, for the message of a failure.
struct Path {
    last: Happening,
    before: Option<Rc<Path>>,
}

fn story(path: &Option<Rc<Path>>) -> String {
    let mut lines = Vec::new();
    let mut at = path.as_ref();
    while let Some(step) = at {
        lines.push(format!("  {:?}", step.last));
        at = step.before.as_ref();
    }
    lines.reverse();
    lines.join("\n")
}

/// A process that was asked to go says that it accepts nothing any more.
fn gate_closed(process: Process) -> Option<Event> {
    match process {
        Process::Worker(worker) => Some(Event::GateClosed { worker }),
        Process::Orphan(orphan) => Some(Event::OrphanGateClosed { orphan }),
        Process::Zygote(_) => None,
    }
}

impl Node {
    fn new(bounds: Bounds) -> Self {
        let fixed = bounds.resizes == 0;
        let (first, least) = if fixed { (bounds.workers, bounds.workers) } else { (1, 0) };
        let plan = Plan { workers: bounds.workers, first, least, mercy: POLICY.mercy, boot_deadline: BOOT_DEADLINE };
        let (machine, witness) = (Generations::new(POLICY), Witness::new(POLICY, plan));
        Node { machine, witness, left: bounds, now: NOW }
    }

    /// What can happen next, and what is left to happen after it.
    fn happenings(&self) -> Vec<(Happening, Bounds)> {
        if self.witness.left {
            return Vec::new(); // the master has exited
        }
        let left = self.left;
        let mut all: Vec<(Happening, Bounds)> = Vec::new();
        let mut free = |event: Event| all.push((Happening::Told(event), left));
        let died = Bounds { deaths: left.deaths.wrapping_sub(1), ..left };
        let mut costly: Vec<(Event, Bounds)> = Vec::new();
        for (process, known) in &self.witness.processes {
            let gone = match *process {
                Process::Zygote(generation) => Event::ZygoteExited { generation, how: String::new() },
                Process::Worker(worker) => Event::WorkerExited { worker, exit: Exit::Clean, how: String::new() },
                Process::Orphan(orphan) => Event::OrphanExited { orphan },
            };
            if known.asked == Asked::No {
                if left.deaths > 0 {
                    costly.push((gone, died));
                }
            } else {
                free(gone);
            }
            match *process {
                Process::Zygote(generation) if !known.proved && known.asked != Asked::Killed => {
                    free(Event::Loaded { generation });
                    if left.shortages > 0 && known.asked == Asked::No {
                        let shortages = left.shortages - 1;
                        costly.push((Event::NoRoom { generation }, Bounds { shortages, ..left }));
                    }
                    if left.deaths > 0 && known.asked == Asked::No {
                        costly.push((Event::BootFailed { generation, reason: FailureReason::Superseded }, died));
                    }
                }
                Process::Worker(worker) if !known.proved && known.asked != Asked::Killed => {
                    free(Event::Proved { worker })
                }
                Process::Worker(worker) if known.accepts() && left.recycles > 0 => {
                    let asked = Event::RecycleAsked { worker, why: RecycleReason::Requests };
                    costly.push((asked, Bounds { recycles: left.recycles - 1, ..left }));
                }
                Process::Worker(_) | Process::Zygote(_) | Process::Orphan(_) => {}
            }
        }
        for process in self.witness.switch.iter().flat_map(|(accepting, _)| accepting) {
            gate_closed(*process).map(&mut free);
        }
        for what in &self.witness.weighing {
            free(Event::Weighed { what: *what, room: Room::Enough });
            if left.shortages > 0 {
                let short = Event::Weighed { what: *what, room: Room::Short };
                costly.push((short, Bounds { shortages: left.shortages - 1, ..left }));
            }
        }
        for operation in &self.witness.pending {
            free(Event::Cancel { operation: *operation });
        }
        match self.witness.stopped {
            Stopped::No => {
                free(Event::Stop);
                free(Event::StopNow);
            }
            Stopped::Asked => free(Event::StopNow),
            Stopped::AtOnce => {}
        }
        let beside = self.witness.processes.keys().filter(|process| matches!(process, Process::Zygote(_))).count();
        if left.deploys > 0 && beside < 3 {
            let deploy = Event::Deploy { operation: OperationId(1), revision: RevisionId(1), plan: self.witness.plan };
            costly.push((deploy, Bounds { deploys: left.deploys - 1, ..left }));
        }
        if left.resizes > 0 {
            for workers in (0..=self.witness.plan.workers).filter(|workers| *workers != self.witness.wanted) {
                costly.push((Event::Resize { workers }, Bounds { resizes: left.resizes - 1, ..left }));
            }
        }
        if left.orphans > 0 {
            let orphan = OrphanId(u64::from(left.orphans));
            costly.push((Event::OrphanFound { orphan }, Bounds { orphans: left.orphans - 1, ..left }));
        }
        all.extend(costly.into_iter().map(|(event, bounds)| (Happening::Told(event), bounds)));
        // The kernel has finished most of what was killed before the clock goes on.
        let killed = self.witness.processes.values().filter(|known| known.asked == Asked::Killed).count();
        match self.machine.deadline() {
            Some(_) if killed >= 2 => {}
            Some(_) => all.push((Happening::Deadline, left)),
            None => all.push((Happening::Sleep(POLICY.respawn_delay_longest), left)),
        }
        if left.sleeps > 0 {
            all.push((Happening::Sleep(Duration::from_secs(10)), Bounds { sleeps: left.sleeps - 1, ..left }));
        }
        all
    }

    /// The state after something happened, checked.
    fn after(&self, happening: &Happening, left: Bounds) -> Result<Node, String> {
        let mut next = Node { left, ..self.clone() };
        let event = match happening {
            Happening::Told(event) => event.clone(),
            Happening::Deadline => {
                next.now = self.machine.deadline().unwrap_or(self.now).max(self.now);
                Event::DeadlineReached
            }
            Happening::Sleep(time) => {
                next.now = self.now.after(*time);
                return Ok(next.canonical());
            }
        };
        let actions = next.machine.handle(event.clone(), next.now);
        next.witness
            .step(&event, &actions, &next.machine, next.now)
            .map_err(|broken| format!("{broken}\n  on {event:?}\n  by {actions:?}\n  in {self:#?}"))?;
        Ok(next.canonical())
    }

    /// What happens when nobody disturbs: everything proves, and everything that was asked to go goes.
    fn undisturbed(&self) -> Option<Happening> {
        let told = self.witness.processes.iter().find_map(|(process, known)| match (*process, known.asked) {
            (Process::Zygote(generation), Asked::No) if !known.proved => Some(Event::Loaded { generation }),
            (Process::Worker(worker), Asked::No) if !known.proved => Some(Event::Proved { worker }),
            (Process::Zygote(_) | Process::Worker(_) | Process::Orphan(_), Asked::No) => None,
            (Process::Zygote(generation), _) => Some(Event::ZygoteExited { generation, how: String::new() }),
            (Process::Worker(worker), _) => Some(Event::WorkerExited { worker, exit: Exit::Clean, how: String::new() }),
            (Process::Orphan(orphan), _) => Some(Event::OrphanExited { orphan }),
        });
        let weighed = self.witness.weighing.first().map(|what| Event::Weighed { what: *what, room: Room::Enough });
        weighed.or(told).map(Happening::Told).or_else(|| self.machine.deadline().map(|_| Happening::Deadline))
    }

    fn key(&self) -> (u64, u64) {
        let hash = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            salt.hash(&mut hasher);
            self.hash(&mut hasher);
            hasher.finish()
        };
        (hash(0), hash(1))
    }

    fn canonical(&self) -> Node {
        let renaming = Renaming::of(self);
        let mut node = self.clone();
        node.now = NOW;
        renaming.apply(&mut node);
        node
    }
}

/// Visits everything; answers how many states and transitions there are.
fn explore(bounds: Bounds) -> (usize, usize) {
    let first = Node::new(bounds).canonical();
    let mut seen = BTreeSet::from([first.key()]);
    let mut restful = BTreeSet::new();
    let mut transitions = 0;
    let mut queue: VecDeque<(Node, Option<Rc<Path>>)> = VecDeque::from([(first, None)]);
    while let Some((node, path)) = queue.pop_front() {
        if let Err(broken) = comes_to_rest(&node, &mut restful) {
            panic!("an undisturbed machine does not come to rest: {broken}\nafter\n{}", story(&path));
        }
        for (happening, left) in node.happenings() {
            transitions += 1;
            let next = match node.after(&happening, left) {
                Ok(next) => next,
                Err(broken) => panic!("{broken}\nafter\n{}", story(&path)),
            };
            if seen.insert(next.key()) {
                assert!(seen.len() < 3_000_000, "the bounds are too wide");
                queue.push_back((next, Some(Rc::new(Path { last: happening, before: path.clone() }))));
            }
        }
    }
    (seen.len(), transitions)
}

fn comes_to_rest(node: &Node, restful: &mut BTreeSet<(u64, u64)>) -> Result<(), String> {
    let mut way = Vec::new();
    let mut at = node.clone();
    while !restful.contains(&at.key()) {
        way.push(at.key());
        if way.len() > 300 {
            return Err(format!("300 steps and no rest: {at:#?}"));
        }
        match at.undisturbed() {
            Some(happening) => at = at.after(&happening, at.left)?,
            None => {
                at.witness.at_rest().map_err(|broken| format!("{broken}: {at:#?}"))?;
                break;
            }
        }
    }
    restful.extend(way);
    Ok(())
}

/// Explores the narrow bounds, or the wide ones when a long run is asked for (`./dev sim`).
fn explored(title: &str, narrow: Bounds, wide: Bounds) {
    let bounds = if chance::steps(0) > 0 { wide } else { narrow };
    let (states, transitions) = explore(bounds);
    chance::tell(&format!("generations, {title}: {states} states, {transitions} transitions ({bounds:?})"));
}

const NARROW: Bounds =
    Bounds { workers: 2, deploys: 2, deaths: 1, recycles: 0, orphans: 0, resizes: 0, shortages: 0, sleeps: 0 };

#[test]
fn every_history_of_deploys_and_failures_keeps_the_invariants() {
    explored("deploys", NARROW, Bounds { deaths: 2, ..NARROW });
}

#[test]
fn every_history_of_deploys_without_room_keeps_the_invariants() {
    let narrow = Bounds { shortages: 1, deaths: 0, workers: 3, ..NARROW };
    explored("deploys without room", narrow, Bounds { deaths: 1, ..narrow });
}

#[test]
fn every_history_of_growing_and_shrinking_keeps_the_invariants() {
    let narrow = Bounds { deploys: 1, resizes: 2, ..NARROW };
    explored("growing and shrinking", narrow, Bounds { recycles: 1, resizes: 3, ..narrow });
}

#[test]
fn every_history_of_deploys_that_grow_and_shrink_keeps_the_invariants() {
    let narrow = Bounds { deploys: 2, resizes: 1, shortages: 1, deaths: 0, ..NARROW };
    explored("deploys that grow and shrink", narrow, Bounds { deaths: 1, ..narrow });
}

#[test]
fn every_history_of_recycling_and_deaths_keeps_the_invariants() {
    let narrow = Bounds { deploys: 1, recycles: 1, shortages: 1, ..NARROW };
    explored("recycling", narrow, Bounds { recycles: 2, ..narrow });
}

#[test]
fn every_history_of_a_successor_with_orphans_keeps_the_invariants() {
    let narrow = Bounds { workers: 1, orphans: 1, ..NARROW };
    explored("orphans", narrow, Bounds { recycles: 1, sleeps: 1, ..narrow });
}
