//! Where the log of each vassal is being written, for whoever wants to read it: the web and the command line.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use empery_config::loggers::Destination;
use empery_control::places;
use empery_lifecycle::ids::VassalName;

use super::scan::reading::Reading;
use crate::sources::Sources;

/// Clones share what is known.
#[derive(Debug, Clone)]
pub(crate) struct LogPlaces {
    state: Arc<Path>,
    sources: Arc<Sources>,
    named: Arc<Mutex<BTreeMap<VassalName, PathBuf>>>,
}

impl LogPlaces {
    /// Below this state directory, unless a vassal file says otherwise.
    pub(crate) fn new(state: &Path, sources: Arc<Sources>) -> LogPlaces {
        LogPlaces { state: state.into(), sources, named: Arc::default() }
    }

    /// The file says where it logs (`logto`, or a `logger` that is a file), or does not.
    pub(crate) fn set(&self, name: &VassalName, reading: &Reading) {
        let Some(plan) = &reading.plan else { return };
        let log = &plan.config.log;
        let logger =
            log.lines.loggers.iter().filter(|logger| logger.name.is_none()).find_map(|logger| match &logger.to {
                Destination::File { path, .. } => Some(path),
                _ => None,
            });
        match logger.or(log.logto2.as_ref()).or(log.logto.as_ref()) {
            Some(path) => self.named().insert(name.clone(), self.sources.working_directory(name).join(path)),
            None => self.named().remove(name),
        };
    }

    /// It is not where its file says, or the vassal is gone.
    pub(crate) fn remove(&self, name: &VassalName) {
        self.named().remove(name);
    }

    /// Where this vassal's log is.
    pub(crate) fn of(&self, name: &VassalName) -> PathBuf {
        let named = self.named().get(name).cloned();
        named.unwrap_or_else(|| places::logs(&self.state, name).join(places::CURRENT_LOG))
    }

    fn named(&self) -> std::sync::MutexGuard<'_, BTreeMap<VassalName, PathBuf>> {
        // Every change is one call on the map: a panic elsewhere cannot leave it half changed.
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
