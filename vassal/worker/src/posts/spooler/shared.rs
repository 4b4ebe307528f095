//! What the processes of a generation share about its spoolers: the directories, a bell for each that is rung when a task
//! was written, and a page of numbers. Made by the zygote before the app is imported.

use std::{
    fs, io,
    num::NonZeroUsize,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::DirBuilderExt,
    },
    path::PathBuf,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use empery_control::posts::SpoolersBoot;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

use crate::os;

/// Longest row of spoolers whose pids are told.
const PIDS_MAX: usize = 512;

struct Shared {
    directories: Vec<PathBuf>,
    /// For each directory.
    bells: Vec<OwnedFd>,
    /// How many processes each has; none where another vassal's spooler works.
    processes: Vec<u32>,
    page: &'static Page,
    quiet: bool,
}

/// Shared memory; all of it begins at 0.
#[repr(C)]
struct Page {
    frequency_s: AtomicU32,
    pids: [AtomicU32; PIDS_MAX],
}

static SHARED: OnceLock<Shared> = OnceLock::new();

/// Makes the directories and the rest, if there are spoolers. The error is one sentence.
pub(crate) fn make(boot: &SpoolersBoot) -> Result<(), String> {
    if boot.directories.is_empty() {
        return Ok(());
    }
    let directories = boot.directories.iter().map(|spooler| {
        let refused = |error: io::Error| format!("spooler = {}: {error}", spooler.path.display());
        match fs::DirBuilder::new().mode(0o750).create(&spooler.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(refused(error)),
            Ok(()) | Err(_) => spooler.path.canonicalize().map_err(refused),
        }
    });
    let shared = || -> io::Result<Shared> {
        let length = NonZeroUsize::new(size_of::<Page>()).ok_or(io::ErrorKind::InvalidInput)?;
        let both = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh mapping at no particular place.
        let memory = unsafe { mmap_anonymous(None, length, both, MapFlags::MAP_SHARED) }?;
        // SAFETY: the mapping is as long as a page, aligned as pages are, zeroed, which its atomics may be, and is never
        // unmapped.
        let page: &'static Page = unsafe { memory.cast::<Page>().as_ref() };
        page.frequency_s.store(boot.frequency_s, Ordering::Relaxed);
        Ok(Shared {
            directories: Vec::new(),
            bells: boot.directories.iter().map(|_| os::semaphore()).collect::<io::Result<_>>()?,
            processes: boot
                .directories
                .iter()
                .map(|spooler| if spooler.external { 0 } else { boot.processes })
                .collect(),
            page,
            quiet: boot.quiet,
        })
    };
    let shared = shared().map_err(|error| format!("the spoolers have nothing to share: {error}"))?;
    let _ = SHARED.set(Shared { directories: directories.collect::<Result<_, String>>()?, ..shared });
    Ok(())
}

/// The directories, in the order of the file.
pub(super) fn directories() -> &'static [PathBuf] {
    SHARED.get().map_or(&[], |shared| &shared.directories)
}

/// `spooler-quiet`.
pub(super) fn is_quiet() -> bool {
    SHARED.get().is_some_and(|shared| shared.quiet)
}

/// One of them.
pub(super) fn directory(place: usize) -> PathBuf {
    directories().get(place).cloned().unwrap_or_default()
}

/// Whose directory a spooler, counted from 1 over all directories, works in.
pub(super) fn of(number: u32) -> Option<(usize, PathBuf)> {
    let shared = SHARED.get()?;
    let mut left = number.checked_sub(1)?;
    for (place, processes) in shared.processes.iter().enumerate() {
        match left.checked_sub(*processes) {
            Some(less) => left = less,
            None => return Some((place, directory(place))),
        }
    }
    None
}

/// What is readable when somebody has rung.
pub(super) fn bell(place: usize) -> Option<BorrowedFd<'static>> {
    SHARED.get()?.bells.get(place).map(AsFd::as_fd)
}

/// A task was written.
pub(super) fn ring(place: usize) {
    if let Some(bell) = SHARED.get().and_then(|shared| shared.bells.get(place)) {
        os::raise(bell);
    }
}

/// Takes one ring; others wake others.
pub(super) fn heard(place: usize) {
    if let Some(bell) = SHARED.get().and_then(|shared| shared.bells.get(place)) {
        os::lower(bell);
    }
}

/// How often a spooler looks without being told, in s.
pub(super) fn frequency_s() -> u32 {
    SHARED.get().map_or(30, |shared| shared.page.frequency_s.load(Ordering::Relaxed).max(1))
}

/// Says otherwise, for all.
pub(super) fn set_frequency_s(seconds: u32) {
    if let Some(shared) = SHARED.get() {
        shared.page.frequency_s.store(seconds, Ordering::Relaxed);
    }
}

/// This process is the spooler of that number now.
pub(super) fn is_here(number: u32) {
    let place = usize::try_from(number).unwrap_or(0).wrapping_sub(1);
    if let Some(pid) = SHARED.get().and_then(|shared| shared.page.pids.get(place)) {
        pid.store(std::process::id(), Ordering::Relaxed);
    }
}

/// Their pids, in order; 0 for one that has not started.
pub(super) fn pids() -> Vec<u32> {
    let Some(shared) = SHARED.get() else { return Vec::new() };
    let number: u32 = shared.processes.iter().sum();
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    shared.page.pids.iter().take(number).map(|pid| pid.load(Ordering::Relaxed)).collect()
}
