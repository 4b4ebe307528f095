//! `docs/limits.md` names every constant of `limits.rs` with its value.
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
