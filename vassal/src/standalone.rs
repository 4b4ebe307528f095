//! A vassal without an emperor, started as uWSGI was: it opens its log, binds its sockets and writes its pidfiles with
//! the privileges it was started with, drops them, and only then runs anything of the app's. Where the log is a file, or is
//! shaped, the workers write to a pipe that this process reads; else they write to its stderr themselves.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use empery_config::{
    facts::Inherited,
    read::{Entry, Outcome},
    runtime::Moment,
    vassal::{Listener, VassalConfig},
};
use empery_lifecycle::generations::{Generations, Policy};
use empery_sys::{identity::DropTo, pipe::cloexec_pipe};
use nix::unistd::{getegid, geteuid};

use crate::{
    gateway::TlsFiles,
    hooks,
    listeners::{Listeners, Source},
    log::{
        self,
        file::{Care, LogFile},
    },
    pidfile, reading,
    reload_descriptors::ReloadDescriptors,
    revision::Revision,
    runtime,
    shell::Shell,
    signals, started_with,
    station::{Alone, FIRST_OPERATION, FIRST_REVISION, Station},
    stats::serve,
    supervise::{Parts, Supervisor, alarms::Descriptors, input::Inbox, watched_side::WatchedSide},
    title,
    zygote::Surroundings,
};

/// Exit code of everything that keeps a vassal from starting before its app is loaded.
const EXIT_SETUP: u8 = 1;

/// Runs the vassal that the command line describes, until it is stopped.
pub(crate) fn run(arguments: Vec<String>, outcome: Outcome, inherited: Vec<Inherited>) -> ExitCode {
    let entry = Entry::Arguments(arguments.clone());
    let revision = match reading::accept(outcome, &entry, FIRST_REVISION) {
        Ok(revision) => revision,
        // The problems have been shown, with their places.
        Err(_) => return ExitCode::from(EXIT_SETUP),
    };
    // First, while only what this process was started with is open.
    let descriptors = ReloadDescriptors::take(&revision.config.watched.descriptors);
    match prepare(&revision.config, inherited) {
        Ok(prepared) => runtime::block_on(supervise(prepared, arguments, revision, descriptors)),
        Err(sentence) => refuse(&sentence),
    }
}

fn refuse(sentence: &str) -> ExitCode {
    log::say(&format!("*** this vassal cannot start: {sentence} ***"));
    ExitCode::from(EXIT_SETUP)
}

/// What was made ready before privileges were dropped.
struct Prepared {
    listeners: Listeners,
    inherited: Vec<Inherited>,
    tls_files: TlsFiles,
    stats: Option<serve::StatsSocket>,
    log: OwnedFd,
    /// The other end of `log`, when that is a pipe.
    log_read: Option<OwnedFd>,
    /// What raises alarms.
    alarm_descriptors: Descriptors,
}

fn prepare(config: &VassalConfig, inherited: Vec<Inherited>) -> Result<Prepared, String> {
    // Before anything of ours is opened under one of these numbers.
    let alarm_descriptors = Descriptors::take(&config.alarms);
    log::follow(&config.log);
    if let Some(path) = &config.log.logto {
        log_to(path, config)?;
    }
    log::say(&format!("*** Starting vassal (Empery {}) on [{}] ***", env!("CARGO_PKG_VERSION"), crate::clock::ctime()));
    let shell = Shell::new(config, None);
    hooks::run(config, Moment::Asap, &shell)?;
    hooks::run(config, Moment::PreJail, &shell)?;
    if let Some(mask) = config.umask {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(mask));
    }
    let mut listeners = Listeners::new(Source::Bind);
    let inherited = started_with::take(inherited, config, &mut listeners)?;
    // uWSGI binds when it has become the vassal's user, whose its sockets are then.
    let owner = identity_of(config)?.filter(|_| geteuid().is_root());
    let owner = owner.map(|wanted| (wanted.uid, wanted.gid));
    listeners.provide(&owned(&config.listeners, owner))?;
    listeners.say_bound(&config.listeners);
    let stats = serve::bind(config, owner)?;
    pidfile::write(&config.pidfiles);
    let tls_files = TlsFiles::open(config);
    hand_over_log(config)?;
    hooks::run(config, Moment::InJail, &shell)?;
    hooks::run(config, Moment::AsRoot, &shell)?;
    drop_privileges(config)?;
    hooks::run(config, Moment::AsUser, &shell)?;
    tls_files.tell_of_those_not_renewed();
    if let Some(path) = &config.log.logto2 {
        log_to(path, config)?;
    }
    log::open_loggers(&config.log);
    let log = &config.log;
    let is_read =
        log.logto.is_some() || log.logto2.is_some() || log.json || log.lines_per_s_max > 0 || log.sorts_lines();
    let (log_read, log) = if is_read {
        let (read, write) = cloexec_pipe().map_err(|error| format!("no pipe for the log: {error}"))?;
        (Some(read), write)
    } else {
        let stderr = std::io::stderr().as_fd().try_clone_to_owned();
        (None, stderr.map_err(|error| format!("stderr: {error}"))?)
    };
    Ok(Prepared { listeners, inherited, tls_files, stats, log, log_read, alarm_descriptors })
}

