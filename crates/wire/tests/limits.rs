//! `docs/limits.md` names every constant of `limits.rs` with its value, and every one of the gateway.
// Tests may do I/O; the crate may not.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::Path;

#[test]
fn the_documented_limits_are_those_of_the_code() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = std::fs::read_to_string(here.join("src/limits.rs")).unwrap();
    let documented = std::fs::read_to_string(here.join("../../docs/limits.md")).unwrap();
    let mut seen = 0;
    for line in source.lines().filter_map(|line| line.strip_prefix("pub const ")) {
        let (name, rest) = line.split_once(':').unwrap();
        let value = rest.split_once('=').unwrap().1.trim().trim_end_matches(';');
        let value: u64 =
            value.split('*').map(|factor| factor.trim().replace('_', "").parse::<u64>().unwrap()).product();
        let row = documented
            .lines()
            .find(|row| row.contains(&format!("`{name}`")))
            .unwrap_or_else(|| panic!("{name} is not in docs/limits.md"));
        let shown = row.split('|').nth(2).unwrap().trim().split(' ').next().unwrap().replace(',', "");
        assert_eq!(shown, value.to_string(), "{row}");
        seen += 1;
    }
    assert!(seen >= 8, "only {seen} limits were found in limits.rs");
}

#[test]
fn every_limit_of_the_gateway_is_documented() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = std::fs::read_to_string(here.join("../../vassal/gateway/src/limits.rs")).unwrap();
    let documented = std::fs::read_to_string(here.join("../../docs/limits.md")).unwrap();
    let (_, of_https) = documented.split_once("## HTTPS").unwrap();
    let (of_https, _) = of_https.split_once("\n## ").unwrap();
    let names: Vec<&str> =
        source.lines().filter_map(|line| line.strip_prefix("pub(crate) const ")?.split(':').next()).collect();
    assert!(names.len() >= 15, "only {names:?}");
    let missing: Vec<_> = names.iter().filter(|name| !of_https.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "not in docs/limits.md: {missing:?}");
}
