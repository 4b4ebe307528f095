//! Real vassal files, when a directory of them is named in EMPERY_CORPUS: each is read, and the counts are printed.
//!
//! The files are other people's and are not part of this repository; without the variable the test says that it skips.

// Tests may do I/O; the crate may not.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

use std::{collections::BTreeMap, path::Path};

use empery_config::{
    facts::{Facts, FileError, Files},
    problem::{Colour, Severity, render},
    read::{Entry, read},
};

struct Corpus<'a>(&'a Path);

impl Files for Corpus<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let name = Path::new(path).file_name().ok_or(FileError::NotFound)?;
        std::fs::read(self.0.join(name)).map_err(|_| FileError::NotFound)
    }
}

#[test]
fn every_file_of_the_corpus_is_read_without_panic_and_its_problems_have_places() {
    let Some(directory) = std::env::var_os("EMPERY_CORPUS") else {
        println!("skipped: EMPERY_CORPUS names no directory of vassal files");
        return;
    };
    let directory = Path::new(&directory);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let (mut runs, mut total) = (0, 0);
    let mut names: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for path in names {
        let content = std::fs::read(&path).unwrap();
        let path = format!("/etc/vassals/{}", path.file_name().unwrap().to_string_lossy());
        let facts = Facts {
            working_directory: "/etc/vassals".into(),
            hostname: "box".into(),
            cpu_cores: 2,
            uid: 1000,
            ..Facts::default()
        };
        let outcome = read(&Entry::File { path, content }, &facts, &Corpus(directory));
        total += 1;
        runs += usize::from(outcome.config.is_some());
        for problem in &outcome.problems {
            assert!(!problem.origin.file.is_empty(), "{problem:?}");
            let key = match problem.severity {
                Severity::Error => format!("error {} {}", problem.code, problem.message),
                Severity::Warning => format!("warning {}", problem.code),
            };
            *counts.entry(key).or_default() += 1;
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
