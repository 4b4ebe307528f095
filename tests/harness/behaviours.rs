//! What uWSGI does that people notice first, and which test proves what it comes to here: `docs/behaviours.md`. The behaviours
//! stand in `tests/behaviours.tsv`; a test belongs to one by the id at the beginning of its name, beside those of faults
//! (`quickstart/b17-reload-by-touch`, `fn h13_b47_a_name…`).

use std::{fmt::Write as _, fs};

use anyhow::{Context, Result, ensure};

use crate::{ground, matrix};

/// Something uWSGI does.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// B and a number.
    pub id: String,
    /// What uWSGI does.
    pub what: String,
    /// What becomes of it: `same`, `better` (the same words mean the same, and more holds) or `different`.
    pub here: String,
    /// Why there is no test, or only half of one; empty for most.
    pub missing: String,
}

/// The document, below the tree's root.
pub const DOCUMENT: &str = "docs/behaviours.md";

/// All behaviours, in their order.
///
/// # Errors
/// When the table cannot be read, or a line of it is none.
pub fn all() -> Result<Vec<Behaviour>> {
    let path = ground::tree().join("tests/behaviours.tsv");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let line = |line: &str| -> Result<Behaviour> {
        let columns: Vec<&str> = line.split('\t').collect();
        let [id, what, here, missing] = columns[..] else { anyhow::bail!("four columns are expected: {line:?}") };
        ensure!(["same", "better", "different"].contains(&here), "{id} is {here:?}");
        Ok(Behaviour { id: id.into(), what: what.into(), here: here.into(), missing: missing.into() })
    };
    text.lines().skip(1).map(line).collect()
}

/// The behaviours with their tests as Markdown.
///
/// # Errors
/// When the table cannot be read.
pub fn document(sources: &[(String, String)]) -> Result<String> {
    let proofs = matrix::proofs(sources);
    let mut text = String::from(HEAD);
    for Behaviour { id, what, here, missing } in all()? {
        let named = proofs.get(&id).map_or(&[][..], Vec::as_slice);
        let mut cells: Vec<String> = named.iter().map(|name| format!("`{name}`")).collect();
        cells.extend(Some(missing).filter(|missing| !missing.is_empty()));
        writeln!(text, "| {id} | {what} | {here} | {} |", cells.join("<br>"))?;
    }
    Ok(text)
}

const HEAD: &str = "# Behaviours of uWSGI\n\n\
What somebody who comes from uWSGI notices first, what becomes of it here, and the tests that prove it. A test belongs to a\n\
behaviour by the id in its name; `./dev golden` writes this table.\n\n\
**same**: as in uWSGI. **better**: the same words, and what was a fault is mended. **different**: on purpose, as\n\
[from-uwsgi.md](from-uwsgi.md) says, which tells the smaller differences of the others, too.\n\n\
| | uWSGI | here | proved by |\n|---|---|---|---|\n";
