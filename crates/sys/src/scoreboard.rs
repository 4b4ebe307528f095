//! Mapping of scoreboards: `empery-control` says how they are laid out, this makes the memory.
//!
//! A scoreboard is a memfd sealed against shrinking and growing, so that a mapping of it can never fault
//! (a mere file could be truncated under its reader).

use std::{
    io,
    num::NonZeroUsize,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    ptr::NonNull,
    sync::atomic::Ordering,
};

use empery_control::scoreboard::{APPS_MAX, AppCounters, Header, MAGIC, Slot, Totals, VERSION, length_bytes, slots};
use empery_lifecycle::ids::GenerationId;
use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::mman::{MapFlags, ProtFlags, mmap, munmap},
};

use crate::memfd;

/// Most slots (2.3 KiB each): far above any machine, far below what overflows.
const SLOTS_MAX: u64 = 1 << 20;

/// A mapped scoreboard, shared with every process that maps it.
#[derive(Debug)]
pub struct Scoreboard {
    base: NonNull<Header>,
    length: NonZeroUsize,
    // Read once and checked against the length: the other side may write anything into the header later.
    processes: u32,
    threads: u32,
    apps: u32,
}

// SAFETY: everything behind `base` is atomic (see empery_control::scoreboard), and the mapping lives as long as the value.
unsafe impl Send for Scoreboard {}
// SAFETY: as for Send.
unsafe impl Sync for Scoreboard {}

impl Scoreboard {
    /// A new one, zeroed, with its descriptor (close-on-exec) for others to map. `apps` are counted one by one; 0 where there
    /// is only one.
    ///
    /// # Errors
    /// memfd_create(2), ftruncate(2), mmap(2); a size of zero.
    pub fn create(generation: GenerationId, processes: u32, threads: u32, apps: u32) -> io::Result<(Self, OwnedFd)> {
        if !within_reason(processes, threads, apps) {
            let sentence = format!(
                "a scoreboard holds 1 to {} threads, not {processes} x {threads}, and {APPS_MAX} apps, not {apps}",
                SLOTS_MAX / 2
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, sentence));
        }
        let fd = memfd::unsealed("empery-scoreboard")?;
        let length = length_bytes(processes, threads, apps);
        nix::unistd::ftruncate(&fd, i64::try_from(length).map_err(io::Error::other)?)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(fd.as_fd(), FcntlArg::F_ADD_SEALS(seals))?;
        let board = Self::of(fd.as_fd(), length, processes, threads, apps)?;
        let header = board.header();
        header.version.store(VERSION, Ordering::Relaxed);
        header.processes.store(processes, Ordering::Relaxed);
        header.threads.store(threads, Ordering::Relaxed);
        header.slots.store(slots(processes, threads), Ordering::Relaxed);
        header.apps.store(apps, Ordering::Relaxed);
        header.generation.store(generation.0, Ordering::Relaxed);
        header.magic.store(MAGIC, Ordering::Release);
        Ok((board, fd))
    }

    /// One that another process made.
    ///
    /// # Errors
    /// `InvalidData` when the descriptor is not a sealed scoreboard of this version; mmap(2).
    pub fn map(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("not a scoreboard: {what}"));
        let seals = SealFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GET_SEALS).map_err(|_| bad("no memfd"))?);
        if !seals.contains(SealFlag::F_SEAL_SHRINK) {
            return Err(bad("it could shrink under its reader"));
        }
        let length = usize::try_from(nix::sys::stat::fstat(fd)?.st_size).map_err(|_| bad("its length"))?;
        if length < size_of::<Header>() {
            return Err(bad("too short"));
        }
        let mut board = Self::of(fd, length, 0, 0, 0)?;
        let header = board.header();
        if header.magic.load(Ordering::Acquire) != MAGIC {
            return Err(bad("its first bytes"));
        }
        if header.version.load(Ordering::Relaxed) != VERSION {
            return Err(bad("another version"));
        }
        let (processes, threads) = (header.processes.load(Ordering::Relaxed), header.threads.load(Ordering::Relaxed));
        let apps = header.apps.load(Ordering::Relaxed);
        if !within_reason(processes, threads, apps) || length != length_bytes(processes, threads, apps) {
            return Err(bad("its length is not that of its processes, threads and apps"));
        }
        (board.processes, board.threads, board.apps) = (processes, threads, apps);
        Ok(board)
    }

    fn of(fd: BorrowedFd<'_>, length: usize, processes: u32, threads: u32, apps: u32) -> io::Result<Self> {
        let length = NonZeroUsize::new(length).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: a new shared mapping at an address of the kernel's choice touches no memory of ours; the file has
        // `length` bytes and is sealed against shrinking, so access within it cannot fault.
        let base =
            unsafe { mmap(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED, fd, 0)? };
        Ok(Self { base: base.cast(), length, processes, threads, apps })
    }

    /// Its header. Whoever maps it may write there: bounds are [`Self::processes`] and [`Self::threads`].
    #[must_use]
    pub fn header(&self) -> &Header {
        // SAFETY: the mapping holds at least a Header (checked by both constructors), is page-aligned, lives as long as
        // self, and every field is atomic, so any bytes in it are a valid Header.
        unsafe { self.base.as_ref() }
    }

    /// `processes` of the generation, as checked when it was mapped.
    #[must_use]
    pub fn processes(&self) -> u32 {
        self.processes
    }

    /// `threads` of each worker, as checked when it was mapped.
    #[must_use]
    pub fn threads(&self) -> u32 {
        self.threads
    }

    /// How many slots there are.
    #[must_use]
    pub fn slots(&self) -> u32 {
        slots(self.processes, self.threads)
    }

    /// The slot of this index.
    ///
    /// # Panics
    /// When there is no such slot: indexes come from `slot_index` with this scoreboard's own sizes.
    #[must_use]
    pub fn slot(&self, index: u32) -> &Slot {
        assert!(index < self.slots(), "slot {index} of a scoreboard with {} slots", self.slots());
        // SAFETY: slots follow the header, the index is within the number that fits the mapping (checked by both
        // constructors), Header's size is a multiple of Slot's alignment, and every field of Slot is atomic.
        unsafe { self.base.add(1).cast::<Slot>().add(index as usize).as_ref() }
    }

    /// The counters of an app (counted from 0) of a worker (counted from 1); None where apps are not counted one by one.
    #[must_use]
    pub fn app(&self, worker: u32, app: u32) -> Option<&AppCounters> {
        if app >= self.apps || worker == 0 || worker > self.processes {
            return None;
        }
        let index = (worker - 1) as usize * self.apps as usize + app as usize;
        // SAFETY: these follow the slots, the index is within the number that fits the mapping (checked by both
        // constructors), Slot's size is a multiple of AppCounters' alignment, and every field is atomic.
        Some(unsafe {
            self.base.add(1).cast::<Slot>().add(self.slots() as usize).cast::<AppCounters>().add(index).as_ref()
        })
    }

    /// Sums over all slots.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for index in 0..self.slots() {
            totals.add_slot(&self.slot(index).counters);
        }
        totals
    }
}

