//! Memory that several processes have mapped, as the one sees it that has its lock.

/// How many bytes at the beginning are the lock's.
pub const LOCK_BYTES: usize = 64;

/// Bytes and words at offsets from the beginning. Offsets of words are multiples of 8; what lies beyond the end reads as
/// zero and is not written.
pub trait Memory {
    /// The word there.
    fn load(&self, at: usize) -> u64;

    /// Writes the word there, whole, after everything that was written before it and before everything that is written
    /// after it: a process that is killed leaves a beginning of its stores.
    fn store(&mut self, at: usize, word: u64);

    /// Copies bytes out.
    fn read(&self, at: usize, into: &mut [u8]);

    /// Copies bytes in, in any order.
    fn write(&mut self, at: usize, bytes: &[u8]);

    /// Whether these bytes stand there.
    fn holds(&self, at: usize, bytes: &[u8]) -> bool;
}

#[cfg(test)]
pub(crate) mod torn {
    //! Memory whose writer is killed after so many writes.

    use super::Memory;

    pub(crate) struct Torn {
        pub(crate) bytes: Vec<u8>,
        /// How many writes there are still before everything is lost; None is no end.
        pub(crate) left: Option<usize>,
    }

    impl Torn {
        pub(crate) fn new(length: usize) -> Torn {
            Torn { bytes: vec![0; length], left: None }
        }

        fn is_alive(&mut self) -> bool {
            match &mut self.left {
                None => true,
                Some(0) => false,
                Some(left) => {
                    *left -= 1;
                    true
                }
            }
        }
    }

    impl Memory for Torn {
        fn load(&self, at: usize) -> u64 {
            self.bytes.get(at..at + 8).map_or(0, |word| u64::from_ne_bytes(word.try_into().unwrap()))
        }

        fn store(&mut self, at: usize, word: u64) {
            if self.is_alive() {
                assert_eq!(at % 8, 0);
                self.bytes[at..at + 8].copy_from_slice(&word.to_ne_bytes());
            }
        }

        fn read(&self, at: usize, into: &mut [u8]) {
            into.copy_from_slice(&self.bytes[at..at + into.len()]);
        }

        /// Half of it and the rest are two writes.
        fn write(&mut self, at: usize, bytes: &[u8]) {
            let (first, second) = bytes.split_at(bytes.len() / 2);
            for (at, part) in [(at + first.len(), second), (at, first)] {
                if self.is_alive() {
                    self.bytes[at..at + part.len()].copy_from_slice(part);
                }
            }
        }

        fn holds(&self, at: usize, bytes: &[u8]) -> bool {
            &self.bytes[at..at + bytes.len()] == bytes
        }
    }
}
