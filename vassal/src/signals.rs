//! Signals to the master, as inputs of the supervisor.

use nix::sys::signal::SigmaskHow;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    succession::hold_signals,
    supervise::input::{Inbox, Input},
};

/// A signal that means something to a master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGHUP: reload.
    Hangup,
    /// SIGINT or SIGQUIT: stop.
    Interrupt,
    /// SIGTERM: stop, unless the file asks for uWSGI's old meaning.
    Terminate,
    /// SIGUSR1: say how things are.
    Status,
    /// SIGUSR2: open the log again under its name.
    Reopen,
    /// SIGTSTP: accept nothing, or accept again (uWSGI's `pause`, `suspend` and `resume` all send it).
    Suspend,
}

/// Takes the signals over, and lets them come.
///
/// # Errors
/// When the runtime cannot register them.
pub(crate) fn start(inbox: &Inbox) -> std::io::Result<()> {
    let children = || Input::ChildrenEnded;
    forward(SignalKind::child(), inbox.clone(), children)?;
    for (kind, meaning) in [
        (SignalKind::hangup(), Signal::Hangup),
        (SignalKind::interrupt(), Signal::Interrupt),
        (SignalKind::quit(), Signal::Interrupt),
        (SignalKind::terminate(), Signal::Terminate),
        (SignalKind::user_defined1(), Signal::Status),
        (SignalKind::user_defined2(), Signal::Reopen),
        (SignalKind::from_raw(nix::sys::signal::Signal::SIGTSTP as i32), Signal::Suspend),
    ] {
        forward(kind, inbox.clone(), move || Input::Signal(meaning))?;
    }
    // Blocked by an earlier image of this master until now, or by whoever started this process: a mask survives exec.
    hold_signals(SigmaskHow::SIG_UNBLOCK)?;
    Ok(())
}

fn forward(kind: SignalKind, inbox: Inbox, input: impl Fn() -> Input + Send + 'static) -> std::io::Result<()> {
    let mut stream = signal(kind)?;
    tokio::spawn(async move {
        while stream.recv().await.is_some() {
            inbox.put(input());
        }
    });
    Ok(())
}
