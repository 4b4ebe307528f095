//! The keeper: the small process that owns what must outlive the brain. It opens vassal files, binds and keeps
//! listening sockets, starts, watches and kills masters, and starts the brain again when it dies. It is synchronous and
//! has one thread; it knows no HTTP, no SQL and no INI, and decides nothing about the fleet but to take it down when it
//! is told to stop and there is no brain. Started by `emperor run`. This file is its loop.

mod binding;
mod brain_seat;
mod desk;
mod directory;
mod environment;
mod fd_store;
mod locks;
mod masters;
mod orphans;
mod outbox;
mod policy;
mod rooms;
mod signals;
mod signpost;
mod start;
mod successor;
mod survivors;
mod takedown;
#[cfg(test)]
mod tests;
mod tls_files;

use std::{collections::BTreeSet, ffi::OsString, os::fd::AsFd, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;
use empery_control::keeper::FromKeeper;
use empery_failpoint::step;
use empery_lifecycle::ids::VassalName;
use empery_sys::{
    process::{self, How, monotonic_ns},
    service_manager,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{sources::Sources, tyrant::Tyrant};
use brain_seat::{BrainSeat, Heard};
use desk::Desk;
pub(crate) use environment::of_vassals as environment_of_vassals;
pub(crate) use policy::UidPolicy;
use rooms::Rooms;
use signals::{Signal, Signals};
use takedown::Takedown;

/// How long the brain may take to leave after the keeper has hung up.
const BRAIN_LEAVES_WITHIN: Duration = Duration::from_secs(5);

/// How long the brain may take to end the fleet at once, before the keeper does it without it: it may hang.
const BRAIN_HURRIES_WITHIN: Duration = Duration::from_secs(5);

/// The brain's exit code when it cannot be brought up at all: trying again would change nothing.
const BRAIN_REFUSED: i32 = 1;

/// What the keeper is told by `emperor run`.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// What is watched.
    pub(crate) sources: Sources,
    /// The state directory: the brain's database, the vassals' logs.
    pub(crate) state: PathBuf,
    /// The runtime directory: locks and sockets.
    pub(crate) runtime: PathBuf,
    /// The arguments, after the program's own name, to execute this binary as the brain with.
    pub(crate) brain_args: Vec<OsString>,
    /// Who the brain is to be when the keeper is root. A user that does not exist leaves it root, with a warning.
    pub(crate) brain_user: Option<String>,
    /// Who masters may be.
    pub(crate) uid_policy: UidPolicy,
    /// `emperor-tyrant`.
    pub(crate) tyrant: Option<Tyrant>,
    /// `on-demand.extension`.
    pub(crate) on_demand_extension: Option<String>,
    /// `emperor-pidfile`.
    pub(crate) pidfile: Option<PathBuf>,
}

/// Keeps until it is told to leave. Answers with the emperor's exit code.
///
/// # Errors
/// When the directories are not usable, or another emperor runs there.
pub(crate) fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe().context("finding the emperor's own binary")?;
    let signals = Signals::take_over().context("taking signals over")?;
    process::become_subreaper().context("becoming the parent of orphans")?;
    rooms::allow_many_descriptors();
    let brain_identity = policy::brain_identity(settings.brain_user.as_deref())?;
    let rooms = Rooms::take(&settings, brain_identity.as_ref())?;
    let brain = BrainSeat::new(program.clone(), &settings.brain_args, brain_identity);
    rooms::name_brain(&settings.runtime, brain.ids()).context("writing down who the brain is")?;
    let desk = Desk::open(&settings, &program, brain.ids()).context("looking for masters that live")?;
    if let Some(pidfile) = &settings.pidfile
        && let Err(error) = std::fs::write(pidfile, format!("{}\n", std::process::id()))
    {
        tracing::error!(path = %pidfile.display(), %error, "emperor-pidfile cannot be written");
    }
    tracing::info!(pid = std::process::id(), vassals = %settings.sources, "the emperor keeps");
    let keeper = Keeper {
        program,
        rooms,
        signals,
        brain,
        desk,
        shutting_down: false,
        at_once: false,
        brain_is_late_at_ns: None,
        takedown: None,
    };
    keeper.keep()
}

