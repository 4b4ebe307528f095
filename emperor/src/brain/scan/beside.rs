//! What the dialect asks of the machine when the brain reads a vassal file: included files, what stands in a directory,
//! names of hosts. As the brain's user; a relative path starts in the vassals directory, as the master's will. No command
//! is run: a vassal file is its owner's, who may not be allowed what the brain is.

use std::{net::SocketAddr, path::Path, sync::mpsc, time::Duration};

use empery_config::facts::{FileError, FileKind, Files, Reader};

use super::reading::FILE_MAX_BYTES;

/// How long a host's address is waited for; the other vassals' files wait as well.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(crate) struct BesideVassals<'d> {
    pub(crate) directory: &'d Path,
}

impl Files for BesideVassals<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        use std::{io::Read, os::unix::fs::OpenOptionsExt};
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => FileError::NotFound,
            _ => FileError::Other(error.to_string()),
        };
        // A FIFO would be waited for without end.
        let file = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(self.directory.join(path))
            .map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(FileError::Other("it is no regular file".to_owned()));
        }
        let mut content = Vec::new();
        file.take(FILE_MAX_BYTES + 1).read_to_end(&mut content).map_err(failed)?;
        if content.len() as u64 > FILE_MAX_BYTES {
            return Err(FileError::Other(format!("it is longer than {FILE_MAX_BYTES} bytes")));
        }
        Ok(content)
    }

    fn inode(&self, path: &str) -> u64 {
        use std::os::unix::fs::MetadataExt;
        std::fs::symlink_metadata(self.directory.join(path)).map_or(0, |facts| facts.ino())
    }

    fn real_path(&self, path: &str) -> String {
        std::fs::canonicalize(self.directory.join(path))
            .map_or_else(|_| path.to_owned(), |real| real.to_string_lossy().into_owned())
    }

    fn kind(&self, path: &str) -> Option<FileKind> {
        let facts = std::fs::metadata(self.directory.join(path)).ok()?;
        Some(match (facts.is_file(), facts.is_dir()) {
            (true, _) => FileKind::File,
            (_, true) => FileKind::Directory,
            _ => FileKind::Other,
        })
    }

    fn is_readable(&self, path: &str) -> bool {
        nix::unistd::access(&self.directory.join(path), nix::unistd::AccessFlags::R_OK).is_ok()
    }

    fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
        let entries = std::fs::read_dir(self.directory.join(path)).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => FileError::NotFound,
            _ => FileError::Other(error.to_string()),
        })?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    fn run(&self, _command: &str) -> Result<Vec<u8>, FileError> {
        Err(FileError::Other("under an emperor no command is run to understand a vassal file".to_owned()))
    }

    /// A resolver that does not answer holds up a thread of its own and nobody else.
    fn resolve(&self, host: &str) -> Result<String, FileError> {
        use std::net::ToSocketAddrs;
        let (answer, answered) = mpsc::channel();
        let asked = (host.to_owned(), 0);
        std::thread::spawn(move || {
            let found = asked.to_socket_addrs().map_err(|error| FileError::Other(error.to_string()));
            // Nobody waits any more when this comes too late.
            let _ = answer.send(found.map(|mut all| all.find(SocketAddr::is_ipv4)));
        });
        match answered.recv_timeout(RESOLVE_DEADLINE) {
            Ok(found) => found?.map(|address| address.ip().to_string()),
            Err(_) => return Err(FileError::Other(format!("no answer within {} s", RESOLVE_DEADLINE.as_secs()))),
        }
        .ok_or_else(|| FileError::Other("it has no IPv4 address".to_owned()))
    }

    fn reader(&self) -> Reader {
        Reader::Planner
    }
}
