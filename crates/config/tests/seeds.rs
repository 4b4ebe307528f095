//! The texts that the targets of `fuzz/` begin with, and those that they have found, read as the targets read them.

// Tests may do I/O; the crate may not.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod agree;

use std::path::Path;

#[test]
fn every_text_that_was_found_is_read_as_it_should_be() {
    for target in ["ini", "yaml", "json", "xml"] {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
        let mut read = 0;
        for entry in std::fs::read_dir(&directory).unwrap() {
            agree::check(target, &std::fs::read(entry.unwrap().path()).unwrap());
            read += 1;
        }
        assert!(read >= 4, "{} has {read} texts only", directory.display());
    }
}
