//! The configuration while its directives come in: one place that knows which option sets what.

use std::time::Duration;

use empery_rules::{headers::Headers, http::HttpRules, routes::Routes};

use crate::{
    gather::Directive,
    problem::{Origin, Problem},
    value,
    vassal::{Door, Log, NamedCertificate, Network, NotANetwork, Protocol, RequestLimits, Titles},
};

use super::{
    alarms::AlarmDraft, apps::AppsDraft, beside::BesideDraft, crew::CrewDraft, engine::EngineDraft, headers, logging,
    routes, runtime::RuntimeDraft, shared::SharedDraft, static_files::StaticDraft, tls, values::Value,
    waits::WaitsDraft, watched,
};
use crate::watched::Watched;

/// Most workers of one vassal.
const PROCESSES_MAX: u32 = 4096;
/// Most threads of one worker.
/// `harakiri-graceful-signal` by default, and the highest signal there is (signal(7)).
const SIGTERM: i32 = 15;
const SIGNAL_MAX: u32 = 64;
/// What there is for an interpreter to leave out (`python -OO`).
const OPTIMIZE_MAX: u32 = 2;
/// `buffer-size` by default and at most: what the length field of the uwsgi protocol can say, rounded up.
const HEAD_MAX_BYTES: u32 = 64 * 1024;

const KIBIBYTE: u64 = 1024;

/// Where to listen, as written.
pub(super) struct Listen {
    pub(super) text: String,
    /// None for `socket`, which `protocol` decides.
    pub(super) protocol: Option<Protocol>,
    pub(super) variant: Variant,
    pub(super) door: Door,
    pub(super) at: Origin,
}

/// Which of several options for the same protocol it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    /// The plain one.
    Plain,
    /// `http` and `https`, a process of its own in uWSGI, with options of its own.
    Router,
    /// `-nph-`.
    Nph,
}

/// What has been said so far; paths as written.
pub(super) struct Draft {
    pub(super) apps: AppsDraft,
    pub(super) chdir: Option<String>,
    pub(super) chdir2: Option<String>,
    pub(super) home: Option<String>,
    pub(super) python: Option<String>,
    pub(super) pythonpath: Vec<String>,
    pub(super) no_site: bool,
    pub(super) optimize: u8,
    pub(super) listeners: Vec<Listen>,
    /// `shared-socket`, in order: what `=N` counts.
    pub(super) shared: Vec<(String, Origin)>,
    pub(super) sni: Vec<NamedCertificate>,
    pub(super) sni_directory: Option<String>,
    pub(super) sni_directory_ciphers: Option<String>,
    pub(super) https_export_cert: bool,
    pub(super) protocol: Protocol,
    pub(super) abstract_sockets: bool,
    pub(super) backlog: u32,
    pub(super) socket_mode: Option<u32>,
    pub(super) socket_owner: Option<(String, Option<String>)>,
    pub(super) reuse_port: bool,
    pub(super) freebind: bool,
    /// `map-socket`: the number of a socket, its workers, and where that is said.
    pub(super) mapped: Vec<(usize, Vec<u32>, Origin)>,
    pub(super) defer_accept: bool,
    /// `skip-zero`: the first descriptor is no socket to serve.
    pub(super) skip_zero: bool,
    pub(super) proxy_protocol: bool,
    pub(super) router_proxy_protocol: bool,
    pub(super) stats: Option<(String, Origin)>,
    pub(super) stats_http: bool,
    pub(super) processes: Option<u32>,
    pub(super) engine: EngineDraft,
    pub(super) uid: Option<String>,
    pub(super) gid: Option<String>,
    pub(super) no_initgroups: bool,
    pub(super) add_gids: Vec<String>,
    pub(super) umask: Option<u32>,
    pub(super) env: Vec<(String, Option<String>)>,
    pub(super) vacuum: bool,
    pub(super) pidfiles: Vec<String>,
    pub(super) touch_reload: Vec<String>,
    pub(super) fs_reload: Vec<String>,
    pub(super) master_fifo: Vec<String>,
    pub(super) die_on_term: Option<bool>,
    pub(super) mercy: Duration,
    pub(super) boot_deadline: Duration,
    pub(super) no_orphans: bool,
    pub(super) request: RequestLimits,
    pub(super) crew: CrewDraft,
    pub(super) runtime: RuntimeDraft,
    pub(super) waits: WaitsDraft,
    pub(super) watched: Watched,
    /// `error-page-NUMBER`, in order.
    pub(super) error_pages: Vec<(u16, String)>,
    pub(super) beside: BesideDraft,
    pub(super) alarms: AlarmDraft,
    pub(super) logto: Option<String>,
    pub(super) logto2: Option<String>,
    pub(super) log: Log,
    pub(super) titles: Titles,
    pub(super) py_autoreload_s: u32,
    pub(super) py_autoreload_ignore: Vec<String>,
    pub(super) static_files: StaticDraft,
    pub(super) routes: Routes,
    pub(super) headers: Headers,
    pub(super) http: HttpRules,
    pub(super) regions: SharedDraft,
}