impl Drop for Scoreboard {
    fn drop(&mut self) {
        // SAFETY: base and length are those of the mapping made in `of`; every reference into it borrows self.
        let result = unsafe { munmap(self.base.cast(), self.length.get()) };
        debug_assert!(result.is_ok(), "a mapping of ours cannot fail to unmap");
    }
}

fn within_reason(processes: u32, threads: u32, apps: u32) -> bool {
    let wanted = 2_u64.saturating_mul(processes.into()).saturating_mul(threads.into());
    (2..=SLOTS_MAX).contains(&wanted) && apps <= APPS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_mapping_counts_the_other_reads() {
        let (writer, fd) = Scoreboard::create(GenerationId(3), 2, 2, 0).unwrap();
        let reader = Scoreboard::map(fd.as_fd()).unwrap();
        writer.slot(7).counters.requests.store(5, Ordering::Relaxed);
        assert_eq!((reader.slots(), reader.totals().requests), (8, 5));
        assert_eq!(reader.header().generation.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn every_worker_counts_its_apps_one_by_one_where_there_are_several() {
        let (writer, fd) = Scoreboard::create(GenerationId(3), 2, 2, 3).unwrap();
        let reader = Scoreboard::map(fd.as_fd()).unwrap();
        for (worker, app) in (1..=2).flat_map(|worker| (0..3).map(move |app| (worker, app))) {
            writer.app(worker, app).unwrap().requests.store(u64::from(worker * 10 + app), Ordering::Relaxed);
        }
        writer.slot(7).counters.requests.store(5, Ordering::Relaxed);
        let seen = |worker, app| reader.app(worker, app).map(|app| app.requests.load(Ordering::Relaxed));
        assert_eq!([seen(1, 0), seen(1, 2), seen(2, 0), seen(2, 2)], [10, 12, 20, 22].map(Some));
        assert_eq!([seen(0, 0), seen(3, 0), seen(1, 3)], [None; 3]);
        let (one, _fd) = Scoreboard::create(GenerationId(3), 2, 2, 0).unwrap();
        assert!(one.app(1, 0).is_none());
    }

    #[test]
    fn a_header_that_lies_about_its_size_is_refused_and_a_later_lie_changes_no_bound() {
        let (writer, fd) = Scoreboard::create(GenerationId(1), 2, 3, 0).unwrap();
        let reader = Scoreboard::map(fd.as_fd()).unwrap();
        writer.header().processes.store(1_000, Ordering::Relaxed);
        assert_eq!((reader.processes(), reader.threads(), reader.slots()), (2, 3, 12));
        assert!(Scoreboard::map(fd.as_fd()).is_err());
        assert!(Scoreboard::create(GenerationId(1), u32::MAX, u32::MAX, 0).is_err());
        assert!(Scoreboard::create(GenerationId(1), 0, 1, 0).is_err());
        assert!(Scoreboard::create(GenerationId(1), 1, 1, APPS_MAX + 1).is_err());
    }

    #[test]
    fn a_file_that_could_shrink_or_has_another_content_is_refused() {
        let unsealed = memfd::unsealed("x").unwrap();
        assert!(Scoreboard::map(unsealed.as_fd()).is_err());
        let other = memfd::sealed("x", &[0; 8192]).unwrap();
        assert!(Scoreboard::map(other.as_fd()).is_err());
        let short = memfd::sealed("x", &[0; 3]).unwrap();
        assert!(Scoreboard::map(short.as_fd()).is_err());
    }
}
