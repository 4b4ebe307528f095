//! A wait that doubles. Not a timer: it only says how long the next wait is. Used by both machines.

use std::time::Duration;

/// How long to wait after the next failure: nothing at first, then `first`, doubling up to `longest`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Backoff {
    wait: Duration,
}

impl Backoff {
    /// Counts a failure and answers how long to wait before the next attempt.
    pub(crate) fn fail(&mut self, first: Duration, longest: Duration) -> Duration {
        let wait = self.wait;
        self.wait = if wait.is_zero() { first.min(longest) } else { wait.saturating_mul(2).min(longest) };
        wait
    }

    /// Counts a failure after which trying again at once is pointless: the wait is `first` at least.
    pub(crate) fn fail_again(&mut self, first: Duration, longest: Duration) -> Duration {
        let wait = self.fail(first, longest);
        if wait.is_zero() { self.fail(first, longest) } else { wait }
    }

    /// Forgets all failures.
    pub(crate) fn forget(&mut self) {
        self.wait = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_waits_for_nothing_and_the_others_double_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> =
            (0..6).map(|_| backoff.fail(Duration::from_secs(1), Duration::from_secs(5)).as_secs()).collect();
        assert_eq!(waits, [0, 1, 2, 4, 5, 5]);
        backoff.forget();
        assert_eq!(backoff.fail(Duration::from_secs(1), Duration::from_secs(5)), Duration::ZERO);
    }
}
