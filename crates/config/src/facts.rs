//! What the dialect must know of the machine, supplied by the caller so that parsing stays pure.

use std::collections::BTreeMap;

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

/// Other files, for `ini = FILE` and `include`.
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
}

/// No other files: every read answers that there is none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _path: &str) -> Result<Vec<u8>, FileError> {
        Err(FileError::NotFound)
    }
}
