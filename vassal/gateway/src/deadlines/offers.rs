//! Answers of a connection whose next part waits for the client to have room for it: over HTTP/2 nothing is written then. Each has
//! a time of its own: one that is read is no licence for the others.

use std::time::Duration;

use empery_wire::limits::ANSWER_MIN_BYTES_PER_S;

use super::as_ms;

/// One of them.
pub(super) struct Offer {
    /// Of its request.
    pub(super) number: u64,
    /// Since when it waits.
    pub(super) since_ms: u64,
    /// How much had been written to the client then, of all answers.
    pub(super) at_bytes: u64,
    /// How much of that is to be taken before it, at most.
    pub(super) own_bytes: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Offers(Vec<Offer>);

impl Offers {
    /// One more waits.
    pub(super) fn add(&mut self, offer: Offer) {
        self.0.push(offer);
    }

    /// It is taken.
    pub(super) fn remove(&mut self, number: u64) {
        if let Some(at) = self.0.iter().position(|offer| offer.number == number) {
            self.0.swap_remove(at);
        }
    }

    /// Whether one of them waits for too long for a client that has been sent so much by now: longer for one that takes
    /// something, be it slowly. What is taken of others counts only up to what there is of its own to take.
    pub(super) fn any_is_over(&self, now_ms: u64, written_bytes: u64, wait: Duration) -> bool {
        self.0.iter().any(|offer| {
            let taken = written_bytes.saturating_sub(offer.at_bytes).min(offer.own_bytes);
            let patience = wait.saturating_add(Duration::from_secs(taken / ANSWER_MIN_BYTES_PER_S));
            now_ms.saturating_sub(offer.since_ms) >= as_ms(patience)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(30);

    fn offers(offers: impl IntoIterator<Item = (u64, u64)>) -> Offers {
        let offer = |(number, since_ms)| Offer { number, since_ms, at_bytes: 0, own_bytes: 24_000 };
        Offers(offers.into_iter().map(offer).collect())
    }

    #[test]
    fn a_slow_reader_has_as_long_as_its_own_bytes_may_take() {
        let one = offers([(1, 1)]);
        assert!(!one.any_is_over(30_000, 0, WAIT) && one.any_is_over(30_001, 0, WAIT));
        assert!(!one.any_is_over(39_000, 2400, WAIT) && one.any_is_over(40_001, 2400, WAIT));
        assert!(
            !one.any_is_over(129_000, 1 << 40, WAIT) && one.any_is_over(131_000, 1 << 40, WAIT),
            "what others were sent is none of its own"
        );
    }

    #[test]
    fn h1_one_answer_that_is_read_is_no_licence_for_the_others() {
        let mut many = offers((0..128).map(|number| (number, 1)));
        many.remove(5);
        many.add(Offer { number: 5, since_ms: 29_000, at_bytes: 0, own_bytes: 0 });
        assert!(many.any_is_over(30_001, 0, WAIT));
        (0..128).filter(|number| *number != 5).for_each(|number| many.remove(number));
        assert!(!many.any_is_over(30_001, 0, WAIT));
    }
}
