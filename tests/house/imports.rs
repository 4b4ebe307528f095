//! Who may import whom. The table lives here, once; `ARCHITECTURE.md` explains it.

use std::{collections::BTreeSet, process::Command};

use empery_tests::ground;
use serde_json::Value;

/// A room, and the rooms it may import. What is not listed may not be imported.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("empery-lifecycle", &[]),
    // what is said about single requests
    ("empery-config", &["empery-rules"]),
    ("empery-rules", &[]),
    ("empery-wire", &[]),
    ("empery-shared", &[]),
    ("empery-failpoint", &[]),
    // ids, what workers are told about single requests, and the sizes of what is shared
    ("empery-control", &["empery-lifecycle", "empery-rules", "empery-shared"]),
    // encodes and decodes what it carries
    ("empery-sys", &["empery-control", "empery-failpoint", "empery-lifecycle", "empery-shared"]),
    // ids, and the views it gives back
    ("empery-store", &["empery-lifecycle", "empery-control", "empery-failpoint"]),
    (
        "empery-emperor",
        &[
            "empery-lifecycle",
            "empery-config",
            "empery-control",
            "empery-failpoint",
            "empery-sys",
            "empery-store",
            "empery-web-ui",
        ],
    ),
    // wire: the heads of its stats server
    (
        "empery-vassal",
        &[
            "empery-lifecycle",
            "empery-config",
            "empery-control",
            "empery-failpoint",
            "empery-shared",
            "empery-sys",
            "empery-wire",
        ],
    ),
    // wire: the headers in which it speaks for its clients
    ("empery-gateway", &["empery-control", "empery-sys", "empery-wire"]),
    (
        "empery-worker",
        &[
            "empery-wire",
            "empery-control",
            "empery-failpoint",
            "empery-rules",
            "empery-shared",
            "empery-sys",
            "empery-lifecycle",
        ],
    ),
    ("empery-web-ui", &["empery-control", "empery-config", "empery-store", "empery-lifecycle"]),
    ("empery-tests", &[]),
];

fn packages() -> Vec<Value> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(ground::tree())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

#[test]
fn every_room_imports_only_what_the_table_allows() {
    let mut wrong = Vec::new();
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(room, _)| *room == name) else {
            wrong.push(format!("{name} is not in the table"));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let imported = dependency["name"].as_str().unwrap();
            // Dev-dependencies may reach for anything that helps a test.
            let ours = imported.starts_with("empery-") && dependency["kind"].is_null();
            if ours && !allowed.contains(&imported) {
                wrong.push(format!("{name} imports {imported}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_names_no_room_that_is_gone() {
    let there: BTreeSet<String> =
        packages().iter().map(|package| package["name"].as_str().unwrap().to_owned()).collect();
    for (room, _) in MAY_IMPORT {
        assert!(there.contains(*room), "{room} is in the table but not in the workspace");
    }
}

#[test]
fn every_package_is_ours_by_name_and_takes_the_lints_of_the_workspace() {
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        assert!(name.starts_with("empery-"), "{name}");
        let manifest = std::fs::read_to_string(package["manifest_path"].as_str().unwrap()).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name} does not take the workspace's lints");
    }
}

#[test]
fn unsafe_code_stands_only_in_the_two_fences() {
    for (path, text) in super::sizes::sources() {
        let fenced = path.starts_with("crates/sys/") || path.starts_with("vassal/worker/");
        let allows = text.contains(concat!("allow(", "unsafe_code)"));
        assert!(fenced || !allows, "{path} allows unsafe code outside the fences");
    }
}
