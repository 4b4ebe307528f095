//! The workers of the generation as every process of it sees them, workers or not: their scoreboard, and what they were given.

use empery_control::{
    boot::AppBoot,
    scoreboard::{Slot, slot_index},
};
use empery_sys::scoreboard::Scoreboard;

use crate::{posts::PostProcess, worker::Worker};

/// See the module.
#[derive(Clone, Copy)]
pub(super) struct Crew {
    pub(super) boot: &'static AppBoot,
    pub(super) scoreboard: &'static Scoreboard,
}

impl Crew {
    /// Those of the generation that this process belongs to; None while the app is imported before there are any.
    pub(super) fn here() -> Option<Crew> {
        let of_worker = || Worker::here().map(|worker| Crew { boot: worker.boot, scoreboard: &worker.scoreboard });
        let of_post = || PostProcess::here().map(|post| Crew { boot: post.boot, scoreboard: &post.scoreboard });
        of_worker().or_else(of_post)
    }

    /// The slot of a thread of a worker (counted from 1) in its n-th spawn.
    pub(super) fn slot_of(&self, worker: u32, spawn: u32, core: u32) -> &'static Slot {
        self.scoreboard.slot(slot_index(self.boot.processes, self.boot.threads, worker, spawn, core))
    }
}
