//! From what is printed to what is logged: overlong lines are broken, lines beyond the rate are dropped and counted, and with
//! `log-json` each becomes a JSON object. Pure: the second comes from outside, and so does the place for the result.

use empery_control::boot::REQUEST_LINE_MARK;
use serde_json::{Value, json};

/// Longest line, in bytes: a longer one is broken, so that whoever reads the file by lines is not flooded.
const LINE_MAX_BYTES: usize = 64 * 1024;

/// Whose a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The vassal's own.
    Vassal,
    /// What the app, a worker or the gateway prints.
    App,
}

/// What a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// As it is.
    Plain,
    /// As it is, but only when it is whole.
    Whole,
    /// `log-json`.
    Json,
}

impl Shape {
    /// Adds a line, which has no end of its own.
    pub(super) fn line(self, kind: Kind, text: &[u8], out: &mut Vec<u8>) {
        match self {
            Shape::Plain | Shape::Whole => out.extend_from_slice(text),
            Shape::Json => match request_line(text) {
                Some(object) => out.extend_from_slice(object),
                None => out.extend_from_slice(object(kind, text).to_string().as_bytes()),
            },
        }
        out.push(b'\n');
    }
}

fn object(kind: Kind, text: &[u8]) -> Value {
    let kind = match kind {
        Kind::Vassal => "vassal",
        Kind::App => "app",
    };
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    json!({ "time": jiff::Timestamp::now().to_string(), "kind": kind, "message": String::from_utf8_lossy(text) })
}

/// A worker's request line is an object already. Anybody may write the mark, so the rest is looked at.
fn request_line(text: &[u8]) -> Option<&[u8]> {
    let mut mark = [0; 4];
    let rest = text.strip_prefix(REQUEST_LINE_MARK.encode_utf8(&mut mark).as_bytes())?;
    serde_json::from_slice::<Value>(rest).is_ok_and(|value| value.is_object()).then_some(rest)
}

/// How many lines a second are logged.
#[derive(Debug)]
pub(super) struct Rate {
    /// 0: all.
    lines_per_s_max: u64,
    unix_s: u64,
    lines: u64,
    dropped: u64,
}

impl Rate {
    /// All are.
    pub(super) const fn unlimited() -> Self {
        Self::of(0)
    }

    /// At most so many; 0 is no limit.
    pub(super) const fn of(lines_per_s_max: u64) -> Self {
        Self { lines_per_s_max, unix_s: 0, lines: 0, dropped: 0 }
    }

    /// Whether lines were dropped that nobody was told of yet.
    pub(super) fn owes_note(&self) -> bool {
        self.dropped > 0
    }

    /// Adds what there is to say of an earlier second.
    pub(super) fn tell(&mut self, shape: Shape, now_unix_s: u64, out: &mut Vec<u8>) {
        if self.dropped > 0 && self.unix_s != now_unix_s {
            let note =
                format!("*** {} lines were dropped: more than {} in a second ***", self.dropped, self.lines_per_s_max);
            shape.line(Kind::Vassal, note.as_bytes(), out);
            self.dropped = 0;
        }
    }

    fn allows(&mut self, now_unix_s: u64) -> bool {
        if self.unix_s != now_unix_s {
            (self.unix_s, self.lines) = (now_unix_s, 0);
        }
        self.lines += 1;
        let allows = self.lines_per_s_max == 0 || self.lines <= self.lines_per_s_max;
        self.dropped += u64::from(!allows);
        allows
    }
}

/// What one writer has begun.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Of the line that has no end yet.
    line_bytes: usize,
    /// That line, where it is logged only when it is whole.
    held: Vec<u8>,
    is_dropped: bool,
}

