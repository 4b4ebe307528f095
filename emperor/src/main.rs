//! `emperor`: watches a directory of vassal files and keeps an app running for each. One binary, three lives: the
//! keeper (`emperor run`), the brain that the keeper starts (`emperor brain`), and the command line that asks the brain.

mod brain;
mod cli;
mod keeper;
mod regions;
mod sources;
mod tyrant;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
