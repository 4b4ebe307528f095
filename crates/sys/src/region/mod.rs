//! Memory that the processes of a vassal share, with a lock at its beginning. Either a memfd, which lives as long as a
//! process has it, or a file, which stays. What lies in it is `empery-shared`'s.

mod locks;
mod robust;

use std::{
    fs::{File, OpenOptions},
    io,
    num::NonZeroUsize,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::{FileExt, OpenOptionsExt},
    },
    path::Path,
    ptr::{self, NonNull},
    sync::atomic::{AtomicU64, Ordering, compiler_fence},
    time::Duration,
};

use empery_shared::memory::{LOCK_BYTES, Memory};
use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::mman::{MapFlags, ProtFlags, mmap, munmap},
};

pub use self::{
    locks::Locks,
    robust::{Again, Before},
};
use crate::memfd;

/// A mapped region.
#[derive(Debug)]
pub struct Region {
    base: NonNull<u8>,
    length: NonZeroUsize,
}

// SAFETY: the mapping lives as long as the value; words are accessed atomically, bytes only under the lock.
unsafe impl Send for Region {}
// SAFETY: as for Send.
unsafe impl Sync for Region {}

/// Has the file system set room aside for all of a file, which becomes so long (posix_fallocate(3)).
fn fallocate(file: &File, length: usize) -> io::Result<()> {
    match nix::fcntl::posix_fallocate(file, 0, i64::try_from(length).map_err(io::Error::other)?) {
        // It cannot say: musl does not write zeros instead, as glibc does.
        Err(nix::Error::EOPNOTSUPP) => file.set_len(length as u64),
        done => Ok(done?),
    }
}

/// In what state a file was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It is new, and all zero.
    New,
    /// Somebody has left it; nobody uses it.
    Left,
    /// Other processes use it.
    InUse,
}

impl Region {
    /// A new one in memory, all zero but for its lock, with its descriptor (close-on-exec) for others to map. `name` is
    /// what /proc shows.
    ///
    /// # Errors
    /// memfd_create(2), ftruncate(2), mmap(2).
    pub fn create(name: &str, length: usize, again: Again) -> io::Result<(Region, OwnedFd)> {
        let fd = memfd::unsealed(name)?;
        nix::unistd::ftruncate(&fd, i64::try_from(length).map_err(io::Error::other)?)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(fd.as_fd(), FcntlArg::F_ADD_SEALS(seals))?;
        let region = Region::of(fd.as_fd(), length)?;
        region.make_lock(again)?;
        Ok((region, fd))
    }

