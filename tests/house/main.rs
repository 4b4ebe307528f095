//! The rules of the house, checked on the tree itself.
#![allow(clippy::unwrap_used)] // every function here is a test or a part of one
mod behaviours;
mod cves;
mod faults;
mod imports;
mod sizes;
