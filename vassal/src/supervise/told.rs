//! Incidents that the brain was told a moment ago. A word to a brain that is ending is read by nobody, and that it was
//! ending is known only afterwards: the next one hears it again, and writes down once what was said twice.

use std::{collections::VecDeque, time::Duration};

use empery_control::link::FromMaster;
use empery_lifecycle::moment::Moment;

use crate::clock;

/// How long a brain may take to write down what it was told.
const WRITTEN_WITHIN: Duration = Duration::from_secs(5);

/// So many are kept, at most.
const KEPT_MAX: usize = 64;

/// See the module.
#[derive(Default)]
pub(crate) struct Told(VecDeque<(Moment, FromMaster)>);

impl Told {
    /// This was said just now.
    pub(crate) fn note(&mut self, news: FromMaster) {
        let now = clock::now();
        self.0.retain(|(at, _)| now.since(*at) < WRITTEN_WITHIN);
        if self.0.len() == KEPT_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now, news));
    }

    /// What may be lost if whoever heard it has ended now.
    pub(crate) fn words(self) -> impl Iterator<Item = FromMaster> {
        let now = clock::now();
        self.0.into_iter().filter(move |(at, _)| now.since(*at) < WRITTEN_WITHIN).map(|(_, news)| news)
    }
}
