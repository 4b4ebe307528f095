//! What a file changes beside what runs: its final values against those of the revision that serves, whose content the
//! state database keeps. It can be read by whoever may read the state directory: vassal files hold secrets.

use std::{collections::BTreeMap, path::Path};

use empery_config::vassal::VassalConfig;
use empery_control::fleet::VassalSnapshot;
use empery_lifecycle::ids::{RevisionId, VassalName};
use serde::Serialize;

use super::{ForAll, Options, read_content, say};
use crate::cli::{
    client::{Client, segment},
    exit::{Exit, Failure},
    places,
};

/// What is different.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    /// The revision that serves; None when nothing does.
    running_revision: Option<u64>,
    changes: Vec<Change>,
}

/// One option with all its values.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Change {
    key: String,
    running: Vec<String>,
    file: Vec<String>,
}

/// Compares the file with the vassal of its name.
pub(super) fn difference(
    (file, name): (&Path, &VassalName),
    config: &VassalConfig,
    for_all: &ForAll,
    options: &Options,
) -> Result<Difference, Failure> {
    let client = Client::new(&options.running)?;
    let snapshot: VassalSnapshot = match client.get(&format!("/api/v1/vassals/{}", segment(name.as_str()))) {
        Ok(answer) => answer.json()?,
        Err(failure) if failure.exit == Exit::NoSuchVassal => {
            return Ok(Difference { running_revision: None, changes: changes(&BTreeMap::new(), &values(config)) });
        }
        Err(failure) => return Err(failure),
    };
    let Some(serving) = snapshot.serving_revision else {
        return Ok(Difference { running_revision: None, changes: changes(&BTreeMap::new(), &values(config)) });
    };
    let directory = options.state.clone().unwrap_or_else(places::state);
    let content = content_of(&directory, &snapshot.name, RevisionId(serving))?;
    let reading = read_content(file, for_all, content)?;
    let before = reading.plan.as_ref().map(|plan| values(&plan.config)).unwrap_or_default();
    Ok(Difference { running_revision: Some(serving), changes: changes(&before, &values(config)) })
}

fn content_of(state: &Path, name: &VassalName, revision: RevisionId) -> Result<Vec<u8>, Failure> {
    let database = state.join("state.db");
    let failed = |cause: String| Failure::new(Exit::Usage, format!("{}: {cause}", database.display()));
    // A missing file would be an empty history.
    std::fs::metadata(&database).map_err(|error| failed(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let found = runtime.block_on(async {
        let reader = empery_store::Reader::of(&database);
        reader.revision(name, revision).await
    });
    match found {
        Ok(Some(revision)) => Ok(revision.content),
        Ok(None) => Err(failed(format!("it has no revision {revision} of {name} any more"))),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// All values of each key, in order.
fn values(config: &VassalConfig) -> BTreeMap<String, Vec<String>> {
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for effective in &config.effective {
        values.entry(effective.key.clone()).or_default().push(effective.value.clone().unwrap_or("true".to_owned()));
    }
    values
}

fn changes(running: &BTreeMap<String, Vec<String>>, file: &BTreeMap<String, Vec<String>>) -> Vec<Change> {
    let mut keys: Vec<&String> = running.keys().chain(file.keys()).collect();
    keys.sort();
    keys.dedup();
    let of = |values: &BTreeMap<String, Vec<String>>, key: &String| values.get(key).cloned().unwrap_or_default();
    let change = |key: &String| Change { key: key.clone(), running: of(running, key), file: of(file, key) };
    keys.into_iter().map(change).filter(|change| change.running != change.file).collect()
}

impl Difference {
    /// As lines with `-` and `+`.
    pub(super) fn show(&self) {
        match self.running_revision {
            None => say!("nothing of this vassal runs; all of the file is new"),
            Some(revision) if self.changes.is_empty() => say!("revision {revision} runs, with the same values"),
            Some(revision) => say!("revision {revision} runs; the file changes:"),
        }
        for change in self.changes.iter().filter(|_| self.running_revision.is_some()) {
            change.running.iter().for_each(|value| say!("  - {} = {value}", change.key));
            change.file.iter().for_each(|value| say!("  + {} = {value}", change.key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_with_other_values_are_told() {
        let values = |pairs: &[(&str, &str)]| {
            let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (key, value) in pairs {
                all.entry((*key).to_owned()).or_default().push((*value).to_owned());
            }
            all
        };
        let running = values(&[("env", "A=1"), ("env", "B=2"), ("threads", "2"), ("old", "x")]);
        let file = values(&[("env", "A=1"), ("env", "B=3"), ("threads", "2"), ("new", "y")]);
        let found: Vec<String> = changes(&running, &file).into_iter().map(|change| change.key).collect();
        assert_eq!(found, ["env", "new", "old"]);
    }
}
