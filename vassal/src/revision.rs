//! Revisions of the vassal's configuration as the supervisor keeps them: the ones that run, and the one that was
//! offered last and has not booted yet. An offer that cannot be run keeps its reason, so that the failed boot can be
//! reported the same way as any other.

use std::{collections::BTreeMap, sync::Arc};

use empery_config::vassal::VassalConfig;
use empery_lifecycle::ids::RevisionId;

/// One content of the vassal's configuration.
#[derive(Debug)]
pub(crate) struct Revision {
    /// Its number.
    pub(crate) id: RevisionId,
    /// What it says.
    pub(crate) config: VassalConfig,
    /// SHA-256 of the vassal file, in hex; None for a command line.
    pub(crate) sha256: Option<String>,
}

impl Revision {
    /// The addresses it listens on.
    pub(crate) fn listener_keys(&self) -> impl Iterator<Item = String> {
        self.config.listeners.iter().map(|listener| listener.address.to_string())
    }
}

/// A revision, or one sentence that says why there is none.
pub(crate) type Offer = Result<Arc<Revision>, String>;

/// See the module.
#[derive(Default)]
pub(crate) struct Revisions {
    good: BTreeMap<RevisionId, Arc<Revision>>,
    offered: Option<(RevisionId, Offer)>,
    /// Why the last offer that could not be run could not: a boot of it that is tried again fails in the same words.
    refused: Option<(RevisionId, String)>,
}

impl Revisions {
    /// What the next boot of this number is to run.
    pub(crate) fn offer(&mut self, id: RevisionId, offer: Offer) {
        self.offered = Some((id, offer));
    }

    /// What a boot of this number runs: the offer, else what was good before (a dead zygote is replaced).
    pub(crate) fn take(&mut self, id: RevisionId) -> Offer {
        if let Some((_, offer)) = self.offered.take_if(|(offered, _)| *offered == id) {
            let revision = offer.inspect_err(|sentence| self.refused = Some((id, sentence.clone())))?;
            self.good.insert(id, Arc::clone(&revision));
            return Ok(revision);
        }
        let refused = self.refused.iter().find(|(refused, _)| *refused == id).map(|(_, sentence)| sentence.clone());
        let unknown = || refused.unwrap_or_else(|| format!("revision {id} is not known to this master"));
        self.known(id).cloned().ok_or_else(unknown)
    }

    /// The offer that has not booted yet.
    pub(crate) fn offered(&self) -> Option<&Arc<Revision>> {
        self.offered.as_ref().and_then(|(_, offer)| offer.as_ref().ok())
    }

    /// One that was taken.
    pub(crate) fn known(&self, id: RevisionId) -> Option<&Arc<Revision>> {
        self.good.get(&id)
    }

    /// Forgets all but these.
    pub(crate) fn keep_only(&mut self, used: impl Fn(RevisionId) -> bool) {
        self.good.retain(|id, _| used(*id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use empery_config::{
        facts::{Facts, NoFiles},
        read::{Entry, read},
    };

    fn revision(id: u64) -> Arc<Revision> {
        let entry = Entry::File {
            path: "/v/app.ini".into(),
            content: b"[uwsgi]\nhttp-socket = 127.0.0.1:8000\nmodule = app\n".to_vec(),
        };
        let config = read(&entry, &Facts::default(), &NoFiles).config.unwrap();
        Arc::new(Revision { id: RevisionId(id), config, sha256: None })
    }

    #[test]
    fn a_broken_offer_fails_once_and_what_was_good_can_be_booted_again() {
        let mut revisions = Revisions::default();
        revisions.offer(RevisionId(1), Ok(revision(1)));
        assert!(revisions.take(RevisionId(1)).is_ok());
        revisions.offer(RevisionId(1), Err("an included file is gone".into()));
        assert_eq!(revisions.take(RevisionId(1)).unwrap_err(), "an included file is gone");
        assert_eq!(revisions.take(RevisionId(1)).unwrap().id, RevisionId(1));
        revisions.keep_only(|_| false);
        assert_eq!(revisions.take(RevisionId(1)).unwrap_err(), "an included file is gone");
        assert!(revisions.take(RevisionId(2)).unwrap_err().contains("not known"));
    }
}
