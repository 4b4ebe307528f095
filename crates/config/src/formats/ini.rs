//! The INI tokenizer, as core/ini.c has it: no continuation lines, no quotes, no comments after a value.
//!
//! It finds the keys of one section and where they stand; what they mean is not its business.

use super::{Pair, Section, TooLong, strftime};
use crate::{
    magic::{Magic, Put, Replaced},
    problem::{Origin, Problem},
};

/// Reads section `asked` of `content`. `file` is the name shown in problems.
///
/// # Errors
/// When the text grows beyond `max_bytes` by its magic variables.
pub(super) fn read(
    file: &str,
    content: &[u8],
    asked: &str,
    magic: &Magic,
    max_bytes: usize,
) -> Result<Section, TooLong> {
    let mut found = Section::default();
    let mut current: Option<Vec<u8>> = None;
    let mut total_bytes = 0;
    let (content, has_bom) = match content.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) => (rest, true),
        None => (content, false),
    };
    if has_bom {
        let origin = Origin { file: file.to_owned(), line: 1, column: 1, length: 1 };
        found.problems.push(
            Problem::warning(
                "byte-order-mark",
                origin,
                "the file begins with a byte order mark, which uWSGI takes for text of the first line",
            )
            .hint("save it as UTF-8 without a byte order mark"),
        );
    }
    for (index, raw) in content.split(|byte| *byte == b'\n').enumerate() {
        let line = Line { file, number: u32::try_from(index + 1).unwrap_or(u32::MAX), raw };
        let (replaced, meant) = line.replaced(magic);
        total_bytes += replaced.bytes.len();
        if total_bytes > max_bytes {
            return Err(TooLong);
        }
        let text = trim(&replaced.bytes);
        match text {
            [] => {}
            [b'[', section @ ..] => current = Some(section.split_last().map_or(&[][..], |(_, name)| name).to_vec()),
            [b';' | b'#', ..] => found.problems.extend(line.swallowed_line_break(&replaced.unknown)),
            _ if current.as_deref() == Some(asked.as_bytes()) => {
                found.problems.extend(replaced.unknown.iter().map(|at| line.unknown_variable(*at)));
                found.problems.extend(meant);
                match line.pair(text) {
                    Ok(pair) => found.pairs.push(pair),
                    Err(problem) => found.problems.push(*problem),
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Blanks are space, tab and carriage return, as in core/ini.c.
fn trim(text: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r');
    let Some(start) = text.iter().position(|byte| !blank(byte)) else { return &[] };
    let end = text.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    &text[start..end]
}

/// One line as it stands in the file.
pub(super) struct Line<'a> {
    pub(super) file: &'a str,
    pub(super) number: u32,
    pub(super) raw: &'a [u8],
}

impl Line<'_> {
    fn pair(&self, text: &[u8]) -> Result<Pair, Box<Problem>> {
        let equals = text.iter().position(|byte| *byte == b'=');
        let (key, value) = equals.map_or((text, &[][..]), |at| (trim(&text[..at]), trim(&text[at + 1..])));
        let raw_key_start = self.raw.len() - trim_start(self.raw).len();
        let raw_equals = self.raw.iter().position(|byte| *byte == b'=');
        let raw_key = trim(&self.raw[..raw_equals.unwrap_or(self.raw.len())]);
        let key_at = self.place(raw_key_start, raw_key.len());
        let value_at = match raw_equals {
            Some(at) if !trim(&self.raw[at + 1..]).is_empty() => {
                let rest = &self.raw[at + 1..];
                self.place(at + 1 + rest.len() - trim_start(rest).len(), trim(rest).len())
            }
            _ => key_at.clone(),
        };
        if text.contains(&0) {
            return Err(Box::new(self.nul_byte()));
        }
        let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec());
        match (utf8(key), utf8(value)) {
            (Ok(key), Ok(value)) => Ok(Pair { key, value: Some(value), key_at, value_at }),
            _ => Err(Box::new(not_utf8(value_at))),
        }
    }

    /// The line with its magic variables replaced, except in a format of strftime(3) that was not escaped: that is told.
    pub(super) fn replaced(&self, magic: &Magic) -> (Replaced, Option<Problem>) {
        let Some(format) = strftime::unescaped_in(self.raw) else { return (magic.replace(self.raw), None) };
        let mut whole = magic.replace(&self.raw[..format.start]);
        whole.bytes.extend_from_slice(&self.raw[format.clone()]);
        let behind = magic.replace(&self.raw[format.end..]);
        let moved = whole.bytes.len();
        whole.put.extend(behind.put.into_iter().map(|put| Put {
            at: put.at + moved,
            raw_at: put.raw_at + format.end,
            ..put
        }));
        whole.bytes.extend(behind.bytes);
        whole.unknown.extend(behind.unknown.into_iter().map(|at| at + format.end));
        let line = String::from_utf8_lossy(trim(self.raw)).into_owned();
        let message = format!(
            "`{line}`: its variables are those of strftime(3), where uWSGI would have replaced or removed them first"
        );
        let problem = Problem::warning("unescaped-strftime", self.place(format.start, format.len()), message);
        (whole, Some(problem.hint("write `%%` for each percent sign")))
    }

    pub(super) fn nul_byte(&self) -> Problem {
        let at = self.place(0, self.raw.len());
        let message = "this line has a NUL byte in it, where uWSGI would have stopped reading";
        Problem::error("nul-byte", at, message).hint("remove it; is this a text file?")
    }

    /// Byte offsets of the raw line as a place in characters.
    fn place(&self, start: usize, length: usize) -> Origin {
        let characters =
            |bytes: &[u8]| u32::try_from(String::from_utf8_lossy(bytes).chars().count()).unwrap_or(u32::MAX);
        Origin {
            file: self.file.to_owned(),
            line: self.number,
            column: characters(&self.raw[..start]).saturating_add(1),
            length: characters(&self.raw[start..start + length]),
        }
    }

    pub(super) fn unknown_variable(&self, at: usize) -> Problem {
        match self.raw.get(at + 1).filter(|byte| **byte != b'\r') {
            Some(byte) => {
                let shown = String::from_utf8_lossy(&self.raw[at..]).chars().take(2).collect::<String>();
                let length = if byte.is_ascii() { 2 } else { 1 };
                let message = format!(
                    "`{shown}` is no magic variable; it is kept as it stands, where uWSGI would have removed it"
                );
                Problem::warning("unknown-magic", self.place(at, length), message).hint("write `%%` for a percent sign")
            }
            None => {
                let message =
                    "a `%` ends this line; it is kept, where uWSGI would have glued the next line onto this one";
                Problem::warning("unknown-magic", self.place(at, 1), message).hint("write `%%` for a percent sign")
            }
        }
    }

    /// In a comment only a `%` at the very end matters: uWSGI would have taken the next line for a part of the comment.
    fn swallowed_line_break(&self, unknown: &[usize]) -> Option<Problem> {
        let at = unknown.last().copied().filter(|at| at + 1 == self.raw.len())?;
        let message =
            "a `%` ends this comment; the next line counts, where uWSGI would have taken it for a part of the comment";
        Some(Problem::warning("unknown-magic", self.place(at, 1), message).hint("write `%%` for a percent sign"))
    }
}

/// Text of another encoding.
pub(super) fn not_utf8(at: Origin) -> Problem {
    Problem::error("not-utf8", at, "this line is not UTF-8; expected UTF-8 text")
        .hint("save the file as UTF-8, for example with `iconv -f latin1 -t utf-8`")
}

fn trim_start(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\r')).unwrap_or(text.len());
    &text[start..]
}

#[cfg(test)]
mod tests;
