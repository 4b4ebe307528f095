//! What is known of one vassal's processes: its masters, their workers and scoreboards, and what they counted. Facts
//! only; what the vassal should be doing is the fleet machine's.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
};

use empery_control::{
    fleet::{Numbers, OperationView, WorkerSnapshot},
    link::{WorkerPhase, WorkerView},
    scoreboard::{Totals, slot_index},
};
use empery_lifecycle::{
    fleet::{Identity, MasterKey},
    ids::{GenerationId, OperationId, RevisionId, WorkerId, WorkerRef},
};
use empery_sys::scoreboard::Scoreboard;

use super::{clock, link::LinkHandle, pulse::Pulse, rations::Rations, sample::Meter};

/// Most slots that all scoreboards of a vassal may have together: each of them is looked at once a second, and takes more than
/// 2 KiB of memory by that. A vassal may hand over any number.
pub(crate) const SLOTS_MAX: u32 = 131_072;

/// One vassal's processes.
#[derive(Debug, Default)]
pub(crate) struct Post {
    /// Its masters that are alive, or being started.
    pub(crate) seats: BTreeMap<MasterKey, Seat>,
    /// Scoreboards of dead masters, whose workers may still be writing them.
    pub(crate) left_boards: Vec<Scoreboard>,
    /// What generations of dead masters had counted.
    pub(crate) retired: Totals,
    /// Canonical addresses of the listeners that the keeper keeps for it.
    pub(crate) kept: BTreeSet<String>,
    /// Where they came out, as a person writes it.
    pub(crate) addresses: BTreeMap<String, String>,
    /// The highest generation seen.
    pub(crate) generation: Option<GenerationId>,
    /// The last operation that brought or tried to bring something into service.
    pub(crate) last_deployment: Option<OperationView>,
    /// Since when it has served, unix ms.
    pub(crate) loyal_since_unix_ms: Option<u64>,
    /// What was measured last.
    pub(crate) meter: Meter,
    /// Its numbers, as published.
    pub(crate) numbers: Numbers,
    /// Resident sets by pid, in bytes, as last read.
    pub(crate) rss_bytes: BTreeMap<i32, u64>,
    /// The state's word, as last told to the log.
    pub(crate) told_state: &'static str,
    /// How much of what goes wrong with it is told.
    pub(crate) rations: Rations,
}

/// One master.
#[derive(Debug)]
pub(crate) struct Seat {
    /// Its pid.
    pub(crate) pid: i32,
    /// Who it is.
    pub(crate) identity: Identity,
    /// The connection to it.
    pub(crate) link: LinkHandle,
    /// Canonical addresses of the listeners it has.
    pub(crate) listeners: BTreeSet<String>,
    /// The scoreboards of its generations.
    pub(crate) boards: BTreeMap<GenerationId, Scoreboard>,
    /// What its generations counted that are gone.
    pub(crate) retired: Totals,
    /// Its workers.
    pub(crate) workers: Vec<WorkerView>,
    /// What it said it serves.
    pub(crate) serving: Option<(GenerationId, RevisionId)>,
    /// Whether everything it has reported so far follows its next snapshot: a master keeps its reports for the first
    /// brain that connects.
    pub(crate) reports_follow: bool,
    /// Whether it was told to leave.
    pub(crate) told_to_leave: bool,
    /// Whether the log was told of memory of it that is not kept.
    pub(crate) told_regions: bool,
    /// Whether the log was told of a scoreboard of it that is not read.
    pub(crate) told_board: bool,
    /// Whether it knows [`empery_control::link::Order::Stacks`].
    pub(crate) tells_stacks: bool,
    /// Whether it can be told to accept nothing.
    pub(crate) freezes: bool,
    /// Whether its binary or its extension was replaced since it was started.
    pub(crate) outdated: bool,
    /// The deploy it was last given and has not answered.
    pub(crate) awaited: Option<Awaited>,
    /// The interpreters of its generations, `major.minor.micro`.
    pub(crate) pythons: BTreeMap<GenerationId, String>,
    /// Whether it still answers.
    pub(crate) pulse: Pulse,
    /// Which operation asked for a generation.
    pub(crate) operation_of: BTreeMap<GenerationId, OperationId>,
}

/// A deploy on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Awaited {
    /// For whom.
    pub(crate) operation: OperationId,
    /// Of what.
    pub(crate) revision: RevisionId,
}

impl Seat {
    /// A master just started or found.
    pub(crate) fn new(pid: i32, identity: Identity, link: LinkHandle) -> Seat {
        Seat {
            pid,
            identity,
            link,
            listeners: BTreeSet::new(),
            boards: BTreeMap::new(),
            retired: Totals::default(),
            workers: Vec::new(),
            serving: None,
            reports_follow: false,
            told_to_leave: false,
            told_regions: false,
            told_board: false,
            tells_stacks: false,
            // One that was just started is of this version.
            freezes: true,
            outdated: false,
            awaited: None,
            pythons: BTreeMap::new(),
            pulse: Pulse::new(pid, clock::now()),
            operation_of: BTreeMap::new(),
        }
    }
}

