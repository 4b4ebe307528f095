//! The Range header (RFC 9110 section 14.2), for bytes.

use empery_wire::limits::RANGES_MAX;

/// Some bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl Span {
    /// `first-last/size`, as Content-Range has it.
    pub(crate) fn content_range(&self, size: u64) -> String {
        format!("{}-{}/{size}", self.offset, self.offset + self.length - 1)
    }
}

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ranges {
    /// All of it: no range, or one that is not understood, or too much of them.
    Whole,
    /// These, in the order in which they were asked for; at least one.
    Spans(Vec<Span>),
    /// None of what was asked for is there: 416.
    None,
}

/// Reads the header's value for a file of `size` bytes.
pub(crate) fn parse(value: &[u8], size: u64) -> Ranges {
    let Some(set) = value.get(..6).filter(|unit| unit.eq_ignore_ascii_case(b"bytes=")).map(|_| &value[6..]) else {
        return Ranges::Whole;
    };
    let mut spans = Vec::new();
    let mut asked = 0;
    for spec in set.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        if spec.is_empty() {
            // Empty elements of a list are overlooked (RFC 9110 section 5.6.1.2).
            continue;
        }
        let Some(spec) = Spec::parse(spec) else { return Ranges::Whole };
        asked += 1;
        if asked > RANGES_MAX {
            return Ranges::Whole;
        }
        match spec.of(size) {
            Taken::Span(span) => spans.push(span),
            Taken::Nothing => {}
            Taken::Whole => return Ranges::Whole,
        }
    }
    if asked == 0 {
        return Ranges::Whole;
    }
    let total = spans.iter().fold(0_u64, |total, span| total.saturating_add(span.length));
    match spans.len() {
        0 => Ranges::None,
        1 => Ranges::Spans(spans),
        // They overlap: the whole is less.
        _ if total > size => Ranges::Whole,
        _ => Ranges::Spans(spans),
    }
}

/// One range as written.
enum Spec {
    From(u64),
    FromTo(u64, u64),
    /// The last so many bytes.
    Last(u64),
}

enum Taken {
    Span(Span),
    Nothing,
    Whole,
}

impl Spec {
    fn parse(spec: &[u8]) -> Option<Self> {
        let dash = spec.iter().position(|byte| *byte == b'-')?;
        match (&spec[..dash], &spec[dash + 1..]) {
            (b"", last) => Some(Spec::Last(number(last)?)),
            (first, b"") => Some(Spec::From(number(first)?)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Spec::FromTo(first, last))
            }
        }
    }

    fn of(&self, size: u64) -> Taken {
        let (offset, end) = match *self {
            Spec::Last(0) => return Taken::Nothing,
            // The last bytes of nothing are there, but Content-Range cannot say so.
            Spec::Last(_) if size == 0 => return Taken::Whole,
            Spec::Last(length) => (size.saturating_sub(length), size),
            Spec::From(first) => (first, size),
            Spec::FromTo(first, last) => (first, last.saturating_add(1).min(size)),
        };
        if offset < size { Taken::Span(Span { offset, length: end - offset }) } else { Taken::Nothing }
    }
}

/// Digits; more than fit are as good as the greatest number.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0_u64, |value, digit| value.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(value: &str, size: u64) -> Option<Vec<(u64, u64)>> {
        match parse(value.as_bytes(), size) {
            Ranges::Whole => None,
            Ranges::None => Some(Vec::new()),
            Ranges::Spans(spans) => Some(spans.iter().map(|span| (span.offset, span.length)).collect()),
        }
    }

    #[test]
    fn ranges_of_the_rfc_are_understood() {
        for (value, expected) in [
            ("bytes=0-499", vec![(0, 500)]),
            ("bytes=500-999", vec![(500, 500)]),
            ("bytes=-500", vec![(9500, 500)]),
            ("bytes=9500-", vec![(9500, 500)]),
            ("bytes=0-0,-1", vec![(0, 1), (9999, 1)]),
            ("bytes= 0-0 , , 2-2 ", vec![(0, 1), (2, 1)]),
            ("BYTES=1-1", vec![(1, 1)]),
            ("bytes=9990-20000", vec![(9990, 10)]),
            ("bytes=-20000", vec![(0, 10_000)]),
            ("bytes=5-99999999999999999999999999", vec![(5, 9995)]),
            ("bytes=0-1,20000-", vec![(0, 2)]),
        ] {
            assert_eq!(spans(value, 10_000), Some(expected), "{value}");
        }
    }

    #[test]
    fn what_is_not_there_is_416_and_what_is_not_understood_is_ignored() {
        for value in ["bytes=10000-", "bytes=10000-10001,20000-", "bytes=-0", "bytes=99999999999999999999-"] {
            assert_eq!(spans(value, 10_000), Some(Vec::new()), "{value}");
        }
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "items=0-1",
            "bytes=1-0",
            "bytes=a-b",
            "bytes=-",
            "bytes=1",
            "bytes=0-1,x",
            "bytes=+1-2",
            "bytes 0-1",
        ] {
            assert_eq!(spans(value, 10_000), None, "{value}");
        }
    }

    #[test]
    fn an_empty_file_has_no_ranges() {
        assert_eq!(spans("bytes=0-", 0), Some(Vec::new()));
        assert_eq!(spans("bytes=-5", 0), None);
    }

    #[test]
    fn a_flood_of_ranges_gets_the_whole() {
        let many = |number: usize| {
            format!("bytes={}", (0..number).map(|at| format!("{at}-{at}")).collect::<Vec<_>>().join(","))
        };
        assert_eq!(spans(&many(RANGES_MAX), 10_000).map(|spans| spans.len()), Some(RANGES_MAX));
        assert_eq!(spans(&many(RANGES_MAX + 1), 10_000), None);
        assert_eq!(spans("bytes=0-,0-", 10_000), None, "more than there is");
    }
}
