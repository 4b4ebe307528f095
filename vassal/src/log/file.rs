//! A log file that is appended to, rotated by size and time, and opened again when something else has its name. Rotation is
//! a rename and a new file, so a reader that follows the old one reads it to its end.

use std::{
    fs::{File, OpenOptions, Permissions},
    io::{self, Write},
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use empery_config::vassal::Log as Configured;
use nix::fcntl::OFlag;

use super::lines::{Kind, Shape};
pub(crate) use super::retire::Retired;

/// Permission bits of a new log file, as uWSGI's `logto` has them.
const MODE: u32 = 0o640;

/// What becomes of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Care {
    /// It is rotated when it has so many bytes.
    pub(crate) max_bytes: u64,
    /// It is rotated when a multiple of so many seconds of unix time has gone by; 0 is never.
    pub(crate) rotate_every_s: u64,
    /// See [`Retired`].
    pub(crate) retired: Retired,
    /// Its permission bits, when they are said.
    pub(crate) mode: Option<u32>,
}

impl Care {
    /// As a configuration says; `unsaid` where it says nothing of size and names.
    pub(crate) fn of(config: &Configured, unsaid: Care) -> Care {
        let retired = match (config.keep, &config.backup_name) {
            (Some(keep), _) => Retired::Numbered { keep, compress: config.compress },
            (None, Some(name)) => Retired::Named(name.clone()),
            (None, None) => unsaid.retired,
        };
        Care {
            max_bytes: if config.max_bytes == 0 { unsaid.max_bytes } else { config.max_bytes },
            rotate_every_s: config.rotate_every_s,
            retired,
            mode: config.mode,
        }
    }

    /// A file that grows for ever and is stamped when it is rotated all the same: uWSGI's `logto`.
    pub(crate) fn none() -> Care {
        Care { max_bytes: u64::MAX, rotate_every_s: 0, retired: Retired::Stamped, mode: None }
    }
}

/// See the module.
pub(crate) struct LogFile {
    path: PathBuf,
    care: Care,
    file: File,
    size_bytes: u64,
    /// When its name was looked at last.
    looked_unix_s: u64,
    /// The period of `rotate_every_s` that it belongs to.
    period: u64,
    /// When it was rotated last because it was full.
    filled_unix_s: u64,
    lost_bytes: u64,
    is_mid_line: bool,
    /// It is this process's stdout and stderr, whatever its name comes to be.
    is_stderr: bool,
}

impl LogFile {
    /// Opens (or creates) the file for appending.
    pub(crate) fn open(path: PathBuf, care: Care) -> io::Result<Self> {
        let (file, size_bytes) = open(&path, &care)?;
        Ok(Self::of(path, care, file, size_bytes))
    }

    /// Goes on with the file that an earlier image of this process has as its stderr, or with the one that has its name by now, if
    /// that may be opened.
    ///
    /// # Errors
    /// When it can be opened under neither, the first.
    pub(crate) fn go_on(path: PathBuf, care: Care) -> io::Result<Self> {
        let (file, size_bytes) = open(&path, &care).or_else(|error| {
            let file = File::from(io::stderr().as_fd().try_clone_to_owned()?);
            let facts = file.metadata()?;
            if facts.is_file() { Ok((file, facts.len())) } else { Err(error) }
        })?;
        let mut log = Self::of(path, care, file, size_bytes);
        log.become_stderr()?;
        Ok(log)
    }

    fn of(path: PathBuf, care: Care, file: File, size_bytes: u64) -> Self {
        let now_unix_s = crate::clock::unix_s();
        // What was written in an earlier period is rotated at the first line of this one.
        let of_unix_s = file.metadata().map_or(now_unix_s, |facts| u64::try_from(facts.mtime()).unwrap_or(now_unix_s));
        let period = if size_bytes > 0 { care.period(of_unix_s) } else { care.period(now_unix_s) };
        Self {
            path,
            care,
            file,
            size_bytes,
            looked_unix_s: now_unix_s,
            period,
            filled_unix_s: 0,
            lost_bytes: 0,
            is_mid_line: false,
            is_stderr: false,
        }
    }

    /// Empties it (`log-truncate`).
    ///
    /// # Errors
    /// ftruncate(2).
    pub(crate) fn truncate(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.size_bytes = 0;
        Ok(())
    }

    /// Has it as this process's stdout and stderr, too, also when it is another file under the same name.
    ///
    /// # Errors
    /// dup2(2).
    pub(crate) fn become_stderr(&mut self) -> io::Result<()> {
        self.is_stderr = true;
        nix::unistd::dup2_stdout(&self.file)?;
        Ok(nix::unistd::dup2_stderr(&self.file)?)
    }

    /// Takes care of it otherwise from now on.
    pub(crate) fn set_care(&mut self, care: Care) {
        self.care = care;
    }

