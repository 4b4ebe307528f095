//! What a configuration means for a vassal: the checked, typed result. Built by [`crate::read`]; used by the master
//! (all of it) and by the brain (identity, listeners, mercy).

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use empery_rules::{headers::Headers, http::HttpRules, line::LineFormat, routes::Routes};
use serde::{Deserialize, Serialize};

pub use crate::apps::{App, AppTarget};
use crate::{
    address::Address,
    alarms::{Alarms, OnLine},
    beside::Beside,
    crew::{Crew, Recycle},
    loggers::Lines,
    runtime::Runtime,
    shared::Shared,
    static_files::StaticFiles,
    waits::Wait,
    watched::Watched,
};

/// Everything a vassal is told by its configuration. Defaults are uWSGI's unless `docs/from-uwsgi.md` says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VassalConfig {
    /// The apps; none is an error unless nothing is to be served.
    pub app: App,
    /// Which interpreter.
    pub python: Python,
    /// What to listen on, in order.
    pub listeners: Vec<Listener>,
    /// `sni` and then `sni-regexp`, in order.
    pub sni: Vec<NamedCertificate>,
    /// `sni-dir`.
    pub sni_directory: Option<SniDirectory>,
    /// `https-export-cert`: the app sees the client's certificate as HTTPS_CC.
    pub https_export_cert: bool,
    /// `stats`: where the JSON is served.
    pub stats: Option<Address>,
    /// `stats-http`: an HTTP head goes before the JSON.
    pub stats_http: bool,
    /// `processes`/`workers`, at least 1.
    pub processes: u32,
    /// `threads`, or `gevent`: requests of one process at once, at least 1.
    pub threads: u32,
    /// What runs them.
    pub engine: Engine,
    /// `uid`, a number or a name.
    pub uid: Option<String>,
    /// `gid`, a number or a name.
    pub gid: Option<String>,
    /// `no-initgroups`: no groups beside it.
    pub no_initgroups: bool,
    /// `add-gid`, numbers or names: these instead of the user's own groups.
    pub add_gids: Vec<String>,
    /// `umask`, as a number.
    pub umask: Option<u32>,
    /// `env`, in order: `(name, Some(value))` sets, `(name, None)` is `unenv`.
    pub env: Vec<(String, Option<String>)>,
    /// `vacuum`: remove pidfiles and unix sockets at the end.
    pub vacuum: bool,
    /// `pidfile`, `pidfile2`, `safe-pidfile`, `safe-pidfile2`: files that get the master's pid.
    pub pidfiles: Vec<PathBuf>,
    /// `touch-reload`: a change of one of these reloads.
    pub touch_reload: Vec<PathBuf>,
    /// `fs-reload`, `fs-brutal-reload`: a change of one of these, or of what lies directly in it, reloads.
    pub fs_reload: Vec<PathBuf>,
    /// `master-fifo`: named pipes in which each byte is a command.
    pub master_fifo: Vec<PathBuf>,
    /// `die-on-term`: None when not said. Only an explicit `false` keeps uWSGI's reload on SIGTERM.
    pub die_on_term: Option<bool>,
    /// `worker-reload-mercy`, 60 s.
    pub mercy: Duration,
    /// `boot-deadline` (ours; seconds), 60 s.
    pub boot_deadline: Duration,
    /// `need-app`. Accepted: it is always so here.
    pub no_orphans: bool,
    /// Limits of a request.
    pub request: RequestLimits,
    /// Limits of processes, options of sockets, hooks.
    pub runtime: Runtime,
    /// `wait-for-…`: what there must be before the app is loaded, in the order of waiting.
    pub waits: Vec<Wait>,
    /// What the master keeps an eye on.
    pub watched: Watched,
    /// `error-page-403`, `error-page-404`, `error-page-500`: the body of our own answers of this status is the first of these
    /// files that can be read.
    pub error_pages: Vec<(u16, PathBuf)>,
    /// When a worker is replaced.
    pub recycle: Recycle,
    /// How many workers there are.
    pub crew: Crew,
    /// What runs beside the workers.
    pub beside: Beside,
    /// Who is told when something happens.
    pub alarms: Alarms,
    /// Logging.
    pub log: Log,
    /// Process titles.
    pub titles: Titles,
    /// `py-autoreload`, in s; 0 is off.
    pub py_autoreload_s: u32,
    /// `py-auto-reload-ignore`: modules that are not watched.
    pub py_autoreload_ignore: Vec<String>,
    /// `static-map` and its relatives.
    pub static_files: StaticFiles,
    /// `route` and its relatives.
    pub routes: Routes,
    /// `add-header` and its relatives.
    pub headers: Headers,
    /// What workers share: `cache2`, `locks`, `queue`, `sharedarea`, `metric`.
    pub shared: Shared,
    /// Every option and placeholder in order with its final value, for `uwsgi.opt` and `--show-config`.
    pub effective: Vec<Effective>,
}

