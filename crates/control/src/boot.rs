//! What a process is started with. A master finds its spec in a memfd, a zygote gets its as the first message.

use std::path::PathBuf;

use empery_lifecycle::{
    fleet::MasterKey,
    ids::{GenerationId, OperationId, RevisionId, WorkerRef},
};
use empery_rules::{headers::Headers, http::HttpRules, line::LineFormat, routes::Routes};
use serde::{Deserialize, Serialize};

use crate::{
    apps::Apps,
    posts::{MulesBoot, SpoolersBoot},
    process::Process,
    shared::Shared,
    static_files::StaticFiles,
};

/// The environment variable that holds the number of the descriptor with a master's [`MasterBoot`]. A `vassal`
/// without it runs alone. Removed from the environment before anything of the app runs.
pub const MASTER_BOOT_FD: &str = "EMPERY_MASTER_BOOT_FD";

/// A file descriptor number in the process that reads this word (already inherited, or the n-th of the message when so said).
pub type FdNumber = i32;

/// What a master under an emperor is started with. All descriptors are inherited under these numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterBoot {
    /// Who it is.
    pub master: MasterKey,
    /// The path of the vassal file, as `%p` is to see it.
    pub config_path: PathBuf,
    /// Where the master starts: relative paths of its file begin there. Empty from a keeper that did not say: the file's directory.
    #[serde(default)]
    pub working_directory: PathBuf,
    /// Uid and gid of who has started it, before the drop of privileges: `%u` and `%g` of its file.
    #[serde(default)]
    pub started_by: Option<(u32, u32)>,
    /// What the brain read from the vassal file (a memfd or the open file), to be parsed again after the drop of privileges.
    pub config_fd: FdNumber,
    /// The revision of that content.
    pub revision: RevisionId,
    /// The operation that asked for this start.
    pub operation: OperationId,
    /// The first generation's number.
    pub first_generation: GenerationId,
    /// The vassal's listening sockets, bound by the keeper.
    pub listeners: Vec<KeptListener>,
    /// Those that only workers or a gateway of an earlier master have: they bring them over the link.
    #[serde(default)]
    pub awaited_listeners: Vec<AwaitedListener>,
    /// Certificates and keys that only root may read, opened by the keeper for the vassal's gateway.
    #[serde(default)]
    pub tls_files: Vec<(PathBuf, FdNumber)>,
    /// The listening `SOCK_SEQPACKET` link socket.
    pub link_fd: FdNumber,
    /// The real path of the link, for workers that must find a successor.
    pub link_path: PathBuf,
    /// The locked lock file; the lock lives as long as this descriptor is open in the master (close-on-exec set by it).
    pub lock_fd: FdNumber,
    /// The read end of the vassal's log pipe. The keeper keeps a spare.
    pub log_read_fd: FdNumber,
    /// The write end of the vassal's log pipe: what workers get as stdout and stderr.
    pub log_write_fd: FdNumber,
    /// The directory the master writes `current.log` into (owned by its identity) when the file names no `logto`.
    pub log_directory: PathBuf,
    /// The uid of the brain: besides root and its own, the only one the link accepts.
    pub brain_uid: u32,
    /// The file that says who the brain is by now ([`crate::places::brain_uid`]).
    #[serde(default)]
    pub brain_uid_path: PathBuf,
    /// Uids of earlier masters of the vassal: the link accepts what these have left, and nobody else of them.
    #[serde(default)]
    pub former_uids: Vec<u32>,
    /// Whether nothing is to be accepted until an order says so.
    #[serde(default)]
    pub frozen: bool,
    /// An address to listen on besides those of the file: the vassal is on demand, and its first client waits there.
    #[serde(default)]
    pub on_demand: Option<String>,
    /// What the emperor says for all its vassals.
    #[serde(default)]
    pub common: Common,
    /// Memory that workers of an earlier master share.
    #[serde(default)]
    pub regions: Vec<KeptRegion>,
    /// The uid and gid the keeper dropped to before the exec.
    pub uid: u32,
    /// See `uid`.
    pub gid: u32,
}

