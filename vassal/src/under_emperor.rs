//! A vassal under an emperor: its sockets, its log and its link were made by the keeper, who has dropped its
//! privileges too. Nothing is left to do with more rights than the app has.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use empery_config::runtime::Moment;
use empery_control::boot::MasterBoot;
use empery_failpoint::point;
use empery_lifecycle::generations::{Generations, Policy};
use empery_sys::{inherited, memfd};

use crate::{
    gateway::TlsFiles,
    hooks,
    link::accept::{self, Admitted},
    listeners::{Listeners, Source},
    log::{self, pump},
    runtime,
    shell::Shell,
    signals,
    station::{Governed, Kept, Station},
    supervise::{Parts, Supervisor, input::Inbox, watched_side::WatchedSide},
    title,
    zygote::Surroundings,
};

/// Runs the vassal whose boot spec is in this inherited descriptor.
pub(crate) fn run(boot_fd: &str) -> ExitCode {
    match take_boot(boot_fd) {
        Ok((boot, inheritance)) => runtime::block_on(supervise(boot, inheritance)),
        Err(sentence) => {
            eprintln!("vassal: {sentence}");
            ExitCode::FAILURE
        }
    }
}

/// The inherited descriptors, owned.
struct Inheritance {
    content: Vec<u8>,
    listeners: Vec<(String, OwnedFd)>,
    tls_files: Vec<(PathBuf, OwnedFd)>,
    regions: Vec<(String, OwnedFd)>,
    kept: Kept,
    log_write: OwnedFd,
}

fn take_boot(boot_fd: &str) -> Result<(MasterBoot, Inheritance), String> {
    let take = |number: i32, what: &str| {
        inherited::take(number).map_err(|error| format!("descriptor {number} ({what}) was not inherited: {error}"))
    };
    let number = boot_fd.parse().map_err(|_| format!("{boot_fd:?} is no descriptor number"))?;
    let spec = take(number, "the boot spec")?;
    let bytes = memfd::read_all(spec.as_fd()).map_err(|error| format!("the boot spec cannot be read: {error}"))?;
    let boot: MasterBoot =
        serde_json::from_slice(&bytes).map_err(|error| format!("the boot spec is not understood: {error}"))?;
    let content = take(boot.config_fd, "the vassal file")?;
    let content =
        memfd::read_all(content.as_fd()).map_err(|error| format!("the vassal file cannot be read: {error}"))?;
    let listeners = boot
        .listeners
        .iter()
        .map(|kept| Ok((kept.key.clone(), take(kept.fd, &kept.key)?)))
        .collect::<Result<_, String>>()?;
    let tls_files = boot
        .tls_files
        .iter()
        .map(|(path, number)| Ok((path.clone(), take(*number, "a certificate or a key")?)))
        .collect::<Result<_, String>>()?;
    let regions = boot
        .regions
        .iter()
        .map(|kept| Ok((kept.name.clone(), take(kept.fd, "shared memory")?)))
        .collect::<Result<_, String>>()?;
    let inheritance = Inheritance {
        content,
        listeners,
        tls_files,
        regions,
        kept: Kept {
            link: take(boot.link_fd, "the link")?,
            lock: take(boot.lock_fd, "the lock")?,
            log_read: take(boot.log_read_fd, "the log")?,
        },
        log_write: take(boot.log_write_fd, "the log")?,
    };
    Ok((boot, inheritance))
}

/// Moments of hooks before the master begins to watch. The keeper has bound the sockets and dropped the privileges.
static AT_THE_START: [Moment; 6] =
    [Moment::Asap, Moment::PreJail, Moment::InJail, Moment::AsRoot, Moment::AsUser, Moment::MasterStart];