impl Post {
    /// The seat that serves, else the newest.
    pub(crate) fn first_seat(&self) -> Option<&Seat> {
        let newest = || self.seats.iter().max_by_key(|(key, _)| key.serial);
        self.seats
            .iter()
            .filter(|(_, seat)| seat.serving.is_some())
            .max_by_key(|(key, _)| key.serial)
            .or_else(newest)
            .map(|(_, seat)| seat)
    }

    /// The interpreter that serves.
    pub(crate) fn python(&self) -> Option<String> {
        let seat = self.first_seat()?;
        seat.pythons.get(&seat.serving?.0).cloned()
    }

    /// A generation was seen.
    pub(crate) fn saw_generation(&mut self, generation: GenerationId) {
        self.generation = self.generation.max(Some(generation));
    }

    /// A master is gone; its workers may serve on.
    pub(crate) fn take_leave(&mut self, master: &MasterKey) {
        let Some(seat) = self.seats.remove(master) else { return };
        self.retired.add(&seat.retired);
        self.left_boards.extend(seat.boards.into_values());
        if self.seats.is_empty() {
            let Numbers { requests_total, errors_5xx_total, exceptions_total, tx_bytes_total, .. } = self.numbers;
            self.numbers =
                Numbers { requests_total, errors_5xx_total, exceptions_total, tx_bytes_total, ..Numbers::default() };
            self.rss_bytes.clear();
        }
    }

    /// Folds the boards of dead masters into what is retired, once no worker of theirs is left.
    pub(crate) fn fold_left_boards(&mut self) {
        let orphans =
            self.seats.values().flat_map(|seat| &seat.workers).any(|worker| worker.phase == WorkerPhase::Orphan);
        let serves = self.seats.values().any(|seat| seat.serving.is_some());
        if self.left_boards.is_empty() || orphans || !serves {
            return;
        }
        for board in self.left_boards.drain(..) {
            self.retired.add(&board.totals());
        }
    }

    /// Everything it ever counted.
    pub(crate) fn totals(&self) -> Totals {
        let mut sum = self.retired;
        for seat in self.seats.values() {
            sum.add(&seat.retired);
        }
        for board in self.boards() {
            sum.add(&board.totals());
        }
        sum
    }

    /// Pids of all its processes that are known.
    pub(crate) fn pids(&self) -> impl Iterator<Item = i32> {
        self.seats
            .values()
            .flat_map(|seat| std::iter::once(seat.pid).chain(seat.workers.iter().map(|worker| worker.pid)))
            .filter(|pid| *pid > 0)
    }

    /// Its workers, with what their slots say. Every slot is looked at once, however many workers a vassal says it has.
    pub(crate) fn workers(&self) -> Vec<WorkerSnapshot> {
        let mut places = BTreeMap::new();
        let views = self.seats.values().flat_map(|seat| &seat.workers);
        let mut workers: Vec<_> = views.map(|view| self.worker(view, &mut places)).collect();
        workers
            .sort_by_key(|worker| (worker.view.worker.worker, worker.view.worker.generation, worker.view.worker.spawn));
        workers
    }

    fn worker(
        &self,
        view: &WorkerView,
        places: &mut BTreeMap<(GenerationId, WorkerId), Option<Place>>,
    ) -> WorkerSnapshot {
        let rss_bytes = self.rss_bytes.get(&view.pid).copied().unwrap_or(0);
        let WorkerRef { generation, worker, spawn } = view.worker;
        let place = places.entry((generation, worker)).or_insert_with(|| {
            let board = self.boards().find(|board| generation_of(board) == generation)?;
            Place::read(board, worker)
        });
        let (threads, requests, busy_threads) = place.as_ref().map_or((0, 0, 0), |place| {
            let half = usize::from(spawn & 1 == 1);
            (place.threads, place.requests, place.busy_threads[half])
        });
        WorkerSnapshot { view: view.clone(), requests, busy_threads, threads, rss_bytes }
    }

    /// Whether the slots of this scoreboard may be looked at, too, beside those of all others.
    pub(crate) fn has_room(&self, board: &Scoreboard) -> bool {
        self.boards().fold(board.slots(), |sum, board| sum.saturating_add(board.slots())) <= SLOTS_MAX
    }

    fn boards(&self) -> impl Iterator<Item = &Scoreboard> {
        self.seats.values().flat_map(|seat| seat.boards.values()).chain(&self.left_boards)
    }
}

