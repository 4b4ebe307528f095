//! Which fault is proved by which test: collected from the names of stories and tests, which begin with the ids of the
//! faults they prove (`kill/p3-the-master`, `fn h5_a_chunk…`). The faults stand in `tests/faults.tsv`. The ids of
//! [`crate::behaviours`] are found by the same rule.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result};

use crate::ground;

/// A fault.
#[derive(Debug, Clone)]
pub struct Fault {
    /// A letter and a number.
    pub id: String,
    /// What happens.
    pub what: String,
    /// What must hold then: K keeps serving, S state right, C cleaned up, V visible, R refused clearly, I others unaffected.
    pub oracles: String,
    /// Why there is no test, or only half of one; empty for most.
    pub missing: String,
}

/// The document the matrix is committed as, below the tree's root.
pub const DOCUMENT: &str = "docs/faults.md";

/// What follows the matrix in the document: the peers' table, kept as it is.
const PEERS: &str = "\n## Beside the peers\n";

/// All faults, in their order.
///
/// # Errors
/// When the table cannot be read.
pub fn faults() -> Result<Vec<Fault>> {
    let path = ground::tree().join("tests/faults.tsv");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let line = |line: &str| -> Option<Fault> {
        let mut columns = line.split('\t').map(str::to_owned);
        let (id, what, oracles) = (columns.next()?, columns.next()?, columns.next()?);
        Some(Fault { id, what, oracles, missing: columns.next().unwrap_or_default() })
    };
    text.lines().skip(1).map(|text| line(text).with_context(|| format!("{}: {text:?}", path.display()))).collect()
}

/// The name of a test or of a story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// As it is written down: `vassal/worker: h5_…` or `clients/h1-…`.
    pub shown: String,
    /// Without its room or group, in its words.
    pub words: Vec<String>,
}

/// Every test and story in these sources.
#[must_use]
pub fn tests(sources: &[(String, String)]) -> Vec<Named> {
    let split = |name: &str, between: char| name.split(between).map(str::to_owned).collect();
    let mut found = Vec::new();
    for (path, text) in sources {
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            let named = if let Some((_, rest)) = line.split_once("Story::new(\"") {
                let name = rest.split('"').next().unwrap_or_default();
                Some(Named { shown: name.to_owned(), words: split(name.split('/').nth(1).unwrap_or_default(), '-') })
            } else if let Some(rest) = line.trim_start_matches("async ").strip_prefix("fn ").filter(|_| is_test) {
                let name = rest.split('(').next().unwrap_or_default();
                Some(Named { shown: format!("{}: {name}", room(path)), words: split(name, '_') })
            } else {
                None
            };
            is_test = line.starts_with("#[test]") || line.starts_with("#[tokio::test") || is_test && named.is_none();
            found.extend(named);
        }
    }
    found
}

/// The names of tests and stories in these sources that begin with an id, by id.
#[must_use]
pub fn proofs(sources: &[(String, String)]) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for named in tests(sources) {
        for id in named.words.iter().map_while(|word| id(word)) {
            found.entry(id).or_default().push(named.shown.clone());
        }
    }
    for names in found.values_mut() {
        names.sort();
        names.dedup();
    }
    found
}

/// `p12` is a fault's id, `n1` an invariant's, `b7` a behaviour's; a name may hold several.
fn id(word: &str) -> Option<String> {
    let (letter, number) = word.split_at_checked(1)?;
    let is_id = "pacrhnb".contains(letter) && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_id.then(|| word.to_uppercase())
}

/// The crate a source belongs to, as its folder.
fn room(path: &str) -> &str {
    path.split("/src/").next().and_then(|path| path.split("/tests/").next()).unwrap_or(path)
}

/// How tests of these names went, as their runners print it.
#[must_use]
pub fn verdicts(output: &str) -> BTreeMap<String, String> {
    let story = |line: &str| {
        let (verdict, name) = line.split_once(' ')?;
        let verdict = match verdict {
            "ok" => "passed",
            "FAILED" => "failed",
            "skipped" => "skipped",
            _ => return None,
        };
        Some((name.trim().split(' ').next()?.to_owned(), verdict.to_owned()))
    };
    let test = |line: &str| {
        let (name, verdict) = line.strip_prefix("test ")?.split_once(" ... ")?;
        let verdict = if verdict.starts_with("ok") { "passed" } else { "failed" };
        Some((name.rsplit("::").next()?.to_owned(), verdict.to_owned()))
    };
    output.lines().filter_map(|line| test(line).or_else(|| story(line))).collect()
}

/// The matrix as Markdown; the verdicts of names that were not run now stay as the document has them.
///
/// # Errors
/// When the table cannot be read.
pub fn document(sources: &[(String, String)], now: &BTreeMap<String, String>) -> Result<String> {
    let before = fs::read_to_string(ground::tree().join(DOCUMENT)).unwrap_or_default();
    let (known, peers) = before.split_once(PEERS).unwrap_or((before.as_str(), ""));
    let proofs = proofs(sources);
    let verdict = |shown: &str| -> String {
        let name = shown.rsplit(' ').next().unwrap_or(shown);
        now.get(name).cloned().unwrap_or_else(|| {
            let told = known.split_once(&format!("`{shown}` ")).map(|(_, rest)| rest);
            let word = told.and_then(|rest| rest.split([',', ' ', '|', '<']).next());
            word.filter(|word| ["passed", "failed", "skipped"].contains(word)).unwrap_or("not run").to_owned()
        })
    };
    let mut text = String::from(HEAD);
    for fault in faults()? {
        let named = proofs.get(&fault.id).map_or(&[][..], Vec::as_slice);
        let mut cells: Vec<String> = named.iter().map(|shown| format!("`{shown}` {}", verdict(shown))).collect();
        if !fault.missing.is_empty() {
            cells.push(fault.missing);
        }
        writeln!(text, "| {} | {} | {} | {} |", fault.id, fault.what, fault.oracles, cells.join("<br>"))?;
    }
    let invariants = proofs.get("N1").map_or(&[][..], Vec::as_slice);
    let cells: Vec<String> = invariants.iter().map(|shown| format!("`{shown}` {}", verdict(shown))).collect();
    writeln!(
        text,
        "| N1 | no request is lost by reloads, nor by deaths of whoever watches over the app | K | {} |",
        cells.join("<br>")
    )?;
    if !peers.is_empty() {
        text.push_str(PEERS);
        text.push_str(peers);
    }
    Ok(text)
}

/// Writes the document.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| path.display().to_string())
}

const HEAD: &str = "# Faults\n\n\
What can go wrong, what must hold then, and the test that proves it. `./dev faults` runs those tests, prints this table and\n\
writes it here. A test belongs to a fault by the id at the beginning of its name.\n\n\
What must hold: **K** it keeps serving (the old generation, the other vassals), **S** the state is right within 2 s, **C** it\n\
is cleaned up (no process, zombie or descriptor left), **V** it is visible with a cause somebody can act on, **R** it is refused\n\
with a clear error, **I** other vassals do not notice.\n\n\
| fault | what happens | must hold | proved by, and how that went last |\n|---|---|---|---|\n";
