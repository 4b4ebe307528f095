//! A native signal handler and the timer that raises its signal: what [`crate::serve`]'s parting needs of signal(7) and
//! timer_create(2). Python knows nothing of it. Only what signal-safety(7) allows may run in a handler.

use std::{io, ptr};

/// Catches a signal that nobody else has taken. System calls that it interrupts go on (SA_RESTART), and it runs on the
/// thread's signal stack if there is one: code of other runtimes in the app expects that. False when it was taken; by this
/// handler it may be.
pub(crate) fn catch_if_default(signal: i32, handler: extern "C" fn(libc::c_int)) -> io::Result<bool> {
    // SAFETY: zeros are a valid sigaction: the default one, with an empty mask.
    let (mut before, mut action): (libc::sigaction, libc::sigaction) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    // SAFETY: no new action, and a valid place for the old one.
    if unsafe { libc::sigaction(signal, ptr::null(), &mut before) } < 0 {
        return Err(io::Error::last_os_error());
    }
    if before.sa_sigaction == handler as *const () as usize {
        return Ok(true);
    }
    if before.sa_sigaction != libc::SIG_DFL {
        return Ok(false);
    }
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY: a valid action whose handler takes the signal's number, as it does without SA_SIGINFO.
    if unsafe { libc::sigaction(signal, &action, ptr::null_mut()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(true)
}

/// A timer that raises a signal on one thread. Children do not inherit it (timer_create(2)).
pub(crate) struct Timer(libc::timer_t);

// SAFETY: a timer's id may be used by every thread of its process.
unsafe impl Send for Timer {}
// SAFETY: as for Send; timer_settime is atomic.
unsafe impl Sync for Timer {}

impl Timer {
    /// It raises `signal` on the thread that calls this.
    pub(crate) fn for_this_thread(signal: i32) -> io::Result<Self> {
        // SAFETY: zeros are a valid sigevent.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal;
        // SAFETY: gettid takes nothing and cannot fail.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        let mut timer: libc::timer_t = ptr::null_mut();
        // SAFETY: a valid event and a valid place for the id.
        if unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(timer))
    }

    /// Raises the signal once, in so many ms. Signal-safe.
    pub(crate) fn set(&self, in_ms: u64) -> io::Result<()> {
        let time = libc::timespec {
            tv_sec: (in_ms / 1000) as libc::time_t,
            tv_nsec: ((in_ms % 1000) * 1_000_000) as libc::c_long,
        };
        let once = libc::itimerspec { it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 }, it_value: time };
        // SAFETY: the timer lives as long as the process; a valid time, and nothing wants the old one.
        if unsafe { libc::timer_settime(self.0, 0, &once, ptr::null_mut()) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

/// errno, which a handler leaves as it found it.
pub(crate) fn error_number() -> i32 {
    // SAFETY: a valid place as long as the thread lives.
    unsafe { *libc::__errno_location() }
}

/// See [`error_number`].
pub(crate) fn set_error_number(number: i32) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = number }
}

/// The pid, asked of the kernel: in a forked child it is another.
pub(crate) fn process_id() -> i32 {
    // SAFETY: getpid takes nothing and cannot fail.
    unsafe { libc::getpid() }
}
