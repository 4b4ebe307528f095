//! Replacing a worker that serves: one at a time, so that the others carry what one can carry. Where there is memory
//! for both, the successor accepts before the predecessor drains; where there is not, the predecessor goes first.

use std::ops::Bound;

use super::{Recycle, Seat, Serving, Zygote};
use crate::{
    generations::{
        departures::{Departures, Process},
        words::{Action, RecycleReason, Room, Weighing},
    },
    ids::WorkerRef,
    moment::Moment,
};

impl Serving {
    /// A worker is to be replaced; it gets its turn in [`Serving::recycle_one`].
    pub(in crate::generations) fn recycle_asked(&mut self, worker: WorkerRef, why: RecycleReason) {
        let Some(place) = self.places.get_mut(&worker.worker) else {
            return;
        };
        match &mut place.seat {
            Seat::Serving { spawn, recycle: recycle @ Recycle::No, .. } if *spawn == worker.spawn => {
                *recycle = Recycle::Asked(why)
            }
            Seat::Serving { .. }
            | Seat::Recycling { .. }
            | Seat::Yielding { .. }
            | Seat::Proving { .. }
            | Seat::Waiting { .. }
            | Seat::Held
            | Seat::Vacant
            | Seat::Resting => {}
        }
    }

    /// Has the successor of a worker that waits for one weighed: one at a time, and never while an earlier process of the
    /// same place drains, so that a place never holds three. They take turns: whoever asks again soon waits for the others.
    pub(in crate::generations) fn recycle_one(&mut self, departures: &Departures, out: &mut Vec<Action>) {
        let taken = self.places.values().any(|place| match place.seat {
            Seat::Recycling { .. }
            | Seat::Yielding { .. }
            | Seat::Proving { .. }
            | Seat::Serving { recycle: Recycle::Weighing(_), .. }
            | Seat::Held => true,
            Seat::Serving { .. } | Seat::Waiting { .. } | Seat::Vacant | Seat::Resting => false,
        });
        if taken || self.zygote != Zygote::Alive {
            return;
        }
        let last = self.recycled_last;
        let after = self.places.range((Bound::Excluded(last), Bound::Unbounded)).chain(self.places.range(..=last));
        for worker in after.map(|(worker, _)| *worker).collect::<Vec<_>>() {
            let Some(place) = self.places.get_mut(&worker) else {
                continue;
            };
            let Seat::Serving { spawn, since, recycle: Recycle::Asked(why) } = place.seat else {
                continue;
            };
            if departures.in_place(self.generation, worker).next().is_some() {
                continue;
            }
            place.seat = Seat::Serving { spawn, since, recycle: Recycle::Weighing(why) };
            self.recycled_last = worker;
            let worker = WorkerRef { generation: self.generation, worker, spawn };
            out.push(Action::Weigh(Weighing::Successor(worker)));
            return;
        }
    }

    /// Whether the successor fits beside this worker is known.
    pub(in crate::generations) fn weighed(
        &mut self,
        worker: WorkerRef,
        room: Room,
        departures: &mut Departures,
        now: Moment,
        out: &mut Vec<Action>,
    ) {
        let Some(place) = self.places.get_mut(&worker.worker) else {
            return;
        };
        let (since, why) = match place.seat {
            Seat::Serving { spawn, since, recycle: Recycle::Weighing(why) } if spawn == worker.spawn => (since, why),
            Seat::Serving { .. }
            | Seat::Recycling { .. }
            | Seat::Yielding { .. }
            | Seat::Proving { .. }
            | Seat::Waiting { .. }
            | Seat::Held
            | Seat::Vacant
            | Seat::Resting => return,
        };
        let spawn = worker.spawn;
        place.seat = match (self.zygote, room) {
            (Zygote::Alive, Room::Enough) => {
                let successor = place.next_spawn(std::iter::once(spawn));
                out.push(Action::Spawn(WorkerRef { spawn: successor, ..worker }));
                Seat::Recycling { spawn, since, successor, prove_by: now.after(self.plan.boot_deadline), why }
            }
            (Zygote::Alive, Room::Short) => {
                out.push(departures.ask(Process::Worker(worker), now.after(self.plan.mercy)));
                Seat::Yielding { spawn }
            }
            // The generation that replaces this one replaces all its workers.
            (Zygote::Gone | Zygote::RebootAt(_), _) => Seat::Serving { spawn, since, recycle: Recycle::Asked(why) },
        };
    }

    /// A worker that was asked to go is gone: its place is free if it was kept for that moment.
    pub(in crate::generations) fn departed(
        &mut self,
        worker: WorkerRef,
        departures: &Departures,
        now: Moment,
        out: &mut Vec<Action>,
    ) {
        let yielded = self.places.get(&worker.worker).is_some_and(|place| match place.seat {
            Seat::Yielding { spawn } => spawn == worker.spawn,
            Seat::Serving { .. }
            | Seat::Recycling { .. }
            | Seat::Proving { .. }
            | Seat::Waiting { .. }
            | Seat::Held
            | Seat::Vacant
            | Seat::Resting => false,
        });
        if yielded {
            self.refill(worker.worker, departures, now, out);
        }
    }
}
