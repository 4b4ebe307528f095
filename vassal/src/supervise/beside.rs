//! What runs beside the workers and belongs to no generation: daemons and scheduled commands. It follows the configuration
//! in service, and goes when the last worker is gone.

mod cron_side;
mod daemon_side;
mod pidfile;

use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use empery_config::vassal::VassalConfig;
use empery_lifecycle::moment::Moment;
use empery_sys::process::How;
use serde::{Deserialize, Serialize};

pub(super) use self::pidfile::send as send_to_process;
pub(crate) use self::{cron_side::Crons, daemon_side::Daemons};
use super::{Supervisor, alarms::AlarmLeft};
use crate::clock;

/// All of it.
#[derive(Default)]
pub(crate) struct Beside {
    pub(crate) daemons: Daemons,
    pub(crate) crons: Crons,
}

/// What a new image of this master takes over: all are its children.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct BesideLeft {
    /// Daemons that run.
    daemons: Vec<(empery_config::beside::Daemon, i32)>,
    /// Commands that run.
    crons: Vec<(empery_config::beside::Cron, i32)>,
    /// Commands of alarms that run.
    #[serde(default)]
    alarms: Vec<AlarmLeft>,
    /// The last minute whose commands were started, since 1970.
    last_minute: Option<i64>,
}

impl Supervisor {
    /// Another configuration is in service.
    pub(super) fn beside_follows(&mut self, config: &VassalConfig) {
        self.daemons_follow(config);
        self.crons_follow(config);
    }

    /// When something is to be done.
    pub(super) fn beside_deadline(&self) -> Option<Moment> {
        [self.beside.daemons.deadline(), self.beside.crons.deadline()].into_iter().flatten().min()
    }

    /// That moment may have come.
    pub(super) fn wake_beside(&mut self) {
        let now = clock::now();
        if self.beside.daemons.deadline().is_some_and(|at| at <= now) {
            self.wake_daemons(now);
        }
        if self.beside.crons.deadline().is_some_and(|at| at <= now) {
            self.wake_crons(now);
        }
    }

    /// A child has ended; whether it was one of these.
    pub(super) fn beside_ended(&mut self, pid: i32, how: How) -> bool {
        self.daemon_ended(pid, how) || self.cron_ended(pid, how)
    }

    /// For a new image of this master.
    pub(super) fn leave_beside<'a>(&'a self, left: &mut Vec<BorrowedFd<'a>>) -> BesideLeft {
        BesideLeft {
            daemons: self.beside.daemons.running(),
            crons: self.beside.crons.running(),
            alarms: self.leave_alarms(left),
            last_minute: self.beside.crons.last_minute(),
        }
    }

    /// In the new image.
    ///
    /// # Errors
    /// One sentence, when a descriptor did not survive.
    pub(crate) fn carry_beside(
        &mut self,
        left: BesideLeft,
        take: impl Fn(RawFd, &str) -> Result<OwnedFd, String>,
    ) -> Result<(), String> {
        self.beside.daemons.carry(left.daemons);
        self.beside.crons.carry(left.crons, left.last_minute);
        self.carry_alarms(left.alarms, take)
    }
}
