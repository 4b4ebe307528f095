//! When two states of the [`World`] are one: when they differ in numbering and in the hour only.

use std::collections::BTreeSet;

use super::World;

impl World {
    /// The state without numbering and hour: two worlds of the same text behave alike. Numbers of one kind become
    /// ranks, moments are counted from now and the past is all alike.
    pub(in crate::fleet) fn canonical(&self) -> String {
        let World {
            fleet,
            now: _,
            left,
            names: _,
            files,
            lost,
            seen,
            doubted,
            revisions: _,
            masters,
            orphans,
            holds,
            frozen,
            doubts,
            awaited,
            knocked,
            operations,
            excused,
            shown: _,
            last_revision,
            shut_downs,
            brain_died,
            has_left,
        } = self;
        let text = format!(
            "{fleet:?}{left:?}{files:?}{lost:?}{seen:?}{doubted:?}{masters:?}{orphans:?}{holds:?}{frozen:?}{doubts:?}{awaited:?}{knocked:?}{operations:?}{excused:?}RevisionId({last_revision}){shut_downs}{brain_died}{has_left}"
        );
        let text = ranked(&text, "OperationId(");
        let text = ranked(&text, "MasterSerial(");
        let text = ranked(&text, "RevisionId(");
        let text = ranked(&text, "GenerationId(");
        let text = ranked(&text, "ContentDigest(");
        let text = ranked(&ranked(&text, "(Ordinary, "), "(Recovery, ");
        let text = renumbered(&text, "next_ticket: ", |_| 0);
        renumbered(&text, "Moment(", |moment| moment.saturating_sub(self.now.0))
    }
}

/// Replaces every number that follows `marker`.
fn renumbered(text: &str, marker: &str, new: impl Fn(u64) -> u64) -> String {
    let mut parts = text.split(marker);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        out.push_str(marker);
        match part[..digits].parse() {
            Ok(number) => out.push_str(&new(number).to_string()),
            Err(_) => out.push_str(&part[..digits]),
        }
        out.push_str(&part[digits..]);
    }
    out
}

/// Replaces every number that follows `marker` by its rank among them.
fn ranked(text: &str, marker: &str) -> String {
    let numbers: BTreeSet<u64> = text
        .split(marker)
        .skip(1)
        .filter_map(|part| part[..part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len())].parse().ok())
        .collect();
    renumbered(text, marker, |number| numbers.range(..number).count() as u64)
}
