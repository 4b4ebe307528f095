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

fn sources_below(directory: &Path) -> Vec<PathBuf> {
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(directory).expect("the sources are there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources.append(&mut sources_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
    sources
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
    for path in sources_below(&here().join("src")) {
        used.extend(codes(&std::fs::read_to_string(path).unwrap()));
    }
    let documented: BTreeSet<String> = CODES.iter().map(|(code, _)| (*code).to_owned()).collect();
    assert_eq!(used, documented);
    assert!(CODES.is_sorted());
}

#[test]
fn every_test_that_from_uwsgi_names_exists() {
    let page = std::fs::read_to_string(here().join("../../docs/from-uwsgi.md")).unwrap();
    let mut sources = String::new();
    for path in sources_below(&here().join("src")) {
        sources.push_str(&std::fs::read_to_string(path).unwrap());
    }
    let proofs = page.lines().filter_map(|line| line.split("config: ").nth(1));
    let names: Vec<&str> = proofs.flat_map(|proof| proof.split('`').skip(1).step_by(2)).collect();
    assert!(names.len() > 20, "the page names {} tests of this crate", names.len());
    for name in names.into_iter().filter(|name| !name.contains('/')) {
        assert!(sources.contains(&format!("fn {name}()")), "docs/from-uwsgi.md names `{name}`, which is no test");
    }
}

/// The first text after each `Problem::error(` and `Problem::warning(`.
fn codes(source: &str) -> Vec<String> {
    let calls = ["Problem::error(", "Problem::warning("].into_iter().flat_map(|call| source.split(call).skip(1));
    calls.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next().map(str::to_owned)).collect()
}
