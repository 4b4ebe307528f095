//! The words at the beginning of a cache and of each slot, by name.

use super::shape::{Layout, SLOT_BYTES};
use crate::memory::LOCK_BYTES;

/// The first word of a cache that was made.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"emprycch");
/// Of the layout: a cache of another version is not this one.
pub(crate) const VERSION: u64 = 1;

/// A word of the head.
#[derive(Debug, Clone, Copy)]
#[repr(u64)]
pub(crate) enum Head {
    Magic,
    Version,
    Items,
    BlockBytes,
    Blocks,
    Hashes,
    KeyMaxBytes,
    Bitmap,
    /// What hashes begin with.
    Seed,
    /// 1 while something is changed: whoever finds it so makes everything anew that follows from the slots.
    Torn,
    /// Counts every change and, where the least used item goes, every use.
    Ticks,
    /// Items there are.
    Count,
    /// First of the slots without an item.
    Free,
    /// Least lately used item.
    Oldest,
    /// Most lately used item.
    Newest,
    /// When the next item expires, unix s; 0 is never. It may be too early.
    NextExpiry,
    /// When expired items were last removed.
    Swept,
    /// Where removing them goes on.
    Cursor,
    /// Where to look for free blocks first.
    BlockCursor,
    Hits,
    Misses,
    Full,
    /// Unix s.
    Modified,
}

/// A word of a slot.
#[derive(Debug, Clone, Copy)]
#[repr(u64)]
pub(crate) enum Word {
    /// [`Head::Ticks`] when it was written; 0 without an item. The item is there from this store on.
    Sequence,
    Hash,
    KeyBytes,
    ValueBytes,
    /// Unix s; 0 is never.
    Expires,
    Hits,
    FirstBlock,
    /// The next slot with the same place in the table, or without an item.
    Next,
    /// [`Head::Ticks`] of its last use.
    Used,
    Older,
    Newer,
}

/// A slot's number. As a word of memory it is one more, so that 0 is none.
pub(crate) type Slot = u64;

pub(crate) fn head_at(word: Head) -> usize {
    LOCK_BYTES + word as usize * 8
}

pub(crate) fn slot_at(layout: &Layout, slot: Slot, word: Word) -> usize {
    (layout.slot + slot * SLOT_BYTES) as usize + word as usize * 8
}

/// What is counted, for statistics; read without the lock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Items there are, those not yet removed after their end included.
    pub items: u64,
    /// Lookups that found their item.
    pub hits: u64,
    /// Lookups that did not.
    pub misses: u64,
    /// How often there was no place.
    pub full: u64,
    /// When an item was last written or removed, unix s; 0 without `lastmod`.
    pub last_modified_s: u64,
}

impl Counts {
    /// Of a cache whose words `load` reads.
    #[must_use]
    pub fn of(load: impl Fn(usize) -> u64) -> Counts {
        let read = |word| load(head_at(word));
        Counts {
            items: read(Head::Count),
            hits: read(Head::Hits),
            misses: read(Head::Misses),
            full: read(Head::Full),
            last_modified_s: read(Head::Modified),
        }
    }
}