/// What the slots of one worker say, both halves of them.
struct Place {
    threads: u32,
    requests: u64,
    busy_threads: [u32; 2],
}

impl Place {
    fn read(board: &Scoreboard, worker: WorkerId) -> Option<Place> {
        // As they were when it was mapped: a vassal may write anything into the header since.
        let (processes, threads) = (board.processes(), board.threads());
        if worker.0 == 0 || worker.0 > processes {
            return None;
        }
        let mut place = Place { threads, requests: 0, busy_threads: [0, 0] };
        for thread in 0..threads {
            for (spawn, busy_threads) in (0..).zip(&mut place.busy_threads) {
                let slot = board.slot(slot_index(processes, threads, worker.0, spawn, thread));
                place.requests = place.requests.saturating_add(slot.counters.requests.load(Ordering::Relaxed));
                *busy_threads += u32::from(slot.state.started_monotonic_ns.load(Ordering::Relaxed) != 0);
            }
        }
        Some(place)
    }
}

fn generation_of(board: &Scoreboard) -> GenerationId {
    GenerationId(board.header().generation.load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use empery_lifecycle::{
        fleet::Berth,
        ids::{MasterSerial, VassalName},
    };

    use super::*;
    use crate::brain::{clock, inputs::Inbox, sample};

    fn view(worker: u32) -> WorkerView {
        let worker = WorkerRef { generation: GenerationId(1), worker: WorkerId(worker), spawn: u32::MAX };
        WorkerView { worker, pid: -1, phase: WorkerPhase::Serving, since_unix_s: 0 }
    }

    #[tokio::test]
    async fn whatever_a_vassal_writes_into_its_scoreboard_the_brain_only_counts_it() {
        let key = MasterKey { vassal: VassalName::new("a.ini").unwrap(), berth: Berth::A, serial: MasterSerial(1) };
        let (inbox, _inputs) = Inbox::new();
        let link = LinkHandle::open(key.clone(), "/nowhere".into(), inbox);
        let mut seat = Seat::new(-1, Identity { uid: 0, gid: 0 }, link);
        let (theirs, fd) = Scoreboard::create(GenerationId(1), 2, 2, 0).unwrap();
        seat.boards.insert(GenerationId(1), Scoreboard::map(fd.as_fd()).unwrap());
        theirs.header().processes.store(u32::MAX, Ordering::Relaxed);
        theirs.header().threads.store(u32::MAX, Ordering::Relaxed);
        for slot in 0..theirs.slots() {
            let counters = &theirs.slot(slot).counters;
            counters.requests.store(u64::MAX, Ordering::Relaxed);
            counters.running_us.store(u64::MAX, Ordering::Relaxed);
        }
        seat.workers = [0, 1, 2, 3, u32::MAX].map(view).into();
        let mut post = Post::default();
        post.seats.insert(key, seat);
        sample::take(&mut post, clock::now());
        sample::take(&mut post, clock::now());
        let threads: Vec<_> = post.workers().iter().map(|worker| (worker.threads, worker.requests)).collect();
        assert_eq!(threads, [(0, 0), (2, u64::MAX), (2, u64::MAX), (0, 0), (0, 0)]);
        assert_eq!(post.numbers.requests_total, u64::MAX);
        assert_eq!(sample::fleet_numbers([&post.numbers, &post.numbers].into_iter()).requests_total, u64::MAX);
        post.saw_generation(GenerationId(u64::MAX));
        assert_eq!(post.generation.unwrap().next(), GenerationId(u64::MAX));
    }

    #[tokio::test]
    async fn scoreboards_are_read_up_to_a_bound_and_their_slots_once_for_however_many_workers() {
        let key = MasterKey { vassal: VassalName::new("a.ini").unwrap(), berth: Berth::A, serial: MasterSerial(1) };
        let (inbox, _inputs) = Inbox::new();
        let mut seat =
            Seat::new(-1, Identity { uid: 0, gid: 0 }, LinkHandle::open(key.clone(), "/nowhere".into(), inbox));
        let board = |threads| Scoreboard::create(GenerationId(1), 1, threads, 0).unwrap().0;
        seat.workers = (0..850).map(|_| view(1)).collect();
        let mut post = Post::default();
        assert!(!post.has_room(&board(SLOTS_MAX)));
        assert!(post.has_room(&board(SLOTS_MAX / 2)));
        seat.boards.insert(GenerationId(1), board(SLOTS_MAX / 2 - 1));
        post.seats.insert(key, seat);
        assert!(post.has_room(&board(1)) && !post.has_room(&board(2)));
        // 850 times all slots would take minutes in a build like this.
        let began = std::time::Instant::now();
        assert_eq!(post.workers().len(), 850);
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
    }
}
