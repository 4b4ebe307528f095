//! A new image of a master takes over what the earlier one left (see [`crate::succession`]). Privileges were dropped,
//! sockets bound and pidfiles written long ago; the configuration is read again and booted beside the workers that
//! serve.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, OwnedFd},
    process::ExitCode,
    sync::Arc,
};

use empery_config::vassal::VassalConfig;
use empery_control::boot::MasterBoot;
use empery_lifecycle::{
    generations::{Generations, Policy},
    ids::{GenerationId, OperationId, RevisionId},
};
use empery_sys::{channel::Channel, inherited, memfd, scoreboard::Scoreboard};

use crate::{
    gateway::TlsFiles,
    given_text,
    listeners::{Held, Listeners, Source},
    log,
    regions::Regions,
    reload_descriptors::ReloadDescriptors,
    runtime, signals, standalone,
    station::{Alone, Governed, Kept, OWN_OPERATIONS, Station},
    succession::{StationLeft, Testament},
    supervise::{
        Parts, Supervisor, harakiri::limits::Limits, input::Inbox, orphans::Carried, watched_side::WatchedSide,
    },
    title, under_emperor,
    zygote::Surroundings,
};

/// Takes over from the image that left this testament.
pub(crate) fn run(testament_fd: &str) -> ExitCode {
    match read(testament_fd) {
        Ok(testament) => runtime::block_on(take_over(testament)),
        Err(sentence) => {
            log::say(&format!("*** this master cannot take over: {sentence} ***"));
            ExitCode::FAILURE
        }
    }
}

fn read(testament_fd: &str) -> Result<Testament, String> {
    let number = testament_fd.parse().map_err(|_| format!("{testament_fd:?} is no descriptor number"))?;
    let text = take(number, "the testament")?;
    let bytes = memfd::read_all(text.as_fd()).map_err(|error| format!("the testament cannot be read: {error}"))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("the testament is not understood: {error}"))
}

fn take(number: i32, what: &str) -> Result<OwnedFd, String> {
    inherited::take(number).map_err(|error| format!("descriptor {number} ({what}) did not survive: {error}"))
}

