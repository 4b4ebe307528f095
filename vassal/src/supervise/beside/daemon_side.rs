//! Daemons: their machines are told what happened, and what they answer is done. A daemon whose line is still there goes on
//! over a reload; one whose line has changed ends before the new one starts.

use empery_config::{beside::Daemon as Spec, vassal::VassalConfig};
use empery_control::stats;
use empery_lifecycle::{
    daemon::{Daemon, Kind, Rules, Step},
    moment::Moment,
};
use empery_sys::{
    identity,
    process::How,
    spawn::{DropTo, Held},
};
use nix::{
    sys::signal::Signal,
    unistd::{getegid, geteuid},
};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use super::pidfile;
use crate::{
    clock,
    command::{self, Command},
    log, remains,
    supervise::Supervisor,
};

/// All of them.
#[derive(Default)]
pub(crate) struct Daemons {
    all: Vec<Handle>,
    remains: Remains,
    /// Pidfiles of those that outlive the vassal, once it ends.
    outlive: Vec<PathBuf>,
    /// `env` and `unenv` in service.
    env: Vec<(String, Option<String>)>,
}

/// What an earlier master that died may have left.
#[derive(Default, PartialEq, Eq)]
enum Remains {
    /// Nobody has looked.
    #[default]
    Unknown,
    /// They are ending.
    Awaited,
    /// There are none.
    Gone,
}

struct Handle {
    spec: Spec,
    machine: Daemon,
    /// What was started, as long as it runs.
    child: Option<i32>,
    /// It is told of in the configuration in service.
    wanted: bool,
    starts: u64,
}

impl Daemons {
    pub(super) fn deadline(&self) -> Option<Moment> {
        let leaving = self.are_leaving();
        let counts = |handle: &&Handle| !handle.wanted || (!leaving && self.remains == Remains::Gone);
        self.all.iter().filter(counts).filter_map(|handle| handle.machine.deadline()).min()
    }

    /// Whether those that are no longer wanted are on their way out still: the others wait for their ports and files.
    fn are_leaving(&self) -> bool {
        self.all.iter().any(|handle| !handle.wanted)
    }

    /// Whether nothing of them is left that the vassal would have to wait for.
    pub(crate) fn are_over(&self) -> bool {
        self.all.is_empty()
    }

    /// Processes that outlive the vassal.
    pub(crate) fn outliving(&self) -> Vec<i32> {
        self.outlive.iter().filter_map(|path| pidfile::living(path)).collect()
    }

    /// As the statistics have them.
    pub(crate) fn stats(&self) -> Vec<stats::Daemon> {
        let of = |handle: &Handle| stats::Daemon {
            cmd: handle.spec.command.clone(),
            pid: handle.child.unwrap_or(0),
            respawns: handle.starts.saturating_sub(1),
        };
        self.all.iter().map(of).collect()
    }

    pub(super) fn running(&self) -> Vec<(Spec, i32)> {
        self.all.iter().filter_map(|handle| Some((handle.spec.clone(), handle.child?))).collect()
    }

    pub(super) fn carry(&mut self, left: Vec<(Spec, i32)>) {
        // The earlier image has looked.
        self.remains = Remains::Gone;
        self.all.extend(left.into_iter().map(|(spec, pid)| Handle {
            machine: Daemon::carried(rules(&spec), clock::now()),
            spec,
            child: Some(pid),
            wanted: true,
            starts: 1,
        }));
    }
}

impl Supervisor {
    pub(super) fn daemons_follow(&mut self, config: &VassalConfig) {
        let now = clock::now();
        self.beside.daemons.env.clone_from(&config.env);
        let mut missing = config.beside.daemons.clone();
        for index in 0..self.beside.daemons.all.len() {
            let handle = &mut self.beside.daemons.all[index];
            let steps = match missing.iter().position(|spec| handle.wanted && *spec == handle.spec) {
                Some(place) => {
                    missing.remove(place);
                    handle.machine.reloaded()
                }
                None => {
                    handle.wanted = false;
                    handle.machine.retire(now)
                }
            };
            self.do_for_daemon(index, steps);
        }
        for spec in missing {
            let there = spec.pidfile.as_deref().and_then(pidfile::living);
            if let Some(pid) = there {
                log::say(&format!("[uwsgi-daemons] found valid/active pidfile for \"{}\" (pid: {pid})", spec.command));
            }
            let machine = Daemon::new(rules(&spec), there.is_some(), now);
            self.beside.daemons.all.push(Handle { spec, machine, child: None, wanted: true, starts: 0 });
        }
        self.forget_daemons();
        self.look_for_remains();
    }

