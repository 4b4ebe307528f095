//! Between a master and its zygotes and workers. Each zygote and each worker has a `SOCK_SEQPACKET` socketpair to
//! its master; whoever sees the end of file on it knows that the other is gone.

use std::net::SocketAddr;

pub use empery_lifecycle::generations::RecycleReason;
use empery_lifecycle::{
    ids::{GenerationId, WorkerRef},
    posts::PostRef,
};
use serde::{Deserialize, Serialize};

use crate::{
    boot::{AppBoot, Protocol, WorkerBoot},
    signals::SignalWord,
    stacks::ThreadStack,
};

/// Master to zygote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum ToZygote {
    /// The first message: load this app.
    Load(Box<AppBoot>),
    /// Fork a worker (double fork: its parent is the master). Descriptors: the worker's end of its channel, then the
    /// memfd that faulthandler writes to.
    Fork(WorkerBoot),
    /// Fork a mule or spooler in the same way. Descriptor: its end of its channel.
    ForkPost {
        /// Which.
        post: PostRef,
    },
    /// Put this into the queue of a mule, from 1, or into that of all.
    PutMessage {
        /// 0 is whichever takes it.
        mule: u32,
        /// It.
        message: String,
    },
    /// Exit; nothing is forked any more.
    Retire,
}

/// Zygote to master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum FromZygote {
    /// Ready to fork.
    Loaded {
        /// How long the import took, in ms (0 under `lazy-apps`).
        import_ms: u64,
        /// `major.minor.micro` of the interpreter.
        python: String,
        /// Threads that the app had started at import: the generation has fallen back to `lazy-apps` because of them.
        threads_at_import: Vec<String>,
    },
    /// The app cannot be loaded. The zygote exits after this.
    LoadFailed {
        /// One sentence.
        sentence: String,
        /// The traceback, when there is one; at most 16 KiB, its end kept.
        traceback: Option<String>,
    },
    /// The fork was carried out; the worker's own [`FromWorker::Up`] comes over its channel.
    Forked {
        /// Which.
        worker: WorkerRef,
        /// Its pid.
        pid: i32,
    },
    /// A mule or spooler was forked.
    PostForked {
        /// Which.
        post: PostRef,
        /// Its pid.
        pid: i32,
    },
    /// The fork of a mule or spooler failed.
    PostNotForked {
        /// Which.
        post: PostRef,
        /// One sentence.
        sentence: String,
    },
    /// What the app has said of uWSGI signals at import; before [`Self::Loaded`].
    Signals {
        /// It.
        word: SignalWord,
    },
    /// The fork failed.
    ForkFailed {
        /// Which.
        worker: WorkerRef,
        /// One sentence.
        sentence: String,
    },
}

/// Master to worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum ToWorker {
    /// Look at what the master has written into the scoreboard: whether stacks are asked for, and which requests are to be
    /// ended. Said over the channel for a thread that waits, and by [`Signals::attend`] for the main thread.
    Attend,
    /// Answer with [`FromWorker::Pong`] from the serving loop.
    Ping {
        /// Echoed.
        token: u64,
    },
    /// Register the listeners and accept from now on.
    OpenGate,
    /// Accept nothing and begin no request until [`Self::Resume`]: clients wait in the sockets' queues, and requests on
    /// connections that are open already wait there. What has begun is finished.
    Freeze,
    /// Accept again, if the gate is open.
    Resume,
    /// Stop accepting, send idle connections to the master ([`FromWorker::Handover`]), finish what is in flight,
    /// run Python's exit handlers and exit 0.
    Drain,
    /// Serve this connection: it was idle in another worker. Its descriptor, and for one whose [`FromWorker::Up`] said that it
    /// claims, a ticket: who cannot claim that has lost the connection to another.
    Adopt(Connection),
    /// The connection of this token was taken over: the sender's copy may be closed.
    Adopted {
        /// From [`FromWorker::Handover`].
        token: u64,
    },
    /// Nobody takes the connection of this token: serve it on, or close it when leaving (HTTP allows it while idle; RFC 9112
    /// section 9.5).
    NotAdopted {
        /// From [`FromWorker::Handover`].
        token: u64,
    },
}