/// Listeners whose paths belong to somebody, unless they name an owner themselves: of one that names a user alone the group.
fn owned(listeners: &[Listener], owner: Option<(u32, u32)>) -> Vec<Listener> {
    let mut all = listeners.to_vec();
    let Some((uid, gid)) = owner else { return all };
    for listener in &mut all {
        let (user, group) = listener.owner.take().unwrap_or_default();
        let user = if user.is_empty() { uid.to_string() } else { user };
        let group = group.filter(|group| !group.is_empty()).unwrap_or_else(|| gid.to_string());
        listener.owner = Some((user, Some(group)));
    }
    all
}

/// Logs to a file, which is also what this process has as stdout and stderr: for what no code of ours says.
fn log_to(path: &Path, config: &VassalConfig) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("the log file {} cannot be opened: {error}", path.display());
    let mut log = LogFile::open(path.to_owned(), Care::of(&config.log, Care::none())).map_err(failed)?;
    if config.log.truncate {
        log.truncate().map_err(failed)?;
    }
    log.become_stderr().map_err(failed)?;
    log::use_file(log);
    Ok(())
}

/// `logfile-chown`: the file that root has opened is the vassal's user's from now on, who can open it again.
fn hand_over_log(config: &VassalConfig) -> Result<(), String> {
    if let (Some(path), Some(wanted)) = (&config.log.logto, identity_of(config)?)
        && config.log.chown
        && path.is_file()
        && let Err(error) = std::os::unix::fs::fchown(std::io::stderr(), Some(wanted.uid), Some(wanted.gid))
    {
        log::say(&format!("*** the log {} stays root's: {error} ***", path.display()));
    }
    Ok(())
}

/// Reads what the workers write, from a copy of this end of the pipe.
///
/// # Errors
/// One sentence.
pub(crate) fn pump(log_read: &OwnedFd) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("the log pipe cannot be read: {error}");
    log::pump::start(log_read.try_clone().map_err(failed)?).map_err(failed)
}

/// The same for a changed image of this vassal: the one before has its log as stdout and stderr.
pub(crate) fn log_goes_on(alone: &Alone, config: &VassalConfig) {
    if let Some(path) = config.log.logto2.as_ref().or(config.log.logto.as_ref()).filter(|_| alone.log_read.is_some()) {
        match LogFile::go_on(path.clone(), Care::of(&config.log, Care::none())) {
            Ok(log) => log::use_file(log),
            Err(error) => log::say(&format!("*** the log file {} cannot be opened: {error} ***", path.display())),
        }
    }
    log_where_told(alone, config);
}

/// The log of a configuration that was read again. Where it goes was decided at the start; what it looks like and what
/// becomes of the file follow.
pub(crate) fn log_where_told(alone: &Alone, config: &VassalConfig) {
    if alone.log_read.is_none() {
        if config.log.sorts_lines() {
            log::say(
                "*** loggers are opened, and alarm-log sees what workers print, when this vassal is started anew: they write \
                 to stderr by themselves ***",
            );
        }
        return;
    }
    log::follow(&config.log);
    log::open_loggers(&config.log);
    log::take_care(Care::of(&config.log, Care::none()));
}

