//! Locks between processes that survive whoever has them (pthread_mutexattr_setrobust(3)): when a process ends, however
//! it ends, the kernel hands its locks on, and who gets one is told.

use std::{io, time::Duration};

/// What the caller must know of a lock it has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// It was free, or given back.
    Free,
    /// A process ended that had it.
    Died,
}

/// Whether the thread that has a lock may take it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It may, and gives it back as often.
    Counts,
    /// It is told that it has it already.
    IsAnError,
}

/// Bytes that a lock takes in shared memory, whatever the machine.
pub(super) const BYTES: usize = 56;
const _: () = assert!(size_of::<libc::pthread_mutex_t>() <= BYTES);

/// What processes that share a lock must agree about: the C library that both speak to the kernel through.
pub(super) const KIND: u64 = (cfg!(target_env = "musl") as u64) << 32
    | (size_of::<libc::pthread_mutex_t>() as u64) << 8
    | size_of::<usize>() as u64;

type Raw = *mut libc::pthread_mutex_t;

fn checked(code: libc::c_int) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}

/// Makes a lock.
///
/// # Safety
/// `lock` is writable for a mutex, aligned to 8, and nobody uses it.
pub(super) unsafe fn create(lock: Raw, again: Again) -> io::Result<()> {
    let mut attributes = std::mem::MaybeUninit::uninit();
    let kind = match again {
        Again::Counts => libc::PTHREAD_MUTEX_RECURSIVE,
        Again::IsAnError => libc::PTHREAD_MUTEX_ERRORCHECK,
    };
    // SAFETY: init makes the attributes that the other calls use, and destroy is the last to use them; the caller answers for
    // `lock`.
    unsafe {
        checked(libc::pthread_mutexattr_init(attributes.as_mut_ptr()))?;
        let made = checked(libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED))
            .and_then(|()| {
                checked(libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST))
            })
            .and_then(|()| checked(libc::pthread_mutexattr_settype(attributes.as_mut_ptr(), kind)))
            .and_then(|()| checked(libc::pthread_mutex_init(lock, attributes.as_ptr())));
        libc::pthread_mutexattr_destroy(attributes.as_mut_ptr());
        made
    }
}

/// What a locking call has answered.
///
/// # Safety
/// As for [`lock`]; the calling thread has just tried to take it.
unsafe fn taken(lock: Raw, code: libc::c_int) -> io::Result<Before> {
    match code {
        0 => Ok(Before::Free),
        libc::EOWNERDEAD => {
            // SAFETY: EOWNERDEAD says that this thread has the lock, which is what this call demands.
            checked(unsafe { libc::pthread_mutex_consistent(lock) })?;
            Ok(Before::Died)
        }
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Takes a lock, as soon as it is free.
///
/// # Safety
/// `lock` was made by [`create`] and stays where it is while it is held.
pub(super) unsafe fn lock(lock: Raw) -> io::Result<Before> {
    // SAFETY: the caller answers for it.
    unsafe { taken(lock, libc::pthread_mutex_lock(lock)) }
}

/// Takes a lock if it is free within this time; None when it is not.
///
/// # Safety
/// As for [`lock`].
pub(super) unsafe fn lock_within(lock: Raw, time: Duration) -> io::Result<Option<Before>> {
    // The kernel waits on CLOCK_REALTIME (pthread_mutex_timedlock(3)).
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME)?;
    let until = now + nix::sys::time::TimeSpec::from_duration(time);
    // SAFETY: the caller answers for the lock; the time lives as long as the call.
    match unsafe { taken(lock, libc::pthread_mutex_timedlock(lock, until.as_ref())) } {
        Err(error) if error.raw_os_error() == Some(libc::ETIMEDOUT) => Ok(None),
        outcome => outcome.map(Some),
    }
}

/// Gives a lock back.
///
/// # Errors
/// When the calling thread does not have it.
///
/// # Safety
/// As for [`lock`].
pub(super) unsafe fn unlock(lock: Raw) -> io::Result<()> {
    // SAFETY: the caller answers for it; an error-checking or recursive mutex refuses whoever does not have it.
    checked(unsafe { libc::pthread_mutex_unlock(lock) })
}

/// Whether somebody has a lock.
///
/// # Safety
/// As for [`lock`].
pub(super) unsafe fn is_locked(lock: Raw) -> io::Result<bool> {
    // SAFETY: the caller answers for it.
    let code = unsafe { libc::pthread_mutex_trylock(lock) };
    if code == libc::EBUSY || code == libc::EDEADLK {
        return Ok(true);
    }
    // SAFETY: as above.
    unsafe { taken(lock, code) }?;
    // SAFETY: this thread has just got it.
    unsafe { unlock(lock) }?;
    Ok(false)
}
