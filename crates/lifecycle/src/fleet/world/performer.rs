//! Performs what the fleet asks for in the [`World`], and holds it against the invariants of `ARCHITECTURE.md`.

use super::*;

impl World {
    pub(super) fn performs(&mut self, action: &Action) -> Outcome {
        demand!(!self.has_left, "{action:?} after Leave");
        match action {
            Action::Start { master, revision, operation, frozen } => {
                self.awaited.remove(&master.vassal);
                self.starts(master, *revision, *operation)?;
                demand!(*frozen == self.frozen.contains(&master.vassal), "{master:?} starts frozen: {frozen}");
                self.masters.entry(master.clone()).and_modify(|real| real.frozen = *frozen);
                Ok(())
            }
            Action::Await { name, revision } => self.awaits(name, *revision),
            Action::Gate { master, frozen } => {
                self.unasked(master, "told to accept or not")?.orders.push_back(Order::Gate(*frozen));
                Ok(())
            }
            Action::Deploy { master, revision, operation } => {
                demand!(self.operations.contains_key(operation), "operation {operation} has not begun");
                let content = self.revisions.get(revision).map(|(_, content)| *content);
                let real = self.unasked(master, "deployed to")?;
                real.content = content.unwrap_or(real.content);
                real.orders.push_back(Order::Deploy(*revision, *operation));
                Ok(())
            }
            Action::Stop { master } => self.stops(master),
            Action::Kill { master } => self.kills(master),
            Action::Begin { operation, name, verb, .. } => {
                // Freezing and resuming bring nothing up, so what failed before stays failed.
                if !matches!(verb, Verb::Freeze | Verb::Resume) {
                    self.excused.remove(name);
                }
                demand!(
                    self.operations.insert(*operation, name.clone()).is_none(),
                    "operation {operation} begins twice"
                );
                Ok(())
            }
            Action::End { operation, end } => {
                let Some(name) = self.operations.remove(operation) else {
                    return Err(format!("operation {operation} ends, which has not begun or has ended"));
                };
                if matches!(end, OperationEnd::Failed { still_serving: true, .. }) {
                    self.excused.insert(name);
                }
                Ok(())
            }
            Action::Forget { name } => {
                let alive = self.masters.keys().find(|key| key.vassal == *name);
                demand!(alive.is_none(), "the listeners of {name} are closed while {alive:?} lives");
                self.awaited.remove(name);
                self.knocked.remove(name);
                Ok(())
            }
            Action::ForgetUnused { resting } => {
                let (files, masters) = (&self.files, &self.masters);
                let lives = |name: &VassalName| masters.keys().any(|key| key.vassal == *name);
                for name in resting {
                    demand!(!lives(name), "the listeners of {name} are closed while a master of it lives");
                }
                let stays = |name: &VassalName| lives(name) || (files.contains_key(name) && !resting.contains(name));
                self.knocked.retain(stays);
                self.awaited.retain(stays);
                Ok(())
            }
            Action::Hold { name, held } => {
                let changes = if *held { self.holds.insert(name.clone()) } else { self.holds.remove(name) };
                demand!(changes, "the hold of {name} is already so");
                Ok(())
            }
            Action::Freeze { name, frozen } => {
                let changes = if *frozen { self.frozen.insert(name.clone()) } else { self.frozen.remove(name) };
                demand!(changes || *frozen, "{name} is not frozen already");
                Ok(())
            }
            Action::Doubt { name, doubted } => {
                let _ = if *doubted { self.doubts.insert(name.clone()) } else { self.doubts.remove(name) };
                Ok(())
            }
            Action::Changed { .. } => Ok(()),
            Action::Leave => {
                demand!(self.shut_downs > 0, "nobody asked it to leave");
                demand!(self.masters.is_empty(), "it leaves {:?} behind", self.masters.keys());
                self.has_left = true;
                Ok(())
            }
        }
    }

