//! With `bitmap`: which blocks are taken, a bit for each.

use super::{
    Cache,
    head::{Head, Slot, Word},
};
use crate::memory::Memory;

/// What becomes of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Used,
    Free,
}

const BITS: u64 = 64;

impl<M: Memory> Cache<'_, M> {
    fn bits_at(&self, block: u64) -> usize {
        (self.layout.bits + block / BITS * 8) as usize
    }

    /// Whole words at a time.
    pub(super) fn mark_blocks(&mut self, first: u64, count: u64, mark: Mark) {
        let end = first + count;
        let mut block = first;
        while block < end {
            let here = (BITS - block % BITS).min(end - block);
            let ones = if here == BITS { u64::MAX } else { (1 << here) - 1 } << (block % BITS);
            let at = self.bits_at(block);
            let word = self.memory.load(at);
            self.memory.store(at, if mark == Mark::Used { word | ones } else { word & !ones });
            block += here;
        }
    }

    pub(super) fn free_all_blocks(&mut self) {
        for word in 0..self.layout.shape.blocks.div_ceil(BITS) {
            self.memory.store(self.bits_at(word * BITS), 0);
        }
        self.set_head(Head::BlockCursor, 0);
    }

    /// The first of so many free blocks in a row, looked for behind the last that were taken, then from the beginning.
    pub(super) fn find_free_blocks(&mut self, count: u64) -> Option<u64> {
        let cursor = self.head(Head::BlockCursor).min(self.layout.shape.blocks);
        let first = self.free_run(cursor, count).or_else(|| self.free_run(0, count))?;
        self.set_head(Head::BlockCursor, first + count);
        Some(first)
    }

    /// Whether nobody has any of these blocks; without `bitmap` each slot has its own.
    pub(super) fn are_free(&self, first: u64, count: u64) -> bool {
        !self.layout.shape.bitmap
            || (first..first + count).all(|block| self.memory.load(self.bits_at(block)) >> (block % BITS) & 1 == 0)
    }

    /// Whether so many blocks in a row would be free if only the blocks of that item were taken.
    pub(super) fn fit_beside(&self, slot: Slot, count: u64) -> bool {
        let first = self.word(slot, Word::FirstBlock);
        let end = first + self.layout.blocks_of(self.word(slot, Word::ValueBytes));
        count <= first.max(self.layout.shape.blocks.saturating_sub(end))
    }

    fn free_run(&self, from: u64, count: u64) -> Option<u64> {
        let (mut block, mut run) = (from, 0);
        while block < self.layout.shape.blocks {
            let word = self.memory.load(self.bits_at(block)) >> (block % BITS);
            let left = (BITS - block % BITS).min(self.layout.shape.blocks - block);
            let free = u64::from(word.trailing_zeros()).min(left);
            run += free;
            if run >= count {
                return Some(block + free - run);
            }
            block += free;
            if free < left {
                run = 0;
                block += u64::from((word >> free).trailing_ones()).min(left - free);
            }
        }
        None
    }
}
