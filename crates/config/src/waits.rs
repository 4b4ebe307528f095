//! What an app waits for before it is loaded (`wait-for-…`).

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// One thing, and for how long it may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// What.
    pub awaited: Awaited,
    /// `wait-for-…-timeout`, 60 s.
    pub within: Duration,
}

/// What can be waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Awaited {
    /// A network interface of this name.
    Interface(String),
    /// Anything at this path: `wait-for-fs`, `wait-for-file` and `wait-for-dir` are one list in uWSGI (core/uwsgi.c).
    Path(PathBuf),
    /// A directory on another file system than the one above it.
    MountPoint(PathBuf),
    /// A socket that takes connections: `HOST:PORT`, or a path.
    Socket(String),
}