    fn awaits(&mut self, name: &VassalName, revision: RevisionId) -> Outcome {
        let Some(file) = self.said(name).copied() else {
            return Err(format!("{name} waits for a client without a file"));
        };
        demand!(file.on_demand || file.refused, "{name} is not on demand and waits for a client");
        demand!(!self.holds.contains(name), "{name} waits for a client although it is held");
        demand!(self.shut_downs == 0, "{name} waits for a client although the fleet stops");
        demand!(file.refused || revision == file.revision, "{name} would be woken with revision {revision}");
        let alive = self.masters.keys().find(|key| key.vassal == *name);
        demand!(alive.is_none(), "{name} waits for a client while {alive:?} lives");
        self.awaited.insert(name.clone());
        Ok(())
    }

    fn unasked(&mut self, master: &MasterKey, what: &str) -> Result<&mut Real, String> {
        match self.masters.get_mut(master) {
            Some(real) if real.forked && real.asked.is_none() => Ok(real),
            Some(_) | None => Err(format!("{master:?} is {what}, which is not there or is to go")),
        }
    }

    fn starts(&mut self, master: &MasterKey, revision: RevisionId, operation: OperationId) -> Outcome {
        let name = &master.vassal;
        demand!(self.shut_downs == 0, "{name} is started although the fleet stops");
        demand!(self.operations.contains_key(&operation), "operation {operation} has not begun");
        demand!(!self.holds.contains(name), "{name} is started although it is held");
        let Some(file) = self.said(name).copied() else { return Err(format!("{name} is started without a file")) };
        demand!(file.refused || revision == file.revision, "{name} is started with revision {revision}");
        for (key, real) in self.masters.iter().filter(|(key, _)| key.vassal == *name) {
            demand!(key.berth != master.berth, "{master:?} is started where {key:?} lives");
            // What is not forked yet can be asked to go only then.
            let goes = real.asked.is_some() || real.said_it_leaves || !real.forked;
            demand!(goes || real.identity != file.identity, "{master:?} is started beside {key:?}");
        }
        let double = self.masters.iter().find(|(key, real)| {
            key.vassal != *name && real.content == file.content && self.said(&key.vassal).is_none()
        });
        demand!(double.is_none(), "{name} is started while {double:?} runs the same under its old name");
        let (identity, content) = self.revisions.get(&revision).copied().unwrap_or((file.identity, file.content));
        let real = Real {
            identity,
            content,
            forked: false,
            orders: VecDeque::new(),
            words: VecDeque::new(),
            booting: Some((revision, operation)),
            serving: None,
            leaves: false,
            killed: false,
            hangs: false,
            asked: None,
            said_it_leaves: false,
            said_it_serves: false,
            rests: false,
            frozen: false,
        };
        demand!(self.masters.insert(master.clone(), real).is_none(), "{master:?} is started twice");
        Ok(())
    }

    fn stops(&mut self, master: &MasterKey) -> Outcome {
        let name = &master.vassal;
        let wanted = self.said(name).is_some() && !self.holds.contains(name) && self.shut_downs == 0;
        let succeeded = self.masters.iter().any(|(key, real)| {
            key.vassal == *name && key != master && real.asked.is_none() && real.forked && !real.killed
        });
        let now = self.now;
        let real = self.unasked(master, "stopped")?;
        demand!(!wanted || succeeded || !real.said_it_serves, "{master:?} is stopped, which serves and is wanted");
        real.asked = Some(now);
        real.orders.push_back(Order::Stop);
        Ok(())
    }

    fn kills(&mut self, master: &MasterKey) -> Outcome {
        let at_once = self.shut_downs > 1;
        let now = self.now;
        let Some(real) = self.masters.get_mut(master) else {
            return Err(format!("{master:?} is killed, which is not there"));
        };
        let late = real.asked.is_none_or(|since| now.since(since) >= MERCY + POLICY.stop_grace);
        let pardoned = real.asked.is_none() && !real.said_it_leaves && real.forked;
        demand!(at_once || real.hangs || (late && !pardoned), "{master:?} is killed within its mercy");
        // A master that is not forked yet cannot be killed; the fleet says it again.
        real.killed |= real.forked;
        real.said_it_leaves |= !real.forked;
        Ok(())
    }

