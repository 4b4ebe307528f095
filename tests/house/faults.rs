//! Every fault is proved by a test or listed with the reason why not; every failpoint is listed and reached from the code;
//! and nothing that is shipped holds any.

use std::{collections::BTreeMap, fs};

use empery_tests::{failpoints, golden, ground, matrix};

use super::sizes::sources;

#[test]
fn golden_matrix_of_faults_names_the_tests_there_are() {
    let committed = fs::read_to_string(ground::tree().join(matrix::DOCUMENT)).unwrap_or_default();
    let current = matrix::document(&sources(), &BTreeMap::new()).unwrap();
    if golden::is_written() {
        matrix::write(&ground::tree().join(matrix::DOCUMENT), &current).unwrap();
    } else {
        assert_eq!(committed, current, "{} is out of date: ./dev golden, or ./dev faults", matrix::DOCUMENT);
    }
}

#[test]
fn every_fault_is_proved_or_has_its_reason() {
    let proofs = matrix::proofs(&sources());
    let open = |fault: &matrix::Fault| !proofs.contains_key(&fault.id) && fault.missing.is_empty();
    let without: Vec<_> = matrix::faults().unwrap().into_iter().filter(open).map(|fault| fault.id).collect();
    assert!(without.is_empty(), "no test's name begins with {without:?}");
}

#[test]
fn every_failpoint_in_the_code_is_listed_and_every_listed_one_is_in_the_code() {
    let mut reached: Vec<String> = Vec::new();
    for (_, text) in sources().into_iter().filter(|(path, _)| !path.starts_with("crates/failpoint/")) {
        for mark in [concat!("point", "!(\""), concat!("step", "!(\""), concat!("point_in_child", "!(\"")] {
            reached.extend(text.split(mark).skip(1).filter_map(|rest| Some(rest.split('"').next()?.to_owned())));
        }
    }
    reached.sort();
    reached.dedup();
    let mut listed: Vec<String> = failpoints::all().unwrap().into_iter().map(|point| point.name).collect();
    listed.sort();
    assert_eq!(reached, listed);
}

#[test]
fn a_build_without_the_feature_holds_no_failpoint() {
    let mark = concat!("EMPERY_", "FAILPOINTS").as_bytes();
    let holds = |path: &std::path::Path| {
        fs::read(path).is_ok_and(|bytes| bytes.windows(mark.len()).any(|window| window == mark))
    };
    let names = ["emperor", "vassal", "vassal-gateway", "libempery_worker.so"];
    for name in names {
        let shipped = ground::released_binaries().join(name);
        assert!(!holds(&shipped), "{} holds failpoints", shipped.display());
    }
    // The mark is one that a build with the feature has.
    if let Ok(directory) = failpoints::binaries() {
        assert!(names.iter().any(|name| holds(&directory.join(name))), "{} holds none", directory.display());
    }
}
