//! The web as its callers see it, over a made-up fleet.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod api;
mod called;
mod doors;
mod fake;
mod golden;
mod pages;
