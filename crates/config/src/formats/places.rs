//! Where something stands in a file, by where it stands in its text with magic variables replaced. INI needs none of this: its
//! lines are cut as they stand.

use std::collections::BTreeMap;

use crate::{magic::Replaced, problem::Origin};

/// The lines that have become others.
#[derive(Debug, Default)]
pub(super) struct Places {
    lines: BTreeMap<u32, Vec<Moved>>,
}

/// A part of a line, in characters from 0: where it is now, and the variable that it was.
#[derive(Debug, Clone, Copy)]
struct Moved {
    now: (u32, u32),
    was: (u32, u32),
}

/// The end of the variable before: in bytes of the file, and in characters.
#[derive(Default)]
struct Behind {
    raw_at: usize,
    now: u32,
    was: u32,
}

/// Characters of a variable: the percent sign and its letter.
const VARIABLE_LENGTH: u32 = 2;

impl Places {
    /// Takes note of a line, which was `raw` and now is what it was replaced by.
    pub(super) fn note(&mut self, number: u32, raw: &[u8], line: &Replaced) {
        if line.put.is_empty() {
            return;
        }
        let mut behind = Behind::default();
        let moved = line.put.iter().map(|put| {
            // Between two variables there is the same text before and after.
            let between = characters(&raw[behind.raw_at..put.raw_at]);
            let (now, was) = (behind.now + between, behind.was + between);
            let length = characters(&line.bytes[put.at..put.at + put.length]);
            behind = Behind { raw_at: put.raw_at + 2, now: now + length, was: was + VARIABLE_LENGTH };
            Moved { now: (now, behind.now), was: (was, behind.was) }
        });
        self.lines.insert(number, moved.collect());
    }

    /// Makes a place in the text one in the file.
    pub(super) fn in_file(&self, place: &mut Origin) {
        let Some(line) = self.lines.get(&place.line) else { return };
        let Some(column) = place.column.checked_sub(1) else { return };
        let from = original(line, column, |moved| moved.was.0);
        let to = original(line, column + place.length, |moved| moved.was.1);
        (place.column, place.length) = (from + 1, to.saturating_sub(from));
    }
}

/// The column in the file; `inside` says which, where it is none of the file's but in what stands for a variable.
fn original(line: &[Moved], column: u32, inside: impl Fn(&Moved) -> u32) -> u32 {
    let before = line.partition_point(|moved| moved.now.0 < column).checked_sub(1).and_then(|at| line.get(at));
    let Some(before) = before else { return column };
    if column < before.now.1 { inside(before) } else { before.was.1 + (column - before.now.1) }
}

fn characters(text: &[u8]) -> u32 {
    u32::try_from(String::from_utf8_lossy(text).chars().count()).unwrap_or(u32::MAX)
}