/// A listening socket that nobody could bind, because what an earlier master left serves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwaitedListener {
    /// Its canonical address.
    pub key: String,
    /// One sentence: why there is none, should nobody bring it. None for one that the master makes itself then.
    pub why: Option<String>,
}

/// Options that an emperor gives every vassal: names and values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Common {
    /// Before the vassal's file.
    pub before: Vec<(String, String)>,
    /// Behind it.
    pub after: Vec<(String, String)>,
}

/// Memory that the workers of an earlier master of the vassal share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRegion {
    /// What it is for, in that master's words.
    pub name: String,
    /// The descriptor.
    pub fd: FdNumber,
}

/// A listening socket that exists already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptListener {
    /// The address as the config writes it, canonical (see `empery_config`'s `Address`): the key under which it is kept.
    pub key: String,
    /// The descriptor.
    pub fd: FdNumber,
}

/// Which protocol a worker speaks on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// The uwsgi protocol (`socket`).
    Uwsgi,
    /// HTTP/1.1 (`http-socket`, `http`).
    Http,
    /// FastCGI (`fastcgi-socket`).
    FastCgi,
    /// SCGI (`scgi-socket`).
    Scgi,
}

impl Protocol {
    /// As uWSGI's stats name it.
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

/// A listener as the zygote and its workers get it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppListener {
    /// The canonical address.
    pub key: String,
    /// What is spoken there.
    pub protocol: Protocol,
    /// The inherited descriptor.
    pub fd: FdNumber,
    /// `map-socket`: the workers that accept here; all when there are none.
    #[serde(default)]
    pub workers: Vec<u32>,
    /// SERVER_NAME and SERVER_PORT for HTTP requests that do not say: the bound host (or host name) and port; empty port for unix.
    pub server_name: String,
    /// See `server_name`.
    pub server_port: String,
    /// Whether every connection begins with a PROXY protocol header (`enable-proxy-protocol`, `http-enable-proxy-protocol`).
    #[serde(default)]
    pub proxy_protocol: bool,
    /// Whether it is the private unix socket of this vassal's gateway: only there a head may carry `x-empery-` headers.
    #[serde(default)]
    pub from_gateway: bool,
    /// Whether an answer begins with an HTTP status line where the protocol has CGI's `Status` (`fastcgi-nph-socket`, `scgi-nph-socket`).
    #[serde(default)]
    pub nph: bool,
    /// Whether a TCP connection is accepted only when something has come on it, or after a second (TCP_DEFER_ACCEPT, tcp(7);
    /// not with `no-defer-accept`).
    #[serde(default)]
    pub defer_accept: bool,
    /// What holds for its requests, where HTTP is spoken.
    #[serde(default)]
    pub http: HttpRules,
}

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// One of them.
    pub address: std::net::IpAddr,
    /// How many leading bits they share.
    pub prefix_bits: u8,
}

/// A value of `uwsgi.opt`: bytes there, True for an option without a value. Of one that was repeated the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OptValue {
    /// Given without a value, or as a true boolean.
    Flag(bool),
    /// Given with one.
    One(String),
    /// All values of one that was repeated, from masters of earlier versions: of them the last counts.
    Many(Vec<String>),
}

/// What begins a request line that is JSON or has a logger of its own: it tells the master that it is not the app's. No text of people begins with it
/// (ASCII, record separator).
pub const REQUEST_LINE_MARK: char = '\u{1e}';

/// Which requests are logged beside those of `log-4xx` and `log-5xx`, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestLog {
    /// `log-slow`, in ms; 0 is off.
    pub slow_ms: u64,
    /// `log-big`, in bytes; 0 is off.
    pub big_bytes: u64,
    /// `log-zero`.
    pub zero: bool,
    /// `log-micros`.
    pub micros: bool,
    /// `memory-report`.
    #[serde(default)]
    pub memory: bool,
    /// `log-json`.
    pub json: bool,
    /// Request lines begin with [`REQUEST_LINE_MARK`]: they have loggers of their own. Those of `log-json` always do.
    #[serde(default)]
    pub marked: bool,
    /// `log-format`.
    #[serde(default)]
    pub format: Option<LineFormat>,
    /// `log-date`, `log-prefix`: what the worker's own lines begin with, a format of strftime(3).
    #[serde(default)]
    pub prefix: Option<String>,
}