impl Lines {
    /// Takes what was printed in this second, and adds what of it is logged now.
    pub(super) fn take(&mut self, mut bytes: &[u8], shape: Shape, rate: &mut Rate, now_unix_s: u64, out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            if self.line_bytes == 0 {
                rate.tell(shape, now_unix_s, out);
                self.is_dropped = !rate.allows(now_unix_s);
            }
            let room = &bytes[..bytes.len().min(LINE_MAX_BYTES - self.line_bytes)];
            let end = memchr_newline(room);
            let part = &room[..end.unwrap_or(room.len())];
            self.line_bytes += part.len();
            self.add(part, shape, out);
            bytes = &bytes[part.len() + usize::from(end.is_some())..];
            if end.is_some() || self.line_bytes == LINE_MAX_BYTES {
                self.finish(shape, out);
            }
        }
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self, shape: Shape, out: &mut Vec<u8>) {
        if self.line_bytes > 0 {
            self.finish(shape, out);
        }
    }

    fn add(&mut self, part: &[u8], shape: Shape, out: &mut Vec<u8>) {
        match shape {
            _ if self.is_dropped => {}
            // Shown as it comes: a question without a line's end is seen before it is answered.
            Shape::Plain => out.extend_from_slice(part),
            Shape::Whole | Shape::Json => self.held.extend_from_slice(part),
        }
    }

    fn finish(&mut self, shape: Shape, out: &mut Vec<u8>) {
        self.line_bytes = 0;
        let held = std::mem::take(&mut self.held);
        match shape {
            _ if self.is_dropped => {}
            Shape::Plain if held.is_empty() => out.push(b'\n'),
            // Begun when lines were still held back.
            Shape::Plain | Shape::Whole | Shape::Json => shape.line(Kind::App, &held, out),
        }
    }
}

fn memchr_newline(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is logged of pieces, each with its second.
    fn logged(pieces: &[(u64, &[u8])], shape: Shape, rate: u64) -> String {
        let (mut lines, mut rate, mut out) = (Lines::default(), Rate::of(rate), Vec::new());
        for (second, piece) in pieces {
            lines.take(piece, shape, &mut rate, *second, &mut out);
        }
        rate.tell(shape, u64::MAX, &mut out);
        lines.end(shape, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn plain_lines_are_logged_as_they_come_and_overlong_ones_are_broken() {
        assert_eq!(logged(&[(1, b"one\ntw"), (1, b"o\n\nthree")], Shape::Plain, 0), "one\ntwo\n\nthree\n");
        let long = [vec![b'x'; LINE_MAX_BYTES + 10], b"\ny\n".to_vec()].concat();
        for step in [1000, LINE_MAX_BYTES, long.len()] {
            let pieces: Vec<(u64, &[u8])> = long.chunks(step).map(|piece| (1, piece)).collect();
            let lengths: Vec<usize> = logged(&pieces, Shape::Plain, 0).lines().map(str::len).collect();
            assert_eq!(lengths, [LINE_MAX_BYTES, 10, 1], "in pieces of {step}");
        }
    }

    #[test]
    fn a17_what_is_beyond_the_rate_is_dropped_line_by_line_and_counted() {
        let flood = "flood\n".repeat(100);
        let text = logged(&[(1, flood.as_bytes()), (1, b"half"), (2, b" of it\nnext\n")], Shape::Plain, 10);
        assert_eq!(text.matches("flood\n").count(), 10);
        assert!(text.ends_with("*** 91 lines were dropped: more than 10 in a second ***\nnext\n"), "{text}");
        let told = logged(&[(1, flood.as_bytes())], Shape::Json, 99);
        assert!(told.contains("*** 1 lines were dropped"), "{told}");
    }

    #[test]
    fn a17_whatever_is_printed_each_line_of_json_is_an_object() {
        let mut printed = b"plain\n\x1b[31mred\x1b[0m\r\n\xff\xfe\0\n\n\x1e{\"kind\":\"request\",\"status\":200}\n\x1e{broken\n\x1e[1]\n".to_vec();
        printed.extend((0..=255).filter(|byte| *byte != b'\n'));
        printed.extend(vec![b'"'; LINE_MAX_BYTES + 1]);
        for step in [1, 7, printed.len()] {
            let pieces: Vec<(u64, &[u8])> = printed.chunks(step).map(|piece| (1, piece)).collect();
            let text = logged(&pieces, Shape::Json, 0);
            let objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(objects.len(), 9, "{text}");
            assert_eq!((&objects[1]["message"], &objects[1]["kind"]), (&"\x1b[31mred\x1b[0m".into(), &"app".into()));
            assert_eq!(objects[4], json!({ "kind": "request", "status": 200 }));
            assert_eq!(objects[5]["message"], "\x1e{broken");
        }
    }
}