    /// Only under an emperor there may have been an earlier master.
    fn look_for_remains(&mut self) {
        if self.beside.daemons.remains != Remains::Unknown || self.beside.daemons.all.is_empty() {
            return;
        }
        let remains = self.surroundings.link_path.as_deref().and_then(Path::parent).map(remains::find);
        let remains = remains.unwrap_or_default();
        self.beside.daemons.remains = if remains.is_empty() { Remains::Gone } else { Remains::Awaited };
        if !remains.is_empty() {
            remains::outwait(remains, self.inbox.clone());
        }
    }

    pub(in crate::supervise) fn remains_ended(&mut self) {
        self.beside.daemons.remains = Remains::Gone;
    }

    pub(super) fn wake_daemons(&mut self, now: Moment) {
        let held_back = self.beside.daemons.are_leaving() || self.beside.daemons.remains != Remains::Gone;
        for index in 0..self.beside.daemons.all.len() {
            let handle = &mut self.beside.daemons.all[index];
            if handle.wanted && held_back {
                continue;
            }
            let steps = if handle.machine.wants_look(now) {
                let there = handle.spec.pidfile.as_deref().and_then(pidfile::living);
                handle.machine.looked(there.is_some(), now)
            } else {
                handle.machine.wake(now)
            };
            self.do_for_daemon(index, steps);
        }
        self.forget_daemons();
    }

    /// A child has ended; whether it was one.
    pub(super) fn daemon_ended(&mut self, pid: i32, how: How) -> bool {
        let Some(index) = self.beside.daemons.all.iter().position(|handle| handle.child == Some(pid)) else {
            return false;
        };
        let now = clock::now();
        let handle = &mut self.beside.daemons.all[index];
        handle.child = None;
        let steps = handle.machine.ended(now);
        let command = &handle.spec.command;
        match handle.machine.waits(now) {
            Some(wait) if wait.is_zero() => {
                log::say(&format!("[uwsgi-daemons] \"{command}\" (pid: {pid}) ended ({how})"));
            }
            Some(wait) => log::say(&format!(
                "[uwsgi-daemons] \"{command}\" (pid: {pid}) ended ({how}); throttling it for {} seconds",
                wait.as_secs()
            )),
            None if handle.machine.is_over() => {
                log::say(&format!("daemon \"{command}\" (pid: {pid}) annihilated ({how})"));
            }
            None => {}
        }
        self.do_for_daemon(index, steps);
        self.forget_daemons();
        true
    }

    /// Those that name this file are started again.
    pub(in crate::supervise) fn daemons_touched(&mut self, path: &Path) {
        for index in 0..self.beside.daemons.all.len() {
            let handle = &mut self.beside.daemons.all[index];
            if handle.spec.touch.iter().any(|touch| touch == path) {
                let command = &handle.spec.command;
                log::say(&format!("*** {} has been touched... reloading daemon \"{command}\" ***", path.display()));
                let steps = handle.machine.touched();
                self.do_for_daemon(index, steps);
            }
        }
    }

    /// The vassal ends: all go, but those with a pidfile.
    pub(in crate::supervise) fn retire_daemons(&mut self) {
        let now = clock::now();
        for index in 0..self.beside.daemons.all.len() {
            let Daemons { all, outlive, .. } = &mut self.beside.daemons;
            let handle = &mut all[index];
            handle.wanted = false;
            outlive.extend(handle.spec.pidfile.clone());
            let steps = handle.machine.retire(now);
            self.do_for_daemon(index, steps);
        }
        self.forget_daemons();
    }

    /// Those that are asked to go get no more time.
    pub(in crate::supervise) fn hurry_daemons(&mut self) {
        for index in 0..self.beside.daemons.all.len() {
            let steps = self.beside.daemons.all[index].machine.hurry();
            self.do_for_daemon(index, steps);
        }
    }

    fn forget_daemons(&mut self) {
        self.beside.daemons.all.retain(|handle| handle.wanted || !handle.machine.is_over());
        self.leave_when_alone();
    }

