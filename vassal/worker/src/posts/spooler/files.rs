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
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    sys::{stat::futimens, time::TimeSpec},
};

use crate::{os, uwsgi_module};

/// How often it is said that a task or a directory cannot be read.
const COMPLAINS_EVERY_NS: u64 = 60_000_000_000;

/// A task that is locked, as long as this lives.
pub(super) struct Claimed {
    file: File,
    /// What it holds.
    pub(super) bytes: Vec<u8>,
}

/// Every task that is due: whose time has come. In the order of their names, priorities first.
pub(super) fn due(directory: &Path) -> Vec<PathBuf> {
    let mut names: Vec<String> = match fs::read_dir(directory) {
        Ok(entries) => entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect(),
        Err(error) => {
            complain(directory, &error);
            Vec::new()
        }
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

/// Takes a task, unless somebody else has it. What stays for another reason is told.
pub(super) fn claim(path: &Path) -> Option<Claimed> {
    match try_claim(path) {
        Ok(claimed) => claimed,
        // Somebody has done it in the meantime.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            complain(path, &error);
            None
        }
    }
}

fn try_claim(path: &Path) -> io::Result<Option<Claimed>> {
    let file = File::options().read(true).write(true).open(path)?;
    match lock(&file, libc::F_WRLCK) {
        Err(Errno::EAGAIN | Errno::EACCES) => return Ok(None),
        done => done?,
    }
    let mut claimed = Claimed { file, bytes: Vec::new() };
    // Whoever had it may have removed it while we waited for nothing.
    let (ours, named) = (claimed.file.metadata()?, fs::symlink_metadata(path)?);
    if (ours.dev(), ours.ino()) != (named.dev(), named.ino()) {
        return Ok(None);
    }
    claimed.file.read_to_end(&mut claimed.bytes)?;
    Ok(Some(claimed))
}

/// The lock of uWSGI's spooler (`uwsgi_fcntl_lock`), of the whole file, which holds against that one too, but belongs to the
/// open file (fcntl(2), F_OFD_SETLK): a task that opens and closes its own file does not give it back.
fn lock(file: &File, kind: libc::c_int) -> nix::Result<()> {
    let whole = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&whole)).map(drop)
}

impl Drop for Claimed {
    fn drop(&mut self) {
        // A child of the task that still runs has the same open file, and would keep the lock.
        let _ = lock(&self.file, libc::F_UNLCK);
    }
}

fn complain(path: &Path, error: &io::Error) {
    static NEXT_NS: AtomicU64 = AtomicU64::new(0);
    let now_ns = os::monotonic_ns();
    if now_ns >= NEXT_NS.load(Ordering::Relaxed) {
        NEXT_NS.store(now_ns + COMPLAINS_EVERY_NS, Ordering::Relaxed);
        let text = format!("[spooler] {} cannot be read and stays: {error}\n", path.display());
        os::write_stderr(text.as_bytes());
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_opens_its_own_file_stays_locked_until_it_is_done() {
        let directory = std::env::temp_dir().join(format!("empery-spool-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join(format!("{PREFIX}task"));
        fs::write(&path, b"task").unwrap();
        let claimed = claim(&path).unwrap();
        assert_eq!(claimed.bytes, b"task");
        drop(File::open(&path).unwrap());
        // A traditional lock, as uWSGI's spooler takes it, belongs to the process: here it stands for another one.
        let other = File::options().read(true).write(true).open(&path).unwrap();
        let whole = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        let as_uwsgi = || fcntl(other.as_fd(), FcntlArg::F_SETLK(&whole)).map(drop);
        assert_eq!(as_uwsgi(), Err(Errno::EAGAIN));
        assert!(claim(&path).is_none());
        let inherited = claimed.file.try_clone().unwrap();
        drop(claimed);
        assert_eq!(as_uwsgi(), Ok(()), "although a child has the file still");
        drop((inherited, other));
        assert!(claim(&path).is_some());
        fs::remove_dir_all(directory).unwrap();
    }
}
