//! `docs/options.md` says what the registry says, and the codes of problems are all documented.

// Tests may do I/O; the crate may not.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use empery_config::{problem::CODES, reference::options};

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_reference_of_options_is_what_the_registry_says() {
    let path = here().join("../../docs/options.md");
    let expected = options();
    if std::env::var_os("EMPERY_BLESS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "docs/options.md is stale: EMPERY_BLESS=1 cargo test -p empery-config --test reference");
}

#[test]
fn every_code_of_a_problem_is_documented_and_used() {
    let mut used = BTreeSet::new();
    let mut directories: Vec<PathBuf> = vec![here().join("src")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                used.extend(codes(&std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let documented: BTreeSet<String> = CODES.iter().map(|(code, _)| (*code).to_owned()).collect();
    assert_eq!(used, documented);
    assert!(CODES.is_sorted());
}

/// The first text after each `Problem::error(` and `Problem::warning(`.
fn codes(source: &str) -> Vec<String> {
    let calls = ["Problem::error(", "Problem::warning("].into_iter().flat_map(|call| source.split(call).skip(1));
    calls.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next().map(str::to_owned)).collect()
}
