//! What processes of a vassal are like and what they do around the app: limits, priorities, options of sockets, hooks.

use serde::{Deserialize, Serialize};

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// Limits of the processes that run the app.
    pub limits: Limits,
    /// Options of the listening sockets.
    pub sockets: SocketOptions,
    /// `hook-…`, and after those of the same moment `exec-…`, in order.
    pub hooks: Vec<Hook>,
}

impl Runtime {
    /// What is to be done at a moment.
    pub fn hooks_at(&self, moment: Moment) -> impl Iterator<Item = &Hook> {
        self.hooks.iter().filter(move |hook| hook.moment == moment)
    }
}

/// A 0 is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// `limit-as`, in bytes (RLIMIT_AS).
    pub address_space_max_bytes: u64,
    /// `limit-nproc` (RLIMIT_NPROC).
    pub processes_max: u64,
    /// `max-fd` (RLIMIT_NOFILE).
    pub descriptors_max: u64,
    /// `prio`: the nice value.
    pub priority: u32,
    /// `cpu-affinity`: how many CPUs each worker is bound to.
    pub cpus_per_worker: u32,
    /// `thread-stacksize`, in bytes.
    pub thread_stack_bytes: u64,
}

/// A 0 leaves it to the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketOptions {
    /// `socket-sndbuf`, in bytes (SO_SNDBUF).
    pub send_buffer_bytes: u32,
    /// `socket-rcvbuf`, in bytes (SO_RCVBUF).
    pub receive_buffer_bytes: u32,
    /// `so-keepalive` (SO_KEEPALIVE).
    pub keepalive: bool,
    /// `tcp-fast-open`: the length of its queue (TCP_FASTOPEN).
    pub fast_open: u32,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// When.
    pub moment: Moment,
    /// What: one of [`ACTIONS`].
    pub action: String,
    /// With what.
    pub argument: String,
}

/// When something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// First of all.
    Asap,
    /// Before and in a jail, which there is none of: before sockets are bound.
    PreJail,
    /// See `PreJail`: after sockets are bound.
    InJail,
    /// With the privileges of the start, only if those are root's.
    AsRoot,
    /// After privileges are dropped.
    AsUser,
    /// Before the master begins to watch.
    MasterStart,
    /// Before the apps are loaded.
    PreApp,
    /// After.
    PostApp,
    /// In each worker.
    PostFork,
    /// In each worker that begins to accept.
    Accepting,
    /// In worker 1 of these.
    AcceptingFirst,
    /// In each worker the first time.
    AcceptingOnce,
    /// In worker 1 the first time.
    AcceptingFirstOnce,
    /// When the vassal stops, by the master.
    AsUserAtExit,
    /// In each mule.
    AsMule,
    /// When a file has changed, by the master (`hook-touch`).
    Touch,
}

/// What can be done (core/hooks.c).
pub const ACTIONS: [&str; 20] = [
    "append", "appendn", "cd", "chdir", "chmod", "chown", "chown2", "creat", "create", "exec", "exit", "log", "mkdir",
    "print", "putenv", "safeexec", "sticky", "unlink", "write", "writen",
];
