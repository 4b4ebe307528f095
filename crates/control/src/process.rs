//! What a zygote and its workers are to be like, and what they do around the app. What the options mean is `empery-config`'s.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// All of it. A 0 is no limit, or leaves it to the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// `limit-as`, in bytes.
    pub address_space_max_bytes: u64,
    /// `limit-nproc`.
    pub processes_max: u64,
    /// `max-fd`.
    pub descriptors_max: u64,
    /// `prio`.
    pub priority: u32,
    /// `cpu-affinity`.
    pub cpus_per_worker: u32,
    /// `thread-stacksize`, in bytes.
    pub thread_stack_bytes: u64,
    /// `socket-sndbuf`, in bytes.
    pub send_buffer_bytes: u32,
    /// `socket-rcvbuf`, in bytes.
    pub receive_buffer_bytes: u32,
    /// `so-keepalive`.
    pub keepalive: bool,
    /// `tcp-fast-open`.
    pub fast_open: u32,
    /// `post-buffering`, in bytes: a body is read before the app is called, into a file when it is as long as this.
    pub body_to_file_bytes: u64,
    /// `harakiri-no-arh`: `harakiri` does not limit what the app calls after a request (`uwsgi.after_req_hook`).
    #[serde(default)]
    pub hook_is_unlimited: bool,
    /// Before the apps are loaded.
    pub pre_app: Vec<Hook>,
    /// After.
    pub post_app: Vec<Hook>,
    /// In each worker.
    pub post_fork: Vec<Hook>,
    /// In each worker that begins to accept.
    pub accepting: Vec<AcceptingHook>,
    /// In each mule.
    #[serde(default)]
    pub as_mule: Vec<Hook>,
    /// Before anything of the app is loaded, in this order.
    #[serde(default)]
    pub waits: Vec<Wait>,
}

/// Something that there must be before the app is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// What.
    pub awaited: Awaited,
    /// For how many seconds it may be missing.
    pub within_s: u64,
}

/// What can be waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Awaited {
    /// A network interface of this name.
    Interface(String),
    /// Anything at this path.
    Path(PathBuf),
    /// A directory on another file system than the one above it.
    MountPoint(PathBuf),
    /// A socket that takes connections: `HOST:PORT`, a path, or `@NAME`.
    Socket(String),
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// The name that uWSGI has for it, such as `exec`.
    pub action: String,
    /// With what.
    pub argument: String,
}

/// Something to do when a worker begins to accept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptingHook {
    /// What.
    pub hook: Hook,
    /// By worker 1 only (`accepting1`).
    pub first_worker_only: bool,
    /// Not by a worker that replaces another (`accepting-once`).
    pub once: bool,
}
