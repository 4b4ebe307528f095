//! Stops the fleet without a brain: every master is told to stop, and what does not end in time is killed, with the
//! processes it leaves behind. Only when the keeper was told to stop and nobody is there who would do it better.

use std::time::Duration;

use empery_sys::process::{self, monotonic_ns};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::masters::Masters;

/// What masters get to drain: uWSGI's `worker-reload-mercy` of 60 s, and a little to see it through.
const MERCY: Duration = Duration::from_secs(65);

/// See the module.
#[derive(Debug)]
pub(super) struct Takedown {
    kill_at_ns: u64,
    told: Told,
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    /// The masters were told to stop.
    Masters,
    /// Orphans too: processes of masters that had died before.
    Orphans,
}

impl Takedown {
    /// Begins, with or without mercy; nobody has been told yet.
    pub(super) fn begin(at_once: bool) -> Self {
        tracing::warn!("there is no brain: the keeper stops the vassals itself");
        let mercy = if at_once { Duration::ZERO } else { MERCY };
        let mercy_ns = u64::try_from(mercy.as_nanos()).unwrap_or(u64::MAX);
        Self { kill_at_ns: monotonic_ns().saturating_add(mercy_ns), told: Told::Nothing }
    }

    /// A second signal to stop: no mercy is left.
    pub(super) fn hurry(&mut self) {
        self.kill_at_ns = monotonic_ns();
    }

    /// When there is something to do even if nothing happens.
    pub(super) fn deadline_ns(&self) -> Option<u64> {
        (self.kill_at_ns > monotonic_ns()).then_some(self.kill_at_ns)
    }

    /// Does what is to be done now; whether everything has ended. To be called whenever a process has ended and at the deadline.
    pub(super) fn go_on(&mut self, masters: &Masters) -> bool {
        if self.told == Told::Nothing {
            // SIGINT stops whatever a vassal file says of SIGTERM.
            masters.signal_all(libc::SIGINT);
            self.told = Told::Masters;
        }
        let no_mercy = monotonic_ns() >= self.kill_at_ns;
        if !masters.is_empty() {
            if no_mercy {
                kill_with_children(masters);
            }
            return false;
        }
        let orphans = process::children_of(Pid::this().as_raw()).unwrap_or_default();
        if no_mercy {
            send_to_all(&orphans, Signal::SIGKILL);
        } else if self.told != Told::Orphans {
            send_to_all(&orphans, Signal::SIGTERM);
            self.told = Told::Orphans;
        }
        orphans.is_empty()
    }
}

/// Zygotes and workers are children of their master. A found master's orphans would not come to this keeper, so they
/// are killed while they can still be told.
fn kill_with_children(masters: &Masters) {
    let below: Vec<i32> = masters.pids().filter_map(|pid| process::children_of(pid).ok()).flatten().collect();
    masters.signal_all(libc::SIGKILL);
    send_to_all(&below, Signal::SIGKILL);
}

fn send_to_all(pids: &[i32], signal: Signal) {
    for pid in pids {
        // It may have ended since it was seen: that is what is wanted.
        let _ = kill(Pid::from_raw(*pid), signal);
    }
}
