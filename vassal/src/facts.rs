//! What the configuration must know of this machine and process: the I/O side of `empery_config::facts`.

use std::{os::unix::fs::MetadataExt, path::Path};

use empery_config::facts::{Facts, FileError, Files};
use nix::unistd::{Gid, Group, Uid, User, getgid, getuid};

/// Largest configuration file that is read, in bytes (the emperor refuses larger vassal files too).
const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// Facts about this process. `working_directory` is what `%v` shows.
pub(crate) fn gather(working_directory: String) -> Facts {
    let (uid, gid) = (getuid(), getgid());
    Facts {
        working_directory,
        hostname: hostname(),
        cpu_cores: std::thread::available_parallelism()
            .map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX)),
        uid: uid.as_raw(),
        user: user_name(uid),
        gid: gid.as_raw(),
        group: group_name(gid),
        now_unix_us: crate::clock::unix_us(),
        environment: std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .collect(),
    }
}

/// The working directory as text; `/` when it cannot be found out (it was removed).
pub(crate) fn working_directory() -> String {
    std::env::current_dir().map_or_else(|_| "/".to_owned(), |path| path.to_string_lossy().into_owned())
}

/// The host's name, as uWSGI's `SERVER_NAME` and `%h` show it.
pub(crate) fn hostname() -> String {
    nix::unistd::gethostname().map_or_else(|_| "localhost".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn user_name(uid: Uid) -> String {
    User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

fn group_name(gid: Gid) -> String {
    Group::from_gid(gid).ok().flatten().map_or_else(|| gid.to_string(), |group| group.name)
}

/// Files of this machine, read with the identity of this process.
pub(crate) struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let other = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => FileError::NotFound,
            _ => FileError::Other(error.to_string()),
        };
        let metadata = std::fs::metadata(path).map_err(other)?;
        if metadata.is_dir() {
            return Err(FileError::Other("it is a directory".to_owned()));
        }
        if metadata.len() > FILE_MAX_BYTES {
            return Err(FileError::Other(format!("it is longer than {FILE_MAX_BYTES} bytes")));
        }
        std::fs::read(path).map_err(other)
    }

    fn inode(&self, path: &str) -> u64 {
        std::fs::symlink_metadata(path).map_or(0, |metadata| metadata.ino())
    }

    fn real_path(&self, path: &str) -> String {
        Path::new(path).canonicalize().map_or_else(|_| path.to_owned(), |real| real.to_string_lossy().into_owned())
    }
}
