//! Chance for stories: `EMPERY_SEED` repeats a run.

use std::time::SystemTime;

/// xorshift64 (Marsaglia, "Xorshift RNGs", 2003).
pub(crate) struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    /// From `EMPERY_SEED`, or the clock.
    pub(crate) fn seeded() -> Random {
        let given = std::env::var("EMPERY_SEED").ok().and_then(|seed| seed.parse().ok());
        let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |since| since.as_secs());
        let seed = given.unwrap_or(clock).max(1);
        Random { seed, state: seed }
    }

    /// What repeats this run.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % limit
    }
}