impl Default for Draft {
    fn default() -> Draft {
        Draft {
            apps: AppsDraft::default(),
            chdir: None,
            chdir2: None,
            home: None,
            python: None,
            pythonpath: Vec::new(),
            no_site: false,
            optimize: 0,
            listeners: Vec::new(),
            shared: Vec::new(),
            sni: Vec::new(),
            sni_directory: None,
            sni_directory_ciphers: None,
            https_export_cert: false,
            protocol: Protocol::Uwsgi,
            abstract_sockets: false,
            backlog: 100,
            socket_mode: None,
            socket_owner: None,
            reuse_port: false,
            freebind: false,
            mapped: Vec::new(),
            defer_accept: true,
            skip_zero: false,
            proxy_protocol: false,
            router_proxy_protocol: false,
            stats: None,
            stats_http: false,
            processes: None,
            engine: EngineDraft::default(),
            uid: None,
            gid: None,
            no_initgroups: false,
            add_gids: Vec::new(),
            umask: None,
            env: Vec::new(),
            vacuum: false,
            pidfiles: Vec::new(),
            touch_reload: Vec::new(),
            fs_reload: Vec::new(),
            master_fifo: Vec::new(),
            die_on_term: None,
            mercy: Duration::from_secs(60),
            boot_deadline: Duration::from_secs(60),
            no_orphans: false,
            request: RequestLimits {
                head_max_bytes: HEAD_MAX_BYTES,
                body_max_bytes: 0,
                body_to_file_bytes: 0,
                send_timeout: None,
                client_timeout: Duration::from_secs(30),
                trusted_proxies: None,
                keepalive_timeout: Duration::from_secs(75),
                websocket_max_bytes: 1024 * KIBIBYTE,
                websocket_ping_s: 30,
                websocket_pong_s: 3,
                harakiri_s: 0,
                harakiri_graceful_timeout: None,
                harakiri_graceful_signal: SIGTERM,
                harakiri_queue_threshold: 0,
                harakiri_spares_hook: false,
                harakiri_verbose: false,
            },
            crew: CrewDraft::default(),
            runtime: RuntimeDraft::default(),
            waits: WaitsDraft::default(),
            watched: Watched::default(),
            error_pages: Vec::new(),
            beside: BesideDraft::default(),
            alarms: AlarmDraft::default(),
            logto: None,
            logto2: None,
            log: Log { requests: true, ..Log::default() },
            titles: Titles::default(),
            py_autoreload_s: 0,
            py_autoreload_ignore: Vec::new(),
            static_files: StaticDraft::default(),
            routes: Routes::default(),
            headers: Headers::default(),
            http: HttpRules::default(),
            regions: SharedDraft::default(),
        }
    }
}

impl Draft {
    /// Applies one directive; those that mean nothing for a running vassal pass by.
    pub(super) fn take(&mut self, directive: &Directive, problems: &mut Vec<Problem>) {
        let mut value = Value { directive, problems };
        if !(self.apps.take(&mut value)
            || self.take_python(&mut value)
            || self.take_process(&mut value)
            || self.take_request(&mut value)
            || self.engine.take(&mut value)
            || self.crew.take(&mut value)
            || self.runtime.take(&mut value)
            || self.waits.take(&mut value)
            || watched::take(&mut self.watched, &mut value)
            || self.beside.take(&mut value)
            || self.alarms.take(&mut value)
            || self.static_files.take(&mut value)
            || self.regions.take(&mut value)
            || routes::take(&mut self.routes, &mut value)
            || headers::take(&mut self.headers, &mut value))
        {
            self.take_listening(&mut value);
        }
    }

