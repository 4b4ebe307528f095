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
    let snapshot: VassalSnapshot = client.get(&vassal)?.json()?;
    // Those that drain, too: they are the ones that somebody waits for.
    let all = snapshot.workers.iter().map(|worker| (worker.view.worker.worker.0, Some(worker.view.pid)));
    let mut asked: Vec<(u32, Option<i32>)> =
        all.filter(|(number, _)| options.worker.is_none_or(|only| only == *number)).collect();
    match (options.worker, asked.is_empty()) {
        // What is wrong with that number the emperor says.
        (Some(number), true) => asked.push((number, None)),
        (None, true) => eprintln!("{} has no workers", options.name),
        (_, false) => {}
    }
    let (mut between, mut failed) = ("", None);
    for (number, pid) in asked {
        let process = pid.map_or_else(String::new, |pid| format!("?pid={pid}"));
        let answer = match client.get(&format!("{vassal}/workers/{number}/stack{process}")) {
            Ok(answer) => answer,
            // It has ended since the list was made, perhaps: what the others do is told all the same.
            Err(failure) => {
                failed = Some(failure);
                continue;
            }
        };
        if options.json {
            print::document(&answer.text());
        } else {
            let stacks: WorkerStacks = answer.json()?;
            say!("{between}{}", stacks.text().trim_end());
        }
        between = "\n";
    }
    match failed {
        Some(failure) if between.is_empty() => Err(failure),
        Some(_) | None => Ok(Exit::Done),
    }
}
