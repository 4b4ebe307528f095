//! The end of the master while the app is imported. Nothing of ours runs then, perhaps for ever: nobody would end a process that
//! hangs there, holding the vassal's sockets. So the kernel raises a signal when something happens on the channel (fcntl(2),
//! O_ASYNC), and a native handler, which needs no lock of Python's, ends the process when the other side is gone. It has
//! served nothing yet. What the app does is interrupted only when the master says a word, and goes on (SA_RESTART).

use std::{
    os::fd::{AsRawFd, BorrowedFd, RawFd},
    sync::atomic::{AtomicI32, Ordering},
};

use crate::{alarm, os};

/// The channel that is watched; none is -1.
static CHANNEL: AtomicI32 = AtomicI32::new(-1);

/// Which of the real-time signals.
fn signal() -> i32 {
    libc::SIGRTMIN() + 12
}

/// Watches the channel as long as it lives.
pub(crate) struct Watch(Option<RawFd>);

impl Watch {
    /// From now on this process ends with the process at the other end. An app that has taken the signal does without.
    pub(crate) fn begin(channel: BorrowedFd<'_>) -> Self {
        let raw = channel.as_raw_fd();
        if !alarm::catch_if_default(signal(), on_signal).unwrap_or(false) {
            return Self(None);
        }
        // Raised instead when no more real-time signals may be pending (fcntl(2), F_SETSIG), and would end the process.
        let _ = alarm::catch_if_default(libc::SIGIO, on_signal);
        CHANNEL.store(raw, Ordering::SeqCst);
        if os::raise_on_events(raw, signal()).is_err() {
            CHANNEL.store(-1, Ordering::SeqCst);
            return Self(None);
        }
        // Before that nobody would have told.
        leave_if_bereft();
        Self(Some(raw))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(raw) = self.0 {
            CHANNEL.store(-1, Ordering::SeqCst);
            // The handler stays, and has nothing to do.
            let _ = os::raise_no_more(raw);
        }
    }
}

extern "C" fn on_signal(_: libc::c_int) {
    let error_number = alarm::error_number();
    leave_if_bereft();
    alarm::set_error_number(error_number);
}

/// Signal-safe.
fn leave_if_bereft() {
    let channel = CHANNEL.load(Ordering::SeqCst);
    if channel >= 0 && os::is_hung_up(channel) {
        // SAFETY: nothing of this process is of use to anybody.
        unsafe { libc::_exit(0) }
    }
}
