//! Makes everything anew that follows from the slots: after a process was killed in the middle of a change, and when a
//! `store` file is opened.

use super::{
    Cache,
    blocks::Mark,
    head::{Head, Slot, Word},
};
use crate::memory::Memory;

impl<M: Memory> Cache<'_, M> {
    /// Keeps every whole item, and of two with the same key the later.
    pub(super) fn rebuild(&mut self) {
        self.change(Self::rebuild_index);
    }

    pub(super) fn rebuild_index(&mut self) {
        for hash in 0..self.layout.shape.hashes {
            self.memory.store((self.layout.table + hash * 8) as usize, 0);
        }
        if self.layout.shape.bitmap {
            self.free_all_blocks();
        }
        for word in [Head::Count, Head::Free, Head::Oldest, Head::Newest, Head::NextExpiry, Head::Cursor] {
            self.set_head(word, 0);
        }
        let (whole, mut others): (Vec<Slot>, Vec<Slot>) = (0..self.layout.slots).partition(|slot| self.is_whole(*slot));
        others.extend(self.drop_surplus(whole.clone()));
        let mut kept: Vec<Slot> = whole.into_iter().filter(|slot| self.word(*slot, Word::Sequence) != 0).collect();
        kept.sort_by_key(|slot| self.word(*slot, Word::Used));
        for slot in &kept {
            let hash = self.hash(&self.key(*slot));
            self.set(*slot, Word::Hash, hash);
            self.link(*slot);
            self.mind_expiry(self.word(*slot, Word::Expires));
        }
        let latest = kept.iter().flat_map(|slot| [self.word(*slot, Word::Sequence), self.word(*slot, Word::Used)]);
        let latest = latest.max().unwrap_or(0).max(self.head(Head::Ticks));
        self.set_head(Head::Ticks, latest);
        others.sort_unstable();
        for slot in others.into_iter().rev() {
            self.set(slot, Word::Sequence, 0);
            self.free_slot(slot);
        }
    }

    /// Ends the items that an update had replaced, those whose blocks another has, and one too many. Marks the blocks of
    /// the others.
    fn drop_surplus(&mut self, mut whole: Vec<Slot>) -> Vec<Slot> {
        whole.sort_by_key(|slot| std::cmp::Reverse(self.word(*slot, Word::Sequence)));
        let mut seen = std::collections::HashSet::with_capacity(whole.len());
        let mut dropped = Vec::new();
        for slot in whole {
            let first = self.word(slot, Word::FirstBlock);
            let count = self.layout.blocks_of(self.word(slot, Word::ValueBytes));
            let is_one_too_many = seen.len() as u64 >= self.layout.shape.items;
            if is_one_too_many || !seen.insert(self.key(slot)) || !self.are_free(first, count) {
                self.set(slot, Word::Sequence, 0);
                dropped.push(slot);
            } else if self.layout.shape.bitmap {
                self.mark_blocks(first, count, Mark::Used);
            }
        }
        dropped
    }
}
