//! What the dialect asks of the machine for an emperor's own configuration: who and where whoever typed the command is, his
//! environment, and the files that it names (`include`, `@(FILE)`, conditions). No command is run and no name looked up.

use std::{os::unix::fs::MetadataExt, path::Path};

use empery_config::facts::{Facts, FileError, FileKind, Files};
use nix::unistd::{Group, User, getegid, geteuid, gethostname};

use crate::brain::scan::reading::FILE_MAX_BYTES;

/// Facts about this process; all of its environment, since `UWSGI_…` variables are options of a command line.
pub(super) fn facts() -> Facts {
    let (uid, gid) = (geteuid(), getegid());
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    Facts {
        working_directory: std::env::current_dir().map_or_else(|_| "/".to_owned(), |path| text(path.into())),
        hostname: gethostname().map_or_else(|_| "localhost".to_owned(), text),
        cpu_cores: std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1)),
        uid: uid.as_raw(),
        user: User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name),
        gid: gid.as_raw(),
        group: Group::from_gid(gid).ok().flatten().map_or_else(|| gid.to_string(), |group| group.name),
        now_unix_us: std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_micros().try_into().unwrap_or(0)),
        environment: std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect(),
        environment_order: std::env::vars_os().map(|(name, _)| text(name)).collect(),
        ..Facts::default()
    }
}

/// See the module.
pub(super) struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        if std::fs::metadata(path).map_err(failed)?.len() > FILE_MAX_BYTES {
            return Err(FileError::Other(format!("it is longer than {FILE_MAX_BYTES} bytes")));
        }
        std::fs::read(path).map_err(failed)
    }

    fn inode(&self, path: &str) -> u64 {
        std::fs::symlink_metadata(path).map_or(0, |facts| facts.ino())
    }

    fn real_path(&self, path: &str) -> String {
        Path::new(path).canonicalize().map_or_else(|_| path.to_owned(), |real| real.to_string_lossy().into_owned())
    }

    fn kind(&self, path: &str) -> Option<FileKind> {
        let facts = std::fs::metadata(path).ok()?;
        Some(if facts.is_dir() {
            FileKind::Directory
        } else if facts.is_file() {
            FileKind::File
        } else {
            FileKind::Other
        })
    }

    fn is_readable(&self, path: &str) -> bool {
        nix::unistd::access(path, nix::unistd::AccessFlags::R_OK).is_ok()
    }

    fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
        let entries = std::fs::read_dir(path).map_err(failed)?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }
}

fn failed(error: std::io::Error) -> FileError {
    match error.kind() {
        std::io::ErrorKind::NotFound => FileError::NotFound,
        _ => FileError::Other(error.to_string()),
    }
}
