//! Limits that the workers of a generation, which begin together, are not to reach together.

use crate::ids::WorkerRef;

/// The part of a limit by which it may come later.
const PART: u64 = 10;

/// 2^32 divided by the golden ratio: multiples of it lie apart from each other, however many there are (Knuth, The Art of
/// Computer Programming, volume 3, section 6.4).
const GOLDEN: u32 = 0x9e37_79b9;

/// This limit for one process of a worker: as it is, or up to a tenth later, each process of it another time. One below
/// ten stays as it is.
#[must_use]
pub fn later(limit: u64, worker: WorkerRef) -> u64 {
    let WorkerRef { generation, worker, spawn } = worker;
    // Neighbours lie apart; so do a worker and its successor.
    let place = worker.0.wrapping_add(spawn.wrapping_mul(7)).wrapping_add(generation.0 as u32).wrapping_mul(GOLDEN);
    let most = limit / PART;
    let offset = ((u128::from(most) + 1) * u128::from(place)) >> 32;
    limit.saturating_add(u64::try_from(offset).unwrap_or(most))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::ids::{GenerationId, WorkerId};

    fn of(limit: u64, generation: u64, worker: u32, spawn: u32) -> u64 {
        later(limit, WorkerRef { generation: GenerationId(generation), worker: WorkerId(worker), spawn })
    }

    #[test]
    fn b29_workers_without_a_delta_come_to_their_limits_apart_and_never_before() {
        for workers in [2, 3, 4, 8, 16] {
            let mut limits: Vec<u64> = (1..=workers).map(|worker| of(5000, 7, worker, 0)).collect();
            limits.sort_unstable();
            assert!(limits[0] >= 5000 && limits[limits.len() - 1] <= 5500, "{limits:?}");
            let nearest = limits.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap();
            assert!(nearest >= 500 / u64::from(workers) / 4, "{workers} workers: {limits:?}");
        }
        let of_one: BTreeSet<u64> = (0..8).map(|spawn| of(5000, 7, 1, spawn)).collect();
        assert_eq!(of_one.len(), 8, "each process another");
    }

    #[test]
    fn a_small_limit_stays_and_the_largest_is_no_overflow() {
        for limit in 0..10 {
            assert!((1..20).all(|worker| of(limit, 1, worker, 3) == limit));
        }
        assert_eq!(of(u64::MAX, 1, 1, 1), u64::MAX);
    }
}