    /// Appends bytes; rotates at the end of a line once the file is full or old.
    pub(super) fn append(&mut self, bytes: &[u8], shape: Shape) {
        let now_unix_s = crate::clock::unix_s();
        if now_unix_s != self.looked_unix_s {
            self.looked_unix_s = now_unix_s;
            self.look();
        }
        if !self.is_mid_line && self.care.period(now_unix_s) != self.period {
            self.period = self.care.period(now_unix_s);
            if self.size_bytes > 0 {
                self.rotate();
            }
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            // The name that a full file gets may be the one of the last: within its second that would be overwritten.
            let may_rotate = self.care.retired.is_numbered() || self.filled_unix_s != now_unix_s;
            let end = self.full_after(rest).filter(|_| may_rotate).unwrap_or(rest.len());
            let (now, later) = rest.split_at(end);
            self.put(now, shape);
            if may_rotate && !self.is_mid_line && self.size_bytes >= self.care.max_bytes {
                self.filled_unix_s = now_unix_s;
                self.rotate();
            }
            rest = later;
        }
    }

    /// Behind which of these bytes the line ends that makes the file full. Whoever prints without end may never stop at the
    /// end of a line.
    fn full_after(&self, bytes: &[u8]) -> Option<usize> {
        let room = self.care.max_bytes.saturating_sub(self.size_bytes).saturating_sub(1);
        let room = usize::try_from(room).ok().filter(|room| *room < bytes.len())?;
        let line_end = bytes[room..].iter().position(|byte| *byte == b'\n')?;
        Some(room + line_end + 1)
    }

    /// Closes the file and opens whatever has its name now; when that cannot be opened (a directory that is gone, or was
    /// root's), the old one is better than none.
    pub(crate) fn reopen(&mut self) {
        if let Ok((file, size_bytes)) = open(&self.path, &self.care) {
            (self.file, self.size_bytes) = (file, size_bytes);
            if self.is_stderr {
                // What is said there by no code of ours goes to the old file otherwise.
                let _ = self.become_stderr();
            }
        }
    }

    /// Gives the file another name and begins a new one. Only of a plain file: `logto = /dev/null` is a device of the
    /// whole machine, and whoever reads a FIFO would wait for ever.
    pub(crate) fn rotate(&mut self) {
        if !self.file.metadata().is_ok_and(|facts| facts.is_file()) {
            self.size_bytes = 0;
            return;
        }
        // A rename that fails (read-only directory) leaves one growing file, which is better than none.
        if self.care.retired.retire(&self.path).is_ok() {
            self.reopen();
        } else {
            self.size_bytes = 0;
        }
    }

    /// Whoever has moved or removed the file (logrotate, an operator) wants another one; one that was cut short
    /// (copytruncate) is as long as it is now.
    fn look(&mut self) {
        let Ok(facts) = self.file.metadata() else { return };
        let id = |facts: &std::fs::Metadata| (facts.dev(), facts.ino());
        match std::fs::metadata(&self.path) {
            Ok(named) if id(&named) == id(&facts) => self.size_bytes = facts.len().min(self.size_bytes),
            Ok(_) => self.reopen(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.reopen(),
            Err(_) => {}
        }
    }

    fn put(&mut self, bytes: &[u8], shape: Shape) {
        if self.lost_bytes > 0 {
            let mut note = if self.is_mid_line { b"\n".to_vec() } else { Vec::new() };
            let text = format!("*** {} bytes of this log were lost while it could not be written ***", self.lost_bytes);
            shape.line(Kind::Vassal, text.as_bytes(), &mut note);
            match whole(&mut self.file, &note) {
                Ok(()) => (self.lost_bytes, self.is_mid_line) = (0, false),
                Err(()) => {
                    self.lost_bytes += bytes.len() as u64;
                    return;
                }
            }
            self.size_bytes += note.len() as u64;
        }
        match whole(&mut self.file, bytes) {
            Ok(()) => {
                self.size_bytes += bytes.len() as u64;
                self.is_mid_line = bytes.last().is_some_and(|last| *last != b'\n');
            }
            Err(()) => self.lost_bytes += bytes.len() as u64,
        }
    }
}

impl Care {
    fn period(&self, unix_s: u64) -> u64 {
        unix_s.checked_div(self.rotate_every_s).unwrap_or(0)
    }
}

/// All or nothing: a disk that was full in the middle leaves no half of a line behind.
fn whole(file: &mut File, bytes: &[u8]) -> Result<(), ()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match file.write(rest) {
            Ok(written @ 1..) => rest = &rest[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => {
                let written = (bytes.len() - rest.len()) as u64;
                if written > 0
                    && let Ok(facts) = file.metadata()
                    && facts.is_file()
                {
                    // Nobody else writes here; what cannot be taken back stays.
                    let _ = file.set_len(facts.len().saturating_sub(written));
                }
                return Err(());
            }
        }
    }
    Ok(())
}

fn open(path: &Path, care: &Care) -> io::Result<(File, u64)> {
    // A FIFO without a reader, or with one that does not read, must not hold this process up (open(2), O_NONBLOCK).
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(care.mode.unwrap_or(MODE))
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)?;
    let facts = file.metadata()?;
    if let Some(mode) = care.mode
        && facts.is_file()
        && facts.mode() & 0o777 != mode
    {
        // Somebody else's file is written to all the same.
        let _ = file.set_permissions(Permissions::from_mode(mode));
    }
    let size_bytes = if facts.is_file() { facts.len() } else { 0 };
    Ok((file, size_bytes))
}

#[cfg(test)]
mod tests;
