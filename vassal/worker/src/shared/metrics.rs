//! Numbers that the app counts (`metric`), one word each, changed without a lock.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use empery_control::shared::{self as words, metric_at};
use empery_sys::region::Region;

use super::borrowed;

/// See the module.
pub(crate) struct Metrics {
    names: Vec<(String, i64)>,
    region: Region,
    /// Whether the vassal's own can be read.
    pub(crate) of_vassal: bool,
}

impl Metrics {
    pub(super) fn map(metrics: &words::Metrics) -> io::Result<Metrics> {
        let length = words::Metrics::length(metrics.names.len());
        Ok(Metrics {
            names: metrics.names.clone(),
            region: Region::map(borrowed(metrics.fd), length)?,
            of_vassal: metrics.vassal,
        })
    }

    /// A number of the app's; None when there is none of this name. Of two with one name the later counts, as in uWSGI.
    pub(crate) fn get(&self, name: &str) -> Option<i64> {
        self.with(name, |word| word.load(Ordering::Relaxed).cast_signed())
    }

    /// Changes a number of the app's, from what it is and what it began with; whether it is there.
    pub(crate) fn change(&self, name: &str, change: impl Fn(i64, i64) -> i64) -> bool {
        let initial = self.number(name).map_or(0, |number| self.names[number].1);
        let changed = |word: &AtomicU64| {
            // It always gives an answer, so this cannot fail.
            let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
                Some(change(word.cast_signed(), initial).cast_unsigned())
            });
        };
        self.with(name, changed).is_some()
    }

    fn with<T>(&self, name: &str, use_it: impl FnOnce(&AtomicU64) -> T) -> Option<T> {
        self.region.glance().counter(metric_at(self.number(name)?)).map(use_it)
    }

    fn number(&self, name: &str) -> Option<usize> {
        self.names.iter().rposition(|(other, _)| other == name)
    }
}
