//! What may happen next in the [`World`], and what of it happens when nobody disturbs.

use super::*;

impl World {
    /// Everything that can happen next.
    pub(in crate::fleet) fn happenings(&self) -> Vec<Happening> {
        let mut all = Vec::new();
        if self.has_left {
            return all;
        }
        let left = self.left;
        for (key, real) in &self.masters {
            let mut may = |happening: fn(MasterKey) -> Happening| all.push(happening(key.clone()));
            if !real.forked {
                may(Happening::Forked);
                if left.failures > 0 {
                    may(Happening::ForkFails);
                }
                continue;
            }
            if !real.words.is_empty() {
                may(Happening::WordArrives);
            }
            if real.killed || (real.leaves && !real.hangs) {
                may(Happening::Exits);
            } else if real.hangs {
                // Nothing was heard for long, so nothing is under way. One that is to go, or said that it goes, has a
                // deadline for that.
                if real.words.is_empty() && real.asked.is_none() && !real.said_it_leaves {
                    may(Happening::HangIsNoticed);
                }
            } else {
                if !real.orders.is_empty() {
                    may(Happening::OrderArrives);
                }
                if real.booting.is_some() {
                    may(Happening::BootSucceeds);
                } else if left.visits > 0 && real.serving.is_some() && real.orders.is_empty() {
                    may(Happening::LeavesIdle);
                }
                if left.crashes > 0 {
                    may(Happening::Crashes);
                    may(Happening::Hangs);
                }
                if left.failures > 0 && real.booting.is_some() {
                    may(Happening::BootFails);
                }
                if left.failures > 0 && matches!(real.orders.front(), Some(Order::Deploy(..))) {
                    may(Happening::OrderFails);
                }
            }
        }
        if self.shut_downs == 0 {
            self.people(&mut all);
        }
        self.clients(&mut all);
        if left.brain_deaths > 0 && self.shut_downs == 0 {
            all.push(Happening::BrainDies);
        }
        if left.shut_downs > 0 {
            all.push(Happening::ShutDown);
        }
        if self.fleet.deadline().is_some() {
            all.push(Happening::Deadline);
        }
        all
    }

    /// Who is asleep hears of a client that waits; others come.
    fn clients(&self, all: &mut Vec<Happening>) {
        for name in &self.awaited {
            if self.left.visits > 0 || self.knocked.contains(name) {
                all.push(Happening::Knocks(name.clone()));
            }
            if self.left.failures > 0 {
                all.push(Happening::AwaitFails(name.clone()));
            }
        }
    }

    fn people(&self, all: &mut Vec<Happening>) {
        for name in &self.names {
            if self.left.commands > 0 && self.shown.contains_key(name) {
                all.extend(
                    [Verb::Stop, Verb::Start, Verb::Reload, Verb::Freeze, Verb::Resume]
                        .map(|verb| Happening::Commanded(name.clone(), verb)),
                );
            }
            if self.left.edits > 0 {
                all.push(Happening::Edited(name.clone()));
                if let Some(file) = self.files.get(name) {
                    all.push(Happening::OtherIdentity(name.clone()));
                    all.push(Happening::Removed(name.clone()));
                    all.push(Happening::OnDemand(name.clone()));
                    if !file.refused {
                        all.push(Happening::Refused(name.clone()));
                    }
                    let free = self.names.iter().find(|other| !self.files.contains_key(*other));
                    all.extend(free.map(|other| Happening::Renamed(name.clone(), other.clone())));
                }
            }
        }
        if self.left.removals > 0 && !self.files.is_empty() {
            all.push(Happening::Emptied);
        }
        all.extend(self.lost.keys().map(|name| Happening::Returned(name.clone())));
        if !self.doubted.is_empty() {
            all.push(Happening::RemovalConfirmed);
        }
        if self.left.signals > 0 {
            all.extend([Happening::ReloadAll, Happening::DirectoryLost]);
        }
    }

    /// What happens when nobody disturbs: everything is forked, boots and arrives, and what leaves has left.
    pub(in crate::fleet) fn undisturbed(&self) -> Option<Happening> {
        self.happenings().into_iter().find(|happening| match happening {
            Happening::Forked(_)
            | Happening::WordArrives(_)
            | Happening::OrderArrives(_)
            | Happening::BootSucceeds(_)
            | Happening::Exits(_)
            | Happening::HangIsNoticed(_)
            | Happening::Deadline => true,
            Happening::Knocks(name) => self.knocked.contains(name),
            Happening::ForkFails(_)
            | Happening::OrderFails(_)
            | Happening::BootFails(_)
            | Happening::Crashes(_)
            | Happening::Hangs(_)
            | Happening::LeavesIdle(_)
            | Happening::AwaitFails(_)
            | Happening::OnDemand(_)
            | Happening::Edited(_)
            | Happening::Refused(_)
            | Happening::OtherIdentity(_)
            | Happening::Removed(_)
            | Happening::Renamed(..)
            | Happening::Emptied
            | Happening::Returned(_)
            | Happening::RemovalConfirmed
            | Happening::Commanded(..)
            | Happening::BrainDies
            | Happening::DirectoryLost
            | Happening::ReloadAll
            | Happening::ShutDown => false,
        })
    }
}
