//! The vassal files: which entries count, what they look like, and their content as a descriptor. Only regular
//! files count, also behind a symbolic link, as uWSGI follows them.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use empery_control::keeper::FileFacts;
use empery_lifecycle::{fleet::Identity, ids::VassalName};
use empery_sys::{
    identity::{self, while_being},
    spawn::DropTo,
};

use crate::{
    sources::Sources,
    tyrant::{self, Tyrant},
};

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
    /// Under a tyrant it is not what its owner alone has said.
    #[error("{path} is not run: {why}")]
    NotTheOwners {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// The directories. Opened anew each time: one may be replaced by another of its name.
#[derive(Debug)]
pub(super) struct VassalsDirectory {
    sources: Sources,
    /// What follows a vassal file's name in the name of the file with its on-demand socket.
    on_demand_extension: Option<String>,
    /// Whose files are others' to write.
    tyrant: Option<Tyrant>,
    /// The brain's group, which no vassal gets.
    brain_gid: u32,
}

/// Longest file with the address of an on-demand socket, in bytes.
const ON_DEMAND_MAX_BYTES: u64 = 4096;

impl VassalsDirectory {
    pub(super) fn new(sources: Sources, on_demand_extension: Option<String>) -> Self {
        Self { sources, on_demand_extension, tyrant: None, brain_gid: 0 }
    }

    /// The same where files have owners as `emperor-tyrant` wants them.
    pub(super) fn with_owners(self, tyrant: Option<Tyrant>, brain_gid: u32) -> Self {
        Self { tyrant, brain_gid, ..self }
    }

    /// Who owns the file of this name now.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn owner(&self, name: &VassalName) -> Result<Identity, DirectoryError> {
        self.open(name).map(|(facts, _)| tyrant::owner(&facts))
    }

    /// What is watched.
    pub(super) fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Every vassal file, in the order of names.
    ///
    /// # Errors
    /// [`DirectoryError::Lost`].
    pub(super) fn list(&self) -> Result<Vec<FileFacts>, DirectoryError> {
        let listed = self.sources.list().map_err(|(path, source)| DirectoryError::Lost { path, source })?;
        let mut files = Vec::new();
        for (name, path) in listed {
            // It may have gone since it was listed, or be a link to nothing: either way it is no file.
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            if metadata.is_file() {
                let owner = self.listed_owner(&path, &metadata);
                files.push(self.facts(name, &metadata, owner));
            }
        }
        Ok(files)
    }

    /// The file of this name, with what fstat(2) says of what was really opened.
    ///
    /// # Errors
    /// When it does not count, is no regular file, cannot be opened, or under a tyrant is not its owner's alone.
    pub(super) fn open(&self, name: &VassalName) -> Result<(FileFacts, File), DirectoryError> {
        let path = self.sources.path_of(name);
        if !self.sources.cover(name) {
            return Err(DirectoryError::NotAVassal { path, why: "its name does not count" });
        }
        let (owner, metadata, file) = match self.tyrant {
            None => {
                let (metadata, file) = open_regular(&path, Links::Followed)?;
                (owner_by(&metadata), metadata, file)
            }
            Some(tyrant) => {
                let (owner, metadata, file) = self.open_owners(tyrant, &path)?;
                let above = path.ancestors().skip(1).take_while(|above| *above != self.sources.root_of(name));
                for directory in above {
                    let facts = std::fs::symlink_metadata(directory).map_err(|error| not_opened(&path, error))?;
                    tyrant::is_the_owners_place(owner, &facts)
                        .map_err(|why| DirectoryError::NotTheOwners { path: directory.to_owned(), why })?;
                }
                (owner, metadata, file)
            }
        };
        Ok((self.facts(name.clone(), &metadata, owner), file))
    }

    /// Opens a file as its owner, and only when it is his alone. Nobody's content is handed out as somebody else's: what was
    /// looked at by name must be what was opened.
    fn open_owners(&self, tyrant: Tyrant, path: &Path) -> Result<(Identity, Metadata, File), DirectoryError> {
        let failed = |source| not_opened(path, source);
        let refused = |why| DirectoryError::NotTheOwners { path: path.to_owned(), why };
        let named = std::fs::symlink_metadata(path).map_err(failed)?;
        let (owner, links) = match (named.is_symlink(), tyrant.nofollow) {
            (true, false) => (owner_by(&std::fs::metadata(path).map_err(failed)?), Links::Followed),
            (true, true) => (owner_by(&named), Links::Followed),
            (false, _) => (owner_by(&named), Links::Refused),
        };
        // Before it is opened: nothing is read as root, or with a group that the owner does not have.
        tyrant::may_run(owner).map_err(refused)?;
        let groups =
            identity::user(&owner.uid.to_string()).and_then(|user| Ok((user.gid, identity::groups_of(&user)?)));
        let (primary, groups) = groups.map_err(failed)?;
        tyrant::may_have_group(owner, primary, &groups, self.brain_gid).map_err(refused)?;
        let (metadata, file) = self.open_as(owner, path, links)?;
        let now = std::fs::symlink_metadata(path).map_err(failed)?;
        let by_its_link = named.is_symlink() && tyrant.nofollow;
        let another_link = named.is_symlink() && is_another(&named, &now);
        if another_link || (!by_its_link && owner_by(&metadata) != owner) {
            return Err(DirectoryError::NotAVassal { path: path.to_owned(), why: "it has just been replaced" });
        }
        if named.is_symlink() && !tyrant.nofollow {
            tyrant::may_link(named.uid(), owner).map_err(refused)?;
        }
        let names = named.nlink().max(metadata.nlink());
        tyrant::is_the_owners_word(tyrant::Held { mode: metadata.mode(), names }).map_err(refused)?;
        Ok((owner, metadata, file))
    }

    /// The file beside a vassal's that says where its on-demand socket is.
    ///
    /// # Errors
    /// When there is none, or it cannot be opened or is too long.
    pub(super) fn open_on_demand(&self, name: &VassalName) -> Result<(FileFacts, File), DirectoryError> {
        let path = self.sources.path_of(name);
        let Some(beside) = self.beside(name).filter(|_| self.sources.cover(name)) else {
            return Err(DirectoryError::NotAVassal { path, why: "no emperor-on-demand-extension is set" });
        };
        let (metadata, file) = match self.tyrant {
            None => open_regular(&beside, Links::Followed)?,
            Some(_) => self.open_as(self.owner(name)?, &beside, Links::Followed)?,
        };
        if metadata.size() > ON_DEMAND_MAX_BYTES {
            return Err(DirectoryError::NotAVassal { path: beside, why: "it is too long for an address" });
        }
        Ok((self.facts(name.clone(), &metadata, owner_by(&metadata)), file))
    }

    /// Who seems to own this, for a listing. Only what is opened says who runs.
    fn listed_owner(&self, path: &Path, metadata: &Metadata) -> Identity {
        let link = self.tyrant.filter(|tyrant| tyrant.nofollow).and_then(|_| std::fs::symlink_metadata(path).ok());
        owner_by(link.as_ref().unwrap_or(metadata))
    }

    /// Opens what somebody else than root may have put there, as he could himself: root must not read for him what a link of
    /// his leads to.
    fn open_as(&self, owner: Identity, path: &Path, links: Links) -> Result<(Metadata, File), DirectoryError> {
        if !nix::unistd::geteuid().is_root() {
            return open_regular(path, links);
        }
        let failed = |source| DirectoryError::Unreadable { path: path.to_owned(), source };
        let to = DropTo { uid: owner.uid, gid: owner.gid, user: None, groups: Vec::new() };
        let mut outcome = None;
        while_being(&to, || {
            outcome = Some(open_regular(path, links));
            Ok(())
        })
        .map_err(failed)?;
        outcome.unwrap_or_else(|| Err(failed(io::ErrorKind::Interrupted.into())))
    }

    fn beside(&self, name: &VassalName) -> Option<PathBuf> {
        let extension = self.on_demand_extension.as_ref()?;
        let mut path = self.sources.path_of(name).into_os_string();
        path.push(extension);
        Some(path.into())
    }

    fn facts(&self, name: VassalName, metadata: &Metadata, Identity { uid, gid }: Identity) -> FileFacts {
        let beside = self.beside(&name).and_then(|path| std::fs::metadata(path).ok()).filter(Metadata::is_file);
        let on_demand = beside.map(|beside| (beside.ino(), beside.size(), changed_ns(&beside)));
        FileFacts { on_demand, uid, gid, ..facts(name, metadata) }
    }
}