async fn take_over(testament: Testament) -> Result<u8, String> {
    let Testament {
        station,
        first_generation,
        listeners,
        tls_files: files_left,
        gateways,
        workers,
        scoreboards,
        limits,
        regions,
        retired,
        stats,
        log,
        pidfiles,
        deploys,
        frozen,
        beside,
        posts,
        reload_descriptors,
    } = testament;
    let descriptors = ReloadDescriptors::take_numbers(reload_descriptors.into_iter());
    let (inbox, inputs) = Inbox::new();
    signals::start(&inbox).map_err(|error| format!("signals cannot be received: {error}"))?;
    empery_sys::process::become_subreaper().map_err(|error| format!("the workers cannot be watched over: {error}"))?;
    let mut station = take_station(station, &inbox)?;
    let mut held = Listeners::new(match station {
        Station::Alone(_) => Source::Bind,
        Station::Governed(_) => Source::Emperor,
    });
    for left in listeners {
        let socket = take(left.fd, &left.key)?;
        held.take_over(left.key, Held { socket, bound: left.bound, path: left.path });
    }
    let mut tls_files = TlsFiles::default();
    tls_files.take_all(
        files_left
            .into_iter()
            .map(|(path, number)| Ok((path, take(number, "a certificate or a key")?)))
            .collect::<Result<Vec<_>, String>>()?,
    );
    let (operation, revision, offer) = station.read_again();
    let config = offer.as_ref().ok().map(|revision| &revision.config);
    let link_path = match &station {
        Station::Alone(_) => None,
        Station::Governed(governed) => Some(governed.boot.link_path.clone()),
    };
    let stats = stats.map(|left| left.take()?.serve(inbox.clone())).transpose();
    if let Some(config) = config {
        match &mut station {
            // Told when a generation serves, if it is so still.
            Station::Governed(governed) => drop(governed.log_goes_on(config)),
            Station::Alone(alone) => standalone::log_goes_on(alone, config),
        }
        title::set(&config.titles);
    }
    let mut supervisor = Supervisor::new(Parts {
        machine: Generations::new(Policy { first_generation, ..policy(config) }),
        inbox,
        surroundings: Surroundings { log: take(log, "the log")?, log_spare: station.log_spare()?, link_path },
        listeners: held,
        tls_files,
        stats: stats.map_err(|error| format!("the stats socket did not survive: {error}"))?,
        pidfiles,
        vacuum: config.is_some_and(|config| config.vacuum),
        station,
        watched: WatchedSide::new(descriptors),
    });
    if let Some(config) = config {
        supervisor.ends_as(config);
        // Should the app not boot, whoever mends it can say so all the same.
        supervisor.keeps_an_eye_on(config);
    }
    supervisor.set_frozen(frozen);
    supervisor.carry_beside(beside, take)?;
    supervisor.go_on(retired, deploys, Regions::take_over(regions, take)?, take_carried(scoreboards, limits)?);
    for gateway in gateways {
        let channel = Channel::new(take(gateway.fd, "a gateway's channel")?).map_err(|error| error.to_string())?;
        supervisor.carry_gateway(gateway, channel);
    }
    supervisor.ask_for_tls_files_later();
    for worker in workers {
        let channel = Channel::new(take(worker.fd, "a worker's channel")?).map_err(|error| error.to_string())?;
        let crash = worker.crash.map(|number| take(number, "a worker's crash file")).transpose()?;
        let pidfd = worker.pidfd.map(|number| take(number, "what stands for a worker")).transpose()?;
        supervisor.carry(worker, channel, crash, pidfd);
    }
    for post in posts {
        let channel = Channel::new(take(post.fd, "a mule's channel")?).map_err(|error| error.to_string())?;
        let letterbox = post.letterbox.map(|number| take(number, "a mule's letterbox")).transpose()?;
        supervisor.carry_post(post, channel, letterbox);
    }
    supervisor.deploy(operation, revision, offer.map(Arc::new));
    Ok(supervisor.run(inputs).await)
}

fn policy(config: Option<&VassalConfig>) -> Policy {
    config.map_or_else(Policy::default, |config| Policy { mercy: config.mercy, ..Policy::default() })
}

fn take_carried(
    scoreboards: Vec<(GenerationId, i32)>,
    limits: Vec<(GenerationId, Limits)>,
) -> Result<BTreeMap<GenerationId, Carried>, String> {
    // An image that did not say them yet has said none.
    let limits: BTreeMap<GenerationId, Limits> = limits.into_iter().collect();
    scoreboards
        .into_iter()
        .map(|(id, number)| {
            let descriptor = take(number, "a scoreboard")?;
            let scoreboard = Scoreboard::map(descriptor.as_fd()).map_err(|error| error.to_string())?;
            Ok((id, Carried { scoreboard, descriptor, limits: limits.get(&id).copied().unwrap_or_default() }))
        })
        .collect()
}

fn take_station(left: StationLeft, inbox: &Inbox) -> Result<Station, String> {
    Ok(match left {
        StationLeft::Alone { arguments, inherited, texts, revision, log_read } => {
            given_text::take_over(texts);
            let log_read = log_read.map(|number| take(number, "the log")).transpose()?;
            if let Some(log_read) = &log_read {
                standalone::pump(log_read)?;
            }
            let operation = OperationId(OWN_OPERATIONS);
            Station::Alone(Alone { arguments, inherited, revision: RevisionId(revision), operation, log_read })
        }
        StationLeft::Governed { boot, revision, content, operation } => {
            let kept = Kept {
                link: take(boot.link_fd, "the link")?,
                lock: take(boot.lock_fd, "the lock")?,
                log_read: take(boot.log_read_fd, "the log")?,
            };
            let boot = MasterBoot { revision: RevisionId(revision), ..*boot };
            let mut governed = Governed::new(boot, content, kept);
            governed.ordered = operation.map(OperationId);
            under_emperor::serve(&governed, inbox)?;
            Station::Governed(Box::new(governed))
        }
    })
}
