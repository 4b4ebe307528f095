//! Locks that an app takes and gives back by number (`uwsgi.lock`).

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
    time::Duration,
};

use empery_shared::memory::LOCK_BYTES;

use super::{
    Region,
    robust::{self, Again, Before},
};

/// So many of them, in a region of their own.
#[derive(Debug)]
pub struct Locks {
    region: Region,
    count: usize,
}

fn length(count: usize) -> usize {
    // The region has one itself, which nobody uses.
    LOCK_BYTES * (count + 1)
}

impl Locks {
    /// New ones, all free.
    ///
    /// # Errors
    /// memfd_create(2), mmap(2).
    pub fn create(count: usize) -> io::Result<(Locks, OwnedFd)> {
        let (region, fd) = Region::create("empery-locks", length(count), Again::IsAnError)?;
        for number in 0..count {
            // SAFETY: its place is within the region, a multiple of 8, and nobody else has the region yet.
            unsafe { robust::create(region.lock_at(length(number)), Again::IsAnError)? };
        }
        Ok((Locks { region, count }, fd))
    }

    /// Those that another process made.
    ///
    /// # Errors
    /// See [`Region::map`].
    pub fn map(fd: BorrowedFd<'_>, count: usize) -> io::Result<Locks> {
        Ok(Locks { region: Region::map(fd, length(count))?, count })
    }

    fn at(&self, number: usize) -> io::Result<*mut libc::pthread_mutex_t> {
        if number < self.count { Ok(self.region.lock_at(length(number))) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Takes a lock if it is free within this time; None when it is not.
    ///
    /// # Errors
    /// `NotFound`: there is no such lock. EDEADLK: the calling thread has it already.
    pub fn lock_within(&self, number: usize, time: Duration) -> io::Result<Option<Before>> {
        let lock = self.at(number)?;
        // SAFETY: it was made in `create`, and the mapping lives as long as self.
        unsafe { robust::lock_within(lock, time) }
    }

    /// Gives a lock back.
    ///
    /// # Errors
    /// `NotFound`: there is no such lock. EPERM: the calling thread does not have it.
    pub fn unlock(&self, number: usize) -> io::Result<()> {
        let lock = self.at(number)?;
        // SAFETY: as in `lock_within`.
        unsafe { robust::unlock(lock) }
    }

    /// Whether somebody has a lock.
    ///
    /// # Errors
    /// `NotFound`: there is no such lock.
    pub fn is_locked(&self, number: usize) -> io::Result<bool> {
        let lock = self.at(number)?;
        // SAFETY: as in `lock_within`.
        unsafe { robust::is_locked(lock) }
    }
}
