//! How long may be waited for a client that is slow but moves: a grant, and more for each byte that came. A deadline
//! on each single wait would let one byte now and then hold a connection for ever; one on the whole would cut honest
//! transfers of any size.

/// The bound of one transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Longest single wait, and what may be waited in all before anything has moved, in ms.
    pub grant_ms: u64,
    /// What buys one more second of waiting, in bytes.
    pub min_bytes_per_s: u64,
}

impl Pace {
    /// The longest wait from now on, in ms, when `waited_ms` were spent waiting and `moved_bytes` have moved; 0 is over.
    #[must_use]
    pub fn next_wait_ms(&self, waited_ms: u64, moved_bytes: u64) -> u64 {
        let bought_ms = moved_bytes.saturating_mul(1000) / self.min_bytes_per_s.max(1);
        self.grant_ms.saturating_add(bought_ms).saturating_sub(waited_ms).min(self.grant_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b53_a_trickle_ends_and_a_slow_but_steady_transfer_does_not() {
        let pace = Pace { grant_ms: 1_000, min_bytes_per_s: 100 };
        let lasts = |bytes_per_s: u64| {
            (0..10_000_u64).find(|second| pace.next_wait_ms(second * 1000, second * bytes_per_s) == 0)
        };
        assert_eq!(lasts(0), Some(1));
        assert_eq!(lasts(50), Some(2));
        assert_eq!(lasts(100), None);
    }

    #[test]
    fn what_moved_fast_buys_no_single_wait_longer_than_the_grant() {
        let pace = Pace { grant_ms: 1_000, min_bytes_per_s: 100 };
        assert_eq!(pace.next_wait_ms(5, u64::MAX), 1_000);
        assert_eq!(pace.next_wait_ms(u64::MAX, 0), 0);
    }
}
