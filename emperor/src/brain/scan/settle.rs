//! When a look at the directory can be believed. An editor writes in four steps (rename, create, write, unlink) and a
//! copy grows for a while: a name whose facts differ from what is known is believed once two looks agree on it.
//! Pure: the scanner looks and tells the time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use empery_control::keeper::FileFacts;
use empery_lifecycle::{ids::VassalName, moment::Moment};

/// How long a name must look the same before it is believed.
pub(crate) const SETTLED_AFTER: Duration = Duration::from_millis(30);

/// How long a name that never holds still is waited for: a file that is written without end must not be ignored without end.
pub(crate) const PATIENCE: Duration = Duration::from_millis(1_000);

/// What a name looked like: `None` is "not there".
pub(crate) type Look = Option<FileFacts>;

#[derive(Debug)]
struct Unsettled {
    look: Look,
    same_since: Moment,
    differs_since: Moment,
}

/// A name to be read anew, or gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Which.
    pub(crate) name: VassalName,
    /// What it looks like.
    pub(crate) look: Look,
    /// Why it is believed.
    pub(crate) belief: Belief,
}

/// Why a look is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Belief {
    /// It held still.
    Still,
    /// It never does.
    OutOfPatience,
}

/// Names that look different from what is believed of them.
#[derive(Debug, Default)]
pub(crate) struct Settling {
    believed: BTreeMap<VassalName, FileFacts>,
    unsettled: BTreeMap<VassalName, Unsettled>,
}

impl Settling {
    /// Takes a look at the whole directory and answers with the names whose new look is to be believed: to be read, or gone.
    pub(crate) fn look(&mut self, files: &[FileFacts], now: Moment) -> Vec<Settled> {
        let seen: BTreeMap<&VassalName, &FileFacts> = files.iter().map(|file| (&file.name, file)).collect();
        let names: BTreeSet<&VassalName> = seen.keys().copied().chain(self.believed.keys()).collect();
        self.unsettled.retain(|name, _| names.contains(name));
        let mut differing = Vec::new();
        for name in names {
            let look = seen.get(name).copied();
            if look == self.believed.get(name) {
                self.unsettled.remove(name);
                continue;
            }
            let waiting = self.unsettled.entry(name.clone()).or_insert_with(|| Unsettled {
                look: look.cloned(),
                same_since: now,
                differs_since: now,
            });
            if waiting.look.as_ref() != look {
                waiting.look = look.cloned();
                waiting.same_since = now;
            }
            differing.push((name, look));
        }
        let last_removal = self.last_removal();
        let mut settled = Vec::new();
        for (name, look) in differing {
            let Some(waiting) = self.unsettled.get_mut(name) else { continue };
            if look.is_none() {
                waiting.same_since = last_removal.unwrap_or(now);
            }
            let belief = if now.since(waiting.differs_since) >= PATIENCE {
                Belief::OutOfPatience
            } else if now.since(waiting.same_since) >= SETTLED_AFTER {
                Belief::Still
            } else {
                continue;
            };
            settled.push(Settled { name: name.clone(), look: look.cloned(), belief });
        }
        settled
    }

    /// When the last file of those that are going went. Files that go together are believed together, however the looks
    /// fall between them: how many go at once decides whether it is believed at all.
    fn last_removal(&self) -> Option<Moment> {
        self.unsettled.values().filter(|waiting| waiting.look.is_none()).map(|waiting| waiting.same_since).max()
    }

    /// It changed while it was being read: it has not settled after all.
    pub(crate) fn doubt(&mut self, name: &VassalName, now: Moment) {
        if let Some(waiting) = self.unsettled.get_mut(name) {
            waiting.same_since = now;
        }
    }

    /// Whether this is what is known of the name.
    pub(crate) fn is_believed(&self, facts: &FileFacts) -> bool {
        self.believed.get(&facts.name) == Some(facts)
    }

    /// From now on this is what is known of the name.
    pub(crate) fn believe(&mut self, name: &VassalName, look: Look) {
        self.unsettled.remove(name);
        match look {
            Some(facts) => {
                self.believed.insert(name.clone(), facts);
            }
            None => {
                self.believed.remove(name);
            }
        }
    }

