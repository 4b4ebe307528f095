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
}

impl Revisions {
    /// What the next boot of this number is to run.
    pub(crate) fn offer(&mut self, id: RevisionId, offer: Offer) {
        self.offered = Some((id, offer));
    }

    /// What a boot of this number runs: the offer, else what was good before (a dead zygote is replaced).
    pub(crate) fn take(&mut self, id: RevisionId) -> Offer {
        if let Some((_, offer)) = self.offered.take_if(|(offered, _)| *offered == id) {
            let revision = offer?;
            self.good.insert(id, Arc::clone(&revision));
            return Ok(revision);
        }
        self.good.get(&id).cloned().ok_or_else(|| format!("revision {id} is not known to this master"))
    }

    /// The offer that has not booted yet.
    pub(crate) fn offered(&self) -> Option<&Arc<Revision>> {
        self.offered.as_ref().and_then(|(_, offer)| offer.as_ref().ok())
    }

    /// Forgets all but these.
    pub(crate) fn keep_only(&mut self, used: impl Fn(RevisionId) -> bool) {
        self.good.retain(|id, _| used(*id));
    }
}
