//! Memory that a master hands over for its next one: what is none is told once, and closed where it holds nobody up.

use std::os::fd::OwnedFd;

use empery_lifecycle::fleet::MasterKey;

use super::FleetTask;
use crate::regions::{Looked, look};

impl FleetTask {
    pub(super) fn regions_handed(&mut self, master: &MasterKey, names: Vec<String>, fds: Vec<OwnedFd>) {
        // One that leaves has nothing for the next: what is kept may be the next one's already.
        if self.seat(master).is_none_or(|seat| seat.told_to_leave) {
            return;
        }
        let Looked { good, bad, why } = look(names, fds);
        if !bad.is_empty() {
            tokio::task::spawn_blocking(move || drop(bad));
        }
        if let (Some(why), Some(seat)) = (why, self.seat(master))
            && !std::mem::replace(&mut seat.told_regions, true)
        {
            tracing::warn!(vassal = %master.vassal, "shared memory of its master is not kept for the next one: {why}");
        }
        self.performer.keep_regions(master.clone(), good);
    }
}
