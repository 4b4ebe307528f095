//! Which removals of the [`World`] a fleet must doubt, found by the rule as it is told to people: not as the fleet does.

use super::*;

impl World {
    /// A look at the directory is about to be told.
    pub(super) fn judge_removals(&mut self) {
        let is_first = self.seen.is_none();
        let known = self.seen.replace(self.files.clone()).map_or_else(
            || self.found(),
            |mut known| {
                known.append(&mut self.doubted.clone());
                known
            },
        );
        let mut new: BTreeMap<_, _> = if is_first { BTreeMap::new() } else { self.files.clone() };
        new.retain(|name, _| !known.contains_key(name));
        let mut removed = BTreeMap::new();
        for (name, file) in known.iter().filter(|(name, _)| !self.files.contains_key(*name)) {
            // A new name accounts for one old name of the same content.
            let renamed = new.iter().find(|(_, new)| new.content == file.content).map(|(name, _)| name.clone());
            match renamed {
                Some(to) => drop(new.remove(&to)),
                None => drop(removed.insert(name.clone(), *file)),
            }
        }
        let many = removed.len() >= POLICY.doubted_from_vassals as usize
            && removed.len() * 100 > known.len() * POLICY.doubted_above_percent as usize;
        let recalled = is_first && removed.keys().any(|name| self.doubts.contains(name));
        self.doubted = if many || recalled || !self.doubted.is_empty() { removed } else { BTreeMap::new() };
    }

    /// What a new brain takes for the files of masters that it found alive: of each vassal what the newest runs or boots.
    fn found(&self) -> BTreeMap<VassalName, File> {
        let mut newest: BTreeMap<VassalName, (&MasterKey, &Real)> = BTreeMap::new();
        let rank = |(key, real): &(&MasterKey, &Real)| (real.serving.is_some() || real.booting.is_some(), key.serial);
        for master in &self.masters {
            let known = newest.entry(master.0.vassal.clone()).or_insert(master);
            if rank(&master) > rank(known) {
                *known = master;
            }
        }
        let of = |(name, (_, real)): (VassalName, (&MasterKey, &Real))| {
            let revision = real.serving.unwrap_or(RevisionId(0));
            let (content, identity) = (real.content, real.identity);
            (name, File { revision, content, identity, refused: true, on_demand: false })
        };
        newest.into_iter().map(of).collect()
    }

    /// What was doubted and is over, because somebody stopped it or it never served, is doubted no more.
    pub(super) fn forgets_doubts(&mut self) {
        let shown = &self.shown;
        self.doubted.retain(|name, _| shown.contains_key(name));
    }

    /// What a vassal is to run: what its file says, or said before it went in a way that is doubted.
    pub(super) fn said(&self, name: &VassalName) -> Option<&File> {
        self.files.get(name).or_else(|| self.doubted.get(name))
    }

    /// What is doubted is shown as that, and nothing else is.
    pub(super) fn doubts_are_shown(&self) -> Outcome {
        for (name, view) in &self.shown {
            let doubted = self.doubted.contains_key(name) && self.shut_downs == 0;
            demand!(
                self.shut_downs > 0 || view.missing == doubted,
                "the removal of {name} is doubted: {doubted}, and it is shown as {view:?}"
            );
        }
        Ok(())
    }
}
