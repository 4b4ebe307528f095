//! Numbers for what vassal files say. A revision is one content under one set of facts: a rewrite of the same bytes, a
//! touch, another owner or an older mtime is a new one (D7). Pure.

use std::collections::BTreeMap;

use empery_control::keeper::FileFacts;
use empery_lifecycle::{
    fleet::Identity,
    ids::{RevisionId, VassalName},
};

/// What tells one revision from another, as a text that a later brain compares. The change time (ctime) has the scanner
/// look again, but is no part of it: it moves with links and extended attributes too. Nor is the device: its number may
/// be another one after a reboot.
pub(crate) fn mark(facts: &FileFacts) -> String {
    let FileFacts { inode, size, mtime_ns, uid, gid, mode, on_demand, .. } = facts;
    let beside = on_demand.map(|(inode, size, ctime_ns)| format!(", on demand {inode} {size} {ctime_ns}"));
    let beside = beside.unwrap_or_default();
    format!("inode {inode}, {size} bytes, mtime {mtime_ns}, uid {uid}, gid {gid}, mode {mode:o}{beside}")
}

/// Whose the file was when the mark was made; None for a text that is no mark.
pub(crate) fn owner(mark: &str) -> Option<Identity> {
    let number = |name| mark.split(", ").find_map(|part| part.strip_prefix(name)?.parse().ok());
    Some(Identity { uid: number("uid ")?, gid: number("gid ")? })
}

/// The highest number that is believed: after it there must be room for every edit to come.
const CLAIMED_MAX: u64 = 1 << 53;

#[derive(Debug)]
struct Last {
    revision: RevisionId,
    sha256: String,
    /// None: nobody wrote it down. The content alone says whether it is the same.
    mark: Option<String>,
}

/// The last number given out for every name ever seen.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    last: BTreeMap<VassalName, Last>,
}

impl Numbers {
    /// What an earlier brain gave out, from the database or from the master that serves it. The higher number counts.
    pub(crate) fn recall(&mut self, name: VassalName, revision: RevisionId, sha256: String, mark: Option<String>) {
        if revision.0 > CLAIMED_MAX {
            return;
        }
        let last = Last { revision, sha256, mark };
        match self.last.get(&name) {
            Some(known) if known.revision >= revision => {}
            Some(_) | None => {
                self.last.insert(name, last);
            }
        }
    }

    /// The number of this content, and whether it is a new one.
    pub(crate) fn number(&mut self, facts: &FileFacts, sha256: &str) -> (RevisionId, bool) {
        let mark = mark(facts);
        let (revision, new) = match self.last.get(&facts.name) {
            None => (RevisionId(1), true),
            Some(last) if last.sha256 == sha256 && last.mark.as_ref().is_none_or(|known| *known == mark) => {
                (last.revision, false)
            }
            Some(last) => (last.revision.next(), true),
        };
        self.last.insert(facts.name.clone(), Last { revision, sha256: sha256.to_owned(), mark: Some(mark) });
        (revision, new)
    }

    /// A new number for the same content, which means something else by now.
    pub(crate) fn renew(&mut self, name: &VassalName) -> Option<RevisionId> {
        let last = self.last.get_mut(name)?;
        last.revision = last.revision.next();
        Some(last.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> FileFacts {
        FileFacts {
            name: VassalName::new("a.ini").unwrap(),
            device: 1,
            inode: 2,
            size: 3,
            mtime_ns: 100,
            ctime_ns: 100,
            uid: 0,
            gid: 0,
            mode: 0o100_644,
            on_demand: None,
        }
    }

    #[test]
    fn any_difference_in_facts_or_content_is_a_new_revision() {
        let mut numbers = Numbers::default();
        assert_eq!(numbers.number(&facts(), "x"), (RevisionId(1), true));
        assert_eq!(numbers.number(&facts(), "x"), (RevisionId(1), false));
        assert_eq!(numbers.number(&facts(), "y"), (RevisionId(2), true), "a rewrite within one tick of the clock");
        let older = FileFacts { mtime_ns: 50, ..facts() };
        assert_eq!(numbers.number(&older, "y"), (RevisionId(3), true), "a back-dated file");
        let other_inode = FileFacts { inode: 9, ..older.clone() };
        assert_eq!(numbers.number(&other_inode, "y"), (RevisionId(4), true), "a file renamed over it");
        let other_owner = FileFacts { uid: 5, ..other_inode.clone() };
        assert_eq!(numbers.number(&other_owner, "y"), (RevisionId(5), true), "another owner");
        let linked = FileFacts { ctime_ns: 999, ..other_owner };
        assert_eq!(numbers.number(&linked, "y"), (RevisionId(5), false), "a change of links only");
    }

    #[test]
    fn a_mark_says_whose_the_file_was() {
        let of = FileFacts { uid: 1000, gid: 50, on_demand: Some((1, 2, 3)), ..facts() };
        assert_eq!(owner(&mark(&of)), Some(Identity { uid: 1000, gid: 50 }));
        assert_eq!(owner("inode 2, 3 bytes"), None);
    }

    #[test]
    fn numbers_go_on_where_an_earlier_brain_stopped() {
        let mut numbers = Numbers::default();
        numbers.recall(facts().name, RevisionId(7), "x".to_owned(), None);
        numbers.recall(facts().name, RevisionId(6), "w".to_owned(), None);
        numbers.recall(facts().name, RevisionId(u64::MAX), "v".to_owned(), None);
        assert_eq!(numbers.number(&facts(), "x"), (RevisionId(7), false));
        assert_eq!(numbers.number(&facts(), "z"), (RevisionId(8), true));
    }

    #[test]
    fn a_touch_made_while_no_brain_looked_is_a_new_revision() {
        let mut numbers = Numbers::default();
        numbers.recall(facts().name, RevisionId(7), "x".to_owned(), Some(mark(&facts())));
        // The master that serves it says the same number again, and knows nothing of the file.
        numbers.recall(facts().name, RevisionId(7), "x".to_owned(), None);
        let touched = FileFacts { mtime_ns: 101, ..facts() };
        assert_eq!(numbers.number(&touched, "x"), (RevisionId(8), true));

        let mut untouched = Numbers::default();
        untouched.recall(facts().name, RevisionId(7), "x".to_owned(), Some(mark(&facts())));
        let after_a_reboot = FileFacts { device: 99, ..facts() };
        assert_eq!(untouched.number(&after_a_reboot, "x"), (RevisionId(7), false));
    }
}