/// The keeper's parts, and what it has been told.
struct Keeper {
    program: PathBuf,
    rooms: Rooms,
    signals: Signals,
    brain: BrainSeat,
    desk: Desk,
    /// A signal to stop came; the brain is at it, or there is none.
    shutting_down: bool,
    /// A second one came: nothing is waited for.
    at_once: bool,
    /// When the brain has had its time for that, CLOCK_MONOTONIC.
    brain_is_late_at_ns: Option<u64>,
    /// The fleet is taken down without a brain.
    takedown: Option<Takedown>,
}

/// What the keeper woke for.
#[derive(Default)]
struct Woken {
    /// Vassals whose watched sockets have a client in their queues.
    knocked: BTreeSet<VassalName>,
    /// The end of a master may be to be seen.
    a_master_ended: bool,
}

/// What a turn of the loop comes to.
enum Turn {
    Again,
    Leave(u8),
}

impl Keeper {
    fn keep(mut self) -> anyhow::Result<ExitCode> {
        loop {
            let woken = self.wait().context("waiting for something to happen")?;
            for vassal in woken.knocked {
                self.desk.store.unwatch(&vassal);
                self.brain.say(FromKeeper::Knocked { vassal }, Vec::new());
            }
            if let Turn::Leave(code) = self.turn(woken.a_master_ended)? {
                self.brain.dismiss(BRAIN_LEAVES_WITHIN);
                if self.at_once {
                    orphans::end_all();
                }
                return Ok(ExitCode::from(code));
            }
        }
    }

    fn turn(&mut self, a_master_ended: bool) -> anyhow::Result<Turn> {
        for signal in self.signals.read().context("reading signals")? {
            self.hear_signal(signal);
        }
        self.brain.flush();
        while let Some(heard) = self.brain.hear() {
            if let Turn::Leave(code) = self.hear_brain(heard) {
                return Ok(Turn::Leave(code));
            }
        }
        let refused = self.reap().context("reaping children")?;
        if a_master_ended {
            for (master, how) in self.desk.masters.lost() {
                self.tell_exit(master, how);
            }
        }
        if let Some(code) = refused {
            return Ok(Turn::Leave(code));
        }
        self.desk.survivors.end_due(monotonic_ns());
        if self.takedown.is_none() && self.brain_is_late_at_ns.is_some_and(|at_ns| at_ns <= monotonic_ns()) {
            tracing::warn!("the brain has not ended the vassals in time, though it was told twice: it is ended first");
            self.brain.dismiss(Duration::ZERO);
        }
        if self.takedown.is_some() || (self.shutting_down && !self.brain.is_up()) {
            let takedown = self.takedown.get_or_insert_with(|| Takedown::begin(self.at_once));
            if takedown.go_on(&self.desk) {
                return Ok(Turn::Leave(0));
            }
            return Ok(Turn::Again);
        }
        self.brain.seat_when_due(self.desk.note.as_deref());
        Ok(Turn::Again)
    }

    fn hear_signal(&mut self, signal: Signal) {
        match signal {
            Signal::Child => {}
            Signal::Stop => {
                tracing::info!("told to stop");
                self.at_once = std::mem::replace(&mut self.shutting_down, true);
                if self.at_once {
                    let late_ns = u64::try_from(BRAIN_HURRIES_WITHIN.as_nanos()).unwrap_or(u64::MAX);
                    self.brain_is_late_at_ns.get_or_insert(monotonic_ns().saturating_add(late_ns));
                }
                tell_service_manager("STOPPING=1");
                match &mut self.takedown {
                    Some(takedown) => takedown.hurry(),
                    None => self.brain.say(FromKeeper::ShutDown, Vec::new()),
                }
            }
            Signal::Reload => self.brain.say(FromKeeper::ReloadAll, Vec::new()),
            Signal::Status => self.brain.say(FromKeeper::SayStatus, Vec::new()),
            Signal::Restart => self.restart(),
        }
    }

