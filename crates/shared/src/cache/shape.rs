//! How big a cache is, and where in its memory everything lies: the lock, a head of words, the table that leads from
//! hashes to slots, the bitmap of blocks, the slots, their keys, the blocks.

use serde::{Deserialize, Serialize};

use crate::memory::LOCK_BYTES;

/// Most bytes of one cache: what a process can map without doubt.
const BYTES_MAX: u64 = 1 << 44;

/// The size of a cache. A cache is found again by it: one of another shape is another cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shape {
    /// Most items.
    pub items: u64,
    /// Longest value without `bitmap`; the unit of values with it. In bytes.
    pub block_bytes: u64,
    /// How many blocks there are with `bitmap`.
    pub blocks: u64,
    /// Entries of the table from hashes to items.
    pub hashes: u64,
    /// Longest key, in bytes.
    pub key_max_bytes: u64,
    /// Whether a value may take several blocks in a row.
    pub bitmap: bool,
}

/// Offsets into the memory of a cache, and the numbers they come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// What it is the layout of.
    pub shape: Shape,
    /// One more than there may be items: an update is written beside what it replaces.
    pub(crate) slots: u64,
    pub(crate) table: u64,
    pub(crate) bits: u64,
    pub(crate) slot: u64,
    key: u64,
    key_step: u64,
    block: u64,
    block_step: u64,
    length: u64,
}

/// Bytes of a slot without its key.
pub(crate) const SLOT_BYTES: u64 = 11 * 8;
/// Bytes of the head.
const HEAD_BYTES: u64 = 32 * 8;

impl Shape {
    /// Where everything lies; None when something is missing or more is wanted than any machine has.
    #[must_use]
    pub fn layout(&self) -> Option<Layout> {
        let Shape { items, block_bytes, blocks, hashes, key_max_bytes, bitmap } = *self;
        if [items, block_bytes, blocks, hashes, key_max_bytes].contains(&0) {
            return None;
        }
        let slots = items.checked_add(1)?;
        let key_step = key_max_bytes.checked_next_multiple_of(8)?;
        let block_step = if bitmap { block_bytes } else { block_bytes.checked_next_multiple_of(8)? };
        let table = LOCK_BYTES as u64 + HEAD_BYTES;
        let bits = table.checked_add(hashes.checked_mul(8)?)?;
        let bits_bytes = if bitmap { blocks.div_ceil(64).checked_mul(8)? } else { 0 };
        let slot = bits.checked_add(bits_bytes)?;
        let key = slot.checked_add(slots.checked_mul(SLOT_BYTES)?)?;
        let block = key.checked_add(slots.checked_mul(key_step)?)?;
        let length = block.checked_add(if bitmap { blocks } else { slots }.checked_mul(block_step)?)?;
        (length <= BYTES_MAX).then_some(Layout {
            shape: *self,
            slots,
            table,
            bits,
            slot,
            key,
            key_step,
            block,
            block_step,
            length,
        })
    }
}

impl Layout {
    /// Of the whole memory, in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length as usize
    }

    /// The longest value.
    #[must_use]
    pub fn value_max_bytes(&self) -> u64 {
        if self.shape.bitmap { self.shape.block_bytes * self.shape.blocks } else { self.shape.block_bytes }
    }

    pub(crate) fn key_at(&self, slot: u64) -> usize {
        (self.key + slot * self.key_step) as usize
    }

    pub(crate) fn block_at(&self, block: u64) -> usize {
        (self.block + block * self.block_step) as usize
    }

    /// How many blocks a value takes.
    pub(crate) fn blocks_of(&self, value_bytes: u64) -> u64 {
        if self.shape.bitmap { value_bytes.div_ceil(self.shape.block_bytes).max(1) } else { 1 }
    }

    /// The blocks of a value, unless they are not all there.
    pub(crate) fn are_there(&self, first_block: u64, value_bytes: u64) -> bool {
        let all = if self.shape.bitmap { self.shape.blocks } else { self.slots };
        value_bytes > 0
            && value_bytes <= self.value_max_bytes()
            && first_block < all
            && self.blocks_of(value_bytes) <= all - first_block
    }
}
