//! Finds a file below a directory, and hands out an open descriptor of exactly what was checked. Nothing is remembered
//! from request to request: what changes on disk is seen at once.
//!
//! The kernel resolves the path in one call and refuses to leave the directory (openat2(2), `RESOLVE_BENEATH`). What it
//! refuses may still be allowed: an absolute symlink to a place within the directory, or one to a `static-safe`
//! directory. Then, and on kernels without openat2 (before 5.6, or where a sandbox forbids it), the file is opened
//! without being touched (`O_PATH`), the kernel is asked for its real path, and only if that is allowed the same file is
//! opened for reading: nobody can exchange it in between.

use std::{
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2, readlink},
    sys::stat::{FileStat, Mode, SFlag, fstat},
};

use super::path::is_within;

/// How often a lookup is begun again when somebody renames directories meanwhile: the kernel cannot tell then whether
/// `..` led out.
const RACES_MAX: u32 = 8;

/// Opening for reading: a FIFO does not wait for a writer, a terminal does not become ours.
const READ: OFlag = OFlag::O_RDONLY.union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY).union(OFlag::O_CLOEXEC);

/// Opening without touching.
const NAME: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);

/// `RESOLVE_CACHED` (Linux 5.12): fails with EAGAIN where the disk would have to be asked.
const CACHED: ResolveFlag = ResolveFlag::from_bits_retain(0x20);

/// What the kernel can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// Keep a lookup within a directory, and look only where it need not wait.
    Full,
    /// Keep it within.
    KeepsWithin,
    /// Neither: real paths are compared.
    Old,
}

impl Kernel {
    /// The running one.
    pub(crate) fn running() -> Self {
        let knows = |resolve| {
            let how = OpenHow::new().flags(NAME).resolve(resolve);
            !matches!(
                openat2(AT_FDCWD, ".", how),
                Err(Errno::ENOSYS | Errno::EPERM | Errno::EINVAL | Errno::E2BIG | Errno::EOPNOTSUPP)
            )
        };
        if knows(ResolveFlag::RESOLVE_BENEATH | CACHED) {
            Kernel::Full
        } else if knows(ResolveFlag::RESOLVE_BENEATH) {
            Kernel::KeepsWithin
        } else {
            Kernel::Old
        }
    }
}

/// Whether a lookup may wait for a disk or a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// It says [`Looked::WouldWait`] instead.
    Never,
    /// It may.
    Allowed,
}

/// A regular file, open for reading.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) fd: OwnedFd,
    pub(crate) stat: FileStat,
    /// Its path below the root.
    pub(crate) relative: Vec<u8>,
}

impl Found {
    /// Its path on disk.
    pub(crate) fn real_path(&self) -> Vec<u8> {
        real_path(&self.fd).unwrap_or_default()
    }
}

/// What a lookup came to.
#[derive(Debug)]
pub(crate) enum Looked {
    /// A file.
    Found(Found),
    /// There is none, or it is of another kind.
    Absent,
    /// It is not within the directory.
    Outside,
    /// It may not be read.
    Forbidden,
    /// It cannot be said without waiting.
    WouldWait,
    /// The system cannot say.
    Failed(Errno),
}

/// What a path leads to.
enum Opened {
    File(OwnedFd, FileStat),
    Directory,
    /// Not a file.
    No(Looked),
}

/// What every lookup follows.
#[derive(Debug)]
pub(crate) struct Looker {
    pub(crate) kernel: Kernel,
    /// `static-index`.
    pub(crate) index: Vec<String>,
    /// `static-safe`.
    pub(crate) safe: Vec<PathBuf>,
}

impl Looker {
    /// Looks for a file below `root`. A root that is a file itself is what is found for every path.
    pub(crate) fn look(&self, root: &Path, relative: &[u8], waiting: Waiting) -> Looked {
        let root_fd = match self.resolve(AT_FDCWD, root.as_os_str().as_bytes(), NAME, ResolveFlag::empty(), waiting) {
            Ok(fd) => fd,
            Err(error) => return looked(error, waiting),
        };
        match self.open(&root_fd, relative, waiting) {
            Opened::File(fd, stat) => Looked::Found(Found { fd, stat, relative: relative.to_vec() }),
            Opened::Directory => self.look_for_index(&root_fd, relative, waiting),
            Opened::No(Looked::Absent) if kind(&root_fd) == Ok(SFlag::S_IFREG) => match reopen(&root_fd) {
                Opened::File(fd, stat) => Looked::Found(Found { fd, stat, relative: Vec::new() }),
                Opened::Directory => Looked::Absent,
                Opened::No(why) => why,
            },
            Opened::No(why) => why,
        }
    }

