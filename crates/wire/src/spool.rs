//! A task of uWSGI's spooler as it lies in a file: the header of a uwsgi packet with modifier 17, its pairs, and then the
//! body (core/spooler.c). And the order in which files of tasks come.

use std::cmp::Ordering;

use crate::uwsgi::Pairs;

/// `UWSGI_MODIFIER_SPOOL_REQUEST`.
const MODIFIER: u8 = 17;

/// Length of the header, in bytes.
const HEADER_BYTES: usize = 4;

/// What the name of every task begins with.
pub const PREFIX: &str = "uwsgi_spoolfile_on_";

/// A task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task<'a> {
    /// Names and values.
    pub pairs: Vec<(&'a [u8], &'a [u8])>,
    /// What follows them.
    pub body: &'a [u8],
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content<'a> {
    /// This task.
    Task(Task<'a>),
    /// Not even a header: somebody has just made the file.
    Nothing,
    /// Less than the header says, or no pairs.
    Broken,
}

/// The bytes of a file. None when names and values have more than 64 KiB together, which is the header's limit.
#[must_use]
pub fn encode(task: &Task<'_>) -> Option<Vec<u8>> {
    let mut block = Vec::new();
    for text in task.pairs.iter().flat_map(|(name, value)| [name, value]) {
        block.extend_from_slice(&u16::try_from(text.len()).ok()?.to_le_bytes());
        block.extend_from_slice(text);
    }
    let length = u16::try_from(block.len()).ok()?.to_le_bytes();
    Some([&[MODIFIER, length[0], length[1], 0], &block[..], task.body].concat())
}

/// Reads the bytes of a file. uWSGI does not look at the modifier, so neither does this.
#[must_use]
pub fn decode(bytes: &[u8]) -> Content<'_> {
    let Some((header, rest)) = bytes.split_at_checked(HEADER_BYTES) else { return Content::Nothing };
    let length = usize::from(u16::from_le_bytes([header[1], header[2]]));
    let Some((block, body)) = rest.split_at_checked(length) else { return Content::Broken };
    let mut found = Vec::new();
    let mut pairs = Pairs { rest: block };
    while let Some(pair) = pairs.pair() {
        found.push(pair);
    }
    if pairs.rest.is_empty() { Content::Task(Task { pairs: found, body }) } else { Content::Broken }
}

/// Names in the order in which people count: runs of digits are numbers (versionsort(3)).
#[must_use]
pub fn in_order(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    loop {
        let (Some(a), Some(b)) = (one.first(), other.first()) else { return one.len().cmp(&other.len()) };
        if a.is_ascii_digit() && b.is_ascii_digit() {
            let (number_a, rest_a) = number(one);
            let (number_b, rest_b) = number(other);
            match number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b)) {
                Ordering::Equal => (one, other) = (rest_a, rest_b),
                unequal => return unequal,
            }
        } else if a == b {
            (one, other) = (&one[1..], &other[1..]);
        } else {
            return a.cmp(b);
        }
    }
}

/// The digits at the beginning, without zeros in front, and what follows them.
fn number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    (&digits[zeros..], rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_of_uwsgi_is_read_and_ours_is_the_same() {
        let bytes = b"\x11\x0e\0\0\x03\0foo\x03\0bar\x01\0x\0\0and a body";
        assert_eq!(bytes[1] as usize, 5 + 5 + 3 + 2 - 1);
        let whole = b"\x11\x0f\0\0\x03\0foo\x03\0bar\x01\0x\0\0and a body";
        let task = Task { pairs: vec![(b"foo", b"bar"), (b"x", b"")], body: b"and a body" };
        assert_eq!(decode(whole), Content::Task(task.clone()));
        assert_eq!(encode(&task).unwrap(), whole);
        assert_eq!(decode(bytes), Content::Broken, "the pairs are cut");
        assert_eq!((decode(b"\x11\0"), decode(b"\x11\x05\0\0\x03")), (Content::Nothing, Content::Broken));
        assert_eq!(decode(b"\x11\0\0\0"), Content::Task(Task { pairs: vec![], body: b"" }));
        let long = vec![0; 65_536];
        assert_eq!(encode(&Task { pairs: vec![(b"x", &long)], body: b"" }), None);
    }

    #[test]
    fn names_come_as_people_count() {
        let mut names = ["uwsgi_spoolfile_on_h_10", "10", "9", "uwsgi_spoolfile_on_h_9", "1", "a", "09a"];
        names.sort_by(|one, other| in_order(one, other));
        assert_eq!(names, ["1", "9", "09a", "10", "a", "uwsgi_spoolfile_on_h_9", "uwsgi_spoolfile_on_h_10"]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            pairs in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..20), proptest::collection::vec(any::<u8>(), 0..20)), 0..8),
            body in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let task = Task { pairs: pairs.iter().map(|(name, value)| (&name[..], &value[..])).collect(), body: &body };
            let bytes = encode(&task).unwrap();
            prop_assert_eq!(decode(&bytes), Content::Task(task.clone()));
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn the_order_is_one(names in proptest::collection::vec("[0-9a-c]{0,6}", 3)) {
            let [a, b, c] = [&names[0], &names[1], &names[2]];
            prop_assert_eq!(in_order(a, b), in_order(b, a).reverse());
            if in_order(a, b) != Ordering::Greater && in_order(b, c) != Ordering::Greater {
                prop_assert_ne!(in_order(a, c), Ordering::Greater);
            }
        }
    }
}
