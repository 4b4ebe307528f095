//! Every behaviour of uWSGI that people notice first is proved by a test that is named after it, or has its reason.

use std::fs;

use empery_tests::{behaviours, golden, ground, matrix};

use super::sizes::sources;

#[test]
fn golden_behaviours_name_the_tests_there_are() {
    let path = ground::tree().join(behaviours::DOCUMENT);
    let current = behaviours::document(&sources()).unwrap();
    if golden::is_written() {
        fs::write(path, current).unwrap();
    } else {
        let committed = fs::read_to_string(path).unwrap_or_default();
        assert_eq!(committed, current, "{} is out of date: ./dev golden", behaviours::DOCUMENT);
    }
}

#[test]
fn every_behaviour_is_proved_or_has_its_reason_and_no_test_names_one_that_is_none() {
    let proofs = matrix::proofs(&sources());
    let all = behaviours::all().unwrap();
    let numbers: Vec<String> = all.iter().map(|behaviour| behaviour.id.clone()).collect();
    assert_eq!(numbers, (1..=63).map(|number| format!("B{number}")).collect::<Vec<_>>());
    let open = |behaviour: &&behaviours::Behaviour| !proofs.contains_key(&behaviour.id) && behaviour.missing.is_empty();
    let without: Vec<_> = all.iter().filter(open).map(|behaviour| &behaviour.id).collect();
    assert!(without.is_empty(), "no test's name begins with {without:?}");
    let strange: Vec<_> = proofs.keys().filter(|id| id.starts_with('B') && !numbers.contains(id)).collect();
    assert!(strange.is_empty(), "{strange:?} are in tests' names and not in tests/behaviours.tsv");
}