    /// When to look again, if a name has not settled.
    pub(crate) fn look_again_at(&self) -> Option<Moment> {
        self.unsettled.values().map(|waiting| waiting.same_since.after(SETTLED_AFTER)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, size: u64) -> FileFacts {
        FileFacts {
            name: VassalName::new(name).unwrap(),
            device: 1,
            inode: 2,
            size,
            mtime_ns: 3,
            ctime_ns: i64::try_from(size).unwrap(),
            uid: 0,
            gid: 0,
            mode: 0o100_644,
            on_demand: None,
        }
    }

    fn ms(ms: u64) -> Moment {
        Moment::START.after(Duration::from_millis(ms))
    }

    fn known(files: &[FileFacts]) -> Settling {
        let mut settling = Settling::default();
        for file in files {
            settling.believe(&file.name, Some(file.clone()));
        }
        settling
    }

    fn still(look: Look) -> Settled {
        Settled { name: VassalName::new("a.ini").unwrap(), look, belief: Belief::Still }
    }

    #[test]
    fn a_new_file_is_believed_when_two_looks_agree() {
        let mut settling = Settling::default();
        assert!(settling.look(&[file("a.ini", 1)], ms(0)).is_empty());
        assert_eq!(settling.look_again_at(), Some(ms(30)));
        assert!(settling.look(&[file("a.ini", 2)], ms(20)).is_empty(), "it still grows");
        assert!(settling.look(&[file("a.ini", 2)], ms(40)).is_empty());
        let settled = settling.look(&[file("a.ini", 2)], ms(50));
        assert_eq!(settled, vec![still(Some(file("a.ini", 2)))]);
    }

    #[test]
    fn a_file_that_an_editor_takes_away_for_a_moment_is_not_gone() {
        let mut settling = known(&[file("a.ini", 1)]);
        assert!(settling.look(&[], ms(0)).is_empty());
        assert!(settling.look(&[file("a.ini", 5)], ms(10)).is_empty());
        let settled = settling.look(&[file("a.ini", 5)], ms(40));
        assert_eq!(settled, vec![still(Some(file("a.ini", 5)))]);
    }

    #[test]
    fn a_removed_file_is_gone_when_two_looks_agree() {
        let mut settling = known(&[file("a.ini", 1)]);
        assert!(settling.look(&[], ms(0)).is_empty());
        assert_eq!(settling.look(&[], ms(30)), vec![still(None)]);
    }

    #[test]
    fn files_that_go_one_after_the_other_are_gone_together() {
        let (a, b, c) = (file("a.ini", 1), file("b.ini", 2), file("c.ini", 3));
        let mut settling = known(&[a.clone(), b.clone(), c.clone()]);
        assert!(settling.look(&[b, c.clone()], ms(0)).is_empty());
        assert!(settling.look(std::slice::from_ref(&c), ms(25)).is_empty());
        assert!(settling.look(std::slice::from_ref(&c), ms(30)).is_empty(), "b.ini went only 5 ms ago");
        assert_eq!(settling.look_again_at(), Some(ms(55)));
        assert_eq!(settling.look(&[c], ms(55)).len(), 2);
    }

    #[test]
    fn what_looks_as_it_is_known_to_look_is_left_alone() {
        let mut settling = known(&[file("a.ini", 1)]);
        assert!(settling.look(&[file("a.ini", 2)], ms(0)).is_empty());
        assert!(settling.look(&[file("a.ini", 1)], ms(30)).is_empty());
        assert_eq!(settling.look_again_at(), None);
    }

    #[test]
    fn a_file_that_never_holds_still_is_taken_as_it_is_in_the_end() {
        let mut settling = Settling::default();
        let believed =
            (0..).map(|n| (n, settling.look(&[file("a.ini", n)], ms(n * 10)))).find(|(_, settled)| !settled.is_empty());
        let (looks, settled) = believed.unwrap();
        assert_eq!((looks, settled[0].belief), (100, Belief::OutOfPatience));
    }
}
