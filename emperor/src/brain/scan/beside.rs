//! What the dialect asks of the machine when the brain reads a vassal file: included files, what stands in a directory,
//! names of hosts. As the brain's user; a relative path starts in the vassals directory, as the master's will. No command
//! is run: a vassal file is its owner's, who may not be allowed what the brain is.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::Read,
    net::SocketAddr,
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::mpsc,
    time::Duration,
};

use empery_config::facts::{FileError, FileKind, Files, Reader};
use empery_lifecycle::fleet::Identity;

use super::reading::FILE_MAX_BYTES;
use crate::tyrant;

/// How long a host's address is waited for; the other vassals' files wait as well.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(crate) struct BesideVassals<'d> {
    pub(crate) directory: &'d Path,
    /// Under a tyrant, the owner of the vassal's file: what he could not read himself is not read for him.
    pub(crate) reads_for: Option<Identity>,
}

impl BesideVassals<'_> {
    /// Opens what is there with its facts, when the owner of the vassal's file could see it himself.
    fn open(&self, path: &str, flags: libc::c_int) -> Result<(File, Metadata), FileError> {
        let opened = || {
            // A FIFO would be waited for without end.
            let flags = flags | libc::O_NONBLOCK | libc::O_NOCTTY;
            let file = OpenOptions::new().read(true).custom_flags(flags).open(self.directory.join(path))?;
            let facts = file.metadata()?;
            let seen = match self.reads_for {
                None => true,
                Some(owner) => can_reach(owner, &file)?,
            };
            Ok((file, facts, seen))
        };
        match opened() {
            Ok((file, facts, true)) => Ok((file, facts)),
            Ok((_, _, false)) => Err(unreadable()),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Whether the owner of the vassal's file may read what has these facts.
    fn may_read(&self, facts: &Metadata) -> bool {
        self.reads_for.is_none_or(|owner| tyrant::may_read(owner, facts.uid(), facts.mode()))
    }

    /// Under a tyrant nothing is told apart: whether there is a file is as little the owner's business as what is in it.
    fn failed(&self, error: &std::io::Error) -> FileError {
        match error.kind() {
            _ if self.reads_for.is_some() => unreadable(),
            std::io::ErrorKind::NotFound => FileError::NotFound,
            _ => FileError::Other(error.to_string()),
        }
    }
}

fn unreadable() -> FileError {
    FileError::Other("it is not there, or not readable by the owner of the vassal's file".to_owned())
}

/// Whether the user may pass through every directory above what was opened, wherever links have led.
fn can_reach(owner: Identity, file: &File) -> std::io::Result<bool> {
    let place = std::fs::read_link(own_path(file))?;
    let mut above = place.ancestors().skip(1).map(std::fs::metadata);
    above.try_fold(true, |all, directory| {
        directory.map(|directory| all && tyrant::may_pass(owner, directory.uid(), directory.mode()))
    })
}

/// The descriptor's own path (proc(5)): nothing can be put in its place.
fn own_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

impl Files for BesideVassals<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let (file, facts) = self.open(path, 0)?;
        if !self.may_read(&facts) {
            return Err(unreadable());
        }
        if !facts.is_file() {
            return Err(FileError::Other("it is no regular file".to_owned()));
        }
        let mut content = Vec::new();
        file.take(FILE_MAX_BYTES + 1).read_to_end(&mut content).map_err(|error| self.failed(&error))?;
        if content.len() as u64 > FILE_MAX_BYTES {
            return Err(FileError::Other(format!("it is longer than {FILE_MAX_BYTES} bytes")));
        }
        Ok(content)
    }

    fn inode(&self, path: &str) -> u64 {
        self.open(path, libc::O_PATH | libc::O_NOFOLLOW).map_or(0, |(_, facts)| facts.ino())
    }

    fn real_path(&self, path: &str) -> String {
        let real = self.open(path, libc::O_PATH).ok().and_then(|(file, _)| std::fs::read_link(own_path(&file)).ok());
        real.map_or_else(|| path.to_owned(), |real| real.to_string_lossy().into_owned())
    }

    fn kind(&self, path: &str) -> Option<FileKind> {
        let (_, facts) = self.open(path, libc::O_PATH).ok()?;
        Some(match (facts.is_file(), facts.is_dir()) {
            (true, _) => FileKind::File,
            (_, true) => FileKind::Directory,
            _ => FileKind::Other,
        })
    }

    fn is_readable(&self, path: &str) -> bool {
        let seen = self.open(path, libc::O_PATH);
        seen.is_ok_and(|(file, facts)| {
            self.may_read(&facts) && nix::unistd::access(&own_path(&file), nix::unistd::AccessFlags::R_OK).is_ok()
        })
    }

    fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
        let (directory, facts) = self.open(path, libc::O_DIRECTORY)?;
        if !self.may_read(&facts) {
            return Err(unreadable());
        }
        let entries = std::fs::read_dir(own_path(&directory)).map_err(|error| self.failed(&error))?;
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

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn c19_what_the_owner_of_a_vassal_s_file_cannot_read_is_not_read_for_him_or_told_from_what_is_not_there() {
        let room = std::env::temp_dir().join(format!("empery-beside-{}", std::process::id()));
        std::fs::create_dir_all(room.join("closed")).unwrap();
        let mode = |name: &str, mode| std::fs::set_permissions(room.join(name), Permissions::from_mode(mode)).unwrap();
        for name in ["open.txt", "secret.txt", "closed/open.txt"] {
            std::fs::write(room.join(name), "text").unwrap();
            mode(name, 0o644);
        }
        std::os::unix::fs::symlink(room.join("secret.txt"), room.join("link.txt")).unwrap();
        mode("secret.txt", 0o600);
        mode("closed", 0o700);
        mode("", 0o755);
        let other = Identity { uid: nix::unistd::geteuid().as_raw() + 4242, gid: 4242 };
        let his = BesideVassals { directory: &room, reads_for: Some(other) };
        assert_eq!(his.read("open.txt").unwrap(), b"text");
        assert!(his.is_readable("open.txt") && his.inode("open.txt") != 0 && his.list("").is_ok());
        let missing = his.read("missing.txt").unwrap_err().to_string();
        assert!(missing.contains("not readable by the owner of the vassal's file"), "{missing}");
        for hidden in ["secret.txt", "link.txt", "closed/open.txt"] {
            assert_eq!(his.read(hidden).unwrap_err().to_string(), missing, "{hidden}");
            assert!(!his.is_readable(hidden), "{hidden}");
        }
        assert_eq!((his.kind("closed/open.txt"), his.inode("closed/open.txt")), (None, 0));
        assert_eq!(his.real_path("closed/open.txt"), "closed/open.txt");
        assert!(his.list("closed").is_err());
        let anybody = BesideVassals { directory: &room, reads_for: None };
        assert_eq!(anybody.read("link.txt").unwrap(), b"text");
        assert!(matches!(anybody.read("missing.txt"), Err(FileError::NotFound)));
        std::fs::remove_dir_all(room).unwrap();
    }
}
