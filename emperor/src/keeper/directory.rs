//! The vassals directory: which entries count, what they look like, and their content as a descriptor. Only regular
//! files count, also behind a symbolic link, as uWSGI follows them.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use empery_control::{keeper::FileFacts, places::counts};
use empery_lifecycle::{fleet::Identity, ids::VassalName};
use empery_sys::{identity::while_being, spawn::DropTo};

use crate::tyrant::{self, Tyrant};

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
pub(super) struct VassalsDirectory {
    path: PathBuf,
    /// What follows a vassal file's name in the name of the file with its on-demand socket.
    on_demand_extension: Option<String>,
    /// Whose files are others' to write.
    tyrant: Option<Tyrant>,
}

/// Longest file with the address of an on-demand socket, in bytes.
const ON_DEMAND_MAX_BYTES: u64 = 4096;

impl VassalsDirectory {
    pub(super) fn new(path: PathBuf, on_demand_extension: Option<String>) -> Self {
        Self { path, on_demand_extension, tyrant: None }
    }

    /// The same where files have owners as `emperor-tyrant` wants them.
    pub(super) fn with_owners(self, tyrant: Option<Tyrant>) -> Self {
        Self { tyrant, ..self }
    }

    /// Who owns the file of this name now.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn owner(&self, name: &VassalName) -> Result<Identity, DirectoryError> {
        self.open(name).map(|(facts, _)| tyrant::owner(&facts))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Every vassal file, in the order of names.
    ///
    /// # Errors
    /// [`DirectoryError::Lost`].
    pub(super) fn list(&self) -> Result<Vec<FileFacts>, DirectoryError> {
        let lost = |source| DirectoryError::Lost { path: self.path.clone(), source };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(lost)? {
            let entry = entry.map_err(lost)?;
            let name = entry.file_name().into_string().ok().and_then(|name| VassalName::new(name).ok());
            let Some(name) = name.filter(|name| counts(name.as_str())) else { continue };
            // It may have gone since it was listed, or be a link to nothing: either way it is no file.
            let Ok(metadata) = std::fs::metadata(entry.path()) else { continue };
            if metadata.is_file() {
                files.push(self.facts(name, &metadata));
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
        let path = self.path.join(name.as_str());
        if !counts(name.as_str()) {
            return Err(DirectoryError::NotAVassal { path, why: "its name does not count" });
        }
        let (metadata, file) = match self.tyrant {
            None => open_regular(&path)?,
            Some(_) => {
                let source = |source| DirectoryError::Unreadable { path: path.clone(), source };
                let before = std::fs::metadata(&path).map_err(source)?;
                self.open_as(self.owner_of(&path, &before), &path)?
            }
        };
        Ok((self.facts(name.clone(), &metadata), file))
    }

    /// The file beside a vassal's that says where its on-demand socket is.
    ///
    /// # Errors
    /// When there is none, or it cannot be opened or is too long.
    pub(super) fn open_on_demand(&self, name: &VassalName) -> Result<(FileFacts, File), DirectoryError> {
        let path = self.path.join(name.as_str());
        let Some(beside) = self.beside(name).filter(|_| counts(name.as_str())) else {
            return Err(DirectoryError::NotAVassal { path, why: "no emperor-on-demand-extension is set" });
        };
        let (metadata, file) = match self.tyrant {
            None => open_regular(&beside)?,
            Some(_) => self.open_as(self.owner(name)?, &beside)?,
        };
        if metadata.size() > ON_DEMAND_MAX_BYTES {
            return Err(DirectoryError::NotAVassal { path: beside, why: "it is too long for an address" });
        }
        Ok((self.facts(name.clone(), &metadata), file))
    }

    /// Who counts as the owner of this.
    fn owner_of(&self, path: &Path, metadata: &Metadata) -> Identity {
        let link = self.tyrant.filter(|tyrant| tyrant.nofollow).map(|_| std::fs::symlink_metadata(path));
        match link {
            None => Identity { uid: metadata.uid(), gid: metadata.gid() },
            Some(Ok(link)) => Identity { uid: link.uid(), gid: link.gid() },
            // It has just gone: nobody's file does not run.
            Some(Err(_)) => Identity { uid: 0, gid: 0 },
        }
    }

    /// Opens what somebody else than root may have put there, as he could himself: root must not read for him what a link of
    /// his leads to.
    fn open_as(&self, owner: Identity, path: &Path) -> Result<(Metadata, File), DirectoryError> {
        if self.tyrant.is_none() || owner.uid == 0 || !nix::unistd::geteuid().is_root() {
            return open_regular(path);
        }
        let failed = |source| DirectoryError::Unreadable { path: path.to_owned(), source };
        let to = DropTo { uid: owner.uid, gid: owner.gid, user: None, groups: Vec::new() };
        let mut outcome = None;
        while_being(&to, || {
            outcome = Some(open_regular(path));
            Ok(())
        })
        .map_err(failed)?;
        outcome.unwrap_or_else(|| Err(failed(io::ErrorKind::Interrupted.into())))
    }

    fn beside(&self, name: &VassalName) -> Option<PathBuf> {
        let extension = self.on_demand_extension.as_ref()?;
        Some(self.path.join(format!("{name}{extension}")))
    }

    fn facts(&self, name: VassalName, metadata: &Metadata) -> FileFacts {
        let beside = self.beside(&name).and_then(|path| std::fs::metadata(path).ok()).filter(Metadata::is_file);
        let on_demand = beside.map(|beside| (beside.ino(), beside.size(), changed_ns(&beside)));
        let Identity { uid, gid } = self.owner_of(&self.path.join(name.as_str()), metadata);
        FileFacts { on_demand, uid, gid, ..facts(name, metadata) }
    }
}

/// A regular file, with what fstat(2) says of what was really opened.
fn open_regular(path: &Path) -> Result<(Metadata, File), DirectoryError> {
    let refuse = |why| DirectoryError::NotAVassal { path: path.to_owned(), why };
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => refuse("it does not exist"),
        _ => DirectoryError::Unreadable { path: path.to_owned(), source },
    };
    // Looked at first, since opening a device may act on it; O_NONBLOCK, since it may become a FIFO meanwhile.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(refuse("it is no regular file"));
    }
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(refuse("it is no regular file"));
    }
    Ok((metadata, file))
}

const NS_PER_S: i64 = 1_000_000_000;

fn changed_ns(metadata: &Metadata) -> i64 {
    metadata.ctime().saturating_mul(NS_PER_S).saturating_add(metadata.ctime_nsec())
}

fn facts(name: VassalName, metadata: &Metadata) -> FileFacts {
    FileFacts {
        name,
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        mtime_ns: metadata.mtime().saturating_mul(NS_PER_S).saturating_add(metadata.mtime_nsec()),
        ctime_ns: changed_ns(metadata),
        uid: metadata.uid(),
        gid: metadata.gid(),
        mode: metadata.mode(),
        on_demand: None,
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
        let directory = VassalsDirectory::new(vassals.clone(), None);
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
        let directory = VassalsDirectory::new(room.path().join("vassals"), None);
        assert!(matches!(directory.list(), Err(DirectoryError::Lost { .. })));
        room.directory("vassals");
        assert_eq!(directory.list().unwrap(), []);
    }
}
