//! The brain: watches, parses, decides, records and serves the dashboard and the API. Started by the keeper, as its own
//! user; it may die at any moment, and its successor learns everything again. This file brings it up, in order.

pub(crate) mod around;
mod clock;
mod command;
pub(crate) mod common;
mod fleet_task;
mod foreign;
mod history;
pub(crate) mod hosts;
mod inputs;
mod keeper_line;
mod link;
mod log_places;
mod operations;
mod perform;
mod post;
mod publish;
mod pulse;
mod rations;
mod sample;
pub(crate) mod scan;
mod serve;
pub(crate) mod settings;
mod stats_server;
mod summary;
mod turn;
mod unit;
mod vital;
mod watch;

use std::{
    os::fd::{AsFd, OwnedFd},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context;
use empery_control::{
    fleet::FleetSnapshot,
    keeper::{Answer, Ask, KEEPER_FD, LivingMaster},
    places,
};
use empery_failpoint::{point, step};
use empery_lifecycle::fleet::{Fleet, Identity};
use empery_store::LatestRevision;
use empery_sys::seqpacket::Peer;
use empery_web_ui::{Access, Realm};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::LocalSet,
};

use around::Around;
use fleet_task::{FleetTask, Parts};
use history::{History, Recalled};
use inputs::{Inbox, Input};
use keeper_line::KeeperLine;
use log_places::LogPlaces;
use operations::Operations;
use perform::Performer;
use publish::Publisher;
use scan::{Scanner, looks::Looks, number::Numbers, reading::Reader};
use settings::BrainSettings;
use vital::Vital;
use watch::Watch;

/// Requests of operators and pipelines that may wait to be heard.
const ASKS_WAITING: usize = 256;

/// The token's file in the state directory.
const TOKEN_FILE: &str = "token";

/// Runs until the keeper is gone.
///
/// # Errors
/// When it was not started by a keeper, or cannot be brought up.
pub(crate) fn run(settings: BrainSettings) -> anyhow::Result<ExitCode> {
    let keeper = keeper_channel()?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the brain's runtime")?;
    let ended = LocalSet::new().block_on(&runtime, bring_up(settings, keeper));
    // A file system that hangs under the scanner must not keep a brain without a keeper alive.
    runtime.shutdown_background();
    ended.map(|()| ExitCode::SUCCESS)
}

fn keeper_channel() -> anyhow::Result<OwnedFd> {
    let number = std::env::var(KEEPER_FD).context("`emperor brain` is started by the keeper; use `emperor run`")?;
    let number = number.parse().with_context(|| format!("{KEEPER_FD}={number} is no descriptor's number"))?;
    empery_sys::inherited::take(number).with_context(|| format!("the channel to the keeper (descriptor {number})"))
}

