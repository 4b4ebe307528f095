//! The emperor's directories and its own lock. Root owns what the keeper works in, so that neither the brain nor a
//! vassal can swap it for something else; both only pass through.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use empery_control::places;
use empery_sys::{lock, spawn::DropTo};
use nix::{
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::geteuid,
};

use super::{Settings, successor};

/// Everybody may pass through, nobody may look.
pub(super) const PASSAGE: u32 = 0o711;

/// Most descriptors the keeper asks for: five or so for each of ten thousand vassals.
const DESCRIPTORS_MAX: u64 = 65_536;

/// The directories, held while the emperor runs.
#[derive(Debug)]
pub(super) struct Rooms {
    lock: OwnedFd,
}

impl Rooms {
    /// Makes what is missing and takes the lock.
    ///
    /// # Errors
    /// When a directory belongs to somebody else, or another emperor has the lock.
    pub(super) fn take(settings: &Settings, brain: Option<&DropTo>) -> anyhow::Result<Self> {
        let (runtime, state) = (&settings.runtime, &settings.state);
        // The brain puts its control socket, its database and its token there. The sticky bit keeps what is root's from it.
        let (mode, group) = match brain {
            Some(brain) => (0o1771, Some(brain.gid)),
            None => (0o711, None),
        };
        for (path, mode, group) in [
            (runtime.clone(), mode | 0o044, group),
            (places::vassals(runtime), PASSAGE, None),
            (state.clone(), mode, group),
            (state.join("logs"), PASSAGE, None),
        ] {
            own_directory(&path, mode, group).with_context(|| format!("preparing the directory {}", path.display()))?;
        }
        let path = places::emperor_lock(runtime);
        let lock = take_lock(&path, &settings.vassals).with_context(|| format!("locking {}", path.display()))?;
        Ok(Self { lock })
    }

    /// The locked file.
    pub(super) fn lock(&self) -> &OwnedFd {
        &self.lock
    }
}

/// Makes a directory that only we (or root) can change, with this mode and group.
///
/// # Errors
/// When it is something else than a directory, or somebody else's.
pub(super) fn own_directory(path: &Path, mode: u32, group: Option<u32>) -> io::Result<File> {
    let made = match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = path.parent() {
                DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
            }
            DirBuilder::new().mode(0o700).create(path)?;
            true
        }
        Err(error) => return Err(error),
    };
    // A directory behind a link that somebody else put there is not ours.
    let directory = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path)?;
    let own = geteuid();
    if own.is_root() {
        fchown(&directory, Some(0), Some(group.unwrap_or(0)))?;
    } else if directory.metadata()?.uid() != own.as_raw() {
        let sentence = "it belongs to another user: name another directory, or remove it";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, sentence));
    }
    // Without root everything is one user's: how open it left its directories is its own affair.
    if made || own.is_root() {
        directory.set_permissions(Permissions::from_mode(mode))?;
    }
    Ok(directory)
}

fn take_lock(path: &Path, vassals: &Path) -> anyhow::Result<OwnedFd> {
    if let Some(inherited) = successor::inherited_lock(path) {
        return Ok(inherited);
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let mut file = options.open(path)?;
    if !lock::try_exclusive(file.as_fd())? {
        let mut holder = String::new();
        file.read_to_string(&mut holder)?;
        let holder = holder.trim();
        bail!("another emperor runs here ({}): stop it, or name another runtime directory", if holder.is_empty() { "it has just started" } else { holder });
    }
    file.set_len(0)?;
    writeln!(file, "pid {}, watching {}", std::process::id(), vassals.display())?;
    Ok(file.into())
}

/// Opens a place for as many descriptors as a large fleet needs, where the system lets us.
pub(super) fn allow_many_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let wanted = hard.min(DESCRIPTORS_MAX).max(soft);
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
    });
    if let Err(error) = raised {
        tracing::warn!("the limit of open files could not be raised: {error}");
    }
}

/// The directory of a vassal's log files: the vassal's own, readable for the brain's group.
///
/// # Errors
/// When it cannot be made.
pub(super) fn log_directory(path: &Path, uid: u32, brain_gid: u32) -> io::Result<PathBuf> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let directory = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path)?;
    if geteuid().is_root() {
        fchown(&directory, Some(uid), Some(brain_gid))?;
        // Set-group-id: what the vassal writes there belongs to the brain's group, which reads it.
        directory.set_permissions(Permissions::from_mode(0o2750))?;
    }
    Ok(path.to_owned())
}

/// Whether only root can change what this path leads to: it, and every directory above, is root's and nobody else's to
/// write.
pub(super) fn is_roots_alone(directory: &Path) -> bool {
    directory.is_absolute()
        && directory.ancestors().all(|part| {
            fs::symlink_metadata(part).is_ok_and(|facts| facts.is_dir() && facts.uid() == 0 && facts.mode() & 0o022 == 0)
        })
}

/// Clears close-on-exec of the lock, for a successor that takes it over.
///
/// # Errors
/// fcntl(2).
pub(super) fn pass_on(lock: &OwnedFd) -> nix::Result<i32> {
    nix::fcntl::fcntl(lock, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()))?;
    Ok(lock.as_raw_fd())
}
