//! Reads the configuration and shows what is wrong with it.

use std::sync::{Mutex, PoisonError};

use empery_config::{
    facts::{self, Facts, Inherited},
    problem::{Colour, Problem, Severity},
    read::{Entry, Outcome},
};
use empery_control::boot::{Common, MasterBoot};
use empery_lifecycle::ids::RevisionId;
use sha2::{Digest, Sha256};

use crate::{
    facts::{Disk, Starter},
    given_text,
    revision::Revision,
    station::FIRST_REVISION,
};

/// Reads the entry of a vassal alone, with the sockets that it was started with. Problems are said in the log.
///
/// # Errors
/// The first error in one sentence with its place.
pub(crate) fn read(entry: &Entry, id: RevisionId, inherited: &[Inherited]) -> Result<Revision, String> {
    let given = Given { inherited: inherited.to_vec(), ..Given::default() };
    accept(outcome_of(entry, None, id != FIRST_REVISION, given), entry, id)
}

/// The same of a vassal of an emperor, who may hold a socket for it and say something for all its vassals; `directory` is `%v`
/// when it is not the working directory.
///
/// # Errors
/// The first error in one sentence with its place.
pub(crate) fn read_governed(
    entry: &Entry,
    id: RevisionId,
    directory: Option<String>,
    boot: &MasterBoot,
) -> Result<Revision, String> {
    let Common { before, after } = boot.common.clone();
    let common = facts::Common { before, after };
    let (on_demand, started_by) = (boot.on_demand.clone(), boot.started_by);
    let given = Given { on_demand, started_by, common, ..Given::default() };
    accept(outcome_of(entry, directory, false, given), entry, id)
}

/// What an emperor adds to a vassal's file, or what a vassal alone was started with.
#[derive(Default)]
struct Given {
    inherited: Vec<Inherited>,
    on_demand: Option<String>,
    started_by: Option<(u32, u32)>,
    common: facts::Common,
}

/// Makes a revision of what was read. Problems are said in the log.
///
/// # Errors
/// The first error in one sentence with its place.
pub(crate) fn accept(outcome: Outcome, entry: &Entry, id: RevisionId) -> Result<Revision, String> {
    say(&outcome.problems);
    outcome.prints.iter().for_each(|text| crate::log::say(text));
    match outcome.config {
        Some(config) => Ok(Revision { id, config, sha256: sha256(entry) }),
        None => Err(sentence(&outcome.problems)),
    }
}

/// Reads the entry of a vassal alone for the first time, without saying anything.
pub(crate) fn outcome(entry: &Entry, inherited: Vec<Inherited>) -> Outcome {
    let outcome = outcome_of(entry, None, false, Given { inherited, ..Given::default() });
    given_text::complete();
    outcome
}

/// Under an emperor nothing is a reload, since the emperor has bound the sockets by a reading of its own.
fn outcome_of(entry: &Entry, directory: Option<String>, is_a_reload: bool, given: Given) -> Outcome {
    let started_by = if directory.is_some() { Starter::Emperor } else { Starter::Somebody };
    let directory = directory.unwrap_or_else(crate::facts::working_directory);
    let facts = crate::facts::gather(directory, given.started_by, is_a_reload);
    let facts = Facts { on_demand: given.on_demand, common: given.common, inherited: given.inherited, ..facts };
    empery_config::read::read(entry, &facts, &Disk::new(started_by))
}

/// Shows problems with their source lines. Warnings that were shown last time already are not repeated at each reload.
pub(crate) fn say(problems: &[Problem]) {
    static SHOWN: Mutex<Vec<Problem>> = Mutex::new(Vec::new());
    let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let is_news = |problem: &&Problem| problem.severity == Severity::Error || !shown.contains(problem);
    let news: Vec<Problem> = problems.iter().filter(is_news).cloned().collect();
    if !news.is_empty() {
        crate::log::say(empery_config::problem::render(&news, Colour::Plain).trim_end());
    }
    *shown = problems.to_vec();
}

/// The first error, as a sentence with its place.
fn sentence(problems: &[Problem]) -> String {
    problems.iter().find(|problem| problem.severity == Severity::Error).map_or_else(
        || "the configuration cannot be run".to_owned(),
        |problem| format!("{}: {}", problem.origin, problem.message),
    )
}

fn sha256(entry: &Entry) -> Option<String> {
    match entry {
        Entry::File { content, .. } => Some(Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()),
        Entry::Arguments(_) => None,
    }
}
