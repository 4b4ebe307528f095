//! A queue in shared memory: a ring of slots, each with one message or none (uWSGI's `queue`).
//!
//! What is about to be done stands in one word before it is done, so that whoever comes after a process that was killed
//! finishes it.

use serde::{Deserialize, Serialize};

use crate::memory::{LOCK_BYTES, Memory};

const MAGIC: u64 = u64::from_le_bytes(*b"empryque");
const VERSION: u64 = 1;
/// Length and time of a message stand before it.
const MESSAGE_HEAD_BYTES: u64 = 16;
const HEAD_BYTES: u64 = 8 * 8;
/// Most bytes of a queue.
const BYTES_MAX: u64 = 1 << 44;

/// The size of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct QueueShape {
    /// How many messages it holds.
    pub slots: u64,
    /// Bytes of a slot; a message may have 16 less.
    pub slot_bytes: u64,
}

impl QueueShape {
    /// Bytes of its memory; None when it could hold nothing, or more than any machine has.
    #[must_use]
    pub fn length(&self) -> Option<usize> {
        if self.slots == 0 || self.slot_bytes <= MESSAGE_HEAD_BYTES {
            return None;
        }
        let slots = self.slots.checked_mul(self.slot_bytes.checked_next_multiple_of(8)?)?;
        let length = slots.checked_add(LOCK_BYTES as u64 + HEAD_BYTES)?;
        (length <= BYTES_MAX).then_some(length as usize)
    }

    /// The longest message, in bytes.
    #[must_use]
    pub fn message_max_bytes(&self) -> u64 {
        self.slot_bytes - MESSAGE_HEAD_BYTES
    }
}

/// A word of the head.
#[derive(Debug, Clone, Copy)]
enum Head {
    Magic,
    Version,
    Slots,
    SlotBytes,
    /// Where the next message is pushed.
    Push,
    /// Where the next one is pulled.
    Pull,
    /// What is being done, and in which slot; 0 is nothing.
    Doing,
}

/// What is being done, in the lowest bits of [`Head::Doing`].
const PUSHING: u64 = 1;
const PULLING: u64 = 2;
const POPPING: u64 = 3;

/// A queue, for whoever has its lock.
pub struct Queue<'a, M> {
    memory: &'a mut M,
    shape: QueueShape,
}

fn at(word: Head) -> usize {
    LOCK_BYTES + word as usize * 8
}

impl<'a, M: Memory> Queue<'a, M> {
    /// Writes an empty queue.
    pub fn create(memory: &mut M, shape: QueueShape) {
        memory.store(at(Head::Version), VERSION);
        memory.store(at(Head::Slots), shape.slots);
        memory.store(at(Head::SlotBytes), shape.slot_bytes);
        memory.store(at(Head::Magic), MAGIC);
    }

    /// Whether there is a queue of this shape.
    #[must_use]
    pub fn is_there(memory: &M, shape: QueueShape) -> bool {
        [
            (Head::Magic, MAGIC),
            (Head::Version, VERSION),
            (Head::Slots, shape.slots),
            (Head::SlotBytes, shape.slot_bytes),
        ]
        .into_iter()
        .all(|(word, value)| memory.load(at(word)) == value)
    }

    /// One that is there. Finishes what was begun.
    pub fn open(memory: &'a mut M, shape: QueueShape) -> Self {
        let mut queue = Queue { memory, shape };
        queue.finish();
        queue
    }

    fn finish(&mut self) {
        let doing = self.memory.load(at(Head::Doing));
        let slot = doing >> 2;
        if doing == 0 || slot >= self.shape.slots {
            self.memory.store(at(Head::Doing), 0);
            return;
        }
        match doing & 3 {
            // A message without its end was never there.
            PUSHING if self.length(slot) > 0 => self.memory.store(at(Head::Push), self.after(slot)),
            PULLING => {
                self.set_length(slot, 0);
                self.memory.store(at(Head::Pull), self.after(slot));
            }
            POPPING => {
                self.set_length(slot, 0);
                self.memory.store(at(Head::Push), slot);
            }
            _ => {}
        }
        self.memory.store(at(Head::Doing), 0);
    }

