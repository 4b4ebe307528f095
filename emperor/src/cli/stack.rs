//! `emperor stack`: what the workers of a vassal are doing at this moment, thread by thread. Stops nothing.

use empery_control::{fleet::VassalSnapshot, stacks::WorkerStacks};

use super::{
    Running,
    client::{Client, segment},
    exit::{Exit, Failure},
    print::{self, say},
};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The vassal: the name of its file.
    name: String,
    /// Only this worker, counted from 1.
    #[arg(long, value_name = "N")]
    worker: Option<u32>,
    /// Print JSON: one object for each worker.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    running: Running,
}

pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let client = Client::new(&options.running)?;
    let vassal = format!("/api/v1/vassals/{}", segment(&options.name));
    let numbers = match options.worker {
        Some(number) => vec![number],
        None => {
            let snapshot: VassalSnapshot = client.get(&vassal)?.json()?;
            let mut numbers: Vec<u32> = snapshot.workers.iter().map(|worker| worker.view.worker.worker.0).collect();
            numbers.dedup();
            numbers
        }
    };
    if numbers.is_empty() {
        eprintln!("{} has no workers", options.name);
    }
    let mut between = "";
    for number in numbers {
        let answer = client.get(&format!("{vassal}/workers/{number}/stack"))?;
        if options.json {
            print::document(&answer.text());
        } else {
            let stacks: WorkerStacks = answer.json()?;
            say!("{between}{}", stacks.text().trim_end());
            between = "\n";
        }
    }
    Ok(Exit::Done)
}