fn owner_by(metadata: &Metadata) -> Identity {
    Identity { uid: metadata.uid(), gid: metadata.gid() }
}

/// Whether two looks at a name found two things, or one that was changed meanwhile.
fn is_another(before: &Metadata, now: &Metadata) -> bool {
    let of =
        |metadata: &Metadata| (metadata.dev(), metadata.ino(), metadata.uid(), metadata.gid(), changed_ns(metadata));
    of(before) != of(now)
}

fn not_opened(path: &Path, source: io::Error) -> DirectoryError {
    match source.kind() {
        io::ErrorKind::NotFound => DirectoryError::NotAVassal { path: path.to_owned(), why: "it does not exist" },
        _ => DirectoryError::Unreadable { path: path.to_owned(), source },
    }
}

/// What a symbolic link in the place of a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Links {
    Followed,
    Refused,
}

/// A regular file, with what fstat(2) says of what was really opened.
fn open_regular(path: &Path, links: Links) -> Result<(Metadata, File), DirectoryError> {
    let refuse = |why| DirectoryError::NotAVassal { path: path.to_owned(), why };
    let failed = |source| not_opened(path, source);
    let nofollow = if links == Links::Refused { libc::O_NOFOLLOW } else { 0 };
    // Looked at first, since opening a device may act on it; O_NONBLOCK, since it may become a FIFO meanwhile.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(refuse("it is no regular file"));
    }
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | nofollow;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
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
        let directory = VassalsDirectory::new(Sources::of_directory(vassals.clone()), None);
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
        let directory = VassalsDirectory::new(Sources::of_directory(room.path().join("vassals")), None);
        assert!(matches!(directory.list(), Err(DirectoryError::Lost { .. })));
        room.directory("vassals");
        assert_eq!(directory.list().unwrap(), []);
    }

    #[test]
    fn c19_under_a_tyrant_only_what_is_its_owner_s_alone_is_opened() {
        use std::{
            fs::Permissions,
            os::unix::fs::{PermissionsExt, chown, lchown},
        };
        let test = "keeper::directory::tests::c19_under_a_tyrant_only_what_is_its_owner_s_alone_is_opened";
        if !nix::unistd::geteuid().is_root() || !crate::keeper::tests::alone(test) {
            return;
        }
        let (alice, bob) = (4_242_424, 4_242_425);
        let room = Room::new("tyrant");
        let vassals = room.directory("vassals");
        let write = |path: &Path, owner: (u32, u32), mode| {
            std::fs::write(path, "[uwsgi]\n").unwrap();
            std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
            chown(path, Some(owner.0), Some(owner.1)).unwrap();
        };
        let link = |file: &str, to: &Path, owner: (u32, u32)| {
            symlink(to, vassals.join(file)).unwrap();
            lchown(vassals.join(file), Some(owner.0), Some(owner.1)).unwrap();
        };
        let [bobs, closed, roots, twice] = ["bobs", "closed", "roots", "twice"].map(|file| room.path().join(file));
        write(&bobs, (bob, bob), 0o644);
        write(&closed, (bob, bob), 0o600);
        write(&roots, (0, 0), 0o644);
        write(&twice, (bob, bob), 0o644);
        std::fs::hard_link(&twice, vassals.join("twice.ini")).unwrap();
        write(&vassals.join("own.ini"), (alice, alice), 0o600);
        write(&vassals.join("root.ini"), (0, 0), 0o644);
        write(&vassals.join("group.ini"), (alice, 33), 0o644);
        write(&vassals.join("shared.ini"), (alice, alice), 0o664);
        link("alices.ini", &bobs, (alice, alice));
        link("bobs.ini", &bobs, (bob, bob));
        link("roots.ini", &bobs, (0, 0));
        link("to-root.ini", &roots, (alice, alice));
        link("closed.ini", &closed, (alice, alice));
        link("grouped.ini", &bobs, (alice, 33));
        let opened = |nofollow, file: &str| {
            let tyrant = Some(Tyrant { initgroups: false, nofollow });
            let directory = VassalsDirectory::new(Sources::of_directory(vassals.clone()), None).with_owners(tyrant, 1);
            directory.open(&name(file)).map(|(facts, _)| (facts.uid, facts.gid)).map_err(|error| error.to_string())
        };
        for nofollow in [false, true] {
            assert_eq!(opened(nofollow, "own.ini"), Ok((alice, alice)));
            for (file, why) in [
                ("root.ini", "none as root"),
                ("group.ini", "gid 33, to which its owner"),
                ("shared.ini", "others than its owner may write it (mode 0664)"),
                ("twice.ini", "2 names"),
            ] {
                assert!(opened(nofollow, file).unwrap_err().contains(why), "{file}");
            }
        }
        assert_eq!((opened(false, "bobs.ini"), opened(false, "roots.ini")), (Ok((bob, bob)), Ok((bob, bob))));
        assert!(opened(false, "alices.ini").unwrap_err().contains("only root and the file's own owner may link to it"));
        assert!(opened(false, "to-root.ini").unwrap_err().contains("none as root"));
        assert_eq!(opened(true, "alices.ini"), Ok((alice, alice)));
        assert!(opened(true, "closed.ini").unwrap_err().contains("cannot be opened"));
        assert!(opened(true, "grouped.ini").unwrap_err().contains("gid 33"));
        assert!(opened(true, "roots.ini").unwrap_err().contains("none as root"));
    }

    #[test]
    fn c19_under_a_tyrant_the_directories_that_a_pattern_has_found_are_the_owner_s_or_root_s() {
        use std::{
            fs::Permissions,
            os::unix::fs::{PermissionsExt, chown},
        };
        let test = "keeper::directory::tests::c19_under_a_tyrant_the_directories_that_a_pattern_has_found_are_the_owner_s_or_root_s";
        if !nix::unistd::geteuid().is_root() || !crate::keeper::tests::alone(test) {
            return;
        }
        let (alice, bob) = (4_242_424, 4_242_425);
        let room = Room::new("tyrant-pattern");
        for (site, owner, mode) in
            [("alices", alice, 0o755), ("roots", 0, 0o755), ("bobs", bob, 0o755), ("open", alice, 0o777)]
        {
            let directory = room.directory(site);
            std::fs::write(directory.join("app.ini"), "[uwsgi]\n").unwrap();
            chown(directory.join("app.ini"), Some(alice), Some(alice)).unwrap();
            chown(&directory, Some(owner), Some(owner)).unwrap();
            std::fs::set_permissions(&directory, Permissions::from_mode(mode)).unwrap();
        }
        symlink(room.path().join("alices"), room.path().join("linked")).unwrap();
        let sources = Sources::new(&["*/app.ini".to_owned()], room.path()).unwrap();
        let tyrant = Some(Tyrant { initgroups: false, nofollow: false });
        let directory = VassalsDirectory::new(sources, None).with_owners(tyrant, 1);
        let opened = |site: &str| {
            let found = directory.open(&name(&format!("{site}/app.ini")));
            found.map(|(facts, _)| facts.uid).map_err(|error| error.to_string())
        };
        assert_eq!((opened("alices"), opened("roots")), (Ok(alice), Ok(alice)));
        for (site, why) in
            [("bobs", "belongs to uid 4242425"), ("open", "others than its owner"), ("linked", "a symbolic link")]
        {
            assert!(opened(site).unwrap_err().contains(why), "{site}: {:?}", opened(site));
        }
    }
}
