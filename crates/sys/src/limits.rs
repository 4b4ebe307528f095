//! Limits and priorities of the calling process and of those that it forks.

use std::{io, os::unix::process::CommandExt, process::Command, sync::OnceLock};

use empery_control::process::Process;
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::Pid,
};

/// What this process was started with, once it has taken more.
static DESCRIPTORS_AS_FOUND: OnceLock<u64> = OnceLock::new();

/// Takes as many descriptors for this process as it may have (RLIMIT_NOFILE, the hard limit). The limit of what it starts by
/// [`crate::spawn`] stays as it was found.
///
/// # Errors
/// setrlimit(2).
pub fn take_descriptors() -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    DESCRIPTORS_AS_FOUND.get_or_init(|| soft);
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

/// For an exec: the limit is again as it was found, whatever is open stays open.
///
/// # Errors
/// setrlimit(2).
pub fn give_descriptors_back() -> io::Result<()> {
    match descriptors_as_found() {
        None => Ok(()),
        Some(soft) => {
            let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
            Ok(setrlimit(Resource::RLIMIT_NOFILE, soft.min(hard), hard)?)
        }
    }
}

/// Has a command find the limit as this process has found it, too.
pub fn spare(command: &mut Command) {
    if let Some(soft) = descriptors_as_found() {
        let find = move || {
            let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
            Ok(setrlimit(Resource::RLIMIT_NOFILE, soft.min(hard), hard)?)
        };
        // SAFETY: between fork and exec it makes two system calls and nothing else (signal-safety(7)).
        unsafe { command.pre_exec(find) };
    }
}

/// The limit that others are to find; None when it is this process's own.
pub(crate) fn descriptors_as_found() -> Option<u64> {
    DESCRIPTORS_AS_FOUND.get().copied()
}

/// Takes them on; what could not be, in sentences.
pub fn take_on(process: &Process) -> Vec<String> {
    let mut failures = Vec::new();
    let mut limit = |resource, name: &str, most: u64| {
        if most != 0
            && let Err(error) = setrlimit(resource, most, most)
        {
            failures.push(format!("{name} stays as it is: {}", error.desc()));
        }
    };
    limit(Resource::RLIMIT_AS, "limit-as", process.address_space_max_bytes);
    limit(Resource::RLIMIT_NPROC, "limit-nproc", process.processes_max);
    limit(Resource::RLIMIT_NOFILE, "max-fd", process.descriptors_max);
    if process.priority != 0
        && let Err(error) = set_priority(process.priority)
    {
        failures.push(format!("prio stays as it is: {error}"));
    }
    failures
}

fn set_priority(nice: u32) -> io::Result<()> {
    // SAFETY: three numbers.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice.cast_signed()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Binds a worker (counted from 1) to so many of the CPUs that this process may use, each worker to the next ones (uWSGI:
/// `uwsgi_set_cpu_affinity`).
///
/// # Errors
/// sched_setaffinity(2).
pub fn bind_to_cpus(worker: u32, cpus_per_worker: u32) -> io::Result<()> {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this)?;
    let allowed: Vec<usize> = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect();
    let mut own = CpuSet::new();
    for cpu in cpus_of(worker, cpus_per_worker, allowed.len()) {
        own.set(allowed[cpu])?;
    }
    Ok(sched_setaffinity(this, &own)?)
}

/// Which of so many CPUs.
fn cpus_of(worker: u32, cpus_per_worker: u32, cpus: usize) -> impl Iterator<Item = usize> {
    let first = (worker.saturating_sub(1) as usize).saturating_mul(cpus_per_worker as usize);
    (0..(cpus_per_worker as usize).min(cpus)).map(move |next| (first + next) % cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_worker_gets_the_next_cpus_and_after_the_last_the_first() {
        let of = |worker, each| cpus_of(worker, each, 3).collect::<Vec<_>>();
        assert_eq!((of(1, 1), of(3, 1), of(4, 1)), (vec![0], vec![2], vec![0]));
        assert_eq!((of(1, 2), of(2, 2)), (vec![0, 1], vec![2, 0]));
        assert_eq!(of(1, 9), [0, 1, 2]);
    }

    #[test]
    fn a_limit_that_may_not_be_taken_on_is_told() {
        let process = Process { descriptors_max: u64::MAX - 1, ..Process::default() };
        let told = take_on(&process);
        assert!(told.len() == 1 && told[0].starts_with("max-fd stays as it is: "), "{told:?}");
    }
}