async fn supervise(boot: MasterBoot, inheritance: Inheritance) -> Result<u8, String> {
    let Inheritance { content, listeners, tls_files: opened, regions, kept, log_write } = inheritance;
    let mut tls_files = TlsFiles::default();
    tls_files.take_all(opened);
    let mut governed = Governed::new(boot.clone(), content, kept);
    let (inbox, mut inputs) = Inbox::new();
    point!("master.begin").map_err(|error| error.to_string())?;
    serve(&governed, &inbox)?;
    let offer = governed.read();
    if let Ok(revision) = &offer {
        // Told when the generation serves, if it is so still.
        let _ = governed.log_where_told(&revision.config);
        title::set(&revision.config.titles);
        if let Some(mask) = revision.config.umask {
            nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(mask));
        }
    }
    log::say(&format!("*** Starting vassal (Empery {}) on [{}] ***", env!("CARGO_PKG_VERSION"), crate::clock::ctime()));
    if let Ok(revision) = &offer {
        let log = log_write.try_clone().map_err(|error| format!("the log cannot be shared: {error}"))?;
        hooks::run_beside(&revision.config, &AT_THE_START, Shell::new(&revision.config, Some(log))).await?;
    }
    empery_sys::process::become_subreaper().map_err(|error| format!("the workers cannot be watched over: {error}"))?;
    signals::start(&inbox).map_err(|error| format!("signals cannot be received: {error}"))?;
    let policy = offer
        .as_ref()
        .map_or_else(|_| Policy::default(), |revision| Policy { mercy: revision.config.mercy, ..Policy::default() });
    let pidfiles = offer.as_ref().map(|revision| revision.config.pidfiles.clone()).unwrap_or_default();
    crate::pidfile::write(&pidfiles);
    let mut held = Listeners::new(Source::Emperor);
    for (key, socket) in listeners {
        held.take(key, socket);
    }
    let mut supervisor = Supervisor::new(Parts {
        machine: Generations::new(Policy { first_generation: boot.first_generation, ..policy }),
        inbox,
        station: Station::Governed(Box::new(governed)),
        surroundings: Surroundings { log: log_write, log_spare: None, link_path: Some(boot.link_path.clone()) },
        listeners: held,
        tls_files,
        stats: None,
        pidfiles,
        vacuum: offer.as_ref().is_ok_and(|revision| revision.config.vacuum),
        watched: WatchedSide::default(),
    });
    if let Ok(revision) = &offer {
        supervisor.ends_as(&revision.config);
    }
    supervisor.take_regions(regions);
    supervisor.set_frozen(boot.frozen);
    supervisor.ask_for_tls_files_later();
    let (heard, came) = supervisor.await_listeners(&boot.awaited_listeners, &mut inputs).await;
    supervisor.deploy(boot.operation, boot.revision, came.and(offer.map(Arc::new)));
    for input in heard {
        supervisor.hear(input);
    }
    Ok(supervisor.run(inputs).await)
}

/// Opens the log, reads the log pipe and serves the link: what a master under an emperor does from its first moment.
///
/// # Errors
/// One sentence.
pub(crate) fn serve(governed: &Governed, inbox: &Inbox) -> Result<(), String> {
    let (boot, kept) = (&governed.boot, &governed.kept);
    match governed.default_log() {
        Ok(file) => log::use_file(file),
        // stderr is the keeper's: better there than nowhere.
        Err(error) => eprintln!("vassal: the log in {} cannot be opened: {error}", boot.log_directory.display()),
    }
    let pipe = |error: std::io::Error| format!("the log pipe cannot be read: {error}");
    pump::start(kept.log_read.try_clone().map_err(pipe)?).map_err(pipe)?;
    let link = |error: std::io::Error| format!("the link cannot be served: {error}");
    let admitted = Admitted {
        brain_uid: boot.brain_uid,
        brain_uid_path: boot.brain_uid_path.clone(),
        own_uid: boot.uid,
        former_uids: boot.former_uids.clone(),
    };
    accept::start(kept.link.try_clone().map_err(link)?, admitted, inbox.clone()).map_err(link)
}
