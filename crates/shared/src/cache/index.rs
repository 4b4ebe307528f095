//! What leads to slots: the table from hashes, the list of those without an item, the list by last use.

use super::{
    Cache,
    head::{Head, Slot, Word, head_at, slot_at},
};
use crate::memory::Memory;

impl<M: Memory> Cache<'_, M> {
    pub(super) fn head(&self, word: Head) -> u64 {
        self.memory.load(head_at(word))
    }

    pub(super) fn set_head(&mut self, word: Head, content: u64) {
        self.memory.store(head_at(word), content);
    }

    pub(super) fn add(&mut self, word: Head, more: u64) {
        self.set_head(word, self.head(word).wrapping_add(more));
    }

    pub(super) fn word(&self, slot: Slot, word: Word) -> u64 {
        self.memory.load(slot_at(self.layout, slot, word))
    }

    pub(super) fn set(&mut self, slot: Slot, word: Word, content: u64) {
        self.memory.store(slot_at(self.layout, slot, word), content);
    }

    /// Whoever comes after a change that was not finished makes everything anew.
    pub(super) fn change<T>(&mut self, change: impl FnOnce(&mut Self) -> T) -> T {
        self.set_head(Head::Torn, 1);
        let outcome = change(self);
        self.set_head(Head::Torn, 0);
        outcome
    }

    /// The slot that a word means, if there is one.
    pub(super) fn slot(&self, word: u64) -> Option<Slot> {
        word.checked_sub(1).filter(|slot| *slot < self.layout.slots)
    }

    pub(super) fn tick(&mut self) -> u64 {
        let tick = self.head(Head::Ticks).wrapping_add(1).max(1);
        self.set_head(Head::Ticks, tick);
        tick
    }

    /// Whether there is an item in this slot, with everything where it may be.
    pub(super) fn is_whole(&self, slot: Slot) -> bool {
        self.word(slot, Word::Sequence) != 0
            && (1..=self.layout.shape.key_max_bytes).contains(&self.word(slot, Word::KeyBytes))
            && self.layout.are_there(self.word(slot, Word::FirstBlock), self.word(slot, Word::ValueBytes))
            && (self.layout.shape.bitmap || self.word(slot, Word::FirstBlock) == slot)
    }

    pub(super) fn key(&self, slot: Slot) -> Vec<u8> {
        let length = self.word(slot, Word::KeyBytes).min(self.layout.shape.key_max_bytes);
        let mut key = vec![0; length as usize];
        self.memory.read(self.layout.key_at(slot), &mut key);
        key
    }

    pub(super) fn value(&self, slot: Slot) -> Vec<u8> {
        let (first, length) = (self.word(slot, Word::FirstBlock), self.word(slot, Word::ValueBytes));
        if !self.layout.are_there(first, length) {
            return Vec::new();
        }
        let mut value = vec![0; length as usize];
        self.memory.read(self.layout.block_at(first), &mut value);
        value
    }

    /// Not cryptographic, but with a beginning that whoever chooses keys does not know.
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let fold = |a: u64, b: u64| {
            let product = u128::from(a) * u128::from(b);
            (product >> 64) as u64 ^ product as u64
        };
        let seed = self.head(Head::Seed);
        key.chunks(8).fold(fold(seed ^ key.len() as u64, ODD), |hash, chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            fold(hash ^ u64::from_le_bytes(word), ODD ^ seed.rotate_left(32))
        })
    }

    fn table_at(&self, hash: u64) -> usize {
        (self.layout.table + hash % self.layout.shape.hashes * 8) as usize
    }

    /// The slot of a key that is not longer than a key may be.
    pub(super) fn find(&self, key: &[u8]) -> Option<Slot> {
        let hash = self.hash(key);
        let mut next = self.slot(self.memory.load(self.table_at(hash)));
        for _ in 0..self.layout.slots {
            let slot = next?;
            let is_it = self.word(slot, Word::Hash) == hash
                && self.word(slot, Word::KeyBytes) == key.len() as u64
                && self.memory.holds(self.layout.key_at(slot), key);
            if is_it && self.is_whole(slot) {
                return Some(slot);
            }
            next = self.slot(self.word(slot, Word::Next));
        }
        None
    }

    /// Adds an item to table, list and count.
    pub(super) fn link(&mut self, slot: Slot) {
        let place = self.table_at(self.word(slot, Word::Hash));
        self.set(slot, Word::Next, self.memory.load(place));
        self.memory.store(place, slot + 1);
        self.append(slot);
        self.add(Head::Count, 1);
    }

    /// Takes an item out of table, list and count.
    pub(super) fn unlink(&mut self, slot: Slot) {
        let place = self.table_at(self.word(slot, Word::Hash));
        let after = self.word(slot, Word::Next);
        let mut before = self.slot(self.memory.load(place));
        if before == Some(slot) {
            self.memory.store(place, after);
        } else {
            for _ in 0..self.layout.slots {
                let Some(here) = before else { break };
                if self.word(here, Word::Next) == slot + 1 {
                    self.set(here, Word::Next, after);
                    break;
                }
                before = self.slot(self.word(here, Word::Next));
            }
        }
        self.detach(slot);
        self.set_head(Head::Count, self.head(Head::Count).saturating_sub(1));
    }

    /// Makes an item the last used.
    pub(super) fn use_now(&mut self, slot: Slot) {
        let tick = self.tick();
        self.set(slot, Word::Used, tick);
        self.detach(slot);
        self.append(slot);
    }

    fn append(&mut self, slot: Slot) {
        let newest = self.head(Head::Newest);
        self.set(slot, Word::Older, newest);
        self.set(slot, Word::Newer, 0);
        match self.slot(newest) {
            Some(newest) => self.set(newest, Word::Newer, slot + 1),
            None => self.set_head(Head::Oldest, slot + 1),
        }
        self.set_head(Head::Newest, slot + 1);
    }

    fn detach(&mut self, slot: Slot) {
        let (older, newer) = (self.word(slot, Word::Older), self.word(slot, Word::Newer));
        match self.slot(older) {
            Some(older) => self.set(older, Word::Newer, newer),
            None => self.set_head(Head::Oldest, newer),
        }
        match self.slot(newer) {
            Some(newer) => self.set(newer, Word::Older, older),
            None => self.set_head(Head::Newest, older),
        }
    }

    /// A slot without an item, which it is no longer.
    pub(super) fn take_slot(&mut self) -> Option<Slot> {
        let slot = self.slot(self.head(Head::Free))?;
        self.set_head(Head::Free, self.word(slot, Word::Next));
        Some(slot)
    }

    pub(super) fn free_slot(&mut self, slot: Slot) {
        self.set(slot, Word::Next, self.head(Head::Free));
        self.set_head(Head::Free, slot + 1);
    }
}
