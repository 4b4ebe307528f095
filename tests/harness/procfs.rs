//! Other processes, seen through proc(5). Every question may be asked of a process that is gone already.

use std::{fs, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, SysconfVar, sysconf},
};

/// The fields of `/proc/PID/stat` after the name, from field 3 (`state`) on.
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = text.rfind(')')? + 2;
    Some(text.get(after_name..)?.split_whitespace().map(str::to_owned).collect())
}

/// Whether the process runs: a zombie does not.
#[must_use]
pub fn alive(pid: i32) -> bool {
    state(pid).is_some_and(|state| state != 'Z' && state != 'X')
}

/// Its state letter.
#[must_use]
pub fn state(pid: i32) -> Option<char> {
    stat(pid)?.first()?.chars().next()
}

/// Its parent.
#[must_use]
pub fn parent(pid: i32) -> Option<i32> {
    stat(pid)?.get(1)?.parse().ok()
}

/// When it began, in clock ticks since boot: with the pid it names one process for ever.
#[must_use]
pub fn started_ticks(pid: i32) -> Option<u64> {
    stat(pid)?.get(19)?.parse().ok()
}

/// Its command line, blanks between the words; the name in brackets when it has none (a zombie).
#[must_use]
pub fn command_line(pid: i32) -> String {
    let raw = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> =
        raw.split(|byte| *byte == 0).filter(|word| !word.is_empty()).map(String::from_utf8_lossy).collect();
    if words.is_empty() {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        return format!("[{}]", name.trim_end());
    }
    words.join(" ")
}

/// Effective uid.
#[must_use]
pub fn uid(pid: i32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Children of all its threads.
#[must_use]
pub fn children(pid: i32) -> Vec<i32> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(text.split_whitespace().filter_map(|word| word.parse::<i32>().ok()));
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Children, their children, and so on.
#[must_use]
pub fn descendants(pid: i32) -> Vec<i32> {
    let mut found = children(pid);
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        for child in children(parent) {
            if !found.contains(&child) {
                found.push(child);
            }
        }
        next += 1;
    }
    found
}

/// Number of open descriptors; None when it may not be seen.
#[must_use]
pub fn descriptors(pid: i32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

/// What its descriptors point to, sorted, without those that come and go by themselves.
#[must_use]
pub fn descriptor_targets(pid: i32) -> Vec<String> {
    let mut found: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .map(|target| target.display().to_string())
        .collect();
    found.sort();
    found
}

/// CPU time used so far, from schedstat: nanoseconds, where `stat` has ticks of 10 ms.
#[must_use]
pub fn cpu_time(pid: i32) -> Duration {
    let mut total = 0u64;
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        total += text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    }
    Duration::from_nanos(total)
}

/// Proportional set size in KiB; None when it may not be seen.
#[must_use]
pub fn pss_kib(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Resident memory at its highest since the last reset, in KiB; None when it may not be seen.
#[must_use]
pub fn peak_kib(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Makes what is resident now the highest (proc(5), `clear_refs`), in KiB; None when it may not be done.
#[must_use]
pub fn reset_peak_kib(pid: i32) -> Option<u64> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").ok()?;
    peak_kib(pid)
}

/// Clock ticks per second.
#[must_use]
pub fn ticks_per_second() -> u64 {
    sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|ticks| u64::try_from(ticks).ok()).unwrap_or(100)
}

/// Sends a signal; a process that is gone already is no error.
pub fn signal(pid: i32, which: Signal) {
    let _ = kill(Pid::from_raw(pid), which);
}
