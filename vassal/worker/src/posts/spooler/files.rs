//! Files of tasks: finding those that are due, taking one with uWSGI's lock, writing a new one.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::AsFd,
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use empery_wire::spool::{PREFIX, in_order};
use nix::{
    fcntl::{FcntlArg, fcntl},
    sys::{stat::futimens, time::TimeSpec},
};

use crate::{os, uwsgi_module};

/// A task that is locked, as long as this lives.
pub(super) struct Claimed {
    _file: File,
    /// What it holds.
    pub(super) bytes: Vec<u8>,
}

/// Every task that is due: whose time has come. In the order of their names, priorities first.
pub(super) fn due(directory: &Path) -> Vec<PathBuf> {
    let mut names: Vec<String> = match fs::read_dir(directory) {
        Ok(entries) => entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect(),
        Err(_) => Vec::new(),
    };
    names.sort_by(|one, other| in_order(one, other));
    let now = SystemTime::now();
    let mut due = Vec::new();
    for name in names {
        let is_priority = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        if !is_priority && !name.starts_with(PREFIX) {
            continue;
        }
        let path = directory.join(&name);
        let Ok(facts) = fs::symlink_metadata(&path) else { continue };
        if facts.is_dir() && is_priority {
            due.extend(self::due(&path));
        } else if facts.is_file() && facts.modified().is_ok_and(|at| at <= now) {
            due.push(path);
        }
    }
    due
}

/// Takes a task, unless somebody else has it.
pub(super) fn claim(path: &Path) -> Option<Claimed> {
    let mut file = File::options().read(true).write(true).open(path).ok()?;
    lock(&file).ok()?;
    // Whoever had it may have removed it while we waited for nothing.
    let (ours, named) = (file.metadata().ok()?, fs::symlink_metadata(path).ok()?);
    if (ours.dev(), ours.ino()) != (named.dev(), named.ino()) {
        return None;
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    Some(Claimed { _file: file, bytes })
}

/// The lock of uWSGI's spooler (`uwsgi_fcntl_lock`): of the whole file, for this process, until the file is closed.
fn lock(file: &File) -> nix::Result<()> {
    let whole = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file.as_fd(), FcntlArg::F_SETLK(&whole)).map(drop)
}

/// Removes a task; one that cannot be removed is told, since it will run again.
pub(super) fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        os::write_stderr(format!("[spooler] {} cannot be removed: {error}\n", path.display()).as_bytes());
    }
}

/// The tasks that lie in a directory, as uWSGI tells them.
pub(super) fn jobs(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let is_job = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_job).filter(|path| path.is_file()).collect()
}

/// Writes a task: under another name first, so that nobody sees a part of it. `at` is when it is due, in unix s.
///
/// # Errors
/// When the directory does not take it.
pub(super) fn write(directory: &Path, priority: Option<&str>, at: Option<i64>, bytes: &[u8]) -> io::Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let directory = match priority {
        Some(priority) => {
            let below = directory.join(priority);
            match fs::DirBuilder::new().mode(0o777).create(&below) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Ok(()) | Err(_) => below,
            }
        }
        None => directory.to_owned(),
    };
    let (count, now_ns) = (COUNT.fetch_add(1, Ordering::Relaxed) + 1, os::realtime_ns());
    let host = uwsgi_module::hostname();
    let name = format!(
        "{PREFIX}{}_{}_{count}_{}_{}_{}",
        String::from_utf8_lossy(&host),
        std::process::id(),
        now_ns % 1_000_000_007,
        now_ns / 1_000_000_000,
        now_ns / 1000 % 1_000_000
    );
    let (aside, path) = (directory.join(format!(".{name}")), directory.join(&name));
    let written = File::options().write(true).create_new(true).mode(0o600).open(&aside).and_then(|mut file| {
        file.write_all(bytes)?;
        if let Some(at) = at {
            let at = TimeSpec::new(at, 0);
            futimens(&file, &at, &at)?;
        }
        fs::rename(&aside, &path)
    });
    match written {
        Ok(()) => Ok(path),
        Err(error) => {
            // Perhaps it was never made.
            let _ = fs::remove_file(&aside);
            Err(error)
        }
    }
}
