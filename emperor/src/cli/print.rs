//! How the command line shows things to a person.

use empery_config::problem::{Colour, Origin, Problem, Severity, render};
use empery_control::fleet::ProblemView;
use empery_lifecycle::generations::FailureReason;

/// Prints a line. A reader that has seen enough (`emperor status | head -1`) ends the program without a complaint.
macro_rules! say {
    () => { $crate::cli::print::line(format_args!("")) };
    ($($text:tt)+) => { $crate::cli::print::line(format_args!($($text)*)) };
}
pub(super) use say;

/// What [`say!`] does.
pub(super) fn line(text: std::fmt::Arguments<'_>) {
    use std::io::Write;
    if writeln!(std::io::stdout(), "{}", inert(&text.to_string())).is_err() {
        // As SIGPIPE would have ended it, which Rust ignores from the start.
        std::process::exit(PIPE_CLOSED);
    }
}

/// The text without what a terminal would obey: an app, or whoever sends it requests, may have written it.
fn inert(text: &str) -> String {
    let obeyed = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    text.chars().map(|letter| if obeyed(letter) { char::REPLACEMENT_CHARACTER } else { letter }).collect()
}

/// What a shell makes of an end by SIGPIPE: 128 and its number (signal(7)).
const PIPE_CLOSED: i32 = 141;

/// A document as it came, with a newline at its end.
pub(super) fn document(text: &str) {
    say!("{}", text.strip_suffix('\n').unwrap_or(text));
}

/// Why it failed, with what there is of evidence.
pub(super) fn failure(reason: &FailureReason, boot_output: Option<&str>) {
    let (sentence, traceback) = match reason {
        FailureReason::App { sentence, traceback } => (sentence.clone(), traceback.as_deref()),
        FailureReason::Setup { sentence } => (sentence.clone(), None),
        FailureReason::Died { how } => (format!("it ended while booting: {how}"), None),
        FailureReason::BootDeadline { after_s } => (format!("it had not proved healthy after {after_s} s"), None),
        FailureReason::Superseded => ("a newer version took its place".to_owned(), None),
        FailureReason::Cancelled => ("it was stopped before it had proved healthy".to_owned(), None),
    };
    say!("  reason: {sentence}");
    if let Some(traceback) = traceback {
        indented("traceback", traceback);
    }
    // What the app wrote mostly ends in the same traceback.
    let repeats = |output: &str| traceback.is_some_and(|traceback| output.contains(traceback.trim()));
    if let Some(output) = boot_output.filter(|output| !output.trim().is_empty() && !repeats(output)) {
        indented("written while booting", output);
    }
}

fn indented(title: &str, text: &str) {
    say!("  {title}:");
    for line in text.trim_end().lines() {
        say!("    {line}");
    }
}

/// A problem with its line, as a compiler shows it.
pub(super) fn problem(view: &ProblemView) {
    let ProblemView { severity, code, file, line, column, source, message, hint } = view.clone();
    let problem = Problem {
        severity: if severity == "error" { Severity::Error } else { Severity::Warning },
        code,
        origin: Origin { file, line, column, length: 1 },
        source,
        message,
        hint,
    };
    say!("{}", render(&[problem], Colour::Plain));
}

/// Bytes as people read them.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut whole = bytes;
    let mut rest = 0;
    while whole >= 1024 && unit + 1 < UNITS.len() {
        rest = whole % 1024;
        whole /= 1024;
        unit += 1;
    }
    if unit == 0 || whole >= 100 {
        format!("{whole} {}", UNITS[unit])
    } else {
        format!("{whole}.{} {}", rest * 10 / 1024, UNITS[unit])
    }
}

/// Memory of processes: what just began has not been measured, since no process has none.
pub(super) fn memory(bytes: u64) -> String {
    if bytes == 0 { "-".to_owned() } else { size(bytes) }
}

/// A span of time, in its two largest units.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_app_wrote_cannot_steer_the_terminal() {
        assert_eq!(inert("a\u{1b}[2J\u{9b}b\r\n\tc\u{7f}"), "a\u{fffd}[2J\u{fffd}b\u{fffd}\n\tc\u{fffd}");
    }

    #[test]
    fn sizes_and_spans_are_short() {
        assert_eq!(size(812), "812 B");
        assert_eq!(size(25 * 1024 * 1024 + 512 * 1024), "25.5 MiB");
        assert_eq!(size(700 << 20), "700 MiB");
        assert_eq!((memory(0), memory(2048)), ("-".to_owned(), "2.0 KiB".to_owned()));
        assert_eq!(span(59), "59 s");
        assert_eq!(span(3_700), "1 h 1 min");
        assert_eq!(span(200_000), "2 d 7 h");
    }
}
