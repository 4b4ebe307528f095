//! Numbers and times as people read them, and the words, signs and colours of states: never a colour without its word.

use std::time::Duration;

use empery_control::fleet::OperationView;
use empery_lifecycle::{
    fleet::{OperationEnd, Verb},
    generations::FailureReason,
};

/// How something stands: a class of the style sheet, which maps it to a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Moving,
    Bad,
    Still,
}

impl Tone {
    pub(super) fn class(self) -> &'static str {
        match self {
            Tone::Good => "good",
            Tone::Moving => "moving",
            Tone::Bad => "bad",
            Tone::Still => "still",
        }
    }
}

/// A word with its sign and tone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Badge {
    pub(super) word: String,
    pub(super) sign: &'static str,
    pub(super) tone: Tone,
}

impl Badge {
    fn new(word: &str, sign: &'static str, tone: Tone) -> Badge {
        Badge { word: word.to_owned(), sign, tone }
    }

    /// Of a vassal's state.
    pub(super) fn of_state(state: &str) -> Badge {
        let (sign, tone) = match state {
            "loyal" => ("●", Tone::Good),
            "starting" | "reloading" => ("◐", Tone::Moving),
            "queued" => ("◌", Tone::Moving),
            "stopping" => ("◒", Tone::Moving),
            "held" => ("■", Tone::Still),
            "asleep" => ("☾", Tone::Still),
            "cursed" => ("▲", Tone::Bad),
            "refused" => ("✕", Tone::Bad),
            _ => ("?", Tone::Still),
        };
        Badge::new(state, sign, tone)
    }

    /// Of how far an operation is or how it ended.
    pub(super) fn of_operation(view: &OperationView) -> Badge {
        match &view.end {
            None => Badge::new(&view.phase, "◐", Tone::Moving),
            Some(OperationEnd::Succeeded) => Badge::new("succeeded", "✓", Tone::Good),
            Some(OperationEnd::Superseded) => Badge::new("superseded", "↷", Tone::Still),
            Some(OperationEnd::Failed { .. }) => Badge::new("failed", "✕", Tone::Bad),
        }
    }
}

pub(super) fn verb(verb: Verb) -> &'static str {
    match verb {
        Verb::Reload => "reload",
        Verb::Stop => "stop",
        Verb::Start => "start",
        Verb::Freeze => "freeze",
        Verb::Resume => "resume",
    }
}

/// Why it failed, in one sentence.
pub(super) fn sentence(reason: &FailureReason) -> String {
    match reason {
        FailureReason::App { sentence, .. } | FailureReason::Setup { sentence } => sentence.clone(),
        FailureReason::Died { how } => format!("The process ended before it had proved healthy: {how}."),
        FailureReason::BootDeadline { after_s } => format!("It was not up after {after_s} s, the boot deadline."),
        FailureReason::Superseded => "A newer deployment took its place.".to_owned(),
        FailureReason::Cancelled => "It was stopped or cancelled before it had proved healthy.".to_owned(),
    }
}

pub(super) fn traceback(reason: &FailureReason) -> Option<&str> {
    match reason {
        FailureReason::App { traceback, .. } => traceback.as_deref(),
        FailureReason::Setup { .. }
        | FailureReason::Died { .. }
        | FailureReason::BootDeadline { .. }
        | FailureReason::Superseded
        | FailureReason::Cancelled => None,
    }
}

/// `0 B`, `999 B`, `12.3 MiB`.
#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut shown = count as f64;
    let mut unit = "B";
    for next in UNITS {
        if shown < 1024.0 {
            break;
        }
        shown /= 1024.0;
        unit = next;
    }
    format!("{shown:.1} {unit}")
}

/// `0`, `0.4`, `12`, `1 234`: what fits a column.
pub(super) fn rate(per_s: f64) -> String {
    if per_s <= 0.0 {
        return "0".to_owned();
    }
    if per_s < 10.0 { format!("{per_s:.1}") } else { grouped(per_s.round()) }
}

/// `1 234 567`.
pub(super) fn count(number: u64) -> String {
    grouped(number)
}

fn grouped(number: impl std::fmt::Display) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `120 ms`, `2.4 s`, `3 min 5 s`.
pub(super) fn milliseconds(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
    }
}

/// How long something lasts, roughly: `8 s`, `5 min`, `3 h`, `12 d`.
pub(super) fn span(span: Duration) -> String {
    match span.as_secs() {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3_600 => format!("{} min", s / 60),
        s @ 3_600..172_800 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
    }
}

/// A moment of the past: roughly, and exactly for whoever points at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Past {
    pub(super) ago: String,
    pub(super) exactly: String,
}

impl Past {
    pub(super) fn new(unix_ms: u64, now_unix_ms: u64) -> Past {
        let ago = format!("{} ago", span(Duration::from_millis(now_unix_ms.saturating_sub(unix_ms))));
        Past { ago, exactly: exactly(unix_ms) }
    }
}

/// `2026-11-22 18:50:03 UTC`.
pub(super) fn exactly(unix_ms: u64) -> String {
    i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| "unknown".to_owned(), |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// A vassal's name as one segment of a path (RFC 3986: everything but unreserved characters).
pub(crate) fn segment(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_read_as_people_write_them() {
        assert_eq!([bytes(0), bytes(1023), bytes(1536), bytes(5 << 30)], ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]);
        assert_eq!([rate(0.0), rate(0.44), rate(12.3), rate(12_345.6)], ["0", "0.4", "12", "12\u{202f}346"]);
        assert_eq!([milliseconds(7), milliseconds(2_450), milliseconds(185_000)], ["7 ms", "2.4 s", "3 min 5 s"]);
        assert_eq!(
            Past::new(1_000, 66_000),
            Past { ago: "1 min ago".to_owned(), exactly: "1970-01-01 00:00:01 UTC".to_owned() }
        );
        assert_eq!(Past::new(66_000, 1_000).ago, "0 s ago", "a clock that was set back");
    }

    #[test]
    fn a_name_becomes_one_segment_of_a_path() {
        assert_eq!(segment("shop.ini"), "shop.ini");
        assert_eq!(segment("a b?#%ü\".ini"), "a%20b%3F%23%25%C3%BC%22.ini");
    }
}