fn drop_privileges(config: &VassalConfig) -> Result<(), String> {
    let Some(wanted) = identity_of(config)? else { return Ok(()) };
    let (uid, gid) = (wanted.uid, wanted.gid);
    empery_sys::identity::drop_to(&wanted).map_err(|error| format!("uid and gid cannot be changed: {error}"))?;
    log::say(&format!("running as uid {uid}, gid {gid}"));
    Ok(())
}

/// Whether a configuration read again asks for the identity that this process has. Privileges once dropped do not come
/// back, and what still has them must not serve on as if they had been dropped.
///
/// # Errors
/// One sentence that names both and what to do.
pub(crate) fn keeps_identity(config: &VassalConfig) -> Result<(), String> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    match identity_of(config)? {
        Some(wanted) if (wanted.uid, wanted.gid) != (uid, gid) => Err(format!(
            "uid and gid are now {}:{}, and this vassal runs as {uid}:{gid}: a reload cannot change them, stop it and \
             start it again",
            wanted.uid, wanted.gid
        )),
        _ => Ok(()),
    }
}

/// Who a configuration wants this process to be; None when it says nothing of it.
fn identity_of(config: &VassalConfig) -> Result<Option<DropTo>, String> {
    let identity = |error: &dyn std::fmt::Display| format!("uid and gid cannot be changed: {error}");
    let user = config.uid.as_deref().map(empery_sys::identity::user).transpose().map_err(|error| identity(&error))?;
    let gid = config.gid.as_deref().map(empery_sys::identity::group).transpose().map_err(|error| identity(&error))?;
    if user.is_none() && gid.is_none() {
        // As root that is worth a warning, which the configuration's reader has given.
        return Ok(None);
    }
    let uid = user.as_ref().map_or_else(|| geteuid().as_raw(), |user| user.uid);
    // Without a gid the user's own group: uWSGI would leave the process in root's.
    let gid = gid.or(user.as_ref().map(|user| user.gid)).unwrap_or_else(|| getegid().as_raw());
    let groups = config.add_gids.iter().map(|name| empery_sys::identity::group(name)).collect::<Result<_, _>>();
    let groups = groups.map_err(|error| format!("add-gid cannot be followed: {error}"))?;
    Ok(Some(DropTo { uid, gid, user: user.and_then(|user| user.name).filter(|_| !config.no_initgroups), groups }))
}

async fn supervise(
    prepared: Prepared,
    arguments: Vec<String>,
    revision: Revision,
    descriptors: ReloadDescriptors,
) -> Result<u8, String> {
    let (inbox, inputs) = Inbox::new();
    empery_sys::process::become_subreaper().map_err(|error| format!("the workers cannot be watched over: {error}"))?;
    signals::start(&inbox).map_err(|error| format!("signals cannot be received: {error}"))?;
    let stats = prepared.stats.map(|socket| socket.serve(inbox.clone())).transpose();
    if let Some(log_read) = &prepared.log_read {
        pump(log_read)?;
    }
    let log = prepared.log.try_clone().map_err(|error| format!("the log cannot be shared: {error}"))?;
    hooks::run_beside(&revision.config, &[Moment::MasterStart], Shell::new(&revision.config, Some(log))).await?;
    let station = Station::alone(arguments, prepared.inherited, prepared.log_read);
    let config = &revision.config;
    title::set(&config.titles);
    let policy = Policy { mercy: config.mercy, ..Policy::default() };
    let mut supervisor = Supervisor::new(Parts {
        machine: Generations::new(policy),
        inbox,
        surroundings: Surroundings { log: prepared.log, log_spare: station.log_spare()?, link_path: None },
        station,
        listeners: prepared.listeners,
        tls_files: prepared.tls_files,
        stats: stats.map_err(|error| format!("the stats socket cannot be served: {error}"))?,
        pidfiles: config.pidfiles.clone(),
        vacuum: config.vacuum,
        watched: WatchedSide::new(descriptors),
    });
    supervisor.ends_as(&revision.config);
    supervisor.watch_later(prepared.alarm_descriptors);
    supervisor.deploy(FIRST_OPERATION, FIRST_REVISION, Ok(Arc::new(revision)));
    Ok(supervisor.run(inputs).await)
}
