//! Every published defect in `tests/cves.tsv` has tests that are there, and every test that is named after one is in its row.

use std::fs;

use empery_tests::{cves, golden, ground, matrix};

use super::sizes::sources;

#[test]
fn golden_published_defects_of_others_name_the_tests_there_are() {
    let path = ground::tree().join(cves::DOCUMENT);
    let current = cves::document().unwrap();
    if golden::is_written() {
        fs::write(path, current).unwrap();
    } else {
        let committed = fs::read_to_string(path).unwrap_or_default();
        assert_eq!(committed, current, "{} is out of date: ./dev golden", cves::DOCUMENT);
    }
}

#[test]
fn every_published_defect_has_a_test_and_every_test_of_one_is_in_its_row() {
    let (all, tests) = (cves::all().unwrap(), matrix::tests(&sources()));
    let mut wrong = Vec::new();
    for defect in &all {
        let is_there = |name: &String| tests.iter().any(|test| test.shown == *name);
        wrong.extend(
            defect.tests.iter().filter(|name| !is_there(name)).map(|name| format!("{}: no test {name}", defect.id)),
        );
        let about = tests.iter().filter(|test| cves::is_named(&defect.id, test));
        wrong.extend(
            about
                .filter(|test| !defect.tests.contains(&test.shown))
                .map(|test| format!("{}: {} is missing in its row", defect.id, test.shown)),
        );
    }
    let is_known = |id: &String| all.iter().any(|defect| defect.id.eq_ignore_ascii_case(id));
    let named = tests.iter().flat_map(cves::named_by);
    wrong.extend(
        named.filter(|id| !is_known(id)).map(|id| format!("{id} is in a test's name and not in tests/cves.tsv")),
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(all.len() >= 30, "only {} rows", all.len());
}