    fn begin(&mut self, what: u64, slot: u64) {
        self.memory.store(at(Head::Doing), slot << 2 | what);
    }

    /// Where the next message is pushed.
    #[must_use]
    pub fn push_slot(&self) -> u64 {
        self.memory.load(at(Head::Push)) % self.shape.slots
    }

    /// Where the next one is pulled.
    #[must_use]
    pub fn pull_slot(&self) -> u64 {
        self.memory.load(at(Head::Pull)) % self.shape.slots
    }

    /// Adds a message, over the oldest when the ring is full; whether it fits.
    pub fn push(&mut self, message: &[u8], now_s: u64) -> bool {
        if !self.fits(message) {
            return false;
        }
        let slot = self.push_slot();
        self.set_length(slot, 0);
        self.begin(PUSHING, slot);
        self.write(slot, message, now_s);
        self.finish();
        true
    }

    /// Takes the message at the pull position, which goes on to the next.
    pub fn pull(&mut self) -> Option<Vec<u8>> {
        let slot = self.pull_slot();
        self.take(PULLING, slot)
    }

    /// Takes the message that was pushed last.
    pub fn pop(&mut self) -> Option<Vec<u8>> {
        let slot = self.before(self.push_slot());
        self.take(POPPING, slot)
    }

    fn take(&mut self, how: u64, slot: u64) -> Option<Vec<u8>> {
        let message = self.get(slot)?;
        self.begin(how, slot);
        self.finish();
        Some(message)
    }

    /// The message in a slot.
    #[must_use]
    pub fn get(&self, slot: u64) -> Option<Vec<u8>> {
        if slot >= self.shape.slots {
            return None;
        }
        let length = self.length(slot);
        if length == 0 {
            return None;
        }
        let mut message = vec![0; length as usize];
        self.memory.read(self.at_slot(slot) + MESSAGE_HEAD_BYTES as usize, &mut message);
        Some(message)
    }

    /// Writes a message into a slot, whatever is there; whether it fits and there is such a slot.
    pub fn set(&mut self, slot: u64, message: &[u8], now_s: u64) -> bool {
        if slot >= self.shape.slots || !self.fits(message) {
            return false;
        }
        self.set_length(slot, 0);
        self.write(slot, message, now_s);
        true
    }

    /// The last `count` slots, from the last pushed on backwards.
    #[must_use]
    pub fn last(&self, count: u64) -> Vec<Option<Vec<u8>>> {
        let mut slot = self.push_slot();
        (0..count.min(self.shape.slots))
            .map(|_| {
                slot = self.before(slot);
                self.get(slot)
            })
            .collect()
    }

    fn fits(&self, message: &[u8]) -> bool {
        (1..=self.shape.message_max_bytes()).contains(&(message.len() as u64))
    }

    /// The length is the last: the message is there from that store on.
    fn write(&mut self, slot: u64, message: &[u8], now_s: u64) {
        let at = self.at_slot(slot);
        self.memory.store(at + 8, now_s);
        self.memory.write(at + MESSAGE_HEAD_BYTES as usize, message);
        self.set_length(slot, message.len() as u64);
    }

    fn at_slot(&self, slot: u64) -> usize {
        (LOCK_BYTES as u64 + HEAD_BYTES + slot * self.shape.slot_bytes.next_multiple_of(8)) as usize
    }

    fn length(&self, slot: u64) -> u64 {
        self.memory.load(self.at_slot(slot)).min(self.shape.message_max_bytes())
    }

    fn set_length(&mut self, slot: u64, length: u64) {
        self.memory.store(self.at_slot(slot), length);
    }

    fn after(&self, slot: u64) -> u64 {
        if slot + 1 >= self.shape.slots { 0 } else { slot + 1 }
    }