    fn do_for_daemon(&mut self, index: usize, steps: Vec<Step>) {
        for step in steps {
            let handle = &self.beside.daemons.all[index];
            let process = match &handle.spec.pidfile {
                Some(path) => pidfile::living(path),
                None => handle.child,
            };
            let send = |number: i32| {
                if let Some(pid) = process {
                    pidfile::send(pid, number);
                }
            };
            match step {
                Step::Spawn => self.spawn_daemon(index),
                Step::Stop => send(handle.spec.stop_signal),
                Step::Reload => send(handle.spec.reload_signal.unwrap_or(Signal::SIGHUP as i32)),
                Step::Kill => {
                    let command = &handle.spec.command;
                    log::say(&format!("[uwsgi-daemons] daemon did not die in time, killing: {command}"));
                    send(Signal::SIGKILL as i32);
                }
                Step::StopVassal => {
                    log::say("*** a control daemon has ended ***");
                    if !self.stop_asked {
                        self.stop();
                    }
                }
                Step::SayNoPidfile => {
                    let (command, pid) = (&handle.spec.command, handle.child.unwrap_or(0));
                    log::say(&format!("[uwsgi-daemons] \"{command}\" (pid: {pid}) did not daemonize !!!"));
                }
            }
        }
    }

    fn spawn_daemon(&mut self, index: usize) {
        let mark = self.surroundings.link_path.as_deref().and_then(Path::parent);
        let Daemons { all, env, .. } = &mut self.beside.daemons;
        let handle = &mut all[index];
        let spec = &handle.spec;
        let again = if handle.starts > 0 { "re" } else { "" };
        let identity = identity_of(spec);
        let own = (geteuid().as_raw(), getegid().as_raw());
        let (uid, gid) = identity.as_ref().ok().and_then(Option::as_ref).map_or(own, |to| (to.uid, to.gid));
        log::say(&format!("[uwsgi-daemons] {again}spawning \"{}\" (uid: {uid} gid: {gid})", spec.command));
        handle.starts += 1;
        let lives_on = spec.pidfile.is_some();
        let command = |stdin: Option<OwnedFd>, identity: Option<DropTo>| Command {
            text: &spec.command,
            directory: &spec.directory,
            env,
            stdin,
            identity,
            death_signal: (!lives_on).then_some(spec.stop_signal),
            mark: mark.filter(|_| !lives_on),
            inherit: Vec::new(),
        };
        let stdin = spec.stdin.then(|| std::io::stdin().as_fd().try_clone_to_owned()).transpose();
        let held = identity.and_then(|identity| command::hold(command(stdin?, identity), &self.surroundings.log));
        match held.and_then(|held| write_pidfile(spec, held)).and_then(Held::release) {
            Ok(child) => handle.child = Some(child.pid),
            Err(error) => {
                log::say(&format!("[uwsgi-daemons] unable to spawn \"{}\": {error}", spec.command));
                let steps = handle.machine.ended(clock::now());
                self.do_for_daemon(index, steps);
            }
        }
    }
}

/// Of a daemon for which that is asked: before it runs, so that nobody sees it without.
fn write_pidfile(spec: &Spec, held: Held) -> io::Result<Held> {
    if let Some(path) = spec.pidfile.as_ref().filter(|_| spec.daemonize) {
        std::fs::write(path, format!("{}\n", held.pid()))
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    }
    Ok(held)
}

/// Who a daemon is to be; None when that is said nowhere.
fn identity_of(spec: &Spec) -> io::Result<Option<DropTo>> {
    let group = spec.gid.as_ref().map(|gid| identity::group(&gid.to_string())).transpose()?;
    Ok(match (&spec.uid, group) {
        (None, None) => None,
        (Some(uid), group) => {
            let user = identity::user(&uid.to_string())?;
            Some(DropTo { uid: user.uid, gid: group.unwrap_or(user.gid), user: user.name, groups: Vec::new() })
        }
        (None, Some(gid)) => {
            let own = identity::user(&geteuid().to_string())?;
            Some(DropTo { uid: own.uid, gid, user: own.name, groups: Vec::new() })
        }
    })
}

fn rules(spec: &Spec) -> Rules {
    Rules {
        kind: match (&spec.pidfile, spec.control) {
            (Some(_), _) => Kind::Pidfile { looks: spec.looks, notify: spec.notify },
            (None, true) => Kind::Control,
            (None, false) => Kind::Plain,
        },
        throttle_max: Duration::from_secs(spec.throttle_max_s.into()),
        mercy: Duration::from_secs(spec.mercy_s.into()),
        hears_reloads: spec.reload_signal.is_some(),
    }
}
