//! An upgrade of the whole machine. The emperor replaces itself first, by another binary or the same (the next brain hears
//! from every master which binaries it runs): what was asked for goes to that brain as a note that the keeper hands on. Then every vassal that runs older binaries is reloaded, as
//! many at once as may boot at once; one that fails serves on as it was and holds no other up.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use empery_control::{
    fleet::{OperationView, UpgradeView, UpgradedVassal},
    keeper::Ask,
};
use empery_lifecycle::{
    fleet::{OperationEnd, Verb},
    ids::VassalName,
};
use empery_web_ui::{AskError, Reply};

use super::FleetTask;
use crate::brain::{clock, command, inputs::Input, summary};

/// How long a new binary may take to say its version.
const TRIAL_WITHIN: Duration = Duration::from_secs(10);

impl FleetTask {
    /// Somebody wants the machine to run what is installed. A binary that does not even start must not get the emperor's place:
    /// it is tried first, while everything else goes on.
    pub(super) fn asked_to_upgrade(&mut self, actor: String, reply: Reply<UpgradeView>) {
        match changed_binary() {
            Some(binary) if self.may_upgrade().is_ok() => {
                let inbox = self.inbox.clone();
                tokio::spawn(async move {
                    let tried = command::run_program(&binary, "--version", TRIAL_WITHIN).await;
                    let outcome = tried.map(drop).map_err(|why| {
                        format!("the new {} does not run ({why}): nothing was upgraded", binary.display())
                    });
                    inbox.tell(Input::BinaryTried { actor, outcome, reply });
                });
            }
            Some(_) | None => self.binary_tried(actor, Ok(()), reply),
        }
    }

    /// The new binary runs, or does not.
    pub(super) fn binary_tried(&mut self, actor: String, outcome: Result<(), String>, reply: Reply<UpgradeView>) {
        let may = self.may_upgrade().and_then(|()| outcome.map_err(AskError::Conflict));
        // Whoever asked may have hung up.
        let _ = reply.send(may.map(|()| self.begin_upgrade(actor)));
    }

    fn may_upgrade(&self) -> Result<(), AskError> {
        if self.leaving {
            return Err(AskError::Leaving);
        }
        if self.upgrade.as_ref().is_some_and(|upgrade| upgrade.phase != "done") {
            return Err(AskError::Conflict("an upgrade is under way".to_owned()));
        }
        Ok(())
    }

    fn begin_upgrade(&mut self, actor: String) -> UpgradeView {
        tracing::info!(by = actor, "the machine is upgraded");
        let view =
            UpgradeView { actor, began_unix_ms: clock::unix_ms(), phase: "emperor".to_owned(), vassals: Vec::new() };
        self.upgrade = Some(view.clone());
        let note = format!("{} {}", view.began_unix_ms, view.actor);
        self.performer.ask_keeper(Ask::Restart { note });
        self.publish();
        view
    }

    /// What an earlier brain began. A note that cannot be read is nobody's.
    pub(crate) fn recall_upgrade(&mut self, note: Option<&str>) {
        let Some((began, actor)) = note.and_then(|note| note.split_once(' ')) else { return };
        let Ok(began_unix_ms) = began.parse() else { return };
        self.upgrade = Some(UpgradeView {
            actor: actor.to_owned(),
            began_unix_ms,
            phase: "emperor".to_owned(),
            vassals: Vec::new(),
        });
    }

    /// The directory was read: what runs is known, and an upgrade that an earlier brain began goes on.
    pub(super) fn upgrade_goes_on(&mut self) {
        if self.upgrade.as_ref().is_some_and(|upgrade| upgrade.phase == "emperor") && changed_binary().is_none() {
            self.upgrade_vassals();
        }
    }

    fn upgrade_vassals(&mut self) {
        let Some(upgrade) = &mut self.upgrade else { return };
        upgrade.phase = "vassals".to_owned();
        let actor = format!("upgrade by {}", upgrade.actor);
        let serves_older = |name: &VassalName| {
            self.posts.get(name).and_then(|post| post.first_seat()).is_some_and(|seat| seat.outdated)
        };
        let names: Vec<VassalName> =
            self.fleet.views().into_iter().map(|view| view.name).filter(|name| serves_older(name)).collect();
        // All are told of before the first reload can end.
        upgrade.vassals = names
            .iter()
            .map(|name| UpgradedVassal {
                name: name.clone(),
                outcome: "waiting".to_owned(),
                operation: None,
                reason: None,
            })
            .collect();
        for name in names {
            let asked = self.asked_operation(name.clone(), Verb::Reload, actor.clone());
            let Some(entry) = self.upgraded_mut(&name) else { continue };
            match asked {
                Ok(view) => {
                    entry.operation = Some(view.id);
                    self.upgrade_hears_of_end(&view);
                }
                Err(error) => {
                    entry.outcome = "gone".to_owned();
                    entry.reason = Some(error.to_string());
                }
            }
        }
        self.end_upgrade_if_over();
    }

    fn upgraded_mut(&mut self, name: &VassalName) -> Option<&mut UpgradedVassal> {
        self.upgrade.as_mut()?.vassals.iter_mut().find(|vassal| vassal.name == *name)
    }

    /// An operation has ended, perhaps one of an upgrade.
    pub(super) fn upgrade_hears_of_end(&mut self, view: &OperationView) {
        let Some(end) = &view.end else { return };
        let Some(entry) = self.upgraded_mut(&view.vassal) else { return };
        if entry.operation != Some(view.id) || entry.outcome != "waiting" {
            return;
        }
        let (outcome, reason) = match end {
            OperationEnd::Succeeded => ("upgraded", None),
            OperationEnd::Superseded => ("superseded", None),
            OperationEnd::Failed { reason, .. } => ("failed", Some(summary::sentence_of(reason))),
        };
        entry.outcome = outcome.to_owned();
        entry.reason = reason;
        self.end_upgrade_if_over();
    }

    fn end_upgrade_if_over(&mut self) {
        let Some(upgrade) = &mut self.upgrade else { return };
        if upgrade.phase == "vassals" && upgrade.vassals.iter().all(|vassal| vassal.outcome != "waiting") {
            upgrade.phase = "done".to_owned();
            let failed = upgrade.vassals.iter().filter(|vassal| vassal.outcome == "failed").count();
            tracing::info!(vassals = upgrade.vassals.len(), failed, "the upgrade is done");
            self.performer.ask_keeper(Ask::Upgraded);
            self.publish();
        }
    }
}

/// The path of this binary, when another file is there by now (proc(5) marks a replaced one as deleted).
fn changed_binary() -> Option<PathBuf> {
    let running = Path::new("/proc/self/exe");
    let path = std::fs::read_link(running).ok()?;
    let path = path.to_str().and_then(|text| text.strip_suffix(" (deleted)")).map_or(path.clone(), PathBuf::from);
    let image = |path: &Path| {
        let facts = std::fs::metadata(path).ok()?;
        Some((facts.dev(), facts.ino(), facts.mtime(), facts.mtime_nsec()))
    };
    (image(&path)? != image(running)?).then_some(path)
}
