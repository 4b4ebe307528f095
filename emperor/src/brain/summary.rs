//! What a vassal does, as one sentence for a person. Words only: what it does is the fleet machine's to say.

use std::time::Duration;

use empery_lifecycle::{
    fleet::{State, VassalView},
    generations::FailureReason,
};

use super::scan::reading::{Reading, one_line};

/// The state as the API's one word.
pub(crate) fn word(state: &State) -> &'static str {
    match state {
        State::Refused => "refused",
        State::Held => "held",
        State::Queued => "queued",
        State::Starting => "starting",
        State::Loyal => "loyal",
        State::Reloading => "reloading",
        State::Stopping => "stopping",
        State::Cursed { .. } => "cursed",
        State::Asleep => "asleep",
    }
}

/// The sentence. `retry_in` belongs to a cursed vassal.
pub(crate) fn sentence(view: &VassalView, reading: Option<&Reading>, retry_in: Duration) -> String {
    let generation = view.serving.map_or_else(String::new, |(generation, _)| format!("generation {generation}"));
    let failure = view.last_failure.as_ref().map(sentence_of);
    let sentence = match (&view.state, failure) {
        (State::Refused, _) => "Its file cannot be run.".to_owned(),
        (State::Held, _) => "Stopped by an operator; it stays stopped until it is started.".to_owned(),
        (State::Queued, _) => "Waits for its turn to boot.".to_owned(),
        (State::Starting, None) => "Boots its first generation.".to_owned(),
        (State::Starting, Some(failure)) => format!("Boots again; the last try failed: {failure}"),
        (State::Loyal, None) => format!("Serves as {generation}."),
        (State::Loyal, Some(failure)) => format!("Serves as {generation}; the last deployment failed: {failure}"),
        (State::Reloading, _) => format!("Serves as {generation} while a new one boots."),
        (State::Asleep, _) => "Its first client starts it.".to_owned(),
        (State::Stopping, _) => "Finishes what it has, then leaves.".to_owned(),
        (State::Cursed { .. }, failure) => {
            let failure = failure.unwrap_or_else(|| "it ended again and again".to_owned());
            let serves =
                if view.serving.is_some() { format!("Serves as {generation}, but") } else { "Down:".to_owned() };
            let tries =
                if view.failures > 1 { format!(" ({} failures in a row)", view.failures) } else { String::new() };
            format!(
                "{serves} {failure}{tries}; tried again in {} s, or at once when its file is saved.",
                retry_in.as_secs_f64().ceil()
            )
        }
    };
    let sentence = if view.missing {
        format!(
            "{} Its file is gone; it stays as it is until the file is back or the removal is confirmed.",
            stopped(sentence)
        )
    } else {
        sentence
    };
    let sentence = if view.frozen {
        format!("{} Frozen: nothing is accepted, clients wait until it is resumed.", stopped(sentence))
    } else {
        sentence
    };
    match reading.and_then(|reading| reading.problems.iter().find(|problem| problem.severity == "error")) {
        Some(error) if view.refused => format!("{} Its file is refused: {}", stopped(sentence), one_line(error)),
        Some(_) | None => sentence,
    }
}

/// With a full stop, for another sentence to follow.
fn stopped(sentence: String) -> String {
    if sentence.ends_with('.') { sentence } else { sentence + "." }
}

/// Why, in one sentence; of a traceback its last line.
pub(crate) fn sentence_of(reason: &FailureReason) -> String {
    match reason {
        FailureReason::App { sentence, traceback } => {
            let last = traceback.as_deref().and_then(|text| text.lines().rev().find(|line| !line.trim().is_empty()));
            match last {
                Some(last) if !sentence.contains(last.trim()) => {
                    format!("{}: {}", sentence.trim_end_matches('.'), last.trim())
                }
                Some(_) | None => sentence.clone(),
            }
        }
        FailureReason::Setup { sentence } => sentence.clone(),
        FailureReason::Died { how } => format!("it ended while booting ({how})"),
        FailureReason::BootDeadline { after_s } => format!("it had not proved healthy after {after_s} s"),
        FailureReason::Superseded => "a newer version took its place".to_owned(),
        FailureReason::Cancelled => "it was stopped before it had proved healthy".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceback_is_told_by_its_last_line() {
        let reason = FailureReason::App {
            sentence: "the app cannot be imported.".to_owned(),
            traceback: Some(
                "Traceback (most recent call last):\n  File \"a.py\"\nModuleNotFoundError: No module named 'x'\n"
                    .to_owned(),
            ),
        };
        assert_eq!(sentence_of(&reason), "the app cannot be imported: ModuleNotFoundError: No module named 'x'");
    }
}
