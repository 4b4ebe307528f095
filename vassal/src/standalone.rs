//! A vassal without an emperor, started as uWSGI was: it opens its log, binds its sockets and writes its pidfiles with
//! the privileges it was started with, drops them, and only then runs anything of the app's.

use std::{
    fs::OpenOptions,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use empery_config::{
    read::{Entry, Outcome},
    vassal::VassalConfig,
};
use empery_lifecycle::generations::{Generations, Policy};
use empery_sys::identity::DropTo;
use nix::unistd::{getegid, geteuid};

use crate::{
    gateway::TlsFiles,
    listeners::{Listeners, Source},
    log, pidfile, reading,
    revision::Revision,
    runtime, signals,
    station::{FIRST_OPERATION, FIRST_REVISION, Station},
    stats::serve,
    supervise::{Parts, Supervisor, input::Inbox},
    title,
    zygote::Surroundings,
};

/// Exit code of everything that keeps a vassal from starting before its app is loaded.
const EXIT_SETUP: u8 = 1;

/// Runs the vassal that the command line describes, until it is stopped.
pub(crate) fn run(arguments: Vec<String>, outcome: Outcome) -> ExitCode {
    let entry = Entry::Arguments(arguments.clone());
    let revision = match reading::accept(outcome, &entry, FIRST_REVISION) {
        Ok(revision) => revision,
        // The problems have been shown, with their places.
        Err(_) => return ExitCode::from(EXIT_SETUP),
    };
    match prepare(&revision.config) {
        Ok(prepared) => runtime::block_on(supervise(prepared, Station::alone(arguments), revision)),
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
    tls_files: TlsFiles,
    stats: Option<serve::StatsSocket>,
    log: OwnedFd,
}

fn prepare(config: &VassalConfig) -> Result<Prepared, String> {
    if let Some(path) = &config.log.logto {
        log_to(path)?;
    }
    log::say(&format!("*** Starting vassal (Empery {}) on [{}] ***", env!("CARGO_PKG_VERSION"), crate::clock::ctime()));
    if let Some(mask) = config.umask {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(mask));
    }
    let mut listeners = Listeners::new(Source::Bind);
    listeners.provide(&config.listeners)?;
    listeners.say_bound(&config.listeners);
    let stats = serve::bind(config)?;
    pidfile::write(&config.pidfiles);
    let tls_files = TlsFiles::open(config);
    drop_privileges(config)?;
    tls_files.tell_of_those_not_renewed();
    if let Some(path) = &config.log.logto2 {
        log_to(path)?;
    }
    let log = std::io::stderr().as_fd().try_clone_to_owned().map_err(|error| format!("stderr: {error}"))?;
    Ok(Prepared { listeners, tls_files, stats, log })
}

/// Puts a file in the place of stdout and stderr, for this process and all it starts.
fn log_to(path: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("the log file {} cannot be opened: {error}", path.display());
    let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path).map_err(failed)?;
    nix::unistd::dup2_stdout(&file).map_err(|error| failed(error.into()))?;
    nix::unistd::dup2_stderr(&file).map_err(|error| failed(error.into()))
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
    Ok(Some(DropTo { uid, gid, user: user.and_then(|user| user.name) }))
}

async fn supervise(prepared: Prepared, station: Station, revision: Revision) -> Result<u8, String> {
    let (inbox, inputs) = Inbox::new();
    empery_sys::process::become_subreaper().map_err(|error| format!("the workers cannot be watched over: {error}"))?;
    signals::start(&inbox).map_err(|error| format!("signals cannot be received: {error}"))?;
    let stats = prepared.stats.map(|socket| socket.serve(inbox.clone())).transpose();
    let config = &revision.config;
    title::set(&config.titles);
    let policy = Policy { mercy: config.mercy, ..Policy::default() };
    let mut supervisor = Supervisor::new(Parts {
        machine: Generations::new(policy),
        inbox,
        station,
        surroundings: Surroundings { log: prepared.log, link_path: None },
        listeners: prepared.listeners,
        tls_files: prepared.tls_files,
        stats: stats.map_err(|error| format!("the stats socket cannot be served: {error}"))?,
        pidfiles: config.pidfiles.clone(),
        vacuum: config.vacuum,
    });
    supervisor.deploy(FIRST_OPERATION, FIRST_REVISION, Ok(Arc::new(revision)));
    Ok(supervisor.run(inputs).await)
}
