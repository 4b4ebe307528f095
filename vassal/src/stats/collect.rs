//! Makes the JSON out of the scoreboard and the handles. Reads only; called when somebody connects.

use std::{collections::BTreeMap, os::fd::AsFd, sync::atomic::Ordering};

use empery_config::vassal::{Protocol, VassalConfig};
use empery_control::{
    scoreboard::{HeadKind, Slot, slot_index},
    stats::{App, Cache, Core, RequestInfo, Socket, Stats, Worker},
};
use empery_lifecycle::ids::{WorkerId, WorkerRef};

use crate::{
    listeners::Listeners,
    regions::Regions,
    supervise::{
        beside::Beside,
        generation::{Generation, WorkerHandle},
        posts_side::PostSide,
    },
};

use super::metrics;

/// What the statistics are made of.
pub(crate) struct View<'a> {
    /// The generation that serves, else the one that boots.
    pub(crate) generation: Option<&'a Generation>,
    /// The sockets.
    pub(crate) listeners: &'a Listeners,
    /// What workers share.
    pub(crate) regions: &'a Regions,
    /// Daemons and scheduled commands.
    pub(crate) beside: &'a Beside,
    /// Spoolers.
    pub(crate) posts: &'a PostSide,
}

/// The JSON, pretty-printed with tabs as uWSGI does it.
pub(crate) fn text(view: &View<'_>) -> String {
    let mut bytes = Vec::new();
    let mut writer =
        serde_json::Serializer::with_formatter(&mut bytes, serde_json::ser::PrettyFormatter::with_indent(b"\t"));
    // Numbers and texts into memory: there is nothing that could fail.
    let _ = serde::Serialize::serialize(&stats(view), &mut writer);
    bytes.push(b'\n');
    String::from_utf8_lossy(&bytes).into_owned()
}

/// All of it.
pub(super) fn stats(view: &View<'_>) -> Stats {
    let sockets = sockets(view);
    let listen_queue = sockets.iter().map(|socket| socket.queue).max().unwrap_or(0);
    let mut stats = Stats {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        listen_queue,
        listen_queue_errors: 0,
        signal_queue: 0,
        load: listen_queue,
        pid: i32::try_from(std::process::id()).unwrap_or(i32::MAX),
        uid: nix::unistd::getuid().as_raw(),
        gid: nix::unistd::getgid().as_raw(),
        cwd: crate::facts::working_directory(),
        daemons: view.beside.daemons.stats(),
        locks: Vec::new(),
        caches: caches(view),
        metrics: BTreeMap::new(),
        sockets,
        workers: view.generation.map(workers).unwrap_or_default(),
        spoolers: view.generation.map(|serving| view.posts.spoolers(&serving.revision.config)).unwrap_or_default(),
        crons: view.beside.crons.stats(),
    };
    if let Some(generation) = view.generation {
        stats.metrics = metrics::of(&generation.revision.config.shared, view, &stats);
    }
    stats
}

fn caches(view: &View<'_>) -> Vec<Cache> {
    let Some(generation) = view.generation else { return Vec::new() };
    let all = view.regions.caches(&generation.revision.config.shared).into_iter();
    all.map(|(cache, counts)| Cache {
        name: cache.name.clone(),
        hash: "djb33x".to_owned(),
        hashsize: cache.hashes,
        keysize: cache.key_max_bytes,
        max_items: cache.items,
        blocks: cache.blocks,
        blocksize: cache.block_bytes,
        items: counts.items,
        hits: counts.hits,
        miss: counts.misses,
        full: counts.full,
        last_modified_at: counts.last_modified_s,
    })
    .collect()
}

fn sockets(view: &View<'_>) -> Vec<Socket> {
    let Some(generation) = view.generation else { return Vec::new() };
    let mut sockets = Vec::new();
    for listener in &generation.revision.config.listeners {
        let key = listener.address.to_string();
        let Some(held) = view.listeners.get(&key) else { continue };
        let (queue, max_queue) =
            empery_sys::listen::queue_length(held.socket.as_fd()).unwrap_or((0, u64::from(listener.backlog)));
        let proto = match listener.protocol {
            Protocol::Uwsgi => "uwsgi",
            Protocol::Http => "http",
            Protocol::FastCgi => "fastcgi",
            Protocol::Scgi => "scgi",
        };
        sockets.push(Socket { name: key, proto: proto.to_owned(), queue, max_queue, shared: 0, can_offload: 0 });
    }
    sockets
}

fn workers(generation: &Generation) -> Vec<Worker> {
    let mut present: BTreeMap<WorkerId, (WorkerRef, &WorkerHandle)> = BTreeMap::new();
    for (worker, handle) in &generation.workers {
        // While one is recycled there are two: the one that serves is the one people mean.
        let seat = present.entry(worker.worker).or_insert((*worker, handle));
        if handle.accepts() {
            *seat = (*worker, handle);
        }
    }
    (1..=generation.revision.config.processes)
        .map(WorkerId)
        .map(|id| worker(generation, id, present.get(&id).copied()))
        .collect()
}

