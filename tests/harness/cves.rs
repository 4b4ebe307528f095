//! What other servers were told of in security advisories and reports, as far as a request, an answer or a configuration can
//! bring it about, and the tests that show that it does not happen here: `docs/cves.md`. They stand in `tests/cves.tsv`, each
//! with the names of its tests. A test may name one in its own name (`…_cve_2024_1135`); the table must know it then.

use std::{fmt::Write as _, fs};

use anyhow::{Context, Result};

use crate::{ground, matrix::Named};

/// A published defect of another server.
#[derive(Debug, Clone)]
pub struct Defect {
    /// As its publisher writes it: `CVE-2024-1135`, `GHSA-4f7p-27jc-3c36`, `granian #548`.
    pub id: String,
    /// Whose it was.
    pub server: String,
    /// What was wrong.
    pub what: String,
    /// The names of its tests, as [`Named::shown`] has them.
    pub tests: Vec<String>,
}

/// The document, below the tree's root.
pub const DOCUMENT: &str = "docs/cves.md";

/// All of them, in their order.
///
/// # Errors
/// When the table cannot be read, or a line of it is none.
pub fn all() -> Result<Vec<Defect>> {
    let path = ground::tree().join("tests/cves.tsv");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let line = |line: &str| -> Result<Defect> {
        let columns: Vec<&str> = line.split('\t').collect();
        let [id, server, what, tests] = columns[..] else { anyhow::bail!("four columns are expected: {line:?}") };
        let tests = tests.split(", ").map(str::to_owned).collect();
        Ok(Defect { id: id.into(), server: server.into(), what: what.into(), tests })
    };
    text.lines().skip(1).map(line).collect()
}

/// Whether a test's own name says that it is about this one.
#[must_use]
pub fn is_named(id: &str, test: &Named) -> bool {
    let words: Vec<String> = id
        .split(|character: char| !character.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    test.words.windows(words.len()).any(|part| part == words)
}

/// The ids of advisories in a test's own name.
#[must_use]
pub fn named_by(test: &Named) -> Vec<String> {
    let length = |word: &str| match word {
        "cve" => Some(3),
        "ghsa" => Some(4),
        _ => None,
    };
    let id = |at: usize| test.words.get(at..at + length(&test.words[at])?).map(|words| words.join("-"));
    (0..test.words.len()).filter_map(id).collect()
}

/// They and their tests as Markdown.
///
/// # Errors
/// When the table cannot be read.
pub fn document() -> Result<String> {
    let mut text = String::from(HEAD);
    for Defect { id, server, what, tests } in all()? {
        let cells: Vec<String> = tests.iter().map(|name| format!("`{name}`")).collect();
        writeln!(text, "| {id} | {server} | {what} | {} |", cells.join("<br>"))?;
    }
    Ok(text)
}

const HEAD: &str = "# Published defects of others\n\n\
What other servers were told of, as far as a request, an answer or a configuration can bring it about, and the tests that\n\
show that it does not happen here. Requests are sent whole, byte by byte and in random pieces, and judged by what the app saw.\n\
`tests/cves.tsv` holds this table; `./dev golden` writes it here.\n\n\
| id | server | what was wrong | shown by |\n|---|---|---|---|\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn test(name: &str) -> Named {
        Named { shown: name.to_owned(), words: name.split('_').map(str::to_owned).collect() }
    }

    #[test]
    fn ids_are_found_in_names_as_their_publishers_write_them() {
        let both = test("h5_of_cve_2024_1135_and_ghsa_4f7p_27jc_3c36_and_granian_548");
        assert_eq!(named_by(&both), ["cve-2024-1135", "ghsa-4f7p-27jc-3c36"]);
        for id in ["CVE-2024-1135", "GHSA-4f7p-27jc-3c36", "granian #548"] {
            assert!(is_named(id, &both), "{id}");
        }
        assert!(!is_named("CVE-2024-113", &both) && !is_named("granian #54", &both));
        assert_eq!(named_by(&test("a_cve")), Vec::<String>::new());
    }
}
