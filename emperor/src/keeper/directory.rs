//! The vassals directory: which entries count, what they look like, and their content as a descriptor. Only regular
//! files count, also behind a symbolic link, as uWSGI follows them.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use empery_control::{keeper::FileFacts, places::counts};
use empery_lifecycle::ids::VassalName;

/// Why the directory or a file of it was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum DirectoryError {
    /// It is gone or cannot be read: that says nothing about what should run.
    #[error("the vassals directory {path} cannot be read: {source}")]
    Lost {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no vassal file of that name.
    #[error("{path} is no vassal file: {why}")]
    NotAVassal {
        /// Which.
        path: PathBuf,
        /// Why.
        why: &'static str,
    },
    /// It is there, but cannot be opened.
    #[error("{path} cannot be opened: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The directory. Opened anew each time: it may be replaced by another of its name.
#[derive(Debug)]
pub(super) struct VassalsDirectory(PathBuf);

impl VassalsDirectory {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Every vassal file, in the order of names.
    ///
    /// # Errors
    /// [`DirectoryError::Lost`].
    pub(super) fn list(&self) -> Result<Vec<FileFacts>, DirectoryError> {
        let lost = |source| DirectoryError::Lost { path: self.0.clone(), source };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.0).map_err(lost)? {
            let entry = entry.map_err(lost)?;
            let name = entry.file_name().into_string().ok().and_then(|name| VassalName::new(name).ok());
            let Some(name) = name.filter(|name| counts(name.as_str())) else { continue };
            // It may have gone since it was listed, or be a link to nothing: either way it is no file.
            let Ok(metadata) = std::fs::metadata(entry.path()) else { continue };
            if metadata.is_file() {
                files.push(facts(name, &metadata));
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    /// The file of this name, with what fstat(2) says of what was really opened.
    ///
    /// # Errors
    /// When it does not count, is no regular file, or cannot be opened.
    pub(super) fn open(&self, name: &VassalName) -> Result<(FileFacts, File), DirectoryError> {
        let path = self.0.join(name.as_str());
        let refuse = |why| DirectoryError::NotAVassal { path: path.clone(), why };
        if !counts(name.as_str()) {
            return Err(refuse("its name does not count"));
        }
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => refuse("it does not exist"),
            _ => DirectoryError::Unreadable { path: path.clone(), source },
        };
        // Looked at first, since opening a device may act on it; O_NONBLOCK, since it may become a FIFO meanwhile.
        if !std::fs::metadata(&path).map_err(failed)?.is_file() {
            return Err(refuse("it is no regular file"));
        }
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(&path)
            .map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(refuse("it is no regular file"));
        }
        Ok((facts(name.clone(), &metadata), file))
    }
}

fn facts(name: VassalName, metadata: &Metadata) -> FileFacts {
    const NS_PER_S: i64 = 1_000_000_000;
    FileFacts {
        name,
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        mtime_ns: metadata.mtime().saturating_mul(NS_PER_S).saturating_add(metadata.mtime_nsec()),
        ctime_ns: metadata.ctime().saturating_mul(NS_PER_S).saturating_add(metadata.ctime_nsec()),
        uid: metadata.uid(),
        gid: metadata.gid(),
        mode: metadata.mode(),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, os::unix::fs::symlink};

    use super::*;
    use crate::keeper::tests::Room;

    fn name(text: &str) -> VassalName {
        VassalName::new(text).unwrap()
    }

    #[test]
    fn regular_files_with_a_suffix_count_in_the_order_of_names_and_nothing_else() {
        let room = Room::new("listing");
        let vassals = room.directory("vassals");
        for file in
            ["b.ini", "a.yaml", "c.js", "d.ini~", "#e.ini#", ".f.ini", ".g.ini.swp", "h.ini.tmp", "i.conf", ".ini"]
        {
            std::fs::write(vassals.join(file), "[uwsgi]\n").unwrap();
        }
        std::fs::create_dir(vassals.join("directory.ini")).unwrap();
        nix::unistd::mkfifo(&vassals.join("fifo.ini"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        symlink(vassals.join("i.conf"), vassals.join("link.ini")).unwrap();
        symlink(vassals.join("nowhere"), vassals.join("dangling.ini")).unwrap();
        let directory = VassalsDirectory::new(vassals.clone());
        let listed: Vec<_> = directory.list().unwrap().into_iter().map(|facts| facts.name.to_string()).collect();
        assert_eq!(listed, ["a.yaml", "b.ini", "c.js", "link.ini"]);

        let (facts, mut file) = directory.open(&name("b.ini")).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), facts.size), ("[uwsgi]\n", 8));
        for refused in ["fifo.ini", "directory.ini", "dangling.ini", "i.conf", "missing.ini"] {
            assert!(matches!(directory.open(&name(refused)), Err(DirectoryError::NotAVassal { .. })), "{refused}");
        }
    }

    #[test]
    fn a_directory_that_is_gone_is_lost_and_not_empty() {
        let room = Room::new("lost");
        let directory = VassalsDirectory::new(room.path().join("vassals"));
        assert!(matches!(directory.list(), Err(DirectoryError::Lost { .. })));
        room.directory("vassals");
        assert_eq!(directory.list().unwrap(), []);
    }
}