    fn take_python(&mut self, value: &mut Value<'_>) -> bool {
        match value.directive.key.as_str() {
            "chdir" => self.chdir = value.required(),
            "chdir2" => self.chdir2 = value.required(),
            "home" | "virtualenv" | "venv" | "pyhome" => self.home = value.required(),
            "python" => self.python = self.interpreter(value),
            "pythonpath" | "pp" | "python-path" | "early-pythonpath" | "early-python-path" => {
                self.pythonpath.extend(value.required())
            }
            "no-site" => self.no_site = value.boolean(),
            "optimize" => {
                self.optimize =
                    value.number_up_to(OPTIMIZE_MAX).and_then(|level| u8::try_from(level).ok()).unwrap_or(0);
            }
            "py-auto-reload-ignore" => self.py_autoreload_ignore.extend(value.required()),
            "env" => self.env.extend(environment(value)),
            "unenv" => self.env.extend(value.required().map(|name| (name, None))),
            "py-autoreload" | "py-auto-reload" | "python-autoreload" | "python-auto-reload" => {
                self.py_autoreload_s = value.number_up_to(u32::MAX).unwrap_or(0);
            }
            _ => return false,
        }
        true
    }

    /// uWSGI's `python` runs a script; ours names the interpreter.
    fn interpreter(&self, value: &mut Value<'_>) -> Option<String> {
        let text = value.required()?;
        if text.ends_with(".py") {
            value.bad(
                "the interpreter that runs the app, such as `python3.12`",
                "run the script with the interpreter itself",
            );
            return None;
        }
        Some(text)
    }

    fn take_process(&mut self, value: &mut Value<'_>) -> bool {
        match value.directive.key.as_str() {
            "processes" | "workers" => self.processes = value.count(PROCESSES_MAX),
            "uid" | "immediate-uid" => self.uid = value.required(),
            "gid" | "immediate-gid" => self.gid = value.required(),
            "no-initgroups" => self.no_initgroups = value.boolean(),
            "add-gid" => self.add_gids.extend(value.required()),
            "umask" => match u32::from_str_radix(&value.text(), 8) {
                Ok(umask @ 0..=0o777) => self.umask = Some(umask),
                _ => value.bad("an octal number like 022", "write three octal digits"),
            },
            "vacuum" => self.vacuum = value.boolean(),
            "pidfile" | "pidfile2" | "safe-pidfile" | "safe-pidfile2" => self.pidfiles.extend(value.required()),
            "touch-reload" | "touch-chain-reload" | "touch-workers-reload" => {
                self.touch_reload.extend(value.required())
            }
            "fs-reload" | "fs-brutal-reload" => self.fs_reload.extend(value.required()),
            "master-fifo" => self.master_fifo.extend(value.required()),
            "die-on-term" => self.die_on_term = Some(value.boolean()),
            "worker-reload-mercy" => self.mercy = value.seconds().unwrap_or(self.mercy),
            "boot-deadline" => match value.seconds() {
                Some(deadline) if !deadline.is_zero() => self.boot_deadline = deadline,
                _ => value.bad("a number of seconds from 1 on", "60 is the default"),
            },
            "no-orphans" => self.no_orphans = value.boolean(),
            "auto-procname" => self.titles.auto = value.boolean(),
            "procname" => self.titles.all = value.required(),
            "procname-master" => self.titles.master = value.required(),
            "procname-append" => self.titles.append = value.text(),
            "procname-prefix" => self.titles.prefix = value.text(),
            "procname-prefix-spaced" => self.titles.prefix = format!("{} ", value.text()),
            _ => return false,
        }
        // Each of them switches the automatic names on (UWSGI_OPT_PROCNAME).
        self.titles.auto |= value.directive.key.starts_with("procname");
        true
    }

