//! Files that are gone: whether that is believed. Most of a fleet that loses its files at one look is rather a directory
//! that was not mounted or was emptied by mistake than so many wishes to stop: such a removal is doubted. Nobody is
//! stopped for it until the files come back, each by itself, or somebody confirms it.

use std::collections::BTreeSet;

use super::{
    Course, Fleet, Vassal,
    words::{Action, Policy, Sighting},
};
use crate::{ids::VassalName, moment::Moment};

impl Fleet {
    /// The vassals whose removal is doubted: [`Event::RemovalConfirmed`](super::Event::RemovalConfirmed) stops them.
    #[must_use]
    pub fn doubted(&self) -> Vec<VassalName> {
        self.vassals.values().filter(|vassal| vassal.is_missing()).map(|vassal| vassal.name.clone()).collect()
    }

    /// Whether any removal is doubted.
    pub(super) fn doubts(&self) -> bool {
        self.vassals.values().any(Vassal::is_missing)
    }

    /// Takes in what a look at the directory did not see. `is_first`: before it, whoever runs was taken to have a file.
    pub(super) fn take_removals(&mut self, sightings: &[Sighting], is_first: bool, now: Moment, out: &mut Vec<Action>) {
        let seen: BTreeSet<&VassalName> = sightings.iter().map(|sighting| &sighting.name).collect();
        let expected = |vassal: &&Vassal| is_first || vassal.is_expected();
        let known = self.vassals.values().filter(expected).count();
        // A file that came under a new name accounts for one that went: that is no removal.
        let mut new: Vec<_> = sightings
            .iter()
            .filter(|sighting| !self.vassals.get(&sighting.name).is_some_and(|vassal| expected(&vassal)))
            .map(|sighting| sighting.content)
            .collect();
        let (mut gone, mut removed) = (Vec::new(), Vec::new());
        for vassal in self.vassals.values().filter(expected).filter(|vassal| !seen.contains(&vassal.name)) {
            let renamed = vassal.content().and_then(|content| new.iter().position(|other| *other == content));
            if let Some(place) = renamed {
                new.swap_remove(place);
                gone.push(vassal.name.clone());
            } else {
                removed.push(vassal.name.clone());
            }
        }
        let recalled = std::mem::take(&mut self.doubts_recalled);
        let doubted_before = self.doubts() || removed.iter().any(|name| recalled.contains(name));
        for name in gone {
            self.with(&name, now, out, Vassal::file_gone);
        }
        let doubted = doubted_before || self.policy.doubts(removed.len(), known);
        for name in removed {
            self.with(&name, now, out, if doubted { Vassal::file_missing } else { Vassal::file_gone });
        }
        let over = recalled.into_iter().filter(|name| !self.vassals.get(name).is_some_and(Vassal::is_missing));
        out.extend(over.map(|name| Action::Doubt { name, doubted: false }));
    }

    /// Somebody says that the files are gone for good.
    pub(super) fn removal_confirmed(&mut self, now: Moment, out: &mut Vec<Action>) {
        if self.course != Course::Run {
            return;
        }
        for name in self.doubted() {
            self.with(&name, now, out, Vassal::file_gone);
        }
    }
}

impl Policy {
    /// Whether so many files gone of so many vassals are rather a mistake.
    fn doubts(&self, gone: usize, known: usize) -> bool {
        gone >= self.doubted_from_vassals as usize && gone * 100 > known * self.doubted_above_percent as usize
    }
}