async fn bring_up(settings: BrainSettings, channel: OwnedFd) -> anyhow::Result<()> {
    ignore_terminal_signals()?;
    point!("brain.begin")?;
    let peer = empery_sys::seqpacket::peer(channel.as_fd()).context("asking who the keeper is")?;
    if peer.uid != nix::unistd::geteuid().as_raw() {
        // No program of another user's that it runs gives back what it gave up. Not the unit's to say: vassals would inherit it.
        nix::sys::prctl::set_no_new_privs().context("giving up privileges of programs (PR_SET_NO_NEW_PRIVS)")?;
    }
    let (inbox, mut inputs) = Inbox::new();
    let to_inbox = inbox.clone();
    let keeper = KeeperLine::connect(channel, move |word| to_inbox.tell(Input::Keeper(word)))
        .context("the channel to the keeper")?;

    let mut history = History::new(settings.state.join(history::FILE_NAME), inbox.clone());
    let Recalled { last_operation, standing, revisions, deployments } = history.open().await;
    let mut numbers = Numbers::default();
    for LatestRevision { vassal, revision, sha256, facts } in revisions {
        numbers.recall(vassal, revision, sha256, facts);
    }

    let living = living_masters(&keeper).await?;
    let sources = Arc::new(settings.sources()?);
    let reader = Reader::new(Arc::clone(&sources), Identity { uid: peer.uid, gid: peer.gid })
        .with_common(settings.common.common())
        .with_tyrant(settings.tyrant.tyrant());
    let log_places = LogPlaces::new(&settings.state, Arc::clone(&sources));
    let publisher = Publisher::new(frame(&sources, peer));
    let operations = Operations::default();
    let (asks, asked) = mpsc::channel(ASKS_WAITING);
    let realm = Realm {
        snapshot: publisher.snapshot(),
        events: publisher.events(),
        asks,
        operations: operations.board(),
        reader: history.reader(),
        access: Arc::new(access(&settings, &inbox)),
        now_unix_ms: clock::unix_ms,
        log_file_of: Arc::new({
            let places = log_places.clone();
            move |name| Some(places.of(name))
        }),
        hosts: hosts::names(&settings.host)?.into(),
        base_url: hosts::base_url(&settings.host, settings.listen)?.into(),
    };
    let wake = Arc::new(Notify::new());
    let looks = Looks::new(Arc::clone(&wake));
    let around = Around::new(settings.around.clone(), Arc::clone(&sources));
    let performer = Performer::new(keeper.clone(), inbox.clone(), reader.clone(), history.reader(), around);
    let fleet = Fleet::new(settings.policy(), last_operation.0.next());
    let parts = Parts {
        fleet,
        operations,
        performer,
        history,
        publisher,
        log_places,
        runtime: settings.runtime.clone(),
        inbox: inbox.clone(),
        looks: looks.clone(),
    };
    let mut task = FleetTask::new(parts);
    task.recall_deployments(deployments);
    task.recall_upgrade(settings.upgrade.as_deref());
    step!("brain.adopt");
    let Some(adopted) = task.adopt(living, &mut inputs, &mut numbers).await else { return Ok(()) };
    task.inherit_operations(&adopted).await;
    if task.begin(standing, adopted).is_none() {
        return Ok(());
    }

    let stats_address = settings.stats_address()?;
    let watch = Watch::new(Arc::clone(&sources), Arc::clone(&wake));
    let to_inbox = inbox.clone();
    let vital = Vital::new("the scanner", inbox.clone());
    let scanners_keeper = keeper.clone();
    tokio::spawn(async move {
        let _vital = vital;
        let scanner = Scanner::new(scanners_keeper, reader, numbers, settings.on_demand.clone(), looks);
        scanner.run(wake, watch, move |scanned| to_inbox.tell(Input::Scanned(scanned))).await;
    });
    let uids = vec![0, peer.uid, nix::unistd::geteuid().as_raw()];
    let (tried_control, control_tried) = oneshot::channel();
    let socket = places::control_socket(&settings.runtime);
    tokio::spawn(serve::control(socket, realm.clone(), uids, inbox.clone(), tried_control));
    if let Some(address) = stats_address {
        let watched = stats_server::Watched { sources, tyrant: settings.tyrant.tyrant() };
        tokio::spawn(stats_server::serve(address, watched, realm.snapshot.clone(), inbox.clone()));
    }
    let (tried_tcp, tcp_tried) = oneshot::channel();
    tokio::spawn(serve::tcp(settings.listen, realm, inbox.clone(), tried_tcp));
    // Neither says anything: it is dropped when its door is open, or has said why it is not.
    let _ = (control_tried.await, tcp_tried.await);
    keeper.ask(Ask::Pulse, Vec::new()).await.context("telling the keeper that the fleet is looked after")?;
    tokio::spawn(unit::check_kill_mode(inbox));
    task.run(inputs, asked).await;
    tracing::debug!("the keeper is gone");
    Ok(())
}

/// Ctrl-C in a terminal reaches the whole process group: the keeper hears it and says what is to be done.
fn ignore_terminal_signals() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    for kind in [SignalKind::interrupt(), SignalKind::quit(), SignalKind::hangup()] {
        // Once registered, tokio's handler stays for the life of the process, heard or not.
        drop(signal(kind).context("keeping the terminal's signals away")?);
    }
    Ok(())
}

async fn living_masters(keeper: &KeeperLine) -> anyhow::Result<Vec<LivingMaster>> {
    point!("brain.masters")?;
    match keeper.ask(Ask::Masters, Vec::new()).await.context("asking the keeper for living masters")? {
        (Answer::Masters { masters, .. }, _) => Ok(masters),
        (other, _) => anyhow::bail!("the keeper was asked for living masters and answered {other:?}"),
    }
}

fn frame(sources: &crate::sources::Sources, keeper: Peer) -> FleetSnapshot {
    FleetSnapshot {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        keeper_pid: keeper.pid,
        brain_pid: i32::try_from(std::process::id()).unwrap_or(0),
        vassals_directory: sources.base().display().to_string(),
        watched: sources.each().collect(),
        ..FleetSnapshot::default()
    }
}

fn access(settings: &BrainSettings, inbox: &Inbox) -> Access {
    Access::open(&settings.state.join(TOKEN_FILE)).unwrap_or_else(|error| {
        tracing::error!(%error, "no token is accepted; `emperor login` still works");
        inbox.tell(Input::Alarm(format!("no token is accepted: {error}")));
        Access::without_token()
    })
}
