//! Processes: how they end, who watches whom, what /proc says of them, what `ps` shows.

use std::{
    fmt, io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    path::Path,
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::Signal,
};

mod title;
pub use title::set_title;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By exit(2) with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            How::Code(code) => write!(f, "exit code {code}"),
            How::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "signal {number} ({signal})"),
                Err(_) => write!(f, "signal {number}"),
            },
        }
    }
}

/// Sizes of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident set, in bytes.
    pub rss_bytes: u64,
    /// Virtual size, in bytes.
    pub vsz_bytes: u64,
}

/// Makes this process the one that orphaned descendants are re-parented to (PR_SET_CHILD_SUBREAPER, prctl(2)).
///
/// # Errors
/// prctl(2).
pub fn become_subreaper() -> io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

/// Reaps one child that has ended, if there is one. No child at all is None too.
///
/// # Errors
/// When waitid(2) fails for another reason.
pub fn reap_any() -> io::Result<Option<(i32, How)>> {
    wait(libc::P_ALL, 0, libc::WNOHANG)
}

/// Reaps this child if it has ended. A process that is no child of ours (any more) is None too.
///
/// # Errors
/// When waitid(2) fails for another reason.
pub fn reap(pidfd: BorrowedFd<'_>) -> io::Result<Option<How>> {
    let number = pidfd.as_raw_fd().unsigned_abs();
    Ok(wait(libc::P_PIDFD, number, libc::WNOHANG)?.map(|(_, how)| how))
}

