//! `emperor restart`: has the keeper replace itself and the brain, and waits until the new brain answers.

use std::time::{Duration, Instant};

use empery_control::fleet::FleetSnapshot;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    Running,
    client::Client,
    exit::{Exit, Failure},
    print::say,
};

/// How long the new brain may take to answer.
const UP_WITHIN: Duration = Duration::from_secs(30);

/// How often it is asked. There is nothing to wait on: the socket it will answer on does not exist yet.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    running: Running,
}

pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let client = Client::new(&options.running)?;
    let before: FleetSnapshot = client.get("/api/v1/vassals")?.json()?;
    kill(Pid::from_raw(before.keeper_pid), Signal::SIGUSR2).map_err(|error| {
        Failure::new(Exit::NotAuthorised, format!("the keeper (pid {}) cannot be told: {error}", before.keeper_pid))
    })?;
    let began = Instant::now();
    while began.elapsed() < UP_WITHIN {
        let new = client.get("/api/v1/vassals").and_then(|answer| answer.json::<FleetSnapshot>());
        // The first snapshot is numbered once every living master was heard and the directory was read.
        if let Ok(now) = new
            && now.brain_pid != before.brain_pid
            && now.sequence > 0
        {
            say!(
                "restarted: keeper {}, brain {}, {} of {} vassals serve",
                now.keeper_pid,
                now.brain_pid,
                now.vassals.iter().filter(|vassal| vassal.generation.is_some()).count(),
                now.vassals.len()
            );
            return Ok(Exit::Done);
        }
        std::thread::sleep(ASK_EVERY);
    }
    Err(Failure::new(
        Exit::TimedOut,
        format!("no new brain has answered within {} s; see the emperor's log", UP_WITHIN.as_secs()),
    ))
}
