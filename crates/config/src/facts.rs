//! What the dialect must know of the machine, supplied by the caller so that parsing stays pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::address::Address;

/// Facts for magic variables and `$(NAME)` (uWSGI docs, Configuration, "Magic variables").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// `%v`: the working directory of the process; for a vassal of an emperor the vassals directory.
    pub working_directory: String,
    /// `%h`.
    pub hostname: String,
    /// `%k`.
    pub cpu_cores: u32,
    /// `%u` and `%U`.
    pub uid: u32,
    /// See `uid`.
    pub user: String,
    /// `%g` and `%G`.
    pub gid: u32,
    /// See `gid`.
    pub group: String,
    /// `%T` (and `%t` in seconds): microseconds since 1970 at the start.
    pub now_unix_us: u64,
    /// The environment, for `$(NAME)` and `if-env`.
    pub environment: BTreeMap<String, String>,
    /// Its names as the process has them: `UWSGI_…` variables count in this order. Empty: in that of the alphabet.
    pub environment_order: Vec<String>,
    /// `if-reload`: the configuration is read again by a process that has served already.
    pub is_a_reload: bool,
    /// Where an emperor holds a socket for this vassal: it listens there whether or not it says so.
    pub on_demand: Option<String>,
    /// What the emperor says for all its vassals.
    pub common: Common,
    /// Listening sockets that this process was started with, for a vassal alone.
    pub inherited: Vec<Inherited>,
}

/// A listening socket that a process was started with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inherited {
    /// Its descriptor's number at the start.
    pub number: i32,
    /// Where it is bound.
    pub address: Address,
    /// It is bound to `[::]` and takes IPv4, too (ipv6(7), IPV6_V6ONLY).
    pub takes_ipv4: bool,
    /// It is served whether or not a line names it: systemd passed it, or it is the first descriptor.
    pub is_served: bool,
}

/// Options that an emperor gives every vassal, as uWSGI's puts them on the command line around the vassal's file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Common {
    /// `inherit`, `include` and `set` before the file, with their values.
    pub before: Vec<(String, String)>,
    /// `inherit` and `include` behind it.
    pub after: Vec<(String, String)>,
}

/// Why another file was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It is not there.
    #[error("there is no such file")]
    NotFound,
    /// Any other reason, in words.
    #[error("{0}")]
    Other(String),
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Anything else.
    Other,
}

/// Who reads, since the emperor plans for a vassal that may read what the emperor may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// Whoever runs the app: what cannot be read now will not be there.
    Runner,
    /// The emperor's brain: environment files that it may not read are the vassal's to read.
    Planner,
}

/// Other files, and what else of the machine a configuration may ask for. Paths are absolute.
pub trait Files {
    /// The content of `path`, which is relative to the working directory when it is not absolute.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError>;

    /// The inode number of `path` by lstat(2), for `%i`; 0 when unknown.
    fn inode(&self, _path: &str) -> u64 {
        0
    }

    /// The real path (realpath(3)) of `path`, for `%p` of an included file; `path` itself when unknown.
    fn real_path(&self, path: &str) -> String {
        path.to_owned()
    }

    /// What stands at `path`, links followed; None when nothing does. For `if-file`, `if-dir` and globs.
    fn kind(&self, _path: &str) -> Option<FileKind> {
        None
    }

    /// Whether `path` may be read (access(2) with R_OK), for `if-exists`.
    fn is_readable(&self, _path: &str) -> bool {
        false
    }

    /// The names in the directory `path`, for `for-glob` and `envdir`.
    ///
    /// # Errors
    /// When it cannot be read.
    fn list(&self, _path: &str) -> Result<Vec<String>, FileError> {
        Err(FileError::NotFound)
    }

    /// What `/bin/sh -c COMMAND` prints, for `exec://COMMAND`. Only where the command line is the caller's own.
    ///
    /// # Errors
    /// When it is not run, with the reason, or fails.
    fn run(&self, _command: &str) -> Result<Vec<u8>, FileError> {
        Err(FileError::Other("no command is run to understand a configuration".to_owned()))
    }

    /// The same for `@(exec://COMMAND)`, whose output is a value: nothing of the configuration's shape hangs on it.
    ///
    /// # Errors
    /// As for [`Files::run`].
    fn run_for_value(&self, command: &str) -> Result<Vec<u8>, FileError> {
        self.run(command)
    }

    /// What the descriptor `number` gives until its end, for `fd://N` and `-`. It can be had once: who answers keeps it for
    /// the next reading.
    ///
    /// # Errors
    /// When it is not read, with the reason.
    fn read_descriptor(&self, _number: i32) -> Result<Vec<u8>, FileError> {
        Err(FileError::Other("a descriptor is read by a vassal alone, which was started with it".to_owned()))
    }

    /// The IPv4 address of a host, for `resolve`.
    ///
    /// # Errors
    /// When it has none, or is not looked up.
    fn resolve(&self, _host: &str) -> Result<String, FileError> {
        Err(FileError::Other("names are not looked up here".to_owned()))
    }

    /// See [`Reader`].
    fn reader(&self) -> Reader {
        Reader::Runner
    }
}

/// No other files: every read answers that there is none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _path: &str) -> Result<Vec<u8>, FileError> {
        Err(FileError::NotFound)
    }
}
