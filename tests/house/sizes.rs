//! Files stay small enough to be read in one go, say what they are for, and leave nothing undone.

/// Longest file. At 400 lines think, at this split.
const LINES_MAX: usize = 600;

/// Tables: long because what they list is long. They hold no logic.
const TABLES: &[&str] = &["crates/config/src/registry/"];

/// Every Rust file git knows (or would), with its text.
pub(crate) fn sources() -> Vec<(String, String)> {
    empery_tests::sources::all().unwrap()
}

#[test]
fn no_file_is_longer_than_a_person_reads_in_one_go() {
    let long: Vec<_> = sources()
        .into_iter()
        .filter(|(path, _)| !TABLES.iter().any(|table| path.starts_with(table)))
        .map(|(path, text)| (text.lines().count(), path))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .collect();
    assert!(long.is_empty(), "longer than {LINES_MAX} lines: {long:?}");
}

#[test]
fn every_file_begins_by_saying_what_it_is_for() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| {
            !text.lines().find(|line| !line.starts_with("#![")).is_some_and(|line| line.starts_with("//!"))
        })
        .map(|(path, _)| path)
        .collect();
    assert!(silent.is_empty(), "without a //! head: {silent:?}");
}

#[test]
fn nothing_is_left_undone() {
    // Written in two halves so that this file does not find itself.
    let marks = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("FIX", "ME"),
        concat!("X", "XX"),
        concat!("#[ig", "nore"),
    ];
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Files that look again after a pause, because there is nothing yet that could tell them.
const LOOK_AGAIN: &[&str] = &[
    // waits for a brain whose socket does not exist yet
    "emperor/src/cli/restart.rs",
    // the same, in the middle of an upgrade
    "emperor/src/cli/upgrade.rs",
];

#[test]
fn nothing_sleeps_to_wait_for_a_fact() {
    let naps = [concat!("thread::", "sleep"), concat!("std::thread::", "sleep"), concat!("nix::unistd::", "sleep")];
    let mut found = Vec::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| !LOOK_AGAIN.contains(&path.as_str())) {
        for (number, line) in text.lines().enumerate() {
            if naps.iter().any(|nap| line.contains(nap)) {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
