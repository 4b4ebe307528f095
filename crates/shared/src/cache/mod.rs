//! A cache in shared memory: keys with values, each until it is removed, expires or makes room (uWSGI's `cache2`).
//!
//! Every item is written beside whatever it replaces and is there with one store, of its slot's sequence number. All
//! else (table, lists, bitmap, count) follows from the slots, and is made anew when its last change was not finished.

mod blocks;
mod head;
mod index;
mod rebuild;
mod shape;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use self::head::{Head, MAGIC, Slot, VERSION, Word};
pub use self::{
    head::Counts,
    shape::{Layout, Shape},
};
use crate::memory::Memory;

/// Slots that are looked at for expired items in one call.
const SWEPT_AT_ONCE: u64 = 256;

/// When expired items are removed. They are not found any more in any case, but with [`Expiry::Never`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expiry {
    /// By the next call after so many seconds (`cache-expire-freq`).
    Swept {
        /// At most so often.
        every_s: u64,
    },
    /// When they are asked for, or room is needed (`lazy`).
    Lazy,
    /// They do not expire (`no_expire`, `cache-no-expire`).
    Never,
}

/// What is not its size: may differ between those who use a cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// See there.
    pub expiry: Expiry,
    /// The least lately used item makes room (`purge_lru`).
    pub purge_lru: bool,
    /// A full cache is emptied (`clear_on_full`).
    pub clear_on_full: bool,
    /// What a number begins with that is counted up or down first (`math_initial`).
    pub math_initial: i64,
    /// Whether the time of the last change is kept (`lastmod`).
    pub last_modified: bool,
}

/// What became of a value that was to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It is there.
    Yes,
    /// There is one for this key already.
    Exists,
    /// The key or the value is empty or too long.
    Unfit,
    /// There is no room.
    Full,
}

/// What is stored when the key is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Present {
    /// It stays.
    Stays,
    /// The new one.
    Replaced,
}

/// What is done to a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Math {
    /// Added.
    Inc,
    /// Taken away.
    Dec,
    /// Multiplied.
    Mul,
    /// Divided; by zero is zero, as in uWSGI.
    Div,
}

/// What happened beside what was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Noticed {
    /// There was no room, or room had to be made.
    pub full: bool,
    /// Expired items that were removed because it was time.
    pub freed: u64,
    /// A change had not been finished, and everything was made anew.
    pub repaired: bool,
}

/// A cache, for one call.
pub struct Cache<'a, M> {
    memory: &'a mut M,
    layout: &'a Layout,
    rules: &'a Rules,
    now_s: u64,
    /// See there.
    pub noticed: Noticed,
}

impl<M: Memory> Cache<'_, M> {
    /// Writes an empty cache. `seed` should be unpredictable: clients may choose keys.
    pub fn create(memory: &mut M, layout: &Layout, seed: u64) {
        for (word, value) in words_of(layout) {
            memory.store(head::head_at(word), value);
        }
        memory.store(head::head_at(Head::Seed), seed);
        memory.store(head::head_at(Head::Torn), 1);
        memory.store(head::head_at(Head::Magic), MAGIC);
    }

    /// Has whoever opens it next make everything anew that follows from the items: who wrote it last may not have
    /// written it to the end.
    pub fn distrust(memory: &mut M) {
        memory.store(head::head_at(Head::Torn), 1);
    }

    /// Whether there is a cache of this shape.
    #[must_use]
    pub fn is_there(memory: &M, layout: &Layout) -> bool {
        let same = |(word, value)| memory.load(head::head_at(word)) == value;
        memory.load(head::head_at(Head::Magic)) == MAGIC && words_of(layout).into_iter().all(same)
    }
}

fn words_of(layout: &Layout) -> [(Head, u64); 7] {
    let shape = &layout.shape;
    [
        (Head::Version, VERSION),
        (Head::Items, shape.items),
        (Head::BlockBytes, shape.block_bytes),
        (Head::Blocks, shape.blocks),
        (Head::Hashes, shape.hashes),
        (Head::KeyMaxBytes, shape.key_max_bytes),
        (Head::Bitmap, u64::from(shape.bitmap)),
    ]
}

impl<'a, M: Memory> Cache<'a, M> {
    /// One that is there, for whoever has its lock. `now_s` in unix s.
    pub fn open(memory: &'a mut M, layout: &'a Layout, rules: &'a Rules, now_s: u64) -> Self {
        let mut cache = Cache { memory, layout, rules, now_s, noticed: Noticed::default() };
        if cache.head(Head::Torn) != 0 {
            // A new cache looks the same; only what has been used is worth a word.
            cache.noticed.repaired = cache.head(Head::Ticks) > 0;
            cache.rebuild();
        }
        cache.sweep_when_due();
        cache
    }