impl VassalConfig {
    /// How long a stop may take: requests first, then what mules and spoolers have been sent, then daemons.
    #[must_use]
    pub fn stops_within(&self) -> Duration {
        let has_posts = !self.beside.mules.patches.is_empty() || !self.beside.spoolers.directories.is_empty();
        let posts = if has_posts { self.beside.mules.mercy } else { Duration::ZERO };
        let daemons = self.beside.daemons.iter().map(|daemon| daemon.mercy_s).max().unwrap_or(0);
        self.mercy + posts + Duration::from_secs(daemons.into())
    }

    /// Every file with a certificate or a key, each once, in order.
    #[must_use]
    pub fn tls_files(&self) -> Vec<&Path> {
        let doors = self.listeners.iter().filter_map(|listener| match &listener.door {
            Door::Tls(certificate) | Door::TlsUwsgi(certificate) => Some(&**certificate),
            Door::Workers | Door::FromGateway | Door::ToHttps(_) => None,
        });
        let mut files: Vec<&Path> = Vec::new();
        for certificate in doors.chain(self.sni.iter().map(|named| &named.certificate)) {
            let client_ca = certificate.client_ca.iter().map(|ca| ca.path.as_path());
            for file in [certificate.chain.as_path(), certificate.key.as_path()].into_iter().chain(client_ca) {
                if !files.contains(&file) {
                    files.push(file);
                }
            }
        }
        files
    }
}

/// Which interpreter, and its search path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Python {
    /// `home`/`virtualenv`/`venv`/`pyhome`/`-H`.
    pub home: Option<PathBuf>,
    /// `python` (ours): a path or a name on PATH.
    pub python: Option<String>,
    /// `pythonpath`/`pp`, in order.
    pub pythonpath: Vec<PathBuf>,
    /// `no-site`: the module `site` is not imported, so there are no site-packages.
    pub no_site: bool,
    /// `optimize`: 1 leaves assertions out, 2 docstrings too.
    pub optimize: u8,
}

/// A listening socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Where.
    pub address: Address,
    /// What is spoken there.
    pub protocol: Protocol,
    /// `listen`: the queue's length, as configured (100 by default); clamped to somaxconn when bound.
    pub backlog: u32,
    /// `chmod-socket` for unix sockets.
    pub mode: Option<u32>,
    /// `chown-socket` for unix sockets: user and group as written.
    pub owner: Option<(String, Option<String>)>,
    /// `reuse-port`.
    pub reuse_port: bool,
    /// `freebind`: the address need not be there yet (ip(7), IP_FREEBIND).
    pub freebind: bool,
    /// `map-socket`: the workers that accept here, counted from 1; all when there are none.
    pub workers: Vec<u32>,
    /// `enable-proxy-protocol` for `http-socket`, `http-enable-proxy-protocol` for `http` and `https`.
    pub proxy_protocol: bool,
    /// `fastcgi-nph-socket`, `scgi-nph-socket`: an answer begins with a status line.
    pub nph: bool,
    /// Not with `no-defer-accept`: a TCP connection is accepted when something has come on it.
    pub defer_accept: bool,
    /// What holds for its requests, where HTTP is spoken.
    pub http: HttpRules,
    /// Who takes its connections.
    pub door: Door,
}

/// Who takes the connections of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Door {
    /// The workers.
    Workers,
    /// The workers, from this vassal's gateway only.
    FromGateway,
    /// `https`, `https2`, `https-socket`: the gateway ends TLS there.
    Tls(Box<Certificate>),
    /// `suwsgi-socket`, `ssl-socket`: the gateway ends TLS there, and the uwsgi protocol is spoken inside.
    TlsUwsgi(Box<Certificate>),
    /// `http-to-https`: the gateway sends every client to https, on this port when it is not 443.
    ToHttps(Option<u16>),
}

impl Door {
    /// Whether workers listen there.
    #[must_use]
    pub fn is_workers(&self) -> bool {
        matches!(self, Door::Workers | Door::FromGateway)
    }
}

/// A certificate chain with its private key, and what goes with them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// PEM: the certificate and those that lead to a known authority.
    pub chain: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
    /// OpenSSL's list of ciphers, as written.
    pub ciphers: Option<String>,
    /// Who signs clients' certificates, when clients are asked for one.
    pub client_ca: Option<ClientCa>,
}

