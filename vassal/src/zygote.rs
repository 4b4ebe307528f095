//! Starts the zygote of a generation: the app's interpreter, told in its first message what to load.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    os::fd::{AsRawFd, OwnedFd, RawFd},
    path::PathBuf,
};

use empery_config::{
    beside::{Mules, Spoolers},
    crew::Recycle,
    vassal::{
        Door, Engine as Configured, Listener, MonkeyPatch as ConfiguredPatch, Protocol as ConfiguredProtocol, Python,
        RequestLimits, VassalConfig,
    },
};
use empery_control::{
    boot::{
        AppBoot, AppListener, Engine, MASTER_BOOT_FD, MonkeyPatch, Network, OptValue, Protocol, RecycleRules,
        RequestLog, Titles, WebSocketRules,
    },
    bootstrap::BOOTSTRAP,
    keeper::ListenAddress,
    posts::{MulesBoot, SpoolDirectory, SpoolersBoot},
    shared::Shared,
};
use empery_lifecycle::ids::GenerationId;
use empery_sys::{
    service_manager::NOTIFY_SOCKET,
    spawn::{Child, Spawn, spawn},
};

use crate::{
    apps, extension, interpreter,
    listeners::{Held, Listeners},
    process, static_files,
};

/// Environment variable that names the worker extension, for builds and tests that keep it elsewhere.
pub(crate) const EXTENSION: &str = "EMPERY_WORKER_EXTENSION";

/// The port of https where nothing else is known.
const HTTPS_PORT: &str = "443";

/// Names that must not reach the app: they speak to this process, or would be taken for options by a uWSGI below.
const WITHHELD_PREFIXES: [&str; 3] = ["EMPERY_", "UWSGI_", "LISTEN_"];
const WITHHELD: [&str; 2] = [NOTIFY_SOCKET, MASTER_BOOT_FD];

/// Descriptors of a zygote besides its listeners; all are its own copies.
pub(crate) struct Descriptors {
    /// Its end of the channel.
    pub(crate) channel: OwnedFd,
    /// The write end of the pipe that takes what is printed while it boots.
    pub(crate) boot_output: OwnedFd,
}

/// What is the same for every generation of a vassal.
pub(crate) struct Surroundings {
    /// What workers get as stdout and stderr.
    pub(crate) log: OwnedFd,
    /// A read end of the pipe behind it, when this master alone reads it.
    pub(crate) log_spare: Option<OwnedFd>,
    /// Whether workers outlive this master, and where they then find the next.
    pub(crate) link_path: Option<PathBuf>,
}

/// Starts the interpreter of the app with the bootstrap of the worker extension.
///
/// # Errors
/// One sentence that names what is missing.
pub(crate) fn start(config: &VassalConfig, descriptors: Descriptors, inherited: &AppBoot) -> Result<Child, String> {
    let search_path = config
        .env
        .iter()
        .rev()
        .find(|(name, _)| name == "PATH")
        .map_or_else(|| std::env::var_os("PATH"), |(_, value)| value.clone().map(OsString::from));
    let python = interpreter::choose(&config.python, search_path.as_deref())?;
    let extension = extension::find()?;
    let channel = descriptors.channel.as_raw_fd();
    let mut inherit: Vec<RawFd> = inherited.listeners.iter().map(|listener| listener.fd).collect();
    inherit.extend([channel, inherited.scoreboard_fd, inherited.log_write_fd]);
    inherit.extend(inherited.log_spare_fd);
    inherit.extend(inherited.shared.descriptors());
    inherit.sort_unstable();
    inherit.dedup();
    let stderr = descriptors.boot_output.try_clone().map_err(|error| format!("no descriptor is left: {error}"))?;
    let shown = python.display().to_string();
    let child = spawn(Spawn {
        args: [python.clone().into_os_string()]
            .into_iter()
            .chain(flags(&config.python))
            .chain(["-c".into(), BOOTSTRAP.into(), extension.into_os_string(), channel.to_string().into()])
            .collect(),
        program: python,
        env: environment(std::env::vars_os(), &config.env),
        directory: None,
        stdio: [None, Some(descriptors.boot_output), Some(stderr)],
        inherit,
        identity: None,
        // A terminal's Ctrl-C is for the master, which drains; its workers must not get it too.
        new_session: true,
    })
    .map_err(|error| format!("{shown} cannot be started: {error}"))?;
    drop(descriptors.channel);
    Ok(child)
}

/// `no-site` and `optimize` as python(1) is told them.
fn flags(python: &Python) -> Vec<OsString> {
    let no_site = python.no_site.then(|| "-S".into());
    no_site.into_iter().chain((0..python.optimize).map(|_| "-O".into())).collect()
}

/// The environment of the app: the master's own without what was meant for the master, then `env` and `unenv` in order.
pub(crate) fn environment(
    own: impl Iterator<Item = (OsString, OsString)>,
    changes: &[(String, Option<String>)],
) -> Vec<(OsString, OsString)> {
    let mut environment: BTreeMap<OsString, OsString> = own.filter(|(name, _)| !is_withheld(name)).collect();
    for (name, value) in changes {
        match value {
            Some(value) => environment.insert(name.into(), value.into()),
            None => environment.remove(OsStr::new(name)),
        };
    }
    environment.into_iter().collect()
}

