//! Hands this vassal to a changed binary on SIGHUP. Waits until nothing is between two processes: no connection on its
//! way to another worker, no word that its channel had no room for; but not for longer than a drain may take. What boots is given up; the new image boots it again.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    sync::atomic::Ordering,
    time::Duration,
};

use empery_control::{link::WorkerPhase, scoreboard::Totals};
use empery_lifecycle::{
    generations::Policy,
    ids::{GenerationId, OperationId},
    moment::Moment,
};
use empery_sys::{
    channel::Channel,
    process,
    spawn::{Spawn, spawn},
};

use nix::sys::signal::Signal;

use super::{Supervisor, gateways::Phase, harakiri::limits::Limits, orphans::Carried, perform::kill_child};
use crate::{
    clock, extension, log,
    regions::Regions,
    station::Station,
    succession::{self, GatewayLeft, Image, ListenerLeft, Testament, WorkerLeft},
};

/// How long a changed binary may take to say its version.
const TRIAL_MAX: Duration = Duration::from_secs(10);

/// How often it is looked whether what holds a succession up is over.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How far a succession is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Succession {
    /// Nobody asked for one.
    No,
    /// The changed binary is asked for its version, as this process.
    Trial(i32),
    /// It runs: as soon as nothing is under way.
    Due {
        /// When it is not waited for any more.
        until: Moment,
        /// When it is looked again.
        look_at: Moment,
    },
}

impl Supervisor {
    /// SIGHUP: a reload, by a new image of this master when its binary has changed.
    pub(super) fn hangup(&mut self) {
        match self.changed_binary() {
            None => self.reload("SIGHUP came"),
            Some(binary) if self.succession == Succession::No && !self.stop_asked => {
                self.try_binary(binary, "SIGHUP came")
            }
            Some(_) => {}
        }
    }

    pub(super) fn changed_binary(&self) -> Option<std::path::PathBuf> {
        let binary = extension::binary().ok()?;
        (Image::of(&binary).as_ref()? != self.image.as_ref()?).then_some(binary)
    }

    /// The emperor ordered a deploy and the binary has changed: a new image of this master carries it out.
    pub(super) fn deploy_by_binary(&mut self, binary: PathBuf, operation: OperationId) {
        self.deploys_after_succession(operation);
        self.try_binary(binary, "the emperor ordered it");
    }

    /// The new image that is on its way carries this out, too.
    pub(super) fn deploys_after_succession(&mut self, operation: OperationId) {
        if let Station::Governed(governed) = &mut self.station {
            governed.ordered = Some(operation);
        }
    }

    /// A binary that does not even start must not get the workers.
    fn try_binary(&mut self, binary: PathBuf, why: &str) {
        log::say(&format!("...reloading: {why} and {} has changed", binary.display()));
        self.announce_reload();
        let trial = spawn(Spawn {
            args: vec![binary.clone().into_os_string(), "--version".into()],
            program: binary,
            env: Vec::new(),
            directory: None,
            // What it prints is of no interest; what it complains about is.
            stdio: [None, std::fs::File::options().write(true).open("/dev/null").ok().map(OwnedFd::from), None],
            inherit: Vec::new(),
            identity: None,
            new_session: false,
        });
        match trial {
            Ok(child) => {
                self.succession = Succession::Trial(child.pid);
                tokio::spawn(async move {
                    tokio::time::sleep(TRIAL_MAX).await;
                    // It has mostly ended long ago: then this is nobody's number any more, and not sent.
                    let _ = process::pidfd_kill(&child.pidfd, Signal::SIGKILL as i32);
                });
            }
            Err(error) => self.binary_refused(&error.to_string()),
        }
    }

    /// The trial of the changed binary has ended.
    pub(super) fn trial_ended(&mut self, how: empery_sys::process::How) {
        if how == empery_sys::process::How::Code(0) {
            let now = clock::now();
            let mercy = self.of_serving(|generation| generation.revision.config.mercy);
            let until = now.after(mercy.unwrap_or(Policy::default().mercy));
            self.succession = Succession::Due { until, look_at: now };
        } else {
            self.binary_refused(&how.to_string());
        }
    }

    fn binary_refused(&mut self, why: &str) {
        self.succession = Succession::No;
        log::say(&format!("*** the changed binary does not run ({why}): this one goes on ***"));
        self.reload("by this binary");
    }

