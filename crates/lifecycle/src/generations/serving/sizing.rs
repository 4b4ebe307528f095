//! How many of a generation's places are filled: so many as are wanted. What is wanted is somebody else's decision
//! (`crew`); here it is brought about, without ever leaving nobody where somebody is wanted.

use super::{Recycle, Seat, Serving, Zygote};
use crate::{
    generations::{
        departures::{Departures, Process},
        words::Action,
    },
    ids::{WorkerId, WorkerRef},
    moment::Moment,
};

/// Most processes of one place beside the one that is forked: each half of the scoreboard has one owner.
const LEAVING_MAX: usize = 1;

impl Serving {
    /// So many workers are wanted from now on, within what the plan allows.
    pub(in crate::generations) fn want(&mut self, workers: u32) {
        self.wanted = workers.clamp(self.plan.least.min(self.plan.workers), self.plan.workers);
    }

    /// Fills places, or empties them, until there are as many workers as are wanted. While others wait for room, those
    /// that are added wait with them.
    pub(in crate::generations) fn size(&mut self, departures: &mut Departures, now: Moment, out: &mut Vec<Action>) {
        while self.filled() > self.wanted as usize
            && let Some(worker) = self.first_to_go()
        {
            self.empty(worker, departures, now, out);
        }
        let holds = self.holds();
        while self.filled() < self.wanted as usize
            && let Some(worker) = self.first_to_come(departures)
        {
            if holds {
                self.set(worker, Seat::Held);
            } else {
                self.refill(worker, departures, now, out);
            }
        }
    }

    /// How many of its processes there are, whatever they do.
    pub(in crate::generations) fn present(&self) -> usize {
        self.places
            .values()
            .map(|place| match place.seat {
                Seat::Recycling { .. } => 2,
                Seat::Serving { .. } | Seat::Yielding { .. } | Seat::Proving { .. } => 1,
                Seat::Waiting { .. } | Seat::Held | Seat::Vacant | Seat::Resting => 0,
            })
            .sum()
    }

    /// Whether places wait for workers of the generation before to go.
    pub(in crate::generations) fn holds(&self) -> bool {
        self.places.values().any(|place| place.seat == Seat::Held)
    }

    /// There is room for one more.
    pub(in crate::generations) fn fill_held(&mut self, departures: &Departures, now: Moment, out: &mut Vec<Action>) {
        let held = self.places.iter().find(|(_, place)| place.seat == Seat::Held).map(|(worker, _)| *worker);
        if let Some(worker) = held {
            self.refill(worker, departures, now, out);
        }
    }

    fn filled(&self) -> usize {
        self.places.values().filter(|place| place.seat != Seat::Resting).count()
    }

    fn set(&mut self, worker: WorkerId, seat: Seat) {
        if let Some(place) = self.places.get_mut(&worker) {
            place.seat = seat;
        }
    }

    /// Whose place is emptied first: one where nobody accepts, then the one that has accepted for the longest time.
    fn first_to_go(&self) -> Option<WorkerId> {
        let filled = self.places.iter().filter(|(_, place)| place.seat != Seat::Resting);
        let rank = |seat: Seat| match seat {
            Seat::Held | Seat::Vacant | Seat::Waiting { .. } | Seat::Resting => (0, Moment::START),
            Seat::Yielding { .. } => (1, Moment::START),
            Seat::Proving { .. } => (2, Moment::START),
            Seat::Serving { since, recycle: Recycle::Asked(_) | Recycle::Weighing(_), .. } => (3, since),
            Seat::Serving { since, .. } => (4, since),
            Seat::Recycling { since, .. } => (5, since),
        };
        filled.min_by_key(|(_, place)| rank(place.seat)).map(|(worker, _)| *worker)
    }

    /// Where the next worker is added: rather where no earlier one drains.
    fn first_to_come(&self, departures: &Departures) -> Option<WorkerId> {
        let resting = self.places.iter().filter(|(_, place)| place.seat == Seat::Resting);
        resting
            .map(|(worker, _)| (departures.in_place(self.generation, *worker).count(), *worker))
            .filter(|(leaving, _)| *leaving <= LEAVING_MAX && self.zygote == Zygote::Alive)
            .min()
            .map(|(_, worker)| worker)
    }

    fn empty(&mut self, worker: WorkerId, departures: &mut Departures, now: Moment, out: &mut Vec<Action>) {
        let Some(place) = self.places.get(&worker) else {
            return;
        };
        let process = |spawn| Process::Worker(WorkerRef { generation: self.generation, worker, spawn });
        let kill_at = now.after(self.plan.mercy);
        match place.seat {
            Seat::Serving { spawn, .. } => out.push(departures.ask(process(spawn), kill_at)),
            // It never accepted anything, and it may hang in an import.
            Seat::Proving { spawn, .. } => out.push(departures.kill(process(spawn))),
            Seat::Recycling { spawn, successor, .. } => {
                out.push(departures.kill(process(successor)));
                out.push(departures.ask(process(spawn), kill_at));
            }
            Seat::Yielding { .. } | Seat::Waiting { .. } | Seat::Held | Seat::Vacant | Seat::Resting => {}
        }
        self.set(worker, Seat::Resting);
    }
}
