//! The process that a daemon's pidfile names.

use std::path::Path;

use empery_sys::process;
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill, killpg},
    unistd::{Pid, getpgid},
};

/// Longest text that is read.
const TEXT_MAX_BYTES: usize = 64;

/// Its pid, when there is such a process. 0, 1 and what is no number name none: a signal to them would go to others.
pub(super) fn living(path: &Path) -> Option<i32> {
    let text = std::fs::read(path).ok()?;
    let text = std::str::from_utf8(&text[..text.len().min(TEXT_MAX_BYTES)]).ok()?.trim();
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).map_or(text, |end| &text[..end]);
    let pid = digits.parse::<i32>().ok().filter(|pid| *pid > 1)?;
    let is_there = match kill(Pid::from_raw(pid), None) {
        Ok(()) | Err(Errno::EPERM) => !process::has_ended(pid),
        Err(_) => false,
    };
    is_there.then_some(pid)
}

/// Sends a signal to it, and to its group when it leads one.
pub(in crate::supervise) fn send(pid: i32, number: i32) {
    let (pid, Ok(signal)) = (Pid::from_raw(pid), Signal::try_from(number)) else { return };
    // It may have ended: its end is seen on its own.
    let _ = if getpgid(Some(pid)) == Ok(pid) { killpg(pid, signal) } else { kill(pid, signal) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_number_of_a_living_process_counts() {
        let path = std::env::temp_dir().join(format!("empery-pidfile-{}", std::process::id()));
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            living(&path)
        };
        let me = i32::try_from(std::process::id()).unwrap();
        assert_eq!(read(&format!("{me}\n")), Some(me));
        assert_eq!(read(&format!(" {me} and more")), Some(me));
        for text in ["", "0", "1", "-7", "x", "99999999999", &i32::MAX.to_string()] {
            assert_eq!(read(text), None, "{text:?}");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(living(&path), None);
    }
}
