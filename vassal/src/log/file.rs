//! A log file that is appended to, rotated by size and reopened on request. Rotation is a rename and a new file, so a
//! reader that follows the old one reads it to its end.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Longest line, in bytes: a longer one is broken, so that whoever reads the file by lines is not flooded.
const LINE_MAX_BYTES: usize = 64 * 1024;

/// Permission bits of a new log file, as uWSGI's `logto` has them.
const MODE: u32 = 0o640;

/// What happens to the full file.
#[derive(Debug, Clone)]
pub(crate) enum Retired {
    /// It takes this name; what had the name before is gone.
    Named(PathBuf),
    /// It takes its own name with the time in unix seconds behind it, as uWSGI's `log-maxsize` does.
    Stamped,
}

/// See the module.
pub(crate) struct LogFile {
    path: PathBuf,
    max_bytes: u64,
    retired: Retired,
    /// None while it cannot be opened: what comes is counted as lost.
    file: Option<File>,
    size_bytes: u64,
    line_bytes: usize,
    lost_bytes: u64,
}

impl LogFile {
    /// Opens (or creates) the file for appending.
    pub(crate) fn open(path: PathBuf, max_bytes: u64, retired: Retired) -> io::Result<Self> {
        let (file, size_bytes) = open(&path)?;
        Ok(Self { path, max_bytes, retired, file: Some(file), size_bytes, line_bytes: 0, lost_bytes: 0 })
    }

    /// Appends bytes; breaks overlong lines; rotates at the end of a line once the file is full.
    pub(crate) fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = LINE_MAX_BYTES - self.line_bytes;
            let window = &bytes[..bytes.len().min(room)];
            let taken = match window.iter().rposition(|byte| *byte == b'\n') {
                Some(newline) => {
                    self.line_bytes = 0;
                    self.put(&window[..=newline]);
                    newline + 1
                }
                None if window.len() == room => {
                    self.line_bytes = 0;
                    self.put(window);
                    self.put(b"\n");
                    window.len()
                }
                None => {
                    self.line_bytes += window.len();
                    self.put(window);
                    window.len()
                }
            };
            bytes = &bytes[taken..];
            if self.line_bytes == 0 && self.size_bytes >= self.max_bytes {
                self.rotate();
            }
        }
    }

    /// Closes the file and opens whatever has its name now.
    pub(crate) fn reopen(&mut self) {
        match open(&self.path) {
            Ok((file, size_bytes)) => (self.file, self.size_bytes) = (Some(file), size_bytes),
            Err(_) => self.file = None,
        }
    }

    fn rotate(&mut self) {
        let target = match &self.retired {
            Retired::Named(path) => path.clone(),
            Retired::Stamped => stamped(&self.path),
        };
        // A rename that fails (read-only directory) leaves one growing file, which is better than none.
        if std::fs::rename(&self.path, target).is_ok() {
            self.reopen();
        } else {
            self.size_bytes = 0;
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        if self.file.is_none() {
            self.reopen();
        }
        let Some(file) = &mut self.file else {
            self.lost_bytes += bytes.len() as u64;
            return;
        };
        if self.lost_bytes > 0 {
            let note =
                format!("*** {} bytes of this log were lost while it could not be written ***\n", self.lost_bytes);
            if file.write_all(note.as_bytes()).is_ok() {
                self.lost_bytes = 0;
            }
        }
        match file.write_all(bytes) {
            Ok(()) => self.size_bytes += bytes.len() as u64,
            Err(_) => self.lost_bytes += bytes.len() as u64,
        }
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().append(true).create(true).mode(MODE).open(path)?;
    let size_bytes = file.metadata()?.len();
    Ok((file, size_bytes))
}

fn stamped(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", crate::clock::unix_s()));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> PathBuf {
        let place = std::env::temp_dir().join(format!("empery-log-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&place);
        std::fs::create_dir_all(&place).unwrap();
        place
    }

    #[test]
    fn a_full_file_is_renamed_at_the_end_of_a_line_and_nothing_is_lost() {
        let place = place("rotates");
        let (path, old) = (place.join("current.log"), place.join("previous.log"));
        let mut log = LogFile::open(path.clone(), 8, Retired::Named(old.clone())).unwrap();
        log.append(b"one\ntwo\nthr");
        log.append(b"ee\nfour\n");
        let whole = std::fs::read_to_string(old).unwrap() + &std::fs::read_to_string(path).unwrap();
        assert!(whole.ends_with("three\nfour\n"), "{whole:?}");
        let _ = std::fs::remove_dir_all(place);
    }

    #[test]
    fn a_line_without_an_end_is_broken() {
        let place = place("breaks");
        let path = place.join("current.log");
        let mut log = LogFile::open(path.clone(), u64::MAX, Retired::Stamped).unwrap();
        log.append(&vec![b'x'; LINE_MAX_BYTES + 10]);
        log.append(b"\n");
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text.lines().map(str::len).collect::<Vec<_>>(), [LINE_MAX_BYTES, 10]);
        let _ = std::fs::remove_dir_all(place);
    }

    #[test]
    fn a_moved_file_is_followed_only_after_reopening() {
        let place = place("reopens");
        let path = place.join("current.log");
        let mut log = LogFile::open(path.clone(), u64::MAX, Retired::Stamped).unwrap();
        log.append(b"one\n");
        std::fs::rename(&path, place.join("moved")).unwrap();
        log.append(b"two\n");
        log.reopen();
        log.append(b"three\n");
        assert_eq!(std::fs::read_to_string(place.join("moved")).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(path).unwrap(), "three\n");
        let _ = std::fs::remove_dir_all(place);
    }
}