    /// Whether the binary of this process, or the extension that serves, is no longer what is on the disk.
    pub(super) fn is_outdated(&self) -> bool {
        let serving = self.machine.serving().and_then(|(generation, _)| self.generations.get(&generation));
        self.changed_binary().is_some() || serving.is_some_and(|generation| generation.extension_changed())
    }

    /// When it is looked again whether something is under way.
    pub(super) fn succession_at(&self) -> Option<Moment> {
        match self.succession {
            Succession::Due { look_at, .. } if !self.stop_asked => Some(look_at),
            Succession::Due { .. } | Succession::Trial(_) | Succession::No => None,
        }
    }

    /// Succeeds when it is time. Returns when it is not, or when it failed.
    pub(super) fn succeed_if_due(&mut self) {
        let Succession::Due { until, .. } = self.succession else { return };
        if self.stop_asked {
            return;
        }
        let now = clock::now();
        if now < until && (!self.handovers.is_empty() || !self.all_are_told()) {
            // An answer comes by itself, and that a socket has room again is not told.
            self.succession = Succession::Due { until, look_at: until.min(now.after(LOOK_EVERY)) };
            return;
        }
        self.succession = Succession::No;
        let Ok(binary) = extension::binary() else { return };
        self.give_up_booting_workers();
        let log = self.surroundings.log.as_fd();
        let mut left: Vec<BorrowedFd<'_>> = vec![log];
        let testament = Testament {
            station: self.station.leave(&mut left),
            first_generation: self.next_generation(),
            listeners: self.leave_listeners(&mut left),
            tls_files: self.leave_tls_files(&mut left),
            gateways: self.leave_gateways(&mut left),
            workers: self.leave_workers(&mut left),
            scoreboards: self.leave_scoreboards(&mut left),
            limits: self.leave_limits(),
            regions: self.regions.leave(&mut left),
            retired: self.retired,
            stats: self.stats.as_ref().map(|stats| stats.leave(&mut left)),
            log: log.as_raw_fd(),
            pidfiles: self.pidfiles.clone(),
            deploys: self.deploys,
            frozen: self.frozen,
            beside: self.leave_beside(&mut left),
            posts: self.leave_posts(&mut left),
            reload_descriptors: self.watched.descriptors.leave(&mut left),
        };
        let error = succession::succeed(&binary, &testament, &left);
        self.binary_refused(&error.to_string());
    }

    /// Whether nothing that was said to those that stay waits in this process, where it would be lost.
    fn all_are_told(&self) -> bool {
        let own = self.generations.values().flat_map(|generation| generation.workers.values());
        let mut workers = own.chain(self.orphans.values().map(|orphan| &orphan.handle));
        workers.all(|handle| handle.silent || handle.phase == WorkerPhase::Booting || handle.peer.is_told())
            && self.gateways.all.values().all(|handle| handle.silent || handle.peer.is_told())
            && self.posts.are_told()
            && self.brain.as_ref().is_none_or(|brain| brain.peer.is_told())
    }

    /// Workers that do not serve yet are of no use to a successor.
    fn give_up_booting_workers(&self) {
        let workers = self.generations.values().flat_map(|generation| generation.workers.values());
        for handle in workers.filter(|handle| handle.phase == WorkerPhase::Booting) {
            if let Some(pid) = handle.pid {
                kill_child(pid);
            }
        }
    }

    fn next_generation(&self) -> GenerationId {
        self.last_generation.next()
    }