fn wait(kind: libc::idtype_t, id: libc::id_t, flags: i32) -> io::Result<Option<(i32, How)>> {
    // SAFETY: zeros are a valid siginfo_t, and waitid leaves si_pid at 0 when nothing has ended.
    let mut news: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `news` is a writable siginfo_t.
    while unsafe { libc::waitid(kind, id, &raw mut news, libc::WEXITED | flags) } != 0 {
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ECHILD) => return Ok(None),
            Some(libc::EINTR) => {}
            _ => return Err(error),
        }
    }
    // SAFETY: waitid fills the fields of SIGCHLD, of which si_pid and si_status are two; zeros where it did not.
    let (pid, status) = unsafe { (news.si_pid(), news.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    let how = if news.si_code == libc::CLD_EXITED { How::Code(status) } else { How::Signal(status) };
    Ok(Some((pid, how)))
}

/// Reaps exactly one child, waiting for it.
///
/// # Errors
/// When it is no child of ours.
pub fn wait_for(pidfd: &OwnedFd) -> io::Result<How> {
    match wait(libc::P_PIDFD, pidfd.as_raw_fd().unsigned_abs(), 0)? {
        Some((_, how)) => Ok(how),
        None => Err(io::Error::from_raw_os_error(libc::ECHILD)),
    }
}

/// A descriptor that stands for the process and becomes readable when it ends (pidfd_open(2)).
///
/// # Errors
/// `ESRCH` when there is no such process.
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two numbers and returns a new descriptor (close-on-exec) or -1.
    let raw = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    let raw = i32::try_from(raw).map_err(io::Error::other)?;
    // SAFETY: pidfd_open has just returned this descriptor, so it is open and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Sends a signal to exactly the process the descriptor stands for (pidfd_send_signal(2)).
///
/// # Errors
/// `ESRCH` when it has ended.
pub fn pidfd_kill(pidfd: &OwnedFd, signal: i32) -> io::Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open (borrowed), a null siginfo means as kill(2), flags are 0.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, none, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Waits until the process has ended, at most so long; whether it has.
///
/// # Errors
/// When poll(2) fails.
pub fn pidfd_wait(pidfd: BorrowedFd<'_>, longest: Duration) -> io::Result<bool> {
    let deadline_ns = monotonic_ns().saturating_add(u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX));
    loop {
        let left_ms = deadline_ns.saturating_sub(monotonic_ns()).div_ceil(1_000_000);
        let timeout = PollTimeout::try_from(i32::try_from(left_ms).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(pidfd, PollFlags::POLLIN)], timeout) {
            Ok(0) if left_ms == 0 => return Ok(false),
            Ok(0) | Err(nix::Error::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends a signal to exactly this thread (tgkill(2)): of a process that is no zombie of somebody else's yet, so a child
/// that has not been reaped.
///
/// # Errors
/// `ESRCH` when there is no such thread.
pub fn signal_thread(pid: i32, thread: i32, signal: i32) -> io::Result<()> {
    // SAFETY: the call takes three numbers.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, pid, thread, signal) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the process has a handler for the signal (`SigCgt` in /proc/PID/status, proc(5)). Without one most signals
/// would end it.
#[must_use]
pub fn catches(pid: i32, signal: i32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
    is_in_mask(&status, "SigCgt:", signal)
}

fn is_in_mask(status: &str, field: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix(field)).map(str::trim);
    let mask = mask.and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0);
    let bit = u32::try_from(signal - 1).ok().and_then(|place| 1_u64.checked_shl(place));
    bit.is_some_and(|bit| mask & bit != 0)
}

/// Whether the process stands still: stopped by a signal, or by a debugger (states `T` and `t` of /proc/PID/stat).
#[must_use]
pub fn is_stopped(pid: i32) -> bool {
    matches!(state(pid), Some('T' | 't'))
}

/// Whether the process has ended, reaped or not (state `Z` or `X`, or none).
#[must_use]
pub fn has_ended(pid: i32) -> bool {
    matches!(state(pid), None | Some('Z' | 'X'))
}

/// Whether the process is on its way out or has ended: its main thread is in exit(2), by itself or by a signal
/// (`PF_EXITING` in field 9 of /proc/PID/stat).
#[must_use]
pub fn is_ending(pid: i32) -> bool {
    const FLAGS: usize = 9;
    const PF_EXITING: u64 = 4;
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    has_ended(pid) || stat_field(&stat, FLAGS).is_some_and(|flags| flags & PF_EXITING != 0)
}

/// The letter of field 3 of /proc/PID/stat.
fn state(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// When the process started, in clock ticks since boot: field 22 of /proc/PID/stat (proc(5)). With the pid it names a
/// process for as long as the machine is up. None when there is no such process.
#[must_use]
pub fn start_time_ticks(pid: i32) -> Option<u64> {
    const STARTTIME: usize = 22;
    stat_field(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?, STARTTIME)
}

/// A field of /proc/PID/stat, counted from 1 as proc(5) does; not for the first two. The name in field 2 may hold anything.
fn stat_field(stat: &str, number: usize) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

/// Children of a process, zombies included, in no order.
///
/// # Errors
/// When /proc cannot be read.
pub fn children_of(pid: i32) -> io::Result<Vec<i32>> {
    let numbers = std::fs::read_dir(Path::new("/proc"))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    Ok(numbers.filter(|child| parent(*child) == u64::try_from(pid).ok()).collect())
}

/// Children of a process, their children and so on, zombies included, those nearest first.
///
/// # Errors
/// When /proc cannot be read.
pub fn descendants_of(pid: i32) -> io::Result<Vec<i32>> {
    let numbers = std::fs::read_dir(Path::new("/proc"))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let families: Vec<(i32, i32)> =
        numbers.filter_map(|child| Some((child, i32::try_from(parent(child)?).ok()?))).collect();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(families.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
        next += 1;
    }
    Ok(found.split_off(1))
}

fn parent(pid: i32) -> Option<u64> {
    const PPID: usize = 4;
    // The field before it is a letter, which does not shift the count.
    stat_field(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?, PPID)
}

/// Sizes of the process, from /proc/PID/statm (proc(5)). None when there is no such process.
#[must_use]
pub fn memory(pid: i32) -> Option<Memory> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    let page = u64::try_from(page).ok()?;
    let mut pages = statm.split_ascii_whitespace().map(str::parse::<u64>);
    let (vsz, rss) = (pages.next()?.ok()?, pages.next()?.ok()?);
    Some(Memory { rss_bytes: rss * page, vsz_bytes: vsz * page })
}

/// Memory of the process that is no file's, in bytes, whoever else has it from it by fork: RssAnon of /proc/PID/status
/// (proc(5)). None when there is no such process.
#[must_use]
pub fn anonymous_bytes(pid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.saturating_mul(1024))
}

/// Memory of the process that no other shares, in bytes, from /proc/PID/smaps_rollup (proc(5)). None when there is no such
/// process, or it may not be looked at. The kernel adds it up page by page: not for every second.
#[must_use]
pub fn unshared_bytes(pid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let lines = text.lines().filter_map(|line| line.strip_prefix("Private_"));
    let kib = lines.filter_map(|line| line.split_once(':')?.1.split_ascii_whitespace().next()?.parse::<u64>().ok());
    Some(kib.fold(0, u64::saturating_add).saturating_mul(1024))
}

/// CLOCK_MONOTONIC, in nanoseconds.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours; CLOCK_MONOTONIC always exists on Linux, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(stat_field(stat, 22), Some(4711));
    }

    #[test]
    fn a_process_is_told_by_its_start_and_its_sizes() {
        let me = i32::try_from(std::process::id()).unwrap();
        assert!(start_time_ticks(me).unwrap() > 0);
        let anonymous = anonymous_bytes(me).unwrap();
        assert!(anonymous > 0 && anonymous.is_multiple_of(1024), "{anonymous}");
        assert_eq!(anonymous_bytes(-1), None);
        assert!(memory(me).unwrap().rss_bytes > 0);
        assert_eq!(start_time_ticks(i32::MAX), None);
    }

    #[test]
    fn what_a_process_catches_is_read_from_its_mask() {
        let status = "Name:\tx\nSigBlk:\t0000000000000000\nSigCgt:\t0000020000000002\n";
        assert!(is_in_mask(status, "SigCgt:", 2) && is_in_mask(status, "SigCgt:", 42));
        assert!(
            !is_in_mask(status, "SigCgt:", 1) && !is_in_mask(status, "SigCgt:", 64) && !is_in_mask("", "SigCgt:", 2)
        );
        assert!(!is_in_mask(status, "SigCgt:", 0) && !is_in_mask(status, "SigCgt:", 400));
    }

    #[test]
    fn a_stopped_process_is_told_from_one_that_runs() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(!is_stopped(pid));
        signal_thread(pid, pid, libc::SIGSTOP).unwrap();
        while !is_stopped(pid) {
            std::thread::yield_now();
        }
        assert!(!has_ended(pid) && !is_ending(pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!is_stopped(pid) && has_ended(pid) && is_ending(pid));
    }

    #[test]
    fn endings_are_told_in_words() {
        assert_eq!(How::Code(3).to_string(), "exit code 3");
        assert_eq!(How::Signal(11).to_string(), "signal 11 (SIGSEGV)");
    }

    #[test]
    fn a_pidfd_reaches_only_a_living_process() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pidfd = pidfd_open(i32::try_from(child.id()).unwrap()).unwrap();
        pidfd_kill(&pidfd, libc::SIGKILL).unwrap();
        child.wait().unwrap();
        assert_eq!(pidfd_kill(&pidfd, libc::SIGKILL).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }
}