    /// One in a file, which is made where there is none. As long as a process has the descriptor, or one inherited from
    /// it, the file is in use (flock(2)). A file that somebody cuts kills who reads it (SIGBUS), as with uWSGI.
    ///
    /// # Errors
    /// open(2), flock(2), mmap(2); `InvalidData` for a file of another length.
    pub fn in_file(path: &Path, length: usize) -> io::Result<(Region, OwnedFd, Found)> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let found = Region::claim(&file, length)?;
        let region = Region::of(file.as_fd(), length)?;
        match found {
            Found::InUse => region.check_kind()?,
            Found::New | Found::Left => region.make_lock(Again::IsAnError)?,
        }
        // Shared by everybody who uses it, from here on.
        // SAFETY: flock takes a descriptor number and flags.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_SH) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((region, file.into(), found))
    }

    fn claim(file: &File, length: usize) -> io::Result<Found> {
        let is_ours = crate::lock::try_exclusive(file.as_fd())?;
        let facts = file.metadata()?;
        let (there, wanted) = (facts.len(), length as u64);
        // Where what lies in it begins; whoever makes it writes that last, and may have died before.
        let begins = || -> io::Result<bool> {
            let mut first = [0; 8];
            file.read_exact_at(&mut first, LOCK_BYTES as u64)?;
            Ok(first != [0; 8])
        };
        if is_ours && facts.is_file() && (there == 0 || there == wanted && !begins()?) {
            file.set_len(0)?;
            // Room on the disk that turns out not to be there when it is written to kills whoever writes (SIGBUS).
            return match fallocate(file, length) {
                Ok(()) => Ok(Found::New),
                Err(error) => {
                    file.set_len(0)?;
                    Err(error)
                }
            };
        }
        if !facts.is_file() || there != wanted {
            let sentence = format!("it has {there} bytes, not {wanted}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, sentence));
        }
        if is_ours {
            fallocate(file, length)?;
            return Ok(Found::Left);
        }
        Ok(Found::InUse)
    }

    /// One that another process made.
    ///
    /// # Errors
    /// mmap(2); `InvalidData` for one of another length, or made by another C library.
    pub fn map(fd: BorrowedFd<'_>, length: usize) -> io::Result<Region> {
        if u64::try_from(nix::sys::stat::fstat(fd)?.st_size).ok() != Some(length as u64) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "shared memory of another length"));
        }
        let region = Region::of(fd, length)?;
        region.check_kind()?;
        Ok(region)
    }

    /// A file without a lock of its own, at least so long.
    ///
    /// # Errors
    /// mmap(2); `InvalidData` for a shorter one.
    pub fn map_plain(fd: BorrowedFd<'_>, length: usize) -> io::Result<Region> {
        if u64::try_from(nix::sys::stat::fstat(fd)?.st_size).is_ok_and(|there| there >= length as u64) {
            return Region::of(fd, length);
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "the file is shorter than what is shared of it"))
    }

    fn of(fd: BorrowedFd<'_>, length: usize) -> io::Result<Region> {
        let length = NonZeroUsize::new(length).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: a new shared mapping at an address of the kernel's choice touches no memory of ours; the file has
        // `length` bytes, as the callers made sure.
        let base =
            unsafe { mmap(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED, fd, 0)? };
        Ok(Region { base: base.cast(), length })
    }

    fn make_lock(&self, again: Again) -> io::Result<()> {
        if self.length.get() < LOCK_BYTES {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: the mapping begins with LOCK_BYTES for the lock, page-aligned, and nobody else has it yet.
        unsafe { robust::create(self.lock_at(0), again)? };
        self.word(robust::BYTES).store(robust::KIND, Ordering::Release);
        Ok(())
    }

    fn check_kind(&self) -> io::Result<()> {
        if self.holds(0, LOCK_BYTES) && self.word(robust::BYTES).load(Ordering::Acquire) == robust::KIND {
            return Ok(());
        }
        let sentence = "its lock was made by a program with another C library than this one's (glibc, musl)";
        Err(io::Error::new(io::ErrorKind::InvalidData, sentence))
    }

    /// Its length, in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length.get()
    }

    fn lock_at(&self, at: usize) -> *mut libc::pthread_mutex_t {
        self.base.as_ptr().wrapping_add(at).cast()
    }

    /// A word within it.
    fn word(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at.is_multiple_of(8) && at + 8 <= self.length.get());
        // SAFETY: the callers keep within the length and to multiples of 8, the mapping is page-aligned and lives as long
        // as self, and any bytes are a word.
        unsafe { &*self.base.as_ptr().add(at).cast::<AtomicU64>() }
    }

    fn holds(&self, at: usize, length: usize) -> bool {
        at.checked_add(length).is_some_and(|end| end <= self.length.get())
    }

    /// Takes the lock. Whoever gets it after a process that was killed looks at what that one was doing.
    ///
    /// # Errors
    /// When the lock is broken: somebody wrote over it.
    pub fn lock(&self) -> io::Result<Locked<'_>> {
        // SAFETY: the lock was made with the region, and the mapping lives as long as self.
        unsafe { robust::lock(self.lock_at(0))? };
        Ok(Locked { region: self })
    }

    /// Takes the lock if it is free within this time; None when it is not.
    ///
    /// # Errors
    /// See [`Self::lock`].
    pub fn lock_within(&self, time: Duration) -> io::Result<Option<Locked<'_>>> {
        // SAFETY: as in `lock`.
        let taken = unsafe { robust::lock_within(self.lock_at(0), time)? };
        Ok(taken.map(|_| Locked { region: self }))
    }

    /// As it is at this moment, without the lock: single words are whole, and what they say together may not fit.
    #[must_use]
    pub fn glance(&self) -> Glance<'_> {
        Glance { region: self }
    }

    /// The first byte behind the lock, for memory that an app writes itself (`sharedarea`), and how many there are.
    #[must_use]
    pub fn open_part(&self, at: usize) -> (*mut u8, usize) {
        (self.base.as_ptr().wrapping_add(at), self.length.get().saturating_sub(at))
    }

    /// Takes the lock, which [`Self::give_back`] gives back.
    ///
    /// # Errors
    /// See [`Self::lock`].
    pub fn take(&self) -> io::Result<Before> {
        // SAFETY: as in `lock`.
        unsafe { robust::lock(self.lock_at(0)) }
    }

    /// Gives back what [`Self::take`] took.
    ///
    /// # Errors
    /// When the calling thread does not have it.
    pub fn give_back(&self) -> io::Result<()> {
        // SAFETY: as in `lock`.
        unsafe { robust::unlock(self.lock_at(0)) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: base and length are those of the mapping made in `of`; everything that refers to it borrows self.
        let result = unsafe { munmap(self.base.cast(), self.length.get()) };
        debug_assert!(result.is_ok(), "a mapping of ours cannot fail to unmap");
    }
}