/// Worker to master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum FromWorker {
    /// The worker runs; first message on its channel, and on the link to a successor master.
    Up {
        /// Who it is.
        worker: WorkerRef,
        /// Its pid (in the master's pid namespace).
        pid: i32,
        /// How it is reached while all its threads are inside the app.
        #[serde(default)]
        signals: Signals,
        /// Whether it claims what it is offered ([`ToWorker::Adopt`]).
        #[serde(default)]
        claims: bool,
    },
    /// What its threads do.
    Stacks {
        /// The number of the last asking that this answers.
        asked: u32,
        /// All that Python knows of; core and request are not filled in.
        threads: Vec<ThreadStack>,
    },
    /// A request has set itself a limit (`uwsgi.set_user_harakiri`): the scoreboard says when it ends.
    LimitSet,
    /// Under `lazy-apps`: the app is loaded in this worker.
    AppLoaded {
        /// How long the import took, in ms.
        import_ms: u64,
    },
    /// Under `lazy-apps`: it cannot be loaded. The worker exits after this.
    LoadFailed {
        /// One sentence.
        sentence: String,
        /// The traceback, when there is one.
        traceback: Option<String>,
    },
    /// The answer to [`ToWorker::Ping`]: the loop runs, the app is there.
    Pong {
        /// From the ping.
        token: u64,
    },
    /// The worker is to be replaced; it serves on until it is drained.
    RecycleAsked {
        /// Why. A worker that was started before this was said has served enough requests.
        #[serde(default = "requests")]
        why: RecycleReason,
        /// The same in words, with its numbers.
        #[serde(default)]
        detail: String,
    },
    /// The answer to [`ToWorker::Drain`]: no new connection is taken any more, and idle ones are on their way to the master.
    GateClosed,
    /// A connection of which nothing was read, from a worker that leaves or is stuck, for another. One descriptor; the sender keeps its copy until `Adopted` or `NotAdopted`.
    Handover {
        /// Chosen by the sender.
        token: u64,
        /// What must be known of it.
        connection: Connection,
    },
    /// This worker serves the adopted connection.
    AdoptedHere {
        /// From [`ToWorker::Adopt`]'s connection.
        token: u64,
    },
    /// The app called `uwsgi.reload()`, or `py-autoreload` saw a change.
    ReloadAsked,
    /// The app called `uwsgi.stop()`.
    StopAsked,
    /// The app called `uwsgi.alarm()`.
    AlarmRaised {
        /// The alarm.
        name: String,
        /// The message, at most [`crate::posts::ALARM_MESSAGE_MAX_BYTES`] of it.
        message: String,
    },
    /// Something about uWSGI signals, perhaps with a descriptor.
    Signals {
        /// It.
        word: SignalWord,
    },
}

/// Real-time signals by which a worker's master reaches it while all its threads are inside the app. None when the app
/// has taken the signal, or there is nothing to write to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signals {
    /// Python runs a handler on the main thread, as soon as that executes Python: [`ToWorker::Attend`]. System calls that
    /// it interrupts go on (SA_RESTART).
    pub ask: Option<i32>,
    /// The same, and what the main thread waits for is interrupted.
    pub attend: Option<i32>,
    /// A native handler answers the clients of struck requests with 504, whatever the threads do.
    pub farewell: Option<i32>,
    /// faulthandler writes the stack of every thread to the memfd that came with [`ToZygote::Fork`].
    pub dump: Option<i32>,
    /// Raised on the main thread of a worker that was told to drain and has not done so yet: it gives its idle connections away
    /// though its threads are inside the app.
    #[serde(default)]
    pub relieve: Option<i32>,
}

fn requests() -> RecycleReason {
    RecycleReason::Requests
}

/// An idle keep-alive connection on its way to another worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Chosen by whoever sends the message; unique there.
    pub token: u64,
    /// The canonical address of the listener it came from.
    pub listener: String,
    /// Requests served on it so far.
    pub requests: u64,
    /// What is spoken on it, should its listener be gone; None from workers that were started before this was said.
    #[serde(default)]
    pub protocol: Option<Protocol>,
    /// What its PROXY protocol header said, which comes only once.
    #[serde(default)]
    pub proxied: Option<Proxied>,
    /// Its listener asked for no such header when it was accepted: none will come.
    #[serde(default)]
    pub has_no_proxy_header: bool,
}

/// What a PROXY protocol header said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxied {
    /// The client; None when it is the other end of the connection.
    pub client: Option<SocketAddr>,
    /// Whether the client came over TLS.
    pub is_https: bool,
}

/// The first message on a link, from whoever connects to a master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "i_am", rename_all = "snake_case")]
pub enum Introduction {
    /// The brain: [`crate::link`] is spoken from here on.
    Brain {
        /// Of the protocol; a master that does not know it says so and closes.
        version: u32,
    },
    /// A gateway whose master died: [`crate::gateway`] is spoken from here on. Its listeners come with the message as
    /// descriptors, in the order of `listeners`, for a successor that has none.
    OrphanedGateway {
        /// The canonical addresses of the listeners it serves.
        #[serde(default)]
        listeners: Vec<String>,
    },
    /// A worker whose master died: this module is spoken from here on. Its listeners come with the message as
    /// descriptors, in the order of `listeners`, for a successor that has none.
    OrphanedWorker {
        /// Who it is.
        worker: WorkerRef,
        /// Its pid.
        pid: i32,
        /// The generation it belongs to.
        generation: GenerationId,
        /// The canonical addresses of the listeners it serves.
        listeners: Vec<String>,
    },
}

impl Introduction {
    /// Whether it is one of those that a master has left behind.
    #[must_use]
    pub fn is_left_behind(&self) -> bool {
        match self {
            Introduction::Brain { .. } => false,
            Introduction::OrphanedGateway { .. } | Introduction::OrphanedWorker { .. } => true,
        }
    }
}