    fn restart(&mut self) {
        self.brain.dismiss(BRAIN_LEAVES_WITHIN);
        let error = successor::replace_self(&self.program, &self.rooms, &self.desk);
        // It comes back from an exec that failed only: all goes on with a new brain.
        tracing::error!("the emperor could not replace itself: {error:#}");
    }

    fn hear_brain(&mut self, heard: Heard) -> Turn {
        let bytes = match heard {
            Heard::Message(message) => message,
            Heard::HungUp => return Turn::Again,
        };
        self.brain.spoke();
        let done = self.desk.handle(&bytes.bytes, bytes.fds);
        // It says so once it has opened its doors, or has said why it could not.
        if done.pulse && self.brain.pulses_first() {
            tell_service_manager("READY=1");
        }
        for reply in done.replies {
            self.brain.say(reply.word, reply.fds);
        }
        if done.restart {
            self.restart();
        }
        done.leave.map_or(Turn::Again, Turn::Leave)
    }

    /// Every child that has ended: masters, the brain, orphans of the apps. An exit code when the brain cannot ever come up.
    fn reap(&mut self) -> std::io::Result<Option<u8>> {
        let mut refused = None;
        while let Some((pid, how)) = process::reap_any()? {
            if let Some((master, how)) = self.desk.masters.ended(pid, how) {
                self.tell_exit(master, how);
            } else if self.brain.ended(pid, how) && how == How::Code(BRAIN_REFUSED) && self.brain.never_spoke() {
                refused = Some(1);
            }
        }
        Ok(refused)
    }

    fn tell_exit(&mut self, master: empery_lifecycle::fleet::MasterKey, how: String) {
        step!("keeper.reaped");
        self.desk.lead_on(&master.vassal, master.berth);
        tracing::info!(vassal = %master.vassal, serial = master.serial.0, "master ended: {how}");
        self.brain.say(FromKeeper::MasterExited { master, how }, Vec::new());
    }

    /// Until a descriptor is ready or a deadline is reached.
    fn wait(&self) -> std::io::Result<Woken> {
        let mut watched = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        watched.extend(self.brain.interest());
        // Nobody could be told of a client while there is no brain: the next one asks for the watch anew.
        let doors: Vec<_> = if self.brain.is_up() { self.desk.store.watched().collect() } else { Vec::new() };
        let before_doors = watched.len();
        watched.extend(doors.iter().map(|(_, socket)| PollFd::new(*socket, PollFlags::POLLIN)));
        let others = watched.len();
        watched.extend(self.desk.masters.pidfds().map(|pidfd| PollFd::new(pidfd, PollFlags::POLLIN)));
        let deadline = match &self.takedown {
            Some(takedown) => takedown.deadline_ns(),
            None => {
                let deadlines = [self.brain.deadline_ns(), self.brain_is_late_at_ns, self.desk.survivors.deadline_ns()];
                deadlines.into_iter().flatten().min()
            }
        };
        match poll(&mut watched, timeout(deadline)) {
            Ok(_) => {
                let is_ready = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
                let knocked = doors.iter().zip(&watched[before_doors..others]).filter(|(_, fd)| is_ready(fd));
                Ok(Woken {
                    knocked: knocked.map(|((vassal, _), _)| (*vassal).clone()).collect(),
                    a_master_ended: watched[others..].iter().any(is_ready),
                })
            }
            Err(nix::Error::EINTR) => Ok(Woken::default()),
            Err(error) => Err(error.into()),
        }
    }
}

fn tell_service_manager(state: &str) {
    if let Err(error) = service_manager::say(state) {
        tracing::warn!("systemd could not be told {state}: {error}");
    }
}

/// Up to a moment of CLOCK_MONOTONIC, rounded up to ms so that the moment has come when poll returns.
fn timeout(deadline_ns: Option<u64>) -> PollTimeout {
    let Some(deadline_ns) = deadline_ns else { return PollTimeout::NONE };
    let left_ms = deadline_ns.saturating_sub(monotonic_ns()).div_ceil(1_000_000);
    PollTimeout::try_from(i32::try_from(left_ms).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::MAX)
}