    pub(super) fn publishes(&mut self, actions: &[Action]) -> Outcome {
        let now_seen: BTreeMap<VassalName, VassalView> =
            self.fleet.views().into_iter().map(|view| (view.name.clone(), view)).collect();
        let names: BTreeSet<&VassalName> = now_seen.keys().chain(self.shown.keys()).collect();
        for name in names {
            let changed = now_seen.get(name) != self.shown.get(name);
            demand!(!changed || actions.contains(&Action::Changed { name: name.clone() }), "{name} changed unseen");
        }
        self.shown = now_seen;
        Ok(())
    }

    /// What must be so after every step.
    pub(super) fn present(&self) -> Outcome {
        self.doubts_are_shown()?;
        let deadline = self.fleet.deadline();
        for name in &self.names {
            let open = self.operations.values().filter(|of| *of == name).count();
            demand!(open <= 2, "{open} operations of {name} are open");
            let staying: Vec<&MasterKey> = self
                .masters
                .iter()
                .filter(|(key, real)| {
                    key.vassal == *name && real.asked.is_none() && real.forked && !real.said_it_leaves
                })
                .map(|(key, _)| key)
                .collect();
            demand!(staying.len() <= 2, "{name} has {staying:?}");
            let identities: BTreeSet<u32> = staying.iter().map(|key| self.masters[*key].identity.uid).collect();
            // A brain that comes back finds what the one before had not yet asked to go.
            demand!(
                self.brain_died || identities.len() == staying.len(),
                "{name} has two that are the same: {staying:?}"
            );
        }
        for (key, real) in &self.masters {
            if let (Some(since), false) = (real.asked, real.killed) {
                let due = since.after(MERCY).after(POLICY.stop_grace);
                demand!(deadline.is_some_and(|deadline| deadline <= due), "{key:?} may stop for ever");
            }
        }
        // Boots that an earlier brain had ordered come on top.
        let boots = self.fleet.agenda.boots();
        demand!(self.brain_died || boots <= POLICY.boots_at_once as usize, "{boots} vassals boot at once");
        Ok(())
    }

    /// Whether a fleet that nobody disturbs has come to rest where its files say.
    pub(in crate::fleet) fn at_rest(&self) -> Outcome {
        demand!(self.operations.is_empty(), "operations never end: {:?}", self.operations);
        demand!(self.shut_downs == 0 || self.has_left, "it was stopped and has not left");
        for name in &self.names {
            let masters: Vec<_> = self.masters.iter().filter(|(key, _)| key.vassal == *name).collect();
            let file = self.said(name).filter(|_| !self.holds.contains(name) && self.shut_downs == 0);
            match (file, masters.as_slice()) {
                (None, masters) => demand!(masters.is_empty(), "{name} should not run, but {masters:?}"),
                (Some(file), [(key, real)]) => {
                    let frozen = self.frozen.contains(name);
                    demand!(real.frozen == frozen, "{name} is frozen: {frozen}, but {key:?} is not so");
                    // Where workers of an earlier master serve, they take it.
                    let waits = self.knocked.contains(name) && real.serving.is_some() && !frozen;
                    demand!(!waits, "a client of {name} waits although it serves");
                    let current = real.serving == Some(file.revision) && real.identity == file.identity;
                    let excused = file.refused || self.excused.contains(name);
                    demand!(current || excused, "{name} should serve {file:?}, but {real:?}");
                }
                (Some(file), []) => {
                    let asleep = file.on_demand && (self.awaited.contains(name) || self.frozen.contains(name));
                    demand!(file.refused || asleep, "{name} should run, but nothing does");
                    let waits = self.knocked.contains(name) && !self.frozen.contains(name);
                    demand!(!waits, "a client of {name} waits and nobody is woken");
                }
                (Some(_), masters) => return Err(format!("{name} runs more than once: {masters:?}")),
            }
        }
        Ok(())
    }
}
