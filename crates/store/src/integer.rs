//! Between our unsigned numbers and SQLite's signed ones. Saturating: no number of ours comes near 2^63.

/// To SQLite.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// From SQLite; a negative one was written by somebody else and reads as 0.
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