impl AppBoot {
    /// Whether any request may get a line.
    #[must_use]
    pub fn may_log_requests(&self) -> bool {
        let more = &self.request_log;
        self.log_requests || self.log_4xx || self.log_5xx || more.slow_ms > 0 || more.big_bytes > 0 || more.zero
    }
}

/// What a zygote is told in its first message: everything it and its workers need to run one generation of the app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppBoot {
    /// Which generation it is.
    pub generation: GenerationId,
    /// What it serves.
    pub apps: Apps,
    /// `chdir`: before the app is loaded.
    pub chdir: Option<PathBuf>,
    /// `chdir2`: after the app is loaded.
    pub chdir2: Option<PathBuf>,
    /// `pythonpath`, in the order of the file; each is prepended to `sys.path` in turn, as uWSGI does.
    pub pythonpath: Vec<PathBuf>,
    /// `pyargv` split at spaces; `sys.argv` is `['uwsgi']` and these.
    pub pyargv: Vec<String>,
    /// Whether each worker imports the app itself (`lazy-apps`).
    pub lazy_apps: bool,
    /// The sockets to serve.
    pub listeners: Vec<AppListener>,
    /// `processes`.
    pub processes: u32,
    /// `threads`, or `gevent`: requests of one worker at once.
    pub threads: u32,
    /// What runs them.
    #[serde(default)]
    pub engine: Engine,
    /// The scoreboard of the generation (a sealed memfd, inherited).
    pub scoreboard_fd: FdNumber,
    /// A read end of the pipe behind `log_write_fd`, which nobody reads: a worker that outlives the only other one does not
    /// lose what it prints to EPIPE (pipe(7)).
    #[serde(default)]
    pub log_spare_fd: Option<FdNumber>,
    /// What workers put on their fds 1 and 2 (inherited). The zygote's own 1 and 2 are the boot output's pipe.
    pub log_write_fd: FdNumber,
    /// `buffer-size`: longest request head, in bytes.
    pub head_max_bytes: u32,
    /// `limit-post`: longest request body, in bytes; 0 is no limit.
    pub body_max_bytes: u64,
    /// `socket-timeout`: longest time from the first byte of a head to its last, in ms.
    pub client_timeout_ms: u64,
    /// Longest time that may be spent waiting for a body, in ms; what has come buys more (`BODY_MIN_BYTES_PER_S` in `empery_wire::limits`).
    pub body_timeout_ms: u64,
    /// Longest time that may be spent waiting for the client to take an answer, in ms; what it took buys more (`ANSWER_MIN_BYTES_PER_S`).
    pub write_timeout_ms: u64,
    /// How long an idle keep-alive connection is kept, in ms.
    pub keepalive_timeout_ms: u64,
    /// `trusted-proxies`: who may speak for a client; None when it is not said.
    pub trusted_proxies: Option<Vec<Network>>,
    /// When a worker asks to be replaced.
    pub recycle: RecycleRules,
    /// `harakiri`, in s; 0 is off. Enforced by the master from the scoreboard.
    pub harakiri_s: u32,
    /// Whether a request line is written for every request (`disable-logging` turns it off).
    pub log_requests: bool,
    /// `log-4xx`, `log-5xx`: write the line for these although requests are not logged.
    pub log_4xx: bool,
    /// See `log_4xx`.
    pub log_5xx: bool,
    /// Which other requests are logged, and how.
    #[serde(default)]
    pub request_log: RequestLog,
    /// `log-x-forwarded-for`: the line shows X-Forwarded-For for the address.
    pub log_x_forwarded_for: bool,
    /// `error-page-403` and its relatives, in order: the body of our own answers of a status.
    #[serde(default)]
    pub error_pages: Vec<(u16, PathBuf)>,
    /// What its processes are like.
    #[serde(default)]
    pub process: Process,
    /// The process titles.
    pub titles: Titles,
    /// `uwsgi.opt`.
    pub opt: Vec<(String, OptValue)>,
    /// `static-map` and its relatives.
    pub static_files: StaticFiles,
    /// `route` and its relatives.
    #[serde(default)]
    pub routes: Routes,
    /// `add-header` and its relatives.
    #[serde(default)]
    pub headers: Headers,
    /// What workers share: `cache2`, `locks`, `queue`, `sharedarea`, `metric`.
    #[serde(default)]
    pub shared: Shared,
    /// `mule`, `mules`, `farm`.
    #[serde(default)]
    pub mules: MulesBoot,
    /// `spooler` and its relatives.
    #[serde(default)]
    pub spoolers: SpoolersBoot,
    /// `py-autoreload`, in s; 0 is off: workers watch the files of their modules, and one asks for a reload.
    pub py_autoreload_s: u32,
    /// `py-auto-reload-ignore`: names of modules that it does not look at.
    #[serde(default)]
    pub py_autoreload_ignore: Vec<String>,
    /// How WebSockets are kept (`websocket-max-size` and so on).
    #[serde(default)]
    pub websocket: WebSocketRules,
    /// Pid of the master, for `uwsgi.masterpid()`.
    pub master_pid: i32,
    /// Whether workers outlive their master (under an emperor) or finish and exit when it dies (alone; also `no-orphans`).
    pub outlive_master: bool,
    /// Where an orphaned worker finds its next master; None for a standalone vassal.
    pub link_path: Option<PathBuf>,
    /// Number of reloads before this generation (`uwsgi.is_a_reload`).
    pub reloads: u64,
}