/// The authorities whose client certificates are believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientCa {
    /// PEM.
    pub path: PathBuf,
    /// `!PATH`: a client without a certificate is turned away.
    pub required: bool,
}

/// `sni`, `sni-regexp`: the certificate for a name that clients ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedCertificate {
    /// The host name.
    pub name: HostName,
    /// Its certificate.
    pub certificate: Certificate,
}

/// For which host names a certificate is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostName {
    /// This one, in lower case.
    Exact(String),
    /// Those in which this regular expression is found; it is one that can be read.
    Pattern(String),
}

/// `sni-dir`: NAME.crt, NAME.key and, where clients are asked for a certificate, NAME.ca.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SniDirectory {
    /// It.
    pub path: PathBuf,
    /// `sni-dir-ciphers`.
    pub ciphers: Option<String>,
}

/// What is spoken on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// `socket`.
    Uwsgi,
    /// `http-socket`, `http11-socket`, `http`.
    Http,
    /// `fastcgi-socket`, `fastcgi-nph-socket`.
    FastCgi,
    /// `scgi-socket`, `scgi-nph-socket`.
    Scgi,
}

impl Protocol {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Uwsgi => "uwsgi",
            Protocol::Http => "http",
            Protocol::FastCgi => "fastcgi",
            Protocol::Scgi => "scgi",
        }
    }
}

/// A range of addresses, `10.0.0.0/8` or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// One of them.
    pub address: IpAddr,
    /// How many leading bits they share.
    pub prefix_bits: u8,
}

/// The text is neither an address nor a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotANetwork;

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Network, NotANetwork> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| NotANetwork)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match bits {
            None => most,
            Some(bits) if bits.bytes().all(|digit| digit.is_ascii_digit()) => bits.parse().map_err(|_| NotANetwork)?,
            Some(_) => return Err(NotANetwork),
        };
        if prefix_bits > most { Err(NotANetwork) } else { Ok(Network { address, prefix_bits }) }
    }
}

/// Limits of one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestLimits {
    /// `buffer-size`, in bytes; 64 KiB by default and at most (docs/from-uwsgi.md).
    pub head_max_bytes: u32,
    /// `limit-post`, in bytes; 0 is no limit.
    pub body_max_bytes: u64,
    /// `post-buffering`, in bytes: bodies of this length or more go into a file before the app is called; 0 is off.
    pub body_to_file_bytes: u64,
    /// `so-send-timeout`: how long a client may take nothing of an answer; None is `socket-timeout`.
    pub send_timeout: Option<Duration>,
    /// `socket-timeout`, ours 30 s.
    pub client_timeout: Duration,
    /// `trusted-proxies` (ours): who may speak for a client; None when it is not said.
    pub trusted_proxies: Option<Vec<Network>>,
    /// `websocket-max-size`, in bytes (the option is in KiB), 1 MiB.
    pub websocket_max_bytes: u64,
    /// `websocket-ping-freq`, in s, 30.
    pub websocket_ping_s: u64,
    /// `websocket-pong-tolerance`, in s, 3.
    pub websocket_pong_s: u64,
    /// `http-keepalive` in seconds, ours 75 s.
    pub keepalive_timeout: Duration,
    /// `harakiri`, in s; 0 is off.
    pub harakiri_s: u32,
    /// `harakiri-graceful-timeout`: from the moment an overdue request is told to end to the kill of its worker.
    pub harakiri_graceful_timeout: Option<Duration>,
    /// `harakiri-graceful-signal`, SIGTERM: sent to a worker that has a handler for it, with `harakiri-graceful-timeout`.
    pub harakiri_graceful_signal: i32,
    /// `harakiri-queue-threshold`: `harakiri` strikes only while more clients than this wait in a listen queue; 0 is always.
    pub harakiri_queue_threshold: u64,
    /// `harakiri-no-arh`: what the app calls after a request (`uwsgi.after_req_hook`) is not limited.
    pub harakiri_spares_hook: bool,
    /// `harakiri-verbose`: the log says in which system call the worker is.
    pub harakiri_verbose: bool,
}

