//! `emperor-stats`: the fleet as uWSGI's emperor tells it, JSON on connect (core/emperor.c, `emperor_send_stats`), for uwsgitop and
//! whatever else reads it. What a vassal here has no word for is 0.

use std::{future::Future, path::Path, sync::Arc, time::Duration};

use empery_config::address::Address;
use empery_control::fleet::{FleetSnapshot, VassalSnapshot};
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, UnixListener},
    sync::{Semaphore, watch},
};

use super::{clock, inputs::Inbox, inputs::Input};
use crate::{sources::Sources, tyrant::Tyrant};

/// How long one client may take.
const CLIENT_DEADLINE: Duration = Duration::from_secs(1);
/// How many clients are served at once; more wait in the socket's queue.
const CLIENTS_MAX: usize = 16;
/// How long after a failure the address is tried again.
const RETRY: Duration = Duration::from_secs(5);

type Snapshots = watch::Receiver<Arc<FleetSnapshot>>;

/// What is told of the emperor itself.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) sources: Arc<Sources>,
    pub(crate) tyrant: Option<Tyrant>,
}

/// Serves, for ever. An address that cannot be had is an alarm and tried again; the fleet is looked after either way.
pub(crate) async fn serve(address: Address, watched: Watched, snapshots: Snapshots, inbox: Inbox) {
    let mut told = false;
    loop {
        let Err(error) = serve_on(&address, &watched, &snapshots).await else { return };
        if !std::mem::replace(&mut told, true) {
            tracing::error!(%address, %error, "emperor-stats cannot be served; trying again every {} s", RETRY.as_secs());
            inbox.tell(Input::Alarm(format!("emperor-stats could not be served on {address} at first: {error}")));
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn serve_on(address: &Address, watched: &Watched, snapshots: &Snapshots) -> std::io::Result<()> {
    match address {
        Address::Tcp(address) => {
            let listener = TcpListener::bind(address).await?;
            tracing::info!(%address, "emperor-stats are served");
            accept_all(async || Ok(listener.accept().await?.0), watched, snapshots).await
        }
        Address::Unix(path) => {
            // A socket left by an earlier brain; the keeper's lock says that there is no other emperor here.
            if std::os::unix::net::UnixStream::connect(path).is_err() {
                let _ = std::fs::remove_file(path);
            }
            let listener = UnixListener::bind(path)?;
            tracing::info!(path = %path.display(), "emperor-stats are served");
            accept_all(async || Ok(listener.accept().await?.0), watched, snapshots).await
        }
        Address::Abstract(_) | Address::Private(_) => {
            Err(std::io::Error::other("expected `HOST:PORT` or the path of a socket"))
        }
    }
}

async fn accept_all<S, F>(accept: impl Fn() -> F, watched: &Watched, snapshots: &Snapshots) -> std::io::Result<()>
where
    S: AsyncWriteExt + Unpin + Send + 'static,
    F: Future<Output = std::io::Result<S>>,
{
    let clients = Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        let place = Arc::clone(&clients).acquire_owned().await.map_err(std::io::Error::other)?;
        let mut client = accept().await?;
        let text = serde_json::to_string_pretty(&stats(&snapshots.borrow(), watched))?;
        tokio::spawn(async move {
            let write = async {
                client.write_all(text.as_bytes()).await?;
                client.shutdown().await
            };
            // A client that does not read is its own affair.
            let _ = tokio::time::timeout(CLIENT_DEADLINE, write).await;
            drop(place);
        });
    }
}

fn stats(fleet: &FleetSnapshot, watched: &Watched) -> Value {
    let vassals: Vec<Value> = fleet.vassals.iter().map(|vassal| of_vassal(vassal, &watched.sources)).collect();
    let cursed = fleet.vassals.iter().filter(|vassal| vassal.state == "cursed");
    json!({
        "version": fleet.version,
        "pid": fleet.keeper_pid,
        "uid": nix::unistd::geteuid().as_raw(),
        "gid": nix::unistd::getegid().as_raw(),
        "cwd": watched.sources.base(),
        "emperor": watched.sources.each().collect::<Vec<_>>(),
        "emperor_tyrant": u8::from(watched.tyrant.is_some()),
        "throttle_level": 0,
        "vassals": vassals,
        "blacklist": cursed.map(blacklisted).collect::<Vec<_>>(),
    })
}

fn of_vassal(vassal: &VassalSnapshot, sources: &Sources) -> Value {
    let serves = u8::from(vassal.serving_revision.is_some());
    let loyal_since = vassal.loyal_since_unix_ms.unwrap_or(0) / 1000;
    let (began, _) = deployed(vassal);
    let changed = modified(&sources.path_of(&vassal.name));
    let mut ids =
        vassal.identity.as_deref().unwrap_or_default().splitn(2, ':').map(|id| id.parse::<u32>().unwrap_or(0));
    json!({
        "id": vassal.name,
        "pid": vassal.master_pid.unwrap_or(-1),
        "born": changed,
        "last_mod": changed,
        "last_heartbeat": 0,
        "loyal": serves,
        "ready": serves,
        "accepting": if vassal.frozen { 0 } else { serves },
        "last_loyal": loyal_since,
        "last_ready": loyal_since,
        "last_accepting": loyal_since,
        "first_run": loyal_since,
        "last_run": began,
        "cursed": if vassal.state == "cursed" { deployed(vassal).1 } else { 0 },
        "zerg": 0,
        "on_demand": if vassal.state == "asleep" { vassal.listeners.first().map_or("", String::as_str) } else { "" },
        "uid": ids.next().unwrap_or(0),
        "gid": ids.next().unwrap_or(0),
        "monitor": sources.monitor_of(&vassal.name),
        "respawns": vassal.generation.unwrap_or(1).saturating_sub(1),
    })
}

fn blacklisted(vassal: &VassalSnapshot) -> Value {
    let (began, ended) = deployed(vassal);
    let retry_at = vassal.retry_at_unix_ms.unwrap_or(0);
    json!({
        "id": vassal.name,
        "throttle_level": retry_at.saturating_sub(clock::unix_ms()),
        "attempt": vassal.last_deployment.as_ref().and_then(|operation| operation.generation).unwrap_or(0),
        "first_attempt": began,
        "last_attempt": ended,
    })
}

/// When the last deployment began and ended, unix s.
fn deployed(vassal: &VassalSnapshot) -> (u64, u64) {
    let Some(operation) = &vassal.last_deployment else { return (0, 0) };
    (operation.began_unix_ms / 1000, operation.ended_unix_ms.unwrap_or(operation.began_unix_ms) / 1000)
}

/// Unix s; 0 when it cannot be seen.
fn modified(path: &Path) -> u64 {
    let time = std::fs::metadata(path).and_then(|facts| facts.modified()).ok();
    time.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok()).map_or(0, |since| since.as_secs())
}