/// What runs the requests of a worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Engine {
    /// Threads.
    #[default]
    Threads,
    /// Greenlets of the main thread.
    Gevent {
        /// When the standard library is patched.
        patch: MonkeyPatch,
    },
}

/// When `gevent.monkey.patch_all()` is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MonkeyPatch {
    /// Not by us.
    Never,
    /// Before the app is imported.
    BeforeApp,
    /// In each worker, before it serves.
    InWorker,
}

/// When a worker asks its master to be replaced. A 0 is never.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecycleRules {
    /// `max-requests`.
    pub max_requests: u64,
    /// `max-requests-delta` times the worker's number (counted from 0) is added.
    pub max_requests_delta: u64,
    /// `min-worker-lifetime`, in s: all but exceptions wait for it.
    pub min_worker_lifetime_s: u64,
    /// `reload-on-rss`, in bytes.
    pub rss_max_bytes: u64,
    /// `reload-on-as`, in bytes.
    pub as_max_bytes: u64,
    /// `reload-on-pss`, in bytes.
    pub pss_max_bytes: u64,
    /// `reload-on-uss`, in bytes.
    pub uss_max_bytes: u64,
    /// `reload-on-exception`: any.
    pub exceptions: bool,
    /// `reload-on-exception-type`.
    pub exception_types: Vec<String>,
    /// `reload-on-exception-value`.
    pub exception_values: Vec<String>,
    /// `reload-on-exception-repr`.
    pub exception_reprs: Vec<String>,
}

/// How WebSockets are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebSocketRules {
    /// Longest message, in bytes.
    pub message_max_bytes: usize,
    /// A client that says nothing for so many seconds is asked whether it is there; 0 is never.
    pub ping_every_s: u64,
    /// It has so many seconds to answer.
    pub pong_within_s: u64,
}

impl Default for WebSocketRules {
    fn default() -> Self {
        Self { message_max_bytes: 1024 * 1024, ping_every_s: 30, pong_within_s: 3 }
    }
}

/// What `ps` shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Titles {
    /// `auto-procname`: `uWSGI master`, `uWSGI worker 1` and so on.
    pub auto: bool,
    /// `procname-prefix` (with `procname-prefix-spaced`'s blank already in it).
    pub prefix: String,
    /// `procname-append`.
    pub append: String,
    /// `procname`: for every process.
    pub all: Option<String>,
    /// `procname-master`.
    pub master: Option<String>,
}

/// What a forked worker is told in the zygote's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerBoot {
    /// Who it is.
    pub worker: WorkerRef,
}
