//! The end of what the app wrote, for the story of a death. Under an emperor everything passes through here; alone the
//! workers write to the log themselves, and its end is read from the file when it is one.

use std::{
    collections::VecDeque,
    fs::File,
    io::{Read, Seek, SeekFrom},
    sync::{Mutex, PoisonError},
};

/// How much is kept, in bytes.
const KEPT_MAX_BYTES: usize = 8 * 1024;

static KEPT: Mutex<VecDeque<u8>> = Mutex::new(VecDeque::new());

/// Keeps the end of it.
pub(super) fn keep(bytes: &[u8]) {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    kept.extend(&bytes[bytes.len().saturating_sub(KEPT_MAX_BYTES)..]);
    let excess = kept.len().saturating_sub(KEPT_MAX_BYTES);
    kept.drain(..excess);
}

/// The last whole lines, at most so many. `alone`: no emperor is there, whose log stderr would be.
pub(super) fn lines(number: usize, alone: bool) -> String {
    let mut bytes: Vec<u8> = KEPT.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
    if bytes.is_empty() && alone {
        bytes = end_of_stderr().unwrap_or_default();
    }
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    // The first may have lost its beginning.
    let whole = if bytes.len() >= KEPT_MAX_BYTES { all.get(1..).unwrap_or_default() } else { &all[..] };
    whole[whole.len().saturating_sub(number)..].join("\n")
}

/// The log of a vassal that runs alone, when it goes to a file.
fn end_of_stderr() -> std::io::Result<Vec<u8>> {
    let mut file = File::open("/proc/self/fd/2")?;
    let facts = file.metadata()?;
    let mut bytes = Vec::new();
    if facts.is_file() {
        file.seek(SeekFrom::Start(facts.len().saturating_sub(KEPT_MAX_BYTES as u64)))?;
        file.take(KEPT_MAX_BYTES as u64).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_whole() {
        keep(&vec![b'x'; KEPT_MAX_BYTES]);
        keep(b"\none\ntwo\nthree\n");
        assert_eq!(lines(2, false), "two\nthree");
        assert_eq!(lines(9, false), "one\ntwo\nthree");
    }
}
