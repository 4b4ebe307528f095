//! An area of memory that an app reads and writes itself (`sharedarea`). Its lock may be taken again by the thread that
//! has it: an app that locks the area and then reads it does not wait for itself.

use std::{io, ptr};

use empery_control::shared::{self as words, AREA_AT};
use empery_sys::region::Region;

use super::borrowed;

/// See the module.
pub(crate) struct Area {
    /// Its lock, and the area unless it is that of a file.
    region: Region,
    file: Option<Region>,
    length: usize,
}

/// Gives the lock back.
struct Held<'a>(&'a Region);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let given_back = self.0.give_back();
        debug_assert!(given_back.is_ok(), "what this thread has taken it can give back");
    }
}

impl Area {
    pub(super) fn map(area: &words::Area) -> io::Result<Area> {
        let file = area.file_fd.map(|fd| Region::map_plain(borrowed(fd), area.bytes)).transpose()?;
        let length = AREA_AT + if file.is_some() { 0 } else { area.bytes };
        Ok(Area { region: Region::map(borrowed(area.fd), length)?, file, length: area.bytes })
    }

    /// Where it lies, and its length in bytes: as long as this process lives.
    pub(crate) fn memory(&self) -> (*mut u8, usize) {
        let (start, _) = match &self.file {
            Some(file) => file.open_part(0),
            None => self.region.open_part(AREA_AT),
        };
        (start, self.length)
    }

    /// Takes its lock.
    ///
    /// # Errors
    /// When the lock is broken.
    pub(crate) fn lock(&self) -> io::Result<()> {
        self.region.take().map(drop)
    }

    /// Gives its lock back.
    ///
    /// # Errors
    /// When the calling thread does not have it.
    pub(crate) fn unlock(&self) -> io::Result<()> {
        self.region.give_back()
    }

    fn within(&self, at: usize, length: usize) -> bool {
        at.checked_add(length).is_some_and(|end| end <= self.length)
    }

    /// Copies bytes out, under the lock; None beyond its end.
    pub(crate) fn read(&self, at: usize, length: usize) -> io::Result<Option<Vec<u8>>> {
        if !self.within(at, length) {
            return Ok(None);
        }
        self.lock()?;
        let _held = Held(&self.region);
        let mut bytes = vec![0; length];
        // SAFETY: `within` keeps it inside the mapping, which no reference of ours points into; what an app writes
        // meanwhile without the lock is bytes as well.
        unsafe { ptr::copy_nonoverlapping(self.memory().0.add(at), bytes.as_mut_ptr(), length) };
        Ok(Some(bytes))
    }

    /// Copies bytes in, under the lock; whether they are within it.
    pub(crate) fn write(&self, at: usize, bytes: &[u8]) -> io::Result<bool> {
        if !self.within(at, bytes.len()) {
            return Ok(false);
        }
        self.lock()?;
        let _held = Held(&self.region);
        // SAFETY: as in `read`.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.memory().0.add(at), bytes.len()) };
        Ok(true)
    }

    /// Changes a number of so many bytes, under the lock; whether it is within the area.
    pub(crate) fn change<const BYTES: usize>(
        &self,
        at: usize,
        change: impl FnOnce([u8; BYTES]) -> [u8; BYTES],
    ) -> io::Result<bool> {
        self.lock()?;
        let _held = Held(&self.region);
        let Some(bytes) = self.read(at, BYTES)?.and_then(|bytes| bytes.try_into().ok()) else { return Ok(false) };
        self.write(at, &change(bytes))
    }
}