    fn take_request(&mut self, value: &mut Value<'_>) -> bool {
        match value.directive.key.as_str() {
            "buffer-size" => match value.number_up_to(HEAD_MAX_BYTES) {
                Some(0) | None => {}
                Some(bytes) => self.request.head_max_bytes = bytes,
            },
            "limit-post" => self.request.body_max_bytes = value.number().unwrap_or(0),
            "post-buffering" => self.request.body_to_file_bytes = value.number().unwrap_or(0),
            "so-send-timeout" | "socket-send-timeout" | "so-write-timeout" | "socket-write-timeout" => {
                self.request.send_timeout = value.seconds().filter(|timeout| !timeout.is_zero());
            }
            "socket-timeout" => match value.seconds() {
                Some(timeout) if !timeout.is_zero() => self.request.client_timeout = timeout,
                _ => {}
            },
            // 0 and 1 only switch it on in uWSGI, and it is on here.
            "http-keepalive" => match value.seconds() {
                Some(timeout) if timeout > Duration::from_secs(1) => self.request.keepalive_timeout = timeout,
                _ => {}
            },
            "http-headers-timeout" => {
                let timeout = value.seconds().filter(|timeout| !timeout.is_zero());
                self.http.head_timeout_ms = timeout.and_then(|timeout| u64::try_from(timeout.as_millis()).ok());
            }
            "http-var" => self.http.vars.extend(variable(value)),
            "http-server-name-as-http-host" => self.http.server_name_is_host = value.boolean(),
            "http-path-info-no-decode-slashes" => self.http.keeps_encoded_slashes = value.boolean(),
            "trusted-proxies" => trusted_proxies(value, self.request.trusted_proxies.get_or_insert_default()),
            "websocket-max-size" | "websockets-max-size" => {
                self.request.websocket_max_bytes = value.number().unwrap_or(0).saturating_mul(KIBIBYTE);
            }
            "websocket-ping-freq" | "websockets-ping-freq" => {
                self.request.websocket_ping_s = value.number().unwrap_or(0);
            }
            "websocket-pong-tolerance" | "websockets-pong-tolerance" => {
                self.request.websocket_pong_s = value.number().unwrap_or(0);
            }
            "harakiri" => self.request.harakiri_s = value.number_up_to(u32::MAX).unwrap_or(0),
            "harakiri-graceful-timeout" => {
                self.request.harakiri_graceful_timeout = value.seconds().filter(|timeout| !timeout.is_zero());
            }
            "harakiri-graceful-signal" => {
                self.request.harakiri_graceful_signal =
                    value.number_up_to(SIGNAL_MAX).and_then(|number| i32::try_from(number).ok()).unwrap_or(SIGTERM);
            }
            "harakiri-queue-threshold" => self.request.harakiri_queue_threshold = value.number().unwrap_or(0),
            "harakiri-no-arh" | "no-harakiri-arh" | "no-harakiri-after-req-hook" => {
                self.request.harakiri_spares_hook = value.boolean();
            }
            "harakiri-verbose" => self.request.harakiri_verbose = value.boolean(),
            "error-page-403" => self.error_pages.extend(value.required().map(|path| (403, path))),
            "error-page-404" => self.error_pages.extend(value.required().map(|path| (404, path))),
            "error-page-500" => self.error_pages.extend(value.required().map(|path| (500, path))),
            "logto" | "daemonize" => self.logto = log_file(value).or(self.logto.take()),
            "logto2" | "daemonize2" => self.logto2 = log_file(value).or(self.logto2.take()),
            _ => return logging::take(&mut self.log, value),
        }
        true
    }

