//! A master for tests: starts a zygote with the built extension in the `python3` of the PATH, forks one worker, and
//! says what a test wants said. Words and descriptors are the real ones.
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod attack;
pub(crate) mod recorder;
pub(crate) mod records;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::PathBuf,
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use empery_control::{
    apps::{App, AppTarget, Apps},
    boot::{AppBoot, AppListener, Engine, Protocol, Titles, WorkerBoot},
    bootstrap::BOOTSTRAP,
    ids::{GenerationId, WorkerId, WorkerRef},
    worker::{FromWorker, FromZygote, ToWorker, ToZygote},
};
use empery_sys::{memfd, process, scoreboard::Scoreboard, seqpacket, spawn};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Serialize, de::DeserializeOwned};

/// Longest wait for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// One end of a control channel.
pub(crate) struct Channel(pub(crate) OwnedFd);

impl Channel {
    pub(crate) fn say<T: Serialize>(&self, word: &T, fds: &[std::os::fd::BorrowedFd<'_>]) {
        seqpacket::send_word(self.0.as_fd(), word, fds).unwrap();
    }

    /// The next word; None at the end.
    pub(crate) fn hear<T: DeserializeOwned>(&self) -> Option<(T, Vec<OwnedFd>)> {
        let mut entry = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(DEADLINE.as_millis()).unwrap();
        assert_eq!(poll(&mut entry, timeout).unwrap(), 1, "no word in {DEADLINE:?}");
        seqpacket::receive_word(self.0.as_fd()).unwrap_or(None)
    }
}

/// Where a worker listens.
pub(crate) struct Listeners {
    pub(crate) http: TcpListener,
    pub(crate) uwsgi: UnixListener,
    pub(crate) uwsgi_path: PathBuf,
}

impl Listeners {
    pub(crate) fn new() -> Self {
        let http = TcpListener::bind("127.0.0.1:0").unwrap();
        http.set_nonblocking(true).unwrap();
        let name = format!("empery-worker-{}-{}", std::process::id(), http.local_addr().unwrap().port());
        let uwsgi_path = std::env::temp_dir().join(name);
        let uwsgi = UnixListener::bind(&uwsgi_path).unwrap();
        uwsgi.set_nonblocking(true).unwrap();
        Self { http, uwsgi, uwsgi_path }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.http.local_addr().unwrap()
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.uwsgi_path);
    }
}

/// One generation: a zygote, its first word, and at most one worker.
pub(crate) struct Generation {
    pub(crate) zygote: spawn::Child,
    pub(crate) channel: Channel,
    pub(crate) loaded: Option<FromZygote>,
    pub(crate) worker: Option<Channel>,
    pub(crate) scoreboard: Scoreboard,
    log: OwnedFd,
}

/// The app of a path below `tests/apps`.
pub(crate) fn app(name: &str) -> AppTarget {
    AppTarget::File(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/apps").join(name))
}

/// An app whose text the test gives.
pub(crate) fn app_of(name: &str, text: &str) -> AppTarget {
    let path = std::env::temp_dir().join(format!("empery-worker-{}-{name}.py", std::process::id()));
    // Tests beside this one may be loading it.
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let fresh = path.with_extension(format!("{}", COUNT.fetch_add(1, Ordering::Relaxed)));
    std::fs::write(&fresh, text).unwrap();
    std::fs::rename(&fresh, &path).unwrap();
    AppTarget::File(path)
}

fn python() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path).map(|directory| directory.join("python3")).find(|file| file.exists()).unwrap()
}

fn extension() -> PathBuf {
    std::env::current_exe().unwrap().with_file_name("libempery_worker.so")
}

fn log() -> OwnedFd {
    nix::sys::memfd::memfd_create(c"log", nix::sys::memfd::MFdFlags::MFD_CLOEXEC).unwrap()
}

/// A zygote that waits for its first word; what it prints goes to `log`.
fn zygote(mut inherit: Vec<i32>, log: &OwnedFd) -> (spawn::Child, Channel) {
    SUBREAPER.call_once(|| process::become_subreaper().unwrap());
    let (ours, theirs) = seqpacket::pair().unwrap();
    inherit.push(theirs.as_raw_fd());
    let python = python();
    let args = [
        python.clone().into_os_string(),
        "-c".into(),
        BOOTSTRAP.into(),
        extension().into_os_string(),
        theirs.as_raw_fd().to_string().into(),
    ];
    let child = spawn::spawn(spawn::Spawn {
        program: python,
        args: args.to_vec(),
        env: std::env::vars_os().collect(),
        directory: Some(std::env::temp_dir()),
        stdio: [None, Some(log.try_clone().unwrap()), Some(log.try_clone().unwrap())],
        inherit,
        identity: None,
        new_session: true,
    })
    .unwrap();
    (child, Channel(ours))
}

