//! Bytes for `proxy`, judged by the tests' own measure.
#![no_main]

#[path = "../../crates/wire/tests/split/mod.rs"]
mod split;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| split::check("proxy", bytes));
