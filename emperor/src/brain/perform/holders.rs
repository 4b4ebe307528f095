//! Which vassal holds which address. For a sentence only: whether an address is free, the kernel says.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use empery_lifecycle::ids::VassalName;

/// Clones share what is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Holders {
    of: Arc<Mutex<BTreeMap<String, VassalName>>>,
}

impl Holders {
    /// This vassal listens there now.
    pub(super) fn take(&self, vassal: &VassalName, key: &str) {
        self.all().insert(key.to_owned(), vassal.clone());
    }

    /// It does so no more; without keys, nowhere.
    pub(super) fn release(&self, vassal: &VassalName, keys: &[String]) {
        self.all().retain(|key, holder| holder != vassal || !(keys.is_empty() || keys.contains(key)));
    }

    /// Who listens there.
    pub(super) fn of(&self, key: &str) -> Option<VassalName> {
        self.all().get(key).cloned()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, VassalName>> {
        // Every change is one call on the map: a panic elsewhere cannot leave it half changed.
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