/// A zygote whose master says something that is no word of this version, and its answer.
pub(crate) fn misunderstood() -> (spawn::Child, Option<FromZygote>) {
    let (zygote, channel) = zygote(Vec::new(), &log());
    channel.say(&serde_json::json!({"say": "load", "generation": 1}), &[]);
    let answer = channel.hear().map(|(word, _)| word);
    (zygote, answer)
}

static SUBREAPER: Once = Once::new();

impl Generation {
    /// Boots an app; `change` is what the test wants otherwise.
    pub(crate) fn boot(
        number: u64,
        target: AppTarget,
        listeners: &Listeners,
        change: impl FnOnce(&mut AppBoot),
    ) -> Self {
        let mut generation = Self::begin(number, target, listeners, change);
        // What an app registers at import is the master's business.
        let words = std::iter::from_fn(|| generation.channel.hear().map(|(word, _)| word));
        generation.loaded = { words }.find(|word| !matches!(word, FromZygote::Signals { .. }));
        generation
    }

    /// Begins to boot an app.
    pub(crate) fn begin(
        number: u64,
        target: AppTarget,
        listeners: &Listeners,
        change: impl FnOnce(&mut AppBoot),
    ) -> Self {
        let log = log();
        let mut boot = AppBoot {
            generation: GenerationId(number),
            apps: Apps { main: Some(App { target, callable: "application".into() }), ..Apps::default() },
            chdir: None,
            chdir2: None,
            pythonpath: Vec::new(),
            pyargv: Vec::new(),
            lazy_apps: false,
            listeners: vec![
                listener("http", Protocol::Http, listeners.http.as_raw_fd(), listeners.address().port()),
                listener("uwsgi", Protocol::Uwsgi, listeners.uwsgi.as_raw_fd(), 0),
            ],
            processes: 1,
            threads: 1,
            engine: Engine::Threads,
            scoreboard_fd: -1,
            log_write_fd: log.as_raw_fd(),
            head_max_bytes: 65_536,
            body_max_bytes: 0,
            client_timeout_ms: 1_000,
            body_timeout_ms: 1_000,
            write_timeout_ms: 1_000,
            trusted_proxies: None,
            keepalive_timeout_ms: 20_000,
            recycle: Default::default(),
            harakiri_s: 0,
            log_requests: false,
            request_log: Default::default(),
            log_spare_fd: None,
            log_4xx: false,
            log_5xx: false,
            log_x_forwarded_for: false,
            error_pages: Vec::new(),
            process: Default::default(),
            titles: Titles::default(),
            opt: Vec::new(),
            shared: empery_control::shared::Shared::default(),
            static_files: Default::default(),
            routes: Default::default(),
            headers: Default::default(),
            websocket: Default::default(),
            mules: Default::default(),
            spoolers: Default::default(),
            py_autoreload_s: 0,
            py_autoreload_ignore: Vec::new(),
            master_pid: std::process::id() as i32,
            outlive_master: false,
            link_path: None,
            reloads: 0,
        };
        change(&mut boot);
        let (scoreboard, scoreboard_fd) =
            Scoreboard::create(boot.generation, boot.processes, boot.threads, boot.apps.counted()).unwrap();
        boot.scoreboard_fd = scoreboard_fd.as_raw_fd();
        let mut inherit = vec![boot.scoreboard_fd, boot.log_write_fd];
        inherit.extend(boot.listeners.iter().map(|listener| listener.fd));
        let (zygote, channel) = zygote(inherit, &log);
        channel.say(&ToZygote::Load(Box::new(boot)), &[]);
        Self { zygote, channel, loaded: None, worker: None, scoreboard, log }
    }

    /// Forks the worker and proves that it answers; its gate is closed.
    pub(crate) fn fork(&mut self, number: u64) -> i32 {
        assert!(matches!(self.loaded, Some(FromZygote::Loaded { .. })), "{:?}", self.loaded);
        let (ours, theirs) = seqpacket::pair().unwrap();
        let worker = WorkerRef { generation: GenerationId(number), worker: WorkerId(1), spawn: 0 };
        self.channel.say(&ToZygote::Fork(WorkerBoot { worker }), &[theirs.as_fd()]);
        drop(theirs);
        let Some((FromZygote::Forked { pid, .. }, _)) = self.channel.hear() else { panic!("not forked") };
        let line = Channel(ours);
        let up = line.hear::<FromWorker>().unwrap().0;
        assert!(matches!(up, FromWorker::Up { worker: w, pid: p, .. } if (w, p) == (worker, pid)), "{up:?}");
        self.worker = Some(line);
        pid
    }

