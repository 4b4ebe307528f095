//! How much of what goes wrong with a vassal is told: a vassal can say of itself what it likes, as fast as it likes, and neither
//! the log nor the database is its own. What is withheld is counted, and the count is told.

/// Incidents and notices of one vassal in a minute.
const PER_MINUTE: u32 = 60;

/// What one vassal has had of it in this minute.
#[derive(Debug, Default)]
pub(crate) struct Rations {
    told: u32,
    withheld: u32,
}

impl Rations {
    /// Whether one more is told.
    pub(crate) fn take(&mut self) -> bool {
        if self.told < PER_MINUTE {
            self.told += 1;
            return true;
        }
        self.withheld = self.withheld.saturating_add(1);
        false
    }

    /// The minute is over: how many were withheld in it.
    pub(crate) fn renew(&mut self) -> u32 {
        std::mem::take(self).withheld
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_withheld_is_counted_until_the_minute_is_over() {
        let mut rations = Rations::default();
        assert_eq!((0..PER_MINUTE + 7).filter(|_| rations.take()).count(), PER_MINUTE as usize);
        assert_eq!((rations.renew(), rations.renew()), (7, 0));
        assert!(rations.take());
    }
}