fn is_withheld(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let withheld = WITHHELD.contains(&&*name) || WITHHELD_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    withheld && !empery_failpoint::is_passed_on(&name)
}

/// What the zygote of a generation is told first.
pub(crate) fn app_boot(
    generation: GenerationId,
    config: &VassalConfig,
    listeners: &Listeners,
    (scoreboard_fd, shared): (RawFd, Shared),
    surroundings: &Surroundings,
    reloads: u64,
) -> Result<AppBoot, String> {
    let (titles, request, log) = (&config.titles, &config.request, &config.log);
    Ok(AppBoot {
        generation,
        apps: apps::told(&config.app)?,
        chdir: config.app.chdir.clone(),
        chdir2: config.app.chdir2.clone(),
        pythonpath: config.python.pythonpath.clone(),
        pyargv: config.app.pyargv.clone(),
        lazy_apps: config.app.lazy_apps,
        listeners: app_listeners(config, listeners)?,
        processes: config.processes,
        threads: config.threads,
        engine: engine(config),
        scoreboard_fd,
        log_write_fd: surroundings.log.as_raw_fd(),
        log_spare_fd: surroundings.log_spare.as_ref().map(AsRawFd::as_raw_fd),
        head_max_bytes: request.head_max_bytes,
        body_max_bytes: request.body_max_bytes,
        client_timeout_ms: millis(request.client_timeout),
        body_timeout_ms: millis(request.client_timeout),
        write_timeout_ms: millis(request.send_timeout.unwrap_or(request.client_timeout)),
        trusted_proxies: trusted_proxies(request),
        keepalive_timeout_ms: millis(request.keepalive_timeout),
        recycle: recycle_rules(&config.recycle),
        harakiri_s: request.harakiri_s,
        log_requests: log.requests,
        request_log: RequestLog {
            slow_ms: log.slow_ms,
            big_bytes: log.big_bytes,
            zero: log.zero,
            micros: log.micros,
            memory: log.memory,
            json: log.json,
            marked: log.separates_requests() && !log.json,
            format: log.format.clone(),
            prefix: log.prefix.clone().filter(|_| !log.json),
        },
        log_4xx: log.log_4xx,
        log_5xx: log.log_5xx,
        log_x_forwarded_for: log.x_forwarded_for,
        error_pages: config.error_pages.clone(),
        process: process::told(config),
        titles: Titles {
            auto: titles.auto,
            prefix: titles.prefix.clone(),
            append: titles.append.clone(),
            all: titles.all.clone(),
            master: titles.master.clone(),
        },
        opt: opt(config),
        static_files: static_files::told(&config.static_files),
        routes: config.routes.clone(),
        headers: config.headers.clone(),
        shared,
        websocket: WebSocketRules {
            message_max_bytes: usize::try_from(request.websocket_max_bytes).unwrap_or(usize::MAX),
            ping_every_s: request.websocket_ping_s,
            pong_within_s: request.websocket_pong_s,
        },
        mules: mules(&config.beside.mules),
        spoolers: spoolers(&config.beside.spoolers),
        py_autoreload_s: config.py_autoreload_s,
        py_autoreload_ignore: config.py_autoreload_ignore.clone(),
        master_pid: i32::try_from(std::process::id()).unwrap_or(i32::MAX),
        outlive_master: surroundings.link_path.is_some() && !config.no_orphans,
        link_path: surroundings.link_path.clone(),
        reloads,
    })
}

fn recycle_rules(recycle: &Recycle) -> RecycleRules {
    RecycleRules {
        max_requests: recycle.max_requests,
        max_requests_delta: recycle.max_requests_delta,
        min_worker_lifetime_s: recycle.min_worker_lifetime_s,
        rss_max_bytes: recycle.rss_max_bytes,
        as_max_bytes: recycle.as_max_bytes,
        pss_max_bytes: recycle.pss_max_bytes,
        uss_max_bytes: recycle.uss_max_bytes,
        exceptions: recycle.exceptions.any,
        exception_types: recycle.exceptions.types.clone(),
        exception_values: recycle.exceptions.values.clone(),
        exception_reprs: recycle.exceptions.reprs.clone(),
    }
}

fn mules(mules: &Mules) -> MulesBoot {
    MulesBoot {
        patches: mules.patches.clone(),
        farms: mules.farms.iter().map(|farm| (farm.name.clone(), farm.mules.clone())).collect(),
        harakiri_s: mules.harakiri_s,
        queue_bytes: mules.queue_bytes,
        message_max_bytes: usize::try_from(mules.message_max_bytes).unwrap_or(usize::MAX),
    }
}

