//! Changes of files and directories (inotify(7)), one event after the other.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

/// What uWSGI looks for (core/event.c).
const CHANGES: u32 = libc::IN_ATTRIB
    | libc::IN_CREATE
    | libc::IN_DELETE
    | libc::IN_DELETE_SELF
    | libc::IN_MODIFY
    | libc::IN_MOVE_SELF
    | libc::IN_MOVED_FROM
    | libc::IN_MOVED_TO;

/// Watches for changes of one file or directory.
#[derive(Debug)]
pub struct Inotify(OwnedFd);

/// What was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changes {
    /// How many changes.
    pub number: usize,
    /// What was watched is no longer there under its name, or something else is.
    pub is_gone: bool,
}

impl Inotify {
    /// Nothing is watched yet.
    ///
    /// # Errors
    /// inotify_init1(2).
    pub fn new() -> io::Result<Self> {
        // SAFETY: flags only; the result is a new descriptor or -1.
        let raw = unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: inotify_init1 has just made it, and nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(raw) }))
    }

    /// Watches what has this name now.
    ///
    /// # Errors
    /// inotify_add_watch(2), such as `NotFound`.
    pub fn watch(&self, path: &Path) -> io::Result<()> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: an open descriptor and a NUL-terminated text.
        let watch = unsafe { libc::inotify_add_watch(self.0.as_raw_fd(), path.as_ptr(), CHANGES) };
        if watch < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// A copy of the descriptor, to wait for.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }

    /// Everything that has come, without waiting.
    ///
    /// # Errors
    /// read(2).
    pub fn read(&self) -> io::Result<Changes> {
        const HEADER_BYTES: usize = size_of::<libc::inotify_event>();
        let mut room = [0_u8; 16 * 1024];
        let mut changes = Changes::default();
        loop {
            let length = match nix::unistd::read(&self.0, &mut room) {
                Ok(length) => length,
                Err(nix::Error::EAGAIN) => return Ok(changes),
                Err(nix::Error::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let mut rest = &room[..length];
            while let Some((header, after)) = rest.split_at_checked(HEADER_BYTES) {
                let word = |at: usize| header[at..at + 4].try_into().map_or(0, u32::from_ne_bytes);
                // struct inotify_event: wd, mask, cookie, len, and then so many bytes of a name.
                let (mask, name_bytes) = (word(4), word(12) as usize);
                if mask & libc::IN_IGNORED == 0 {
                    changes.number += 1;
                }
                changes.is_gone |= mask & (libc::IN_IGNORED | libc::IN_DELETE_SELF | libc::IN_MOVE_SELF) != 0;
                rest = after.get(name_bytes..).unwrap_or_default();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_a_file_and_of_what_is_in_a_directory_are_told() {
        let directory = std::env::temp_dir().join(format!("empery-inotify-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join("file");
        std::fs::write(&file, "a").unwrap();
        let (of_file, of_directory) = (Inotify::new().unwrap(), Inotify::new().unwrap());
        of_file.watch(&file).unwrap();
        of_directory.watch(&directory).unwrap();
        assert_eq!(of_file.read().unwrap(), Changes::default());
        std::fs::write(&file, "bb").unwrap();
        assert!(of_file.read().unwrap().number >= 1 && of_directory.read().unwrap().number >= 1);
        std::fs::write(directory.join("aside"), "c").unwrap();
        std::fs::rename(directory.join("aside"), &file).unwrap();
        assert!(of_file.read().unwrap().is_gone);
        assert!(!of_directory.read().unwrap().is_gone);
        assert_eq!(Inotify::new().unwrap().watch(&directory.join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