fn worker(generation: &Generation, id: WorkerId, present: Option<(WorkerRef, &WorkerHandle)>) -> Worker {
    let config = &generation.revision.config;
    let pid = present.and_then(|(_, handle)| handle.pid).unwrap_or(0);
    let spawn = present.map_or(0, |(worker, _)| worker.spawn);
    let half = |spawn: u32| {
        (0..config.threads).map(move |thread| {
            generation.scoreboard.slot(slot_index(config.processes, config.threads, id.0, spawn, thread))
        })
    };
    let both = || half(0).chain(half(1));
    // An app may write anything into its scoreboard.
    let sum = |read: fn(&Slot) -> u64| both().map(read).fold(0, u64::saturating_add);
    let requests = sum(|slot| load(&slot.counters.requests));
    let exceptions = sum(|slot| load(&slot.counters.exceptions));
    let delta_requests = half(spawn)
        .map(|slot| load(&slot.counters.requests).saturating_sub(load(&slot.state.requests_at_spawn)))
        .fold(0, u64::saturating_add);
    let averages: Vec<u64> =
        half(spawn).map(|slot| load(&slot.state.avg_rt_us)).filter(|average| *average > 0).collect();
    let cores: Vec<Core> =
        half(spawn).zip(half(spawn + 1)).zip(0..).map(|((slot, other), id)| core(id, slot, other)).collect();
    let busy = cores.iter().any(|core| core.in_request == 1);
    let memory = (pid > 0).then(|| empery_sys::process::memory(pid)).flatten();
    Worker {
        id: id.0,
        pid,
        accepting: u8::from(present.is_some_and(|(_, handle)| handle.accepts())),
        requests,
        delta_requests,
        exceptions,
        harakiri_count: generation.harakiris.get(&id).copied().unwrap_or(0),
        signals: sum(|slot| load(&slot.counters.signals)),
        signal_queue: 0,
        status: status(config, present.is_some(), busy).to_owned(),
        rss: memory.as_ref().map_or(0, |memory| memory.rss_bytes),
        vsz: memory.as_ref().map_or(0, |memory| memory.vsz_bytes),
        running_time: sum(|slot| load(&slot.counters.running_us)),
        last_spawn: present.map_or(0, |(_, handle)| handle.since_unix_s),
        respawn_count: u64::from(spawn) + 1,
        tx: sum(|slot| load(&slot.counters.tx_bytes)),
        avg_rt: if averages.is_empty() {
            0
        } else {
            averages.iter().copied().fold(0, u64::saturating_add) / averages.len() as u64
        },
        apps: apps(generation, id, (requests, exceptions)),
        cores,
    }
}

/// The apps of a worker: each with what is counted for it, and one alone with all that its worker counts.
fn apps(generation: &Generation, worker: WorkerId, (requests, exceptions): (u64, u64)) -> Vec<App> {
    let config = &generation.revision.config.app;
    let chdir = config.chdir.as_ref().map_or_else(String::new, |path| path.display().to_string());
    let all = crate::apps::told(config).unwrap_or_default();
    let app = |(id, point): (u32, &str)| {
        let (requests, exceptions, load_ms) = match generation.scoreboard.app(worker.0, id) {
            Some(counted) => (load(&counted.requests), load(&counted.exceptions), load(&counted.load_ms)),
            None => (requests, exceptions, generation.import_ms),
        };
        let (mountpoint, chdir) = (point.to_owned(), chdir.clone());
        App { id, modifier1: 0, mountpoint, startup_time: load_ms / 1000, requests, exceptions, chdir }
    };
    (0..).zip(all.points()).map(app).collect()
}

/// As uWSGI names it: a place that is empty on purpose is `cheap`.
fn status(config: &VassalConfig, is_there: bool, busy: bool) -> &'static str {
    let crew = &config.crew;
    match (is_there, busy) {
        (true, true) => "busy",
        (false, _) if crew.cheap || crew.idle_s > 0 || crew.cheaper.is_some() => "cheap",
        (true | false, _) => "idle",
    }
}

/// A thread by its slot, and by the slot of the process before, whose counters it goes on with.
fn core(id: u32, slot: &Slot, other: &Slot) -> Core {
    let in_flight = slot.in_flight();
    let vars = in_flight.as_ref().map_or_else(Vec::new, |request| {
        let mut vars = match request.kind {
            HeadKind::Http => empery_wire::vars::of_http(&request.head),
            HeadKind::Uwsgi => empery_wire::vars::of_uwsgi(&request.head),
            HeadKind::None => Vec::new(),
        };
        if let Some(peer) = request.peer.filter(|_| request.kind == HeadKind::Http) {
            vars.push(format!("REMOTE_ADDR={}", peer.ip()));
            vars.push(format!("REMOTE_PORT={}", peer.port()));
        }
        vars.push(String::new());
        vars
    });
    Core {
        id,
        requests: load(&slot.counters.requests) + load(&other.counters.requests),
        static_requests: load(&slot.counters.static_requests) + load(&other.counters.static_requests),
        routed_requests: load(&slot.counters.routed_requests) + load(&other.counters.routed_requests),
        offloaded_requests: 0,
        write_errors: load(&slot.counters.write_errors) + load(&other.counters.write_errors),
        read_errors: load(&slot.counters.read_errors) + load(&other.counters.read_errors),
        exceptions: load(&slot.counters.exceptions) + load(&other.counters.exceptions),
        in_request: u8::from(in_flight.is_some()),
        vars,
        req_info: RequestInfo { request_start: in_flight.map(|request| request.started_unix_ms / 1000) },
    }
}

fn load(counter: &std::sync::atomic::AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
