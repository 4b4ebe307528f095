//! `emperor upgrade`: has the whole machine run what is installed, and says how each vassal fared. The emperor replaces
//! itself on the way: it is asked again until the next one tells of the same upgrade.

use std::time::{Duration, Instant};

use empery_control::fleet::{UpgradeView, UpgradedVassal};

use super::{
    Running,
    client::Client,
    exit::{Exit, Failure},
    operate::time,
    print::{self, say},
};

/// How often it is asked. There is nothing to wait on: the next emperor's socket does not exist yet.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// How long to wait for the end, such as 90s or 5m; 0 does not wait.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = time)]
    wait: Duration,
    /// Print the upgrade as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    running: Running,
}

pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let client = Client::new(&options.running)?;
    let mut view: UpgradeView = client.post("/api/v1/upgrade")?.json()?;
    let began = Instant::now();
    while view.phase != "done" && began.elapsed() < options.wait {
        std::thread::sleep(ASK_EVERY);
        // Nobody answers while the emperor replaces itself, and another may have been asked for since.
        let now = client.get("/api/v1/upgrade").and_then(|answer| answer.json::<UpgradeView>());
        if let Ok(now) = now
            && now.began_unix_ms == view.began_unix_ms
        {
            view = now;
        }
    }
    if options.json {
        print::document(&serde_json::to_string(&view).map_err(|error| Failure::new(Exit::Usage, error))?);
    } else {
        tell(&view);
    }
    let failed = view.vassals.iter().any(|vassal| vassal.outcome == "failed");
    Ok(match view.phase.as_str() {
        "done" if failed => Exit::FailedServing,
        "done" => Exit::Done,
        _ if options.wait.is_zero() => Exit::Done,
        _ => Exit::TimedOut,
    })
}

fn tell(view: &UpgradeView) {
    for UpgradedVassal { name, outcome, reason, .. } in &view.vassals {
        match reason {
            Some(reason) => say!("{name}: {outcome}: {reason}"),
            None => say!("{name}: {outcome}"),
        }
    }
    let all = view.vassals.len();
    let upgraded = view.vassals.iter().filter(|vassal| vassal.outcome == "upgraded").count();
    match view.phase.as_str() {
        "done" if all == 0 => say!("every vassal runs what is installed"),
        "done" => say!("{upgraded} of {all} vassals upgraded"),
        "emperor" => say!("the emperor replaces itself; the vassals follow"),
        _ => say!("{upgraded} of {all} vassals upgraded so far; it goes on"),
    }
}
