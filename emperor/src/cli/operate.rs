//! `emperor reload`, `stop` and `start`: asks for the operation, waits for its end and says how it went.

use std::time::Duration;

use empery_control::fleet::OperationView;
use empery_lifecycle::{fleet::OperationEnd, generations::FailureReason};
use hyper::StatusCode;

use super::{
    Running,
    client::{Client, segment},
    exit::{Exit, Failure},
    print::{self, say},
};

/// A verb: in the API's path, and as what was done.
pub(super) struct Spoken {
    path: &'static str,
    done: &'static str,
}

pub(super) const RELOAD: Spoken = Spoken { path: "reload", done: "reloaded" };
pub(super) const STOP: Spoken = Spoken { path: "stop", done: "stopped" };
pub(super) const START: Spoken = Spoken { path: "start", done: "started" };
pub(super) const RETRY: Spoken = Spoken { path: "retry", done: "started" };
pub(super) const FREEZE: Spoken = Spoken { path: "freeze", done: "frozen" };
pub(super) const RESUME: Spoken = Spoken { path: "resume", done: "resumed" };

/// Longest wait of one request: the emperor grants no more (10 minutes).
const WAIT_PER_REQUEST: Duration = Duration::from_secs(600);

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The vassal: the name of its file.
    name: String,
    /// How long to wait for the end, such as 90s or 5m; 0 does not wait.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time)]
    wait: Duration,
    /// Print the operation as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    running: Running,
}

pub(super) fn run(options: &Options, verb: Spoken) -> Result<Exit, Failure> {
    let client = Client::new(&options.running)?;
    let mut left = options.wait;
    let first = left.min(WAIT_PER_REQUEST);
    let mut answer = client.post(&format!(
        "/api/v1/vassals/{}/{}?wait={}ms",
        segment(&options.name),
        verb.path,
        first.as_millis()
    ))?;
    left -= first;
    let mut view: OperationView = answer.json()?;
    while answer.status == StatusCode::ACCEPTED && !left.is_zero() {
        let next = left.min(WAIT_PER_REQUEST);
        answer = client.get(&format!("/api/v1/operations/{}?wait={}ms", view.id, next.as_millis()))?;
        left -= next;
        view = answer.json()?;
    }
    if options.json {
        print::document(&answer.text());
    }
    Ok(tell(options, &verb, &view))
}

fn tell(options: &Options, verb: &Spoken, view: &OperationView) -> Exit {
    let name = &view.vassal;
    let say = |sentence: String| {
        if !options.json {
            say!("{sentence}");
        }
    };
    let took_ms = view.ended_unix_ms.map_or(0, |ended| ended.saturating_sub(view.began_unix_ms));
    match &view.end {
        None if options.wait.is_zero() => {
            say(format!("{name}: {} was asked for (operation {})", verb.path, view.id));
            Exit::Done
        }
        None => {
            say(format!(
                "{name}: not {} after {} s, it is {}; it goes on as operation {}",
                verb.done,
                options.wait.as_secs(),
                view.phase,
                view.id
            ));
            Exit::TimedOut
        }
        Some(OperationEnd::Succeeded) => {
            let generation =
                view.generation.map(|generation| format!(", generation {generation} serves")).unwrap_or_default();
            say(format!("{name}: {} in {took_ms} ms{generation}", verb.done));
            Exit::Done
        }
        Some(
            OperationEnd::Superseded
            | OperationEnd::Failed { reason: FailureReason::Superseded | FailureReason::Cancelled, .. },
        ) => {
            say(format!("{name}: given up, a later operation took its place"));
            Exit::Superseded
        }
        Some(OperationEnd::Failed { reason, still_serving }) => {
            let old = if *still_serving { "what served before serves on" } else { "nothing of it serves" };
            say(format!("{name}: not {}; {old}", verb.done));
            if !options.json {
                print::failure(reason, view.boot_output.as_deref());
            }
            if *still_serving { Exit::FailedServing } else { Exit::FailedDown }
        }
    }
}

/// `90`, `90s`, `500ms`, `5m`.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_ms = match &text[digits.len()..] {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        other => return Err(format!("\"{other}\" is no unit of time: use ms, s or m")),
    };
    let count: u64 = digits.parse().map_err(|_| format!("\"{text}\" is no time; write it like 90s"))?;
    count.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(|| format!("\"{text}\" is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(time("90"), Ok(Duration::from_secs(90)));
        assert_eq!(time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(time("5m"), Ok(Duration::from_secs(300)));
        assert!(time("soon").is_err());
        assert!(time("5h").is_err());
    }
}
