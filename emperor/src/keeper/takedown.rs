//! Stops the fleet without a brain: every master is told to stop, and what does not end in time is killed, with the
//! processes it leaves behind. Workers whose master had died before hear of it by their link, which is taken away: they finish
//! what they have. Only when the keeper was told to stop and nobody is there who would do it better.

use std::time::Duration;

use empery_sys::process::{self, monotonic_ns};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{desk::Desk, rooms};

/// What masters and workers without one get to drain: uWSGI's `worker-reload-mercy`. Then what is left is told by SIGTERM, which
/// would end a worker in the middle of a request.
const MERCY: Duration = Duration::from_secs(60);

/// What is left after that too is killed so much later.
const LAST_CHANCE: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(super) struct Takedown {
    /// None once that is done.
    terminate_at_ns: Option<u64>,
    kill_at_ns: u64,
    told: Told,
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    /// The masters were told to stop, and the workers of those that had died before.
    Masters,
    /// No master is left, and the workers of all were told.
    Everybody,
}

impl Takedown {
    /// Begins, with or without mercy; nobody has been told yet.
    pub(super) fn begin(at_once: bool) -> Self {
        tracing::warn!("there is no brain: the keeper stops the vassals itself");
        let after = |span: Duration| monotonic_ns().saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
        let kill_at_ns = if at_once { monotonic_ns() } else { after(MERCY + LAST_CHANCE) };
        Self { terminate_at_ns: Some(after(MERCY)), kill_at_ns, told: Told::Nothing }
    }

    /// A second signal to stop: no mercy is left.
    pub(super) fn hurry(&mut self) {
        self.kill_at_ns = monotonic_ns();
    }

    /// When there is something to do even if nothing happens.
    pub(super) fn deadline_ns(&self) -> Option<u64> {
        let now_ns = monotonic_ns();
        self.terminate_at_ns.into_iter().chain([self.kill_at_ns]).filter(|at_ns| *at_ns > now_ns).min()
    }

    /// Does what is to be done now; whether everything has ended. To be called whenever a process has ended and at the deadline.
    pub(super) fn go_on(&mut self, desk: &Desk) -> bool {
        let masters = &desk.masters;
        if self.told == Told::Nothing {
            // SIGINT stops whatever a vassal file says of SIGTERM.
            masters.signal_all(libc::SIGINT);
            rooms::clear_all_places(&desk.runtime);
            self.told = Told::Masters;
        }
        let no_mercy = monotonic_ns() >= self.kill_at_ns;
        if !masters.is_empty() {
            if no_mercy {
                masters.kill_all_with_children();
            }
            return false;
        }
        if self.told == Told::Masters {
            rooms::clear_all_places(&desk.runtime);
            self.told = Told::Everybody;
        }
        let orphans = process::children_of(Pid::this().as_raw()).unwrap_or_default();
        if no_mercy {
            send_to_all(&orphans, Signal::SIGKILL);
        } else if self.terminate_at_ns.take_if(|at_ns| *at_ns <= monotonic_ns()).is_some() {
            send_to_all(&orphans, Signal::SIGTERM);
        }
        orphans.is_empty()
    }
}

fn send_to_all(pids: &[i32], signal: Signal) {
    for pid in pids {
        // It may have ended since it was seen: that is what is wanted.
        let _ = kill(Pid::from_raw(*pid), signal);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::fd::AsFd,
        process::{Command, Stdio},
    };

    use empery_control::places;
    use empery_lifecycle::{fleet::Berth, ids::VassalName};

    use super::*;
    use crate::keeper::tests::{Room, alone, desk};

    #[test]
    fn workers_without_a_master_are_told_by_their_link_and_killed_only_when_there_is_no_mercy() {
        if !alone(
            "keeper::takedown::tests::workers_without_a_master_are_told_by_their_link_and_killed_only_when_there_is_no_mercy",
        ) {
            return;
        }
        let room = Room::new("takedown");
        let desk = desk(&room);
        let places = places::berth(&room.path().join("run"), &VassalName::new("shop.ini").unwrap(), Berth::A);
        std::fs::create_dir_all(&places.directory).unwrap();
        for file in [&places.link, &places.lock] {
            std::fs::write(file, "").unwrap();
        }
        let mut worker = Command::new("sleep").arg("600").stdout(Stdio::null()).spawn().unwrap();
        let pidfd = process::pidfd_open(worker.id().cast_signed()).unwrap();
        let mut takedown = Takedown::begin(false);
        assert!(!takedown.go_on(&desk));
        assert!(!places.link.exists(), "the link is still there");
        assert!(!process::pidfd_wait(pidfd.as_fd(), Duration::from_millis(300)).unwrap(), "it was ended");
        assert!(takedown.deadline_ns().is_some());
        takedown.hurry();
        assert!(!takedown.go_on(&desk));
        assert!(process::pidfd_wait(pidfd.as_fd(), Duration::from_secs(10)).unwrap());
        worker.wait().unwrap();
        assert!(takedown.go_on(&desk));
    }
}