    fn look_for_index(&self, root: &OwnedFd, directory: &[u8], waiting: Waiting) -> Looked {
        for name in &self.index {
            let relative = [directory, b"/", name.as_bytes()].concat();
            match self.open(root, &relative, waiting) {
                Opened::File(fd, stat) => return Looked::Found(Found { fd, stat, relative }),
                Opened::Directory | Opened::No(Looked::Absent) => {}
                Opened::No(why) => return why,
            }
        }
        Looked::Absent
    }

    fn open(&self, root: &OwnedFd, relative: &[u8], waiting: Waiting) -> Opened {
        if self.kernel == Kernel::Old {
            return self.compare(root, relative, waiting);
        }
        let within = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        match self.resolve(root, relative, READ, within, waiting) {
            Ok(fd) => opened(fd),
            Err(Errno::EXDEV) => self.compare(root, relative, waiting),
            Err(error) => Opened::No(looked(error, waiting)),
        }
    }

    /// Opens what the path leads to, wherever that is, and then looks at where it is.
    fn compare(&self, root: &OwnedFd, relative: &[u8], waiting: Waiting) -> Opened {
        let named = match self.resolve(root, relative, NAME, ResolveFlag::empty(), waiting) {
            Ok(named) => named,
            Err(error) => return Opened::No(looked(error, waiting)),
        };
        let (Ok(real), Ok(real_root)) = (real_path(&named), real_path(root)) else {
            return Opened::No(Looked::Outside);
        };
        let is_safe = |directory: &PathBuf| {
            std::fs::canonicalize(directory).is_ok_and(|safe| is_within(&real, safe.as_os_str().as_bytes()))
        };
        if is_within(&real, &real_root) || self.safe.iter().any(is_safe) {
            reopen(&named)
        } else {
            Opened::No(Looked::Outside)
        }
    }

    fn resolve(
        &self,
        directory: impl std::os::fd::AsFd,
        path: &[u8],
        flags: OFlag,
        resolve: ResolveFlag,
        waiting: Waiting,
    ) -> Result<OwnedFd, Errno> {
        let cached = match (self.kernel, waiting) {
            (Kernel::Full, Waiting::Never) => CACHED,
            (_, Waiting::Never) => return Err(Errno::EAGAIN),
            (_, Waiting::Allowed) => ResolveFlag::empty(),
        };
        let mut races = 0;
        loop {
            let result = match self.kernel {
                Kernel::Old => openat(&directory, path, flags, Mode::empty()),
                Kernel::Full | Kernel::KeepsWithin => {
                    openat2(&directory, path, OpenHow::new().flags(flags).resolve(resolve | cached))
                }
            };
            match result {
                Err(Errno::EAGAIN) if waiting == Waiting::Allowed && races < RACES_MAX => races += 1,
                Err(Errno::EINTR) => {}
                result => return result,
            }
        }
    }
}

/// The file behind a descriptor that was opened without touching it. /proc/self/fd leads to the very same one.
fn reopen(named: &OwnedFd) -> Opened {
    match kind(named) {
        Ok(SFlag::S_IFREG) => match openat(AT_FDCWD, proc_path(named).as_str(), READ, Mode::empty()) {
            Ok(fd) => opened(fd),
            Err(error) => Opened::No(looked(error, Waiting::Allowed)),
        },
        Ok(SFlag::S_IFDIR) => Opened::Directory,
        Ok(_) => Opened::No(Looked::Absent),
        Err(error) => Opened::No(Looked::Failed(error)),
    }
}

fn opened(fd: OwnedFd) -> Opened {
    match fstat(&fd) {
        Ok(stat) => match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFREG => Opened::File(fd, stat),
            SFlag::S_IFDIR => Opened::Directory,
            // A device, a socket, a FIFO: nothing to send.
            _ => Opened::No(Looked::Absent),
        },
        Err(error) => Opened::No(Looked::Failed(error)),
    }
}

fn kind(fd: &OwnedFd) -> Result<SFlag, Errno> {
    fstat(fd).map(|stat| SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()))
}

fn real_path(fd: &OwnedFd) -> Result<Vec<u8>, Errno> {
    readlink(proc_path(fd).as_str()).map(OsStringExt::into_vec)
}

fn proc_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn looked(error: Errno, waiting: Waiting) -> Looked {
    match error {
        Errno::EAGAIN if waiting == Waiting::Never => Looked::WouldWait,
        Errno::EACCES | Errno::EPERM => Looked::Forbidden,
        Errno::EAGAIN | Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::EIO => Looked::Failed(error),
        // Nothing of that name, or something whose kind cannot be opened.
        _ => Looked::Absent,
    }
}
