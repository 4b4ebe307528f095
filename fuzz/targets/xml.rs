//! Bytes for a vassal file in XML, judged by the tests' own measure.
#![no_main]

#[path = "../../crates/config/tests/agree/mod.rs"]
mod agree;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| agree::check("xml", bytes));
