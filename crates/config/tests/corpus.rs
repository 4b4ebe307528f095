//! Real vassal files of other people, when a directory of them is there: each is read, and what is told is counted.
//!
//! They are not part of this repository. EMPERY_CORPUS names the directory; without it a `shared/corpus/files` beside the
//! tree is taken when it is there, else the test says that it skips. EMPERY_CORPUS_VERBOSE shows every problem.

// Tests may do I/O; the crate may not.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros, clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use empery_config::{
    facts::{Facts, FileError, Files},
    problem::{Colour, Problem, Severity, render},
    read::{Entry, Outcome, read},
    registry,
};

struct Corpus<'a>(&'a Path);

impl Files for Corpus<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let name = Path::new(path).file_name().ok_or(FileError::NotFound)?;
        std::fs::read(self.0.join(name)).map_err(|_| FileError::NotFound)
    }
}

fn directory() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/files");
    std::env::var_os("EMPERY_CORPUS").map(PathBuf::from).or_else(|| beside.is_dir().then_some(beside))
}

/// Codes of errors that say in themselves why a file is not run.
const REASONED: [&str; 8] = [
    "option-refused",
    "plugin-refused",
    "no-app",
    "no-listener",
    "file-not-read",
    "bad-address",
    "bad-value",
    "scheme-refused",
];

#[test]
fn every_file_of_the_corpus_is_read_and_each_refusal_has_its_reason() {
    let Some(directory) = directory() else {
        println!("skipped: EMPERY_CORPUS names no directory of vassal files");
        return;
    };
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let (mut runs, mut total) = (0, 0);
    let mut names: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for path in names {
        let is_template = path.to_string_lossy().contains(".tmpl.");
        let outcome = read_one(&directory, &path);
        total += 1;
        runs += usize::from(outcome.config.is_some());
        for problem in &outcome.problems {
            judge(problem, is_template);
            *counts.entry(key_of(problem)).or_default() += 1;
        }
        if std::env::var_os("EMPERY_CORPUS_VERBOSE").is_some() {
            println!("{}", render(&outcome.problems, Colour::Plain));
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    println!("{runs} of {total} files run");
    for (what, count) in counts {
        println!("{count:5} {what}");
    }
}

fn read_one(directory: &Path, path: &Path) -> Outcome {
    let content = std::fs::read(path).unwrap();
    let path = format!("/etc/vassals/{}", path.file_name().unwrap().to_string_lossy());
    let facts = Facts {
        working_directory: "/etc/vassals".into(),
        hostname: "box".into(),
        cpu_cores: 2,
        uid: 1000,
        ..Facts::default()
    };
    read(&Entry::File { path, content }, &facts, &Corpus(directory))
}

/// A place and a reason for each, and no option of uWSGI's that is not known here. Templates are not yet files: their
/// brackets may be anything.
fn judge(problem: &Problem, is_template: bool) {
    assert!(!problem.origin.file.is_empty(), "{problem:?}");
    if problem.code == "unknown-option" {
        let key = problem.message.split('`').nth(1).unwrap_or_default();
        assert!(registry::lookup(key).is_none(), "`{key}` is an option");
    }
    if problem.severity == Severity::Error {
        assert!(is_template || REASONED.contains(&problem.code.as_str()), "{problem:?}");
        assert!(
            problem.hint.is_some() || problem.message.contains("expected"),
            "a refusal without advice: {problem:?}"
        );
    }
}

fn key_of(problem: &Problem) -> String {
    match problem.severity {
        Severity::Error => format!("error {} {}", problem.code, problem.message),
        Severity::Warning if problem.code == "unknown-option" => format!("warning {}", problem.message),
        Severity::Warning => format!("warning {}", problem.code),
    }
}
