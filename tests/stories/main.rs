//! The stories: what Empery promises, proved against the built binaries. `./dev e2e NAME` tells those whose name
//! contains NAME. Each module holds the stories of one promise; the harness says how they are told.

mod ground_rules;

use std::process::ExitCode;

use empery_tests::runner::{self, Story};

fn main() -> ExitCode {
    let rooms: &[&[Story]] = &[ground_rules::STORIES];
    runner::main(&rooms.concat())
}