/// Logging.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// `logto` (`daemonize` under an emperor).
    pub logto: Option<PathBuf>,
    /// `logto2`, opened after the drop of privileges.
    pub logto2: Option<PathBuf>,
    /// Whether a line is written for every request (`disable-logging`).
    pub requests: bool,
    /// `log-4xx`.
    pub log_4xx: bool,
    /// `log-5xx`.
    pub log_5xx: bool,
    /// `log-x-forwarded-for`.
    pub x_forwarded_for: bool,
    /// `log-slow`: requests that took so many ms or more are logged; 0 is off.
    pub slow_ms: u64,
    /// `log-big`: so are those whose answer has so many bytes or more; 0 is off.
    pub big_bytes: u64,
    /// `log-zero`: so are those whose answer has none.
    pub zero: bool,
    /// `log-micros`: the time of a request in µs instead of ms.
    pub micros: bool,
    /// `memory-report`: a request line begins with what its worker uses.
    pub memory: bool,
    /// `log-format`: what a request line looks like; None is uWSGI's own shape.
    pub format: Option<LineFormat>,
    /// `log-format-strftime`: `%(ftime)` is as `log-date` says.
    pub strftime: bool,
    /// `log-date` when it is a format (strftime(3)).
    pub date_format: Option<String>,
    /// `log-date`, `log-prefix`: what each of the vassal's own lines begins with, a format of strftime(3).
    pub prefix: Option<String>,
    /// Where lines go, but for those of requests when these have loggers or routes of their own.
    pub lines: Lines,
    /// Where lines of requests go, when it is said.
    pub requests_lines: Lines,
    /// `log-drain`: lines in which one of these is found are dropped.
    pub drains: Vec<String>,
    /// `log-filter`: when there are any, so is a line in which none of them is found.
    pub filters: Vec<String>,
    /// `rsyslog-packet-size`, in bytes; 0 is that of RFC 3164 (1024).
    pub rsyslog_packet_bytes: u32,
    /// `rsyslog-split-messages`: what does not fit goes into more packets; else it is cut.
    pub rsyslog_splits: bool,
    /// `alarm-log`, `not-alarm-log`, in order: alarms that lines raise.
    pub alarms: Vec<OnLine>,
    /// `log-json` (ours): each line is a JSON object.
    pub json: bool,
    /// `log-max-rate` (ours): lines per second beyond which lines are dropped and counted; 0 is no limit.
    pub lines_per_s_max: u64,
    /// `log-maxsize`, in bytes; 0 is ours (64 MiB).
    pub max_bytes: u64,
    /// `log-rotate-every` (ours): rotated whenever so many seconds of unix time have gone by; 0 is off.
    pub rotate_every_s: u64,
    /// `log-backupname`: the name a full file takes.
    pub backup_name: Option<PathBuf>,
    /// `log-keep` (ours): so many full files are kept, numbered; None is not said.
    pub keep: Option<u32>,
    /// `log-compress` (ours): those from the second on are compressed.
    pub compress: bool,
    /// `log-truncate`: the file begins empty.
    pub truncate: bool,
    /// `logfile-chmod`.
    pub mode: Option<u32>,
    /// `logfile-chown`.
    pub chown: bool,
    /// `touch-logreopen`.
    pub touch_reopen: Vec<PathBuf>,
    /// `touch-logrotate`.
    pub touch_rotate: Vec<PathBuf>,
}

impl Log {
    /// Whether lines of requests go their own way.
    #[must_use]
    pub fn separates_requests(&self) -> bool {
        !(self.requests_lines.loggers.is_empty() && self.requests_lines.routes.is_empty())
    }

    /// Whether each line is looked at before it is written.
    #[must_use]
    pub fn sorts_lines(&self) -> bool {
        self.separates_requests()
            || self.lines != Lines::default()
            || !(self.drains.is_empty() && self.filters.is_empty() && self.alarms.is_empty())
    }
}

/// What `ps` shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Titles {
    /// `auto-procname`.
    pub auto: bool,
    /// `procname-prefix`, `procname-prefix-spaced`.
    pub prefix: String,
    /// `procname-append`.
    pub append: String,
    /// `procname`.
    pub all: Option<String>,
    /// `procname-master`.
    pub master: Option<String>,
}

/// One option or placeholder with its final value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effective {
    /// Its name as written.
    pub key: String,
    /// Its value after expansion; None when it was given without one on the command line.
    pub value: Option<String>,
    /// Where it stands.
    pub origin: crate::problem::Origin,
}

/// What runs the requests of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Engine {
    /// Threads.
    #[default]
    Threads,
    /// `gevent`: greenlets of the main thread.
    Gevent {
        /// When `gevent.monkey.patch_all()` is called.
        patch: MonkeyPatch,
    },
}

/// When gevent replaces what blocks in the standard library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MonkeyPatch {
    /// Never: the app does it, or does without.
    Never,
    /// `gevent-early-monkey-patch`: before the app is imported.
    BeforeApp,
    /// `gevent-monkey-patch`: in each worker, before it serves.
    InWorker,
}