    fn leave_listeners<'a>(&'a self, left: &mut Vec<BorrowedFd<'a>>) -> Vec<ListenerLeft> {
        self.listeners
            .iter()
            .map(|(key, held)| {
                left.push(held.socket.as_fd());
                ListenerLeft {
                    key: key.to_owned(),
                    fd: held.socket.as_raw_fd(),
                    bound: held.bound.clone(),
                    path: held.path.clone(),
                }
            })
            .collect()
    }

    fn leave_tls_files<'a>(&'a self, left: &mut Vec<BorrowedFd<'a>>) -> Vec<(PathBuf, i32)> {
        self.tls_files
            .iter()
            .map(|(path, file)| {
                left.push(file.as_fd());
                (path.to_owned(), file.as_raw_fd())
            })
            .collect()
    }

    /// Those that drain finish without a master; those that do not serve yet leave when this one is gone.
    fn leave_gateways<'a>(&'a self, left: &mut Vec<BorrowedFd<'a>>) -> Vec<GatewayLeft> {
        let serving = self.gateways.all.values().filter(|handle| handle.phase == Phase::Serving && !handle.silent);
        serving
            .filter_map(|handle| {
                let plan = handle.plan.clone()?;
                left.push(handle.peer.channel());
                Some(GatewayLeft { pid: handle.pid, fd: handle.peer.channel().as_raw_fd(), plan })
            })
            .collect()
    }

    fn leave_workers<'a>(&'a self, left: &mut Vec<BorrowedFd<'a>>) -> Vec<WorkerLeft> {
        let mut workers = Vec::new();
        for generation in self.generations.values() {
            for (worker, handle) in &generation.workers {
                let Some(pid) = handle.pid.filter(|_| handle.phase != WorkerPhase::Booting && !handle.silent) else {
                    continue;
                };
                left.push(handle.peer.channel());
                left.extend(handle.crash.as_ref().map(AsFd::as_fd));
                workers.push(WorkerLeft {
                    worker: *worker,
                    pid,
                    fd: handle.peer.channel().as_raw_fd(),
                    phase: handle.phase,
                    since_unix_s: handle.since_unix_s,
                    listeners: generation.revision.listener_keys().collect(),
                    signals: handle.signals,
                    crash: handle.crash.as_ref().map(AsRawFd::as_raw_fd),
                    pidfd: None,
                });
            }
        }
        for orphan in self.orphans.values() {
            let handle = &orphan.handle;
            let Some(pid) = handle.pid.filter(|_| !handle.silent) else { continue };
            left.push(handle.peer.channel());
            left.extend(handle.crash.as_ref().map(AsFd::as_fd));
            left.extend((!orphan.is_child()).then(|| orphan.pidfd.as_fd()));
            workers.push(WorkerLeft {
                worker: orphan.worker,
                pid,
                fd: handle.peer.channel().as_raw_fd(),
                phase: handle.phase,
                since_unix_s: handle.since_unix_s,
                listeners: orphan.listeners.clone(),
                signals: handle.signals,
                crash: handle.crash.as_ref().map(AsRawFd::as_raw_fd),
                pidfd: (!orphan.is_child()).then(|| orphan.pidfd.as_raw_fd()),
            });
        }
        workers
    }

    fn leave_scoreboards<'a>(&'a self, left: &mut Vec<BorrowedFd<'a>>) -> Vec<(GenerationId, i32)> {
        let own = self.generations.iter().map(|(id, generation)| (*id, generation.scoreboard_fd.as_fd()));
        let carried = self.carried.iter().map(|(id, carried)| (*id, carried.descriptor.as_fd()));
        own.chain(carried)
            .map(|(id, descriptor)| {
                left.push(descriptor);
                (id, descriptor.as_raw_fd())
            })
            .collect()
    }

    fn leave_limits(&self) -> Vec<(GenerationId, Limits)> {
        let ids = self.generations.keys().chain(self.carried.keys());
        ids.filter_map(|id| Some((*id, self.limits_of(*id)?))).collect()
    }

    /// In the new image: goes on counting where the earlier one stopped.
    pub(crate) fn go_on(
        &mut self,
        retired: Totals,
        deploys: u64,
        regions: Regions,
        carried: BTreeMap<GenerationId, Carried>,
    ) {
        self.announced_by_predecessor();
        self.retired = retired;
        self.deploys = deploys;
        self.regions = regions;
        let slots = carried.values().flat_map(|carried| {
            let board = &carried.scoreboard;
            (0..board.slots()).map(move |slot| board.slot(slot).state.stacks_asked.load(Ordering::Relaxed))
        });
        self.stack_askings.go_on_from(slots.max().unwrap_or(0));
        self.carried = carried;
    }

    /// In the new image: takes over a gateway of the earlier one.
    pub(crate) fn carry_gateway(&mut self, left: GatewayLeft, channel: Channel) {
        self.hold_gateway(channel, left.pid, Some(left.plan), Phase::Serving);
    }
}
