//! `emperor confirm-removal`: says that the files of many vassals are gone for good, so that these are stopped. Does not
//! wait for their end: each is an operation of its own.

use serde::Deserialize;

use super::{
    Running,
    client::Client,
    exit::{Exit, Failure},
    print::{self, say},
};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    running: Running,
}

#[derive(Deserialize)]
struct Confirmed {
    vassals: Vec<String>,
}

pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let answer = Client::new(&options.running)?.post("/api/v1/removals/confirm")?;
    if options.json {
        print::document(&answer.text());
        return Ok(Exit::Done);
    }
    let Confirmed { vassals } = answer.json()?;
    say!("{} vassals are being stopped: {}", vassals.len(), vassals.join(", "));
    Ok(Exit::Done)
}