    fn take_listening(&mut self, value: &mut Value<'_>) {
        let mut listen = |protocol, variant| {
            let at = value.directive.value_at.clone();
            self.listeners.push(Listen { text: value.text(), protocol, variant, door: Door::Workers, at });
        };
        match value.directive.key.as_str() {
            "socket" => listen(None, Variant::Plain),
            "uwsgi-socket" => listen(Some(Protocol::Uwsgi), Variant::Plain),
            "http-socket" | "http11-socket" => listen(Some(Protocol::Http), Variant::Plain),
            "http" | "httprouter" => listen(Some(Protocol::Http), Variant::Router),
            "fastcgi-socket" => listen(Some(Protocol::FastCgi), Variant::Plain),
            "fastcgi-nph-socket" => listen(Some(Protocol::FastCgi), Variant::Nph),
            "scgi-socket" => listen(Some(Protocol::Scgi), Variant::Plain),
            "scgi-nph-socket" => listen(Some(Protocol::Scgi), Variant::Nph),
            "enable-proxy-protocol" => self.proxy_protocol = value.boolean(),
            "http-enable-proxy-protocol" => self.router_proxy_protocol = value.boolean(),
            "https" | "https-socket" => self.listeners.extend(tls::door(value)),
            "https2" => self.listeners.extend(tls::keyed_door(value)),
            "http-to-https" => self.listeners.extend(tls::redirecting_door(value)),
            "suwsgi-socket" | "ssl-socket" => self.listeners.extend(tls::uwsgi_door(value)),
            "sni" => self.sni.extend(tls::named(value)),
            "sni-regexp" => self.sni.extend(tls::named_by_pattern(value)),
            "sni-dir" => self.sni_directory = value.required(),
            "sni-dir-ciphers" => self.sni_directory_ciphers = value.required(),
            "https-export-cert" => self.https_export_cert = value.boolean(),
            "shared-socket" | "undeferred-shared-socket" => {
                self.shared.extend(value.required().map(|text| (text, value.directive.value_at.clone())));
            }
            "protocol" | "socket-protocol" => match value.text().as_str() {
                "uwsgi" => self.protocol = Protocol::Uwsgi,
                "http" | "http11" => self.protocol = Protocol::Http,
                "fastcgi" => self.protocol = Protocol::FastCgi,
                "scgi" => self.protocol = Protocol::Scgi,
                _ => value.bad("`uwsgi`, `http`, `fastcgi` or `scgi`", "use one of them"),
            },
            "abstract-socket" => self.abstract_sockets = value.boolean(),
            "listen" => {
                self.backlog = value.number_up_to(65_535).filter(|backlog| *backlog > 0).unwrap_or(self.backlog)
            }
            "chmod-socket" | "chmod" => match value::mode(value.directive.value.as_deref()) {
                Some(mode) => self.socket_mode = Some(mode),
                None => value.bad("three octal digits, like 660", "write `chmod-socket = 660`"),
            },
            "chown-socket" => {
                self.socket_owner = value.required().map(|owner| match owner.split_once(':') {
                    Some((user, group)) => (user.to_owned(), Some(group.to_owned()).filter(|group| !group.is_empty())),
                    None => (owner, None),
                });
            }
            "reuse-port" => self.reuse_port = value.boolean(),
            "freebind" => self.freebind = value.boolean(),
            "map-socket" => self.mapped.extend(mapped(value)),
            "skip-zero" => self.skip_zero = value.boolean(),
            "no-defer-accept" => self.defer_accept = !value.boolean(),
            "stats" | "stats-server" => {
                self.stats = value.required().map(|text| (text, value.directive.value_at.clone()))
            }
            "stats-http" => self.stats_http = value.boolean(),
            _ => {}
        }
    }
}

/// Addresses and ranges, apart by commas or blanks; the option may be given several times.
fn trusted_proxies(value: &mut Value<'_>, into: &mut Vec<Network>) {
    let text = value.text();
    for word in text.split([',', ' ', '\t']).filter(|word| !word.is_empty()) {
        match word.parse() {
            Ok(network) => into.push(network),
            Err(NotANetwork) => {
                value.bad(
                    "addresses and ranges like `10.0.0.0/8, ::1`",
                    "names are not looked up; an empty value trusts nobody",
                );
                return;
            }
        }
    }
}

/// `SOCKET:WORKER,WORKER`.
fn mapped(value: &mut Value<'_>) -> Option<(usize, Vec<u32>, Origin)> {
    let text = value.text();
    let parsed = text.split_once(':').and_then(|(number, workers)| {
        let workers: Result<Vec<u32>, _> = workers.split(',').map(|worker| worker.trim().parse()).collect();
        Some((number.trim().parse().ok()?, workers.ok()?))
    });
    if parsed.is_none() {
        value.bad("`SOCKET:WORKER,WORKER`, such as `0:1,2`", "sockets are counted from 0, workers from 1");
    }
    parsed.map(|(number, workers)| (number, workers, value.directive.value_at.clone()))
}

/// `NAME=value`. Those of the server itself have a dot (PEP 3333), and no option changes what they are.
fn variable(value: &mut Value<'_>) -> Option<(String, String)> {
    let text = value.required()?;
    match text.split_once('=').filter(|(name, _)| !name.is_empty() && !name.contains('.')) {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => {
            value.bad("`NAME=value`", "write a name without dots, `=`, and what every request has for it");
            None
        }
    }
}

/// `NAME=value`; a name alone removes the variable, as putenv(3) does for uWSGI.
fn environment(value: &mut Value<'_>) -> Option<(String, Option<String>)> {
    let text = value.required()?;
    let (name, value_of) =
        text.split_once('=').map_or((text.as_str(), None), |(name, rest)| (name, Some(rest.to_owned())));
    if name.is_empty() {
        value.bad("`NAME=value`", "write `env = NAME=value`");
        return None;
    }
    Some((name.to_owned(), value_of))
}

/// A path. uWSGI also takes `host:port` and sends the log there by UDP.
fn log_file(value: &mut Value<'_>) -> Option<String> {
    let text = value.required()?;
    if text.contains(':') && !text.contains('/') {
        value.bad("the path of a file", "a log is not sent over the network; ship the file");
        return None;
    }
    Some(text)
}