    /// The worker's channel.
    pub(crate) fn line(&self) -> &Channel {
        self.worker.as_ref().unwrap()
    }

    /// Proves the worker and opens its gate.
    pub(crate) fn open(&self) {
        self.line().say(&ToWorker::Ping { token: 9 }, &[]);
        loop {
            match self.line().hear::<FromWorker>().unwrap().0 {
                FromWorker::Pong { token: 9 } => break,
                FromWorker::AppLoaded { .. } | FromWorker::Signals { .. } => {}
                other => panic!("{other:?} instead of a pong"),
            }
        }
        self.line().say(&ToWorker::OpenGate, &[]);
    }

    /// A generation that serves.
    pub(crate) fn serving(target: AppTarget, listeners: &Listeners, change: impl FnOnce(&mut AppBoot)) -> Self {
        let mut generation = Self::boot(1, target, listeners, change);
        generation.fork(1);
        generation.open();
        generation
    }

    /// What was written to the log so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&memfd::read_all(self.log.as_fd()).unwrap()).into_owned()
    }

    /// Drains the worker, refusing what it hands over, until it is gone.
    pub(crate) fn drain(&mut self) {
        let line = self.worker.take().unwrap();
        line.say(&ToWorker::Drain, &[]);
        while let Some((word, _)) = line.hear::<FromWorker>() {
            if let FromWorker::Handover { token, .. } = word {
                line.say(&ToWorker::NotAdopted { token }, &[]);
            }
        }
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        // The end of a channel's other side is the end of its process.
        self.worker = None;
        let _ = process::pidfd_kill(&self.zygote.pidfd, 9);
        let _ = process::wait_for(&self.zygote.pidfd);
    }
}

fn listener(key: &str, protocol: Protocol, fd: i32, port: u16) -> AppListener {
    AppListener {
        key: key.into(),
        protocol,
        fd,
        workers: Vec::new(),
        server_name: "127.0.0.1".into(),
        server_port: port.to_string(),
        proxy_protocol: false,
        from_gateway: false,
        nph: false,
        defer_accept: true,
        http: Default::default(),
    }
}

/// Everything the other side sends until it closes; `<reset>` or `<timeout>` when that is how it ends.
pub(crate) fn read_to_end(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 65_536];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                bytes.extend_from_slice(b"<reset>");
                break;
            }
            Err(_) => {
                bytes.extend_from_slice(b"<timeout>");
                break;
            }
        }
    }
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Lets a moment pass, in ms: the pace of a slow client.
pub(crate) fn pace(length_ms: u16) {
    let none: &mut [PollFd<'_>] = &mut [];
    poll(none, PollTimeout::from(length_ms)).unwrap();
}

/// A connection to the HTTP listener.
pub(crate) fn connect(listeners: &Listeners) -> TcpStream {
    let stream = TcpStream::connect(listeners.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Sends bytes on a new connection; all that comes back.
pub(crate) fn exchange(listeners: &Listeners, bytes: &[u8]) -> String {
    let mut stream = connect(listeners);
    stream.write_all(bytes).unwrap();
    read_to_end(stream)
}

/// One GET on a connection that is closed after.
pub(crate) fn get(listeners: &Listeners, path: &str) -> String {
    exchange(listeners, format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").as_bytes())
}

/// Sends a uwsgi packet and a body; all that comes back.
pub(crate) fn uwsgi(listeners: &Listeners, modifier1: u8, vars: &[(&str, &str)], body: &[u8]) -> String {
    let mut block = Vec::new();
    for text in vars.iter().flat_map(|(key, value)| [key, value]) {
        block.extend_from_slice(&(text.len() as u16).to_le_bytes());
        block.extend_from_slice(text.as_bytes());
    }
    let mut packet = vec![modifier1];
    packet.extend_from_slice(&(block.len() as u16).to_le_bytes());
    packet.push(0);
    packet.extend(block);
    packet.extend_from_slice(body);
    let mut stream = UnixStream::connect(&listeners.uwsgi_path).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(&packet).unwrap();
    read_to_end(stream)
}

/// Checks what an answer holds and what it lacks.
pub(crate) fn assert_answer(answer: &str, what: &str, holds: &[&str], lacks: &[&str]) {
    for part in holds {
        assert!(answer.contains(part), "{what}: {part:?} is not in {answer:?}");
    }
    for part in lacks {
        assert!(!answer.contains(part), "{what}: {part:?} is in {answer:?}");
    }
}

/// Asks until it holds.
pub(crate) fn until(mut holds: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds() {
        assert!(began.elapsed() < DEADLINE, "it never came to hold");
        std::thread::yield_now();
    }
}