    fn before(&self, slot: u64) -> u64 {
        slot.checked_sub(1).unwrap_or(self.shape.slots - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::torn::Torn;

    const SHAPE: QueueShape = QueueShape { slots: 4, slot_bytes: 32 };

    fn empty() -> Torn {
        let mut memory = Torn::new(SHAPE.length().unwrap());
        Queue::create(&mut memory, SHAPE);
        memory
    }

    fn push(memory: &mut Torn, message: &[u8]) -> bool {
        Queue::open(memory, SHAPE).push(message, 7)
    }

    #[test]
    fn what_is_pushed_is_pulled_in_order_and_popped_in_reverse() {
        let mut memory = empty();
        for message in [b"a", b"b", b"c"] {
            assert!(push(&mut memory, message));
        }
        let mut queue = Queue::open(&mut memory, SHAPE);
        assert_eq!(queue.last(2), [Some(b"c".to_vec()), Some(b"b".to_vec())]);
        assert_eq!((queue.push_slot(), queue.pull_slot()), (3, 0));
        assert_eq!(queue.pull().as_deref(), Some(b"a".as_slice()));
        assert_eq!(queue.pop().as_deref(), Some(b"c".as_slice()));
        assert_eq!(queue.pull().as_deref(), Some(b"b".as_slice()));
        assert_eq!((queue.pull(), queue.pop()), (None, None));
        assert!(queue.push(b"d", 0), "an empty queue that was asked is not in disorder");
        assert_eq!(queue.pull().as_deref(), Some(b"d".as_slice()));
    }

    #[test]
    fn a_full_ring_is_written_over_and_what_does_not_fit_is_refused() {
        let mut memory = empty();
        for message in [b"a", b"b", b"c", b"d", b"e"] {
            assert!(push(&mut memory, message));
        }
        let mut queue = Queue::open(&mut memory, SHAPE);
        assert_eq!(queue.get(0).as_deref(), Some(b"e".as_slice()));
        assert!(!queue.push(&[1; 17], 0) && queue.push(&[1; 16], 0) && !queue.push(b"", 0));
        assert!(queue.set(3, b"x", 0) && !queue.set(4, b"x", 0));
        assert_eq!((queue.get(3).as_deref(), queue.get(4)), (Some(b"x".as_slice()), None));
    }

    #[test]
    fn a_process_killed_anywhere_leaves_whole_messages_and_a_queue_that_goes_on() {
        for begun in 0..8 {
            for left in 0..12 {
                let mut memory = empty();
                for message in 0..begun {
                    assert!(push(&mut memory, &[b'0' + message]));
                }
                memory.left = Some(left);
                push(&mut memory, b"new message");
                memory.left = None;
                let mut queue = Queue::open(&mut memory, SHAPE);
                for slot in 0..SHAPE.slots {
                    if let Some(message) = queue.get(slot) {
                        assert!(message.len() == 1 || message == b"new message", "{message:?}");
                    }
                }
                while queue.pull().is_some() {}
                assert!(queue.push(b"after", 0));
                let pulled = queue.pull().or_else(|| queue.pop());
                assert_eq!(pulled.as_deref(), Some(b"after".as_slice()), "begun {begun}, left {left}");
            }
        }
    }

    #[test]
    fn a_process_killed_while_it_takes_a_message_took_it_or_did_not() {
        for left in 0..8 {
            for pop in [false, true] {
                let mut memory = empty();
                push(&mut memory, b"one");
                push(&mut memory, b"two");
                memory.left = Some(left);
                let mut queue = Queue::open(&mut memory, SHAPE);
                let _ = if pop { queue.pop() } else { queue.pull() };
                memory.left = None;
                let mut queue = Queue::open(&mut memory, SHAPE);
                let rest: Vec<Vec<u8>> = std::iter::from_fn(|| queue.pull()).collect();
                let (both, one) = (vec![b"one".to_vec(), b"two".to_vec()], if pop { b"one" } else { b"two" });
                assert!(rest == both || rest == [one.to_vec()], "{rest:?}, left {left}");
            }
        }
    }
}
