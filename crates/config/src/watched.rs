//! What the master keeps an eye on besides the files that reload it: files whose touch has something done, mount points,
//! descriptors.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::runtime::Hook;

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// `touch-exec`: a file, and what `/bin/sh -c` runs when it changes.
    pub commands: Vec<(PathBuf, String)>,
    /// `hook-touch`: a file, and what is done when it changes.
    pub hooks: Vec<(PathBuf, Hook)>,
    /// `check-mountpoint` and its other names: the vassal stops when one of these cannot be reached.
    pub mount_points: Vec<PathBuf>,
    /// `reload-on-fd`, `brutal-reload-on-fd`: inherited descriptors that reload when something can be read from them.
    pub descriptors: Vec<ReloadDescriptor>,
    /// Where commands run.
    pub directory: PathBuf,
}

/// `FD[:BYTES] [MESSAGE]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadDescriptor {
    /// Its number.
    pub number: i32,
    /// How many bytes are read each time; 8 for an eventfd(2).
    pub bytes: u32,
    /// For the log.
    pub message: Option<String>,
}
