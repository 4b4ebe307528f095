//! Signals to the keeper, read from a descriptor (signalfd(2)) instead of interrupting. Children get none of them
//! blocked: `empery_sys::spawn` resets the mask.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use nix::sys::{
    signal::{SigSet, Signal as Number},
    signalfd::{SfdFlags, SignalFd},
};

/// What a signal means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// SIGTERM, SIGINT, SIGQUIT: stop the fleet and leave.
    Stop,
    /// SIGHUP: reload every vassal.
    Reload,
    /// SIGUSR1: have the log say how every vassal is.
    Status,
    /// SIGUSR2: execute the binary anew in place.
    Restart,
    /// SIGCHLD: a child has ended.
    Child,
}

const TAKEN: [Number; 7] = [
    Number::SIGTERM,
    Number::SIGINT,
    Number::SIGQUIT,
    Number::SIGHUP,
    Number::SIGUSR1,
    Number::SIGUSR2,
    Number::SIGCHLD,
];

/// The descriptor.
#[derive(Debug)]
pub(super) struct Signals(SignalFd);

impl Signals {
    /// Blocks the signals that mean something and opens the descriptor. What came before stays pending.
    pub(super) fn take_over() -> io::Result<Self> {
        let mut set = SigSet::empty();
        TAKEN.into_iter().for_each(|number| set.add(number));
        set.thread_block()?;
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// The signals that came, without waiting.
    pub(super) fn read(&self) -> io::Result<Vec<Signal>> {
        let mut came = Vec::new();
        while let Some(news) = self.0.read_signal()? {
            let number = i32::try_from(news.ssi_signo).ok().and_then(|number| Number::try_from(number).ok());
            came.extend(number.and_then(meaning));
        }
        Ok(came)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn meaning(number: Number) -> Option<Signal> {
    match number {
        Number::SIGTERM | Number::SIGINT | Number::SIGQUIT => Some(Signal::Stop),
        Number::SIGHUP => Some(Signal::Reload),
        Number::SIGUSR1 => Some(Signal::Status),
        Number::SIGUSR2 => Some(Signal::Restart),
        Number::SIGCHLD => Some(Signal::Child),
        _ => None,
    }
}