/// A region whose lock the calling thread has, until this is dropped.
#[derive(Debug)]
pub struct Locked<'a> {
    region: &'a Region,
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // SAFETY: this thread took the lock in `lock`, and the mapping outlives the borrow.
        let given_back = unsafe { robust::unlock(self.region.lock_at(0)) };
        debug_assert!(given_back.is_ok(), "what this thread has taken it can give back");
    }
}

impl Memory for Locked<'_> {
    fn load(&self, at: usize) -> u64 {
        if self.region.holds(at, 8) { self.region.word(at).load(Ordering::Acquire) } else { 0 }
    }

    fn store(&mut self, at: usize, word: u64) {
        if self.region.holds(at, 8) {
            // The processor keeps the order of a process for whoever gets the lock from the kernel after it; the
            // compiler must, too.
            compiler_fence(Ordering::SeqCst);
            self.region.word(at).store(word, Ordering::Release);
            compiler_fence(Ordering::SeqCst);
        }
    }

    fn read(&self, at: usize, into: &mut [u8]) {
        if self.region.holds(at, into.len()) {
            // SAFETY: the bytes are within the mapping, which no reference of ours points into; the lock keeps other
            // writers out, and bytes of one that does not ask for it are bytes.
            unsafe { ptr::copy_nonoverlapping(self.region.base.as_ptr().add(at), into.as_mut_ptr(), into.len()) };
        }
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        if self.region.holds(at, bytes.len()) {
            // SAFETY: as in `read`.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.region.base.as_ptr().add(at), bytes.len()) };
        }
    }

    fn holds(&self, at: usize, bytes: &[u8]) -> bool {
        // SAFETY: the bytes are within the mapping; the lock keeps writers out while the slice lives.
        self.region.holds(at, bytes.len())
            && unsafe { std::slice::from_raw_parts(self.region.base.as_ptr().add(at), bytes.len()) } == bytes
    }
}

/// See [`Region::glance`].
#[derive(Debug)]
pub struct Glance<'a> {
    region: &'a Region,
}

impl Glance<'_> {
    /// The word there; zero beyond the end.
    #[must_use]
    pub fn word(&self, at: usize) -> u64 {
        if self.region.holds(at, 8) { self.region.word(at).load(Ordering::Relaxed) } else { 0 }
    }

    /// The number there, for whoever counts without a lock; None beyond the end.
    #[must_use]
    pub fn counter(&self, at: usize) -> Option<&AtomicU64> {
        self.region.holds(at, 8).then(|| self.region.word(at))
    }
}

#[cfg(test)]
mod tests;
