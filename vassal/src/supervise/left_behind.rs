//! What the app leaves behind when its last worker is gone: daemons, children that outlived their parents, what a fork
//! bomb made. They became children of the master, the nearest subreaper (prctl(2)), and go with the vassal: told to end,
//! and killed when they do not. Does not touch children of workers that still run: those are the app's affair.

use std::time::Duration;

use empery_sys::process;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::{Instant, timeout_at};

use super::{Inputs, Supervisor, input::Input};
use crate::log;

/// How long they get to end by themselves after SIGTERM.
const GENTLE: Duration = Duration::from_secs(1);

/// When no more is tried: what survives SIGKILL for so long hangs in the kernel.
const GIVEN_UP: Duration = Duration::from_secs(10);

/// How often what may go on forking is looked for, while it is killed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Supervisor {
    /// Ends everything below this master.
    pub(super) async fn end_what_is_left(&mut self, inputs: &mut Inputs) {
        let began = Instant::now();
        let mut told = false;
        loop {
            self.reap();
            let left = below(&self.beside.daemons.outliving());
            if left.is_empty() {
                return;
            }
            if !std::mem::replace(&mut told, true) {
                log::say(&format!("*** {} processes that the app has left behind are ended ***", left.len()));
                send_to_all(&left, Signal::SIGTERM);
            }
            let age = began.elapsed();
            if age >= GIVEN_UP {
                log::say(&format!("*** {} processes of the app do not end: {left:?} ***", left.len()));
                return;
            }
            if age >= GENTLE {
                send_to_all(&left, Signal::SIGKILL);
            }
            let next = if age < GENTLE { began + GENTLE } else { Instant::now() + LOOK_EVERY };
            // Only an end is of interest now; everything else is too late.
            while let Ok(Some(input)) = timeout_at(next, inputs.recv()).await {
                if matches!(input, Input::ChildrenEnded) {
                    break;
                }
            }
        }
    }
}

/// Everything but what outlives the vassal (`smart-attach-daemon`), and what is below that.
fn below(outliving: &[i32]) -> Vec<i32> {
    let mut below = process::descendants_of(Pid::this().as_raw()).unwrap_or_default();
    for pid in outliving {
        let spared = process::descendants_of(*pid).unwrap_or_default();
        below.retain(|other| other != pid && !spared.contains(other));
    }
    below
}

fn send_to_all(pids: &[i32], signal: Signal) {
    for pid in pids {
        // It may have ended since it was seen. Its number stays its own: whoever ends below this master is reaped here.
        let _ = kill(Pid::from_raw(*pid), signal);
    }
}
