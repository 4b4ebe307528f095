//! Whether a worker that is alone asks for the next connection without asking epoll first. That saves a wait when there
//! is one, and costs a call when there is none; so whoever was wrong lets more connections pass before the next try.
//! Where connections come from is [`super::accept`]'s business.

/// Connections taken without a wait in between, so that those that are there already have their turn.
const IN_A_ROW_MAX: u32 = 16;

/// Most connections that pass between two tries. Even, as are all numbers on the way there: where connections come in
/// pairs, an odd number would have every try meet the second of a pair.
const PASSES_MAX: u32 = 30;

/// See the module.
pub(super) struct Again {
    /// The next connection is a try.
    tries: bool,
    /// So many connections pass before the next try.
    passes: u32,
    /// So many did before the last one that was in vain.
    passed: u32,
    /// Connections since the last wait.
    in_a_row: u32,
}

impl Again {
    pub(super) const fn new() -> Self {
        Self { tries: false, passes: 0, passed: 0, in_a_row: 0 }
    }

    /// A connection was taken. Says whether to try for another at once.
    pub(super) fn took_one(&mut self) -> bool {
        if std::mem::take(&mut self.tries) {
            self.passed = 0;
        }
        self.in_a_row += 1;
        if self.passes > 0 {
            self.passes -= 1;
        } else {
            self.tries = self.in_a_row < IN_A_ROW_MAX;
        }
        self.tries
    }

    /// There was none.
    pub(super) fn in_vain(&mut self) {
        if std::mem::take(&mut self.tries) {
            self.passed = (self.passed * 2 + 2).min(PASSES_MAX);
            self.passes = self.passed;
        }
    }

    /// Epoll was asked.
    pub(super) fn waited(&mut self) {
        self.in_a_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves so many connections, of which `more` says whether another waits behind it; how many waits and how many
    /// calls in vain that took.
    fn serve(again: &mut Again, connections: u32, more: impl Fn(u32) -> bool) -> (u32, u32) {
        let (mut waits, mut in_vain) = (0, 0);
        let mut must_wait = true;
        for number in 0..connections {
            if must_wait {
                again.waited();
                waits += 1;
            }
            must_wait = !again.took_one();
            if !must_wait && !more(number) {
                again.in_vain();
                in_vain += 1;
                must_wait = true;
            }
        }
        (waits, in_vain)
    }

    #[test]
    fn a_full_queue_is_taken_with_a_wait_for_every_so_many() {
        assert_eq!(serve(&mut Again::new(), 1600, |_| true), (100, 0));
    }

    #[test]
    fn single_connections_cost_few_calls_in_vain() {
        let (waits, in_vain) = serve(&mut Again::new(), 3200, |_| false);
        assert_eq!(waits, 3200);
        assert!((90..=110).contains(&in_vain), "{in_vain}");
    }

    #[test]
    fn a_queue_that_fills_is_noticed() {
        let mut again = Again::new();
        serve(&mut again, 1000, |_| false);
        let (waits, _) = serve(&mut again, 1600, |_| true);
        assert!(waits <= 100 + PASSES_MAX, "{waits}");
    }

    #[test]
    fn pairs_are_taken_as_pairs_half_of_the_time_or_more() {
        let (waits, in_vain) = serve(&mut Again::new(), 3200, |number| number % 2 == 0);
        assert!(waits + in_vain <= 3200, "{waits} waits, {in_vain} calls in vain");
    }
}
