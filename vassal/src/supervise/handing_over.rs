//! Idle connections that go from one worker to another: whose turn it is, and what becomes of one that is not taken.

use std::os::fd::OwnedFd;

use empery_control::worker::{Connection, ToWorker};
use empery_lifecycle::{ids::WorkerRef, moment::Moment};
use empery_sys::ticket;

use super::{Supervisor, Who};
use crate::{clock, handover::Travelling};

impl Supervisor {
    /// An idle connection looks for another worker.
    pub(super) fn hand_over(&mut self, from: Who, token: u64, connection: Connection, mut descriptors: Vec<OwnedFd>) {
        let Some(socket) = descriptors.pop() else {
            self.say_to(from, ToWorker::NotAdopted { token }, Vec::new());
            return;
        };
        self.route(from, token, connection, socket, None);
    }

    /// `missed` is who was asked before and did not take it: only when there is nobody else it is asked again.
    fn route(&mut self, from: Who, token: u64, connection: Connection, socket: OwnedFd, missed: Option<Who>) {
        let receiver = self.next_receiver(from, missed).or_else(|| self.next_receiver(from, None));
        let receiver = receiver.and_then(|(to, _)| Some((to, socket.try_clone().ok()?)));
        let Some((to, copy)) = receiver else {
            self.say_to(from, ToWorker::NotAdopted { token }, Vec::new());
            return;
        };
        let mut descriptors = vec![copy];
        let ticket = if self.claims(to) { ticket::issue().ok() } else { None };
        // Without one it is as in former times: it is the receiver's.
        let ticket = ticket.and_then(|ticket| {
            descriptors.push(ticket.try_clone().ok()?);
            Some(ticket)
        });
        let since = clock::now();
        let told = self.handovers.depart(Travelling { from, token, to, connection, socket, ticket, since });
        self.say_to(to, ToWorker::Adopt(told), descriptors);
    }

    pub(super) fn adopted(&mut self, to: Who, token: u64) {
        if let Some((from, token)) = self.handovers.arrive(to, token) {
            self.say_to(from, ToWorker::Adopted { token }, Vec::new());
        }
    }

    /// A worker is gone: connections on their way to it go to another.
    pub(super) fn reroute(&mut self, gone: Who) {
        for stranded in self.handovers.lost(gone) {
            self.route(stranded.from, stranded.token, stranded.connection, stranded.socket, Some(gone));
        }
    }

    /// What was not answered for in time goes to a worker that has nothing to do, if there is one: whoever was asked is in
    /// the middle of something long, stands still, or never got it.
    pub(super) fn offer_again(&mut self, now: Moment) {
        for (token, from, to) in self.handovers.overdue(now) {
            let other = self.next_receiver(from, Some(to));
            if other.is_some_and(|(_, inside_for_ns)| inside_for_ns == 0)
                && let Some(back) = self.handovers.take_back(token)
            {
                self.route(back.from, back.token, back.connection, back.socket, Some(to));
            }
        }
    }

    /// Whose turn it is to get a connection: a worker of the generation in service, an idle one if there is one, else the
    /// one that has been inside its request for the shortest time; it is not the one that is stuck. And for how long it has
    /// been, in ns.
    fn next_receiver(&mut self, from: Who, not: Option<Who>) -> Option<(Who, u64)> {
        let (serving, _) = self.machine.serving()?;
        let generation = self.generations.get(&serving)?;
        let may = |worker: WorkerRef| Who::Worker(worker) != from && Some(Who::Worker(worker)) != not;
        let accepting: Vec<WorkerRef> = generation
            .workers
            .iter()
            .filter(|(worker, handle)| handle.accepts() && may(**worker))
            .map(|(worker, _)| *worker)
            .collect();
        let now = clock::now();
        self.turn = self.turn.wrapping_add(1);
        let turned = accepting.iter().cycle().skip(self.turn % accepting.len().max(1)).take(accepting.len());
        let ages = turned.map(|worker| (Who::Worker(*worker), generation.inside_for_ns(*worker, now)));
        ages.min_by_key(|(_, inside_for_ns)| *inside_for_ns)
    }

    fn claims(&self, who: Who) -> bool {
        match who {
            Who::Worker(worker) => self.worker(worker).is_some_and(|handle| handle.claims),
            Who::Orphan(_) => false,
        }
    }

    fn say_to(&mut self, who: Who, word: ToWorker, descriptors: Vec<OwnedFd>) {
        match who {
            Who::Worker(worker) => {
                if let Some(handle) = self.worker(worker) {
                    handle.peer.say(word, descriptors);
                }
            }
            Who::Orphan(orphan) => {
                if let Some(orphan) = self.orphans.get(&orphan) {
                    orphan.handle.peer.say(word, descriptors);
                }
            }
        }
    }
}