    /// The value.
    pub fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        let Some(slot) = self.find_living(key) else {
            self.add(Head::Misses, 1);
            return None;
        };
        self.add(Head::Hits, 1);
        self.set(slot, Word::Hits, self.word(slot, Word::Hits) + 1);
        if self.rules.purge_lru {
            self.change(|cache| cache.use_now(slot));
        }
        Some(self.value(slot))
    }

    /// Whether the key is there.
    pub fn exists(&mut self, key: &[u8]) -> bool {
        self.find_living(key).is_some()
    }

    /// Stores a value until `expires_s` (unix s; 0 is for ever).
    pub fn store(&mut self, key: &[u8], value: &[u8], expires_s: u64, present: Present) -> Stored {
        if !self.fits(key, value.len() as u64) {
            return Stored::Unfit;
        }
        match (self.find_living(key), present) {
            (Some(_), Present::Stays) => Stored::Exists,
            (there, _) => self.change(|cache| cache.put(key, value, expires_s, there)),
        }
    }

    /// Changes a number of 8 bytes, or begins one, which then expires at `expires_s`.
    pub fn math(&mut self, key: &[u8], math: Math, by: i64, expires_s: u64) -> Stored {
        const NUMBER_BYTES: usize = size_of::<i64>();
        if !self.fits(key, NUMBER_BYTES as u64) {
            return Stored::Unfit;
        }
        let there = self.find_living(key);
        let (number, expires_s) = match there {
            None => (self.rules.math_initial, expires_s),
            Some(slot) => {
                let mut bytes = self.value(slot);
                bytes.resize(NUMBER_BYTES, 0);
                let number = bytes.try_into().map_or(0, i64::from_ne_bytes);
                (number, self.word(slot, Word::Expires))
            }
        };
        let number = match math {
            Math::Inc => number.wrapping_add(by),
            Math::Dec => number.wrapping_sub(by),
            Math::Mul => number.wrapping_mul(by),
            Math::Div if by == 0 => 0,
            Math::Div => number.wrapping_div(by),
        };
        self.change(|cache| cache.put(key, &number.to_ne_bytes(), expires_s, there))
    }

    /// Removes a key; whether it was there.
    pub fn delete(&mut self, key: &[u8]) -> bool {
        let Some(slot) = self.find_living(key) else { return false };
        self.change(|cache| cache.remove(slot));
        true
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.change(Self::empty);
    }

    /// All keys.
    pub fn keys(&mut self) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        for slot in 0..self.layout.slots {
            if self.is_whole(slot) && !self.has_expired(slot) {
                keys.push(self.key(slot));
            }
        }
        keys
    }

    /// Whether this could be stored at all.
    fn fits(&self, key: &[u8], value_bytes: u64) -> bool {
        let key_bytes = key.len() as u64;
        (1..=self.layout.shape.key_max_bytes).contains(&key_bytes)
            && (1..=self.layout.value_max_bytes()).contains(&value_bytes)
    }

    /// Its slot, unless it has expired, which ends it.
    fn find_living(&mut self, key: &[u8]) -> Option<Slot> {
        if key.is_empty() || key.len() as u64 > self.layout.shape.key_max_bytes {
            return None;
        }
        let slot = self.find(key)?;
        if self.has_expired(slot) {
            self.change(|cache| cache.remove(slot));
            return None;
        }
        Some(slot)
    }

    fn has_expired(&self, slot: Slot) -> bool {
        let expires_s = self.word(slot, Word::Expires);
        expires_s != 0 && expires_s <= self.now_s && self.rules.expiry != Expiry::Never
    }

    /// Writes an item beside `there`, which it replaces.
    fn put(&mut self, key: &[u8], value: &[u8], expires_s: u64, there: Option<Slot>) -> Stored {
        if let Some(slot) = there {
            // What is being written is not what makes room.
            self.use_now(slot);
        } else if self.head(Head::Count) >= self.layout.shape.items && !self.make_room() {
            return Stored::Full;
        }
        let Some(first_block) = self.take_blocks(value.len() as u64, there) else { return Stored::Full };
        let Some(slot) = self.take_slot() else { return Stored::Full };
        let first_block = first_block.unwrap_or(slot);
        let hash = self.hash(key);
        let tick = self.tick();
        self.memory.write(self.layout.key_at(slot), key);
        self.memory.write(self.layout.block_at(first_block), value);
        for (word, content) in [
            (Word::Hash, hash),
            (Word::KeyBytes, key.len() as u64),
            (Word::ValueBytes, value.len() as u64),
            (Word::Expires, expires_s),
            (Word::Hits, 0),
            (Word::FirstBlock, first_block),
            (Word::Used, tick),
            (Word::Sequence, tick),
        ] {
            self.set(slot, word, content);
        }
        if let Some(there) = there.filter(|there| self.is_whole(*there)) {
            self.remove(there);
        }
        self.link(slot);
        self.mind_expiry(expires_s);
        self.modified();
        Stored::Yes
    }

    /// Makes room for one item more; whether there is.
    fn make_room(&mut self) -> bool {
        let items = self.layout.shape.items;
        if self.sweep_now() && self.head(Head::Count) < items {
            return true;
        }
        self.is_full();
        if self.rules.purge_lru {
            self.remove_oldest(None);
        } else if self.rules.clear_on_full {
            self.empty();
        }
        self.head(Head::Count) < items
    }

    /// Blocks for a value, where they are not the slot's own; None when there are none.
    #[allow(clippy::option_option)]
    fn take_blocks(&mut self, value_bytes: u64, keep: Option<Slot>) -> Option<Option<u64>> {
        if !self.layout.shape.bitmap {
            return Some(None);
        }
        let count = self.layout.blocks_of(value_bytes);
        if let Some(first) = self.find_free_blocks(count) {
            self.mark_blocks(first, count, blocks::Mark::Used);
            return Some(Some(first));
        }
        self.sweep_now();
        // Nothing is removed for what has no room beside the item that it replaces, however few others there are.
        let may_fit = keep.is_none_or(|keep| self.fit_beside(keep, count));
        loop {
            if let Some(first) = self.find_free_blocks(count) {
                self.mark_blocks(first, count, blocks::Mark::Used);
                return Some(Some(first));
            }
            if !self.noticed.full {
                self.is_full();
            }
            let made = if !may_fit {
                false
            } else if self.rules.purge_lru {
                self.remove_oldest(keep)
            } else {
                let empties = self.rules.clear_on_full && keep.is_none() && self.head(Head::Count) > 0;
                if empties {
                    self.empty();
                }
                empties
            };
            if !made {
                return None;
            }
        }
    }

    fn is_full(&mut self) {
        self.noticed.full = true;
        self.add(Head::Full, 1);
    }

    /// Removes the least lately used item, unless that is the one to keep; whether it did.
    fn remove_oldest(&mut self, keep: Option<Slot>) -> bool {
        let Some(oldest) = self.slot(self.head(Head::Oldest)).filter(|oldest| Some(*oldest) != keep) else {
            return false;
        };
        self.remove(oldest);
        true
    }

    fn remove(&mut self, slot: Slot) {
        // It is gone from here on.
        self.set(slot, Word::Sequence, 0);
        self.unlink(slot);
        if self.layout.shape.bitmap {
            let first = self.word(slot, Word::FirstBlock);
            let value_bytes = self.word(slot, Word::ValueBytes);
            if self.layout.are_there(first, value_bytes) {
                self.mark_blocks(first, self.layout.blocks_of(value_bytes), blocks::Mark::Free);
            }
        }
        self.free_slot(slot);
        self.modified();
    }

    fn empty(&mut self) {
        for slot in 0..self.layout.slots {
            self.set(slot, Word::Sequence, 0);
        }
        self.rebuild_index();
        self.modified();
    }

    fn modified(&mut self) {
        if self.rules.last_modified {
            self.set_head(Head::Modified, self.now_s);
        }
    }

    fn mind_expiry(&mut self, expires_s: u64) {
        let next = self.head(Head::NextExpiry);
        if expires_s != 0 && (next == 0 || expires_s < next) {
            self.set_head(Head::NextExpiry, expires_s);
        }
    }

    /// Removes some of the expired items when it is time.
    fn sweep_when_due(&mut self) {
        let Expiry::Swept { every_s } = self.rules.expiry else { return };
        let next = self.head(Head::NextExpiry);
        let is_due = next != 0 && next <= self.now_s && self.now_s >= self.head(Head::Swept).saturating_add(every_s);
        if is_due || self.head(Head::Cursor) != 0 {
            self.noticed.freed = self.change(|cache| cache.sweep(SWEPT_AT_ONCE));
        }
    }

    /// Removes all expired items, if there are any; whether it did.
    fn sweep_now(&mut self) -> bool {
        let next = self.head(Head::NextExpiry);
        // In the middle of a sweep it is only known of the slots that were looked at already.
        let is_known = self.head(Head::Cursor) == 0;
        if self.rules.expiry == Expiry::Never || is_known && (next == 0 || next > self.now_s) {
            return false;
        }
        self.set_head(Head::Cursor, 0);
        self.sweep(self.layout.slots) > 0
    }

    /// Looks at so many slots from the cursor on; how many items it removed.
    fn sweep(&mut self, slots: u64) -> u64 {
        let from = self.head(Head::Cursor);
        if from == 0 {
            self.set_head(Head::NextExpiry, 0);
            self.set_head(Head::Swept, self.now_s);
        }
        let to = from.saturating_add(slots).min(self.layout.slots);
        let mut freed = 0;
        for slot in from..to {
            if !self.is_whole(slot) {
                continue;
            }
            if self.has_expired(slot) {
                self.remove(slot);
                freed += 1;
            } else {
                self.mind_expiry(self.word(slot, Word::Expires));
            }
        }
        self.set_head(Head::Cursor, if to == self.layout.slots { 0 } else { to });
        freed
    }
}