fn spoolers(spoolers: &Spoolers) -> SpoolersBoot {
    let directory = |(path, external): &(PathBuf, bool)| SpoolDirectory { path: path.clone(), external: *external };
    SpoolersBoot {
        directories: spoolers.directories.iter().map(directory).collect(),
        processes: spoolers.processes,
        frequency_s: spoolers.frequency_s,
        max_tasks: spoolers.max_tasks,
        harakiri_s: spoolers.harakiri_s,
        chdir: spoolers.chdir.clone(),
        quiet: spoolers.quiet,
        imports: spoolers.imports.clone(),
    }
}

fn network(network: &empery_config::vassal::Network) -> Network {
    Network { address: network.address, prefix_bits: network.prefix_bits }
}

pub(crate) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn engine(config: &VassalConfig) -> Engine {
    match config.engine {
        Configured::Threads => Engine::Threads,
        Configured::Gevent { patch } => Engine::Gevent {
            patch: match patch {
                ConfiguredPatch::Never => MonkeyPatch::Never,
                ConfiguredPatch::BeforeApp => MonkeyPatch::BeforeApp,
                ConfiguredPatch::InWorker => MonkeyPatch::InWorker,
            },
        },
    }
}

fn app_listeners(config: &VassalConfig, listeners: &Listeners) -> Result<Vec<AppListener>, String> {
    let hostname = crate::facts::hostname();
    config
        .listeners
        .iter()
        .filter(|listener| listener.door.is_workers())
        .map(|listener| {
            let key = listener.address.to_string();
            let held = listeners.get(&key).ok_or_else(|| format!("the listening socket {key} is gone"))?;
            let server_port = match listener.door {
                // What its clients have connected to.
                Door::FromGateway => first_tls_port(config, listeners).unwrap_or_else(|| HTTPS_PORT.to_owned()),
                Door::Workers | Door::Tls(_) | Door::TlsUwsgi(_) | Door::ToHttps(_) => {
                    // PEP 3333: never empty. uWSGI says the same of a unix socket.
                    port(listener, held).unwrap_or_else(|| "80".to_owned())
                }
            };
            Ok(AppListener {
                key,
                protocol: match listener.protocol {
                    ConfiguredProtocol::Uwsgi => Protocol::Uwsgi,
                    ConfiguredProtocol::Http => Protocol::Http,
                    ConfiguredProtocol::FastCgi => Protocol::FastCgi,
                    ConfiguredProtocol::Scgi => Protocol::Scgi,
                },
                fd: held.socket.as_raw_fd(),
                workers: listener.workers.clone(),
                // uWSGI's http-socket says the host's name here, whatever address it is bound to.
                server_name: hostname.clone(),
                server_port,
                proxy_protocol: listener.proxy_protocol,
                from_gateway: listener.door == Door::FromGateway,
                nph: listener.nph,
                defer_accept: listener.defer_accept,
                http: listener.http.clone(),
            })
        })
        .collect()
}

/// `trusted-proxies` in the words of workers and gateways.
pub(crate) fn trusted_proxies(request: &RequestLimits) -> Option<Vec<Network>> {
    request.trusted_proxies.as_ref().map(|networks| networks.iter().map(network).collect())
}

fn first_tls_port(config: &VassalConfig, listeners: &Listeners) -> Option<String> {
    let door = config.listeners.iter().find(|listener| matches!(listener.door, Door::Tls(_)))?;
    port(door, listeners.get(&door.address.to_string())?)
}

/// None for a unix socket.
fn port(listener: &Listener, held: &Held) -> Option<String> {
    match held.bound.clone().unwrap_or_else(|| crate::listeners::where_to(&listener.address)) {
        ListenAddress::Tcp(address) => Some(address.port().to_string()),
        ListenAddress::Unix(_) | ListenAddress::Abstract(_) => None,
    }
}

/// `uwsgi.opt`: one entry for each name, in the order of its first appearance, with its last value, as uWSGI has it with Python 3.
fn opt(config: &VassalConfig) -> Vec<(String, OptValue)> {
    let mut opt: Vec<(String, OptValue)> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for effective in &config.effective {
        let value = effective.value.clone().map_or(OptValue::Flag(true), OptValue::One);
        let place = *places.entry(&effective.key).or_insert(opt.len());
        match opt.get_mut(place) {
            None => opt.push((effective.key.clone(), value)),
            Some((_, last)) => *last = value,
        }
    }
    opt
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn what_speaks_to_the_master_does_not_reach_the_app() {
        let own = pairs(&[
            ("HOME", "/root"),
            ("UWSGI_HTTP", ":80"),
            ("LISTEN_FDS", "1"),
            ("NOTIFY_SOCKET", "/run/n"),
            ("EMPERY_MASTER_BOOT_FD", "3"),
        ]);
        assert_eq!(environment(own.into_iter(), &[]), pairs(&[("HOME", "/root")]));
    }

    #[test]
    fn b32_env_and_unenv_apply_in_order() {
        let own = pairs(&[("A", "1"), ("B", "2")]);
        let changes =
            [("A".to_owned(), None), ("B".to_owned(), Some("3".to_owned())), ("A".to_owned(), Some("4".to_owned()))];
        assert_eq!(environment(own.into_iter(), &changes), pairs(&[("A", "4"), ("B", "3")]));
    }
}
