//! Lines for the vassal's log: what this process writes to stderr.

/// Says one line, whole, so that it is not mixed with another process's.
pub(crate) fn say(line: &str) {
    use std::io::Write;
    // There is nowhere else to complain.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
