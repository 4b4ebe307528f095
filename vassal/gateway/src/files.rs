//! Certificate and key files: by their path, or by a descriptor from somebody who was allowed to open them.

use std::{
    collections::BTreeMap,
    fs::{File, Metadata, OpenOptions},
    io::{self, ErrorKind, Read},
    os::{
        fd::OwnedFd,
        unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use nix::fcntl::OFlag;
use zeroize::Zeroizing;

use crate::limits::FILE_MAX_BYTES;

/// What tells one content of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    device: u64,
    inode: u64,
    size: u64,
    mtime_ns: i128,
    ctime_ns: i128,
}

/// Where files come from.
#[derive(Debug)]
pub(crate) struct Files {
    given: BTreeMap<PathBuf, File>,
}

impl Files {
    /// With these opened already.
    pub(crate) fn new(given: Vec<(PathBuf, OwnedFd)>) -> Self {
        let mut files = Self { given: BTreeMap::new() };
        files.take(given.into_iter());
        files
    }

    /// Takes more of them, in the place of earlier ones.
    pub(crate) fn take(&mut self, given: impl Iterator<Item = (PathBuf, OwnedFd)>) {
        self.given.extend(given.map(|(path, file)| (path, file.into())));
    }

    /// The content; wiped from memory when it is dropped.
    ///
    /// # Errors
    /// One sentence that names the file.
    pub(crate) fn read(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
        let failed = |error: io::Error| format!("{} cannot be read: {error}", path.display());
        let file = self.open(path).map_err(failed)?;
        let facts = file.metadata().map_err(failed)?;
        if !facts.is_file() {
            return Err(format!("{} is no regular file", path.display()));
        }
        if facts.len() > FILE_MAX_BYTES {
            return Err(format!("{} is longer than {FILE_MAX_BYTES} bytes", path.display()));
        }
        // All of its room at once: a vector that grows leaves copies behind.
        let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(facts.len()).unwrap_or(0) + 1));
        Whole { file: &file, offset: 0 }.take(FILE_MAX_BYTES).read_to_end(&mut content).map_err(failed)?;
        Ok(content)
    }

    /// What can be seen of it; None when it cannot be found.
    pub(crate) fn facts(&self, path: &Path) -> Option<Facts> {
        self.open(path).and_then(|file| file.metadata()).ok().map(|facts| Facts::of(&facts))
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        // A FIFO would be waited for without end.
        let opened =
            OpenOptions::new().read(true).custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits()).open(path);
        match (opened, self.given.get(path)) {
            (Err(error), Some(given)) if error.kind() == ErrorKind::PermissionDenied => given.try_clone(),
            (opened, _) => opened,
        }
    }
}

impl Facts {
    fn of(facts: &Metadata) -> Self {
        let nanoseconds = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
        Self {
            device: facts.dev(),
            inode: facts.ino(),
            size: facts.size(),
            mtime_ns: nanoseconds(facts.mtime(), facts.mtime_nsec()),
            ctime_ns: nanoseconds(facts.ctime(), facts.ctime_nsec()),
        }
    }
}

/// From the beginning, whatever the descriptor's own offset is: its other holders share that.
struct Whole<'f> {
    file: &'f File,
    offset: u64,
}

impl Read for Whole<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read_at(room, self.offset)?;
        self.offset += length as u64;
        Ok(length)
    }
}
