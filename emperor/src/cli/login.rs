//! `emperor login`: a link that signs one browser in, once.

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
struct Link {
    url: String,
    valid_for_s: u64,
}

pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let answer = Client::new(&options.running)?.post("/api/v1/login-links")?;
    if options.json {
        print::document(&answer.text());
        return Ok(Exit::Done);
    }
    let link: Link = answer.json()?;
    say!("{}", link.url);
    eprintln!("It signs one browser in, once, within {} minutes.", link.valid_for_s / 60);
    Ok(Exit::Done)
}
