//! The brain's place: starts it, speaks with it, and starts it again when it dies, each time a little later.

use std::{
    ffi::OsString,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::PathBuf,
    time::Duration,
};

use empery_control::keeper::FromKeeper;
use empery_failpoint::point;
use empery_lifecycle::fleet::Identity;
use empery_sys::{
    channel::set_nonblocking,
    process::{self, How, monotonic_ns},
    seqpacket::{self, Received},
    spawn::{Child, DropTo, Spawn, spawn},
};
use nix::poll::{PollFd, PollFlags};

use super::{environment, outbox::Outbox};

/// The wait before the second start in a row; doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// The longest wait between two starts.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A brain that lived so long is started again at once.
const LIVED_WELL: Duration = Duration::from_secs(60);

/// A brain that has hung up must end within this, or is killed.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// A brain that looks after the fleet says so every ten seconds ([`empery_control::keeper::Ask::Pulse`]); one that has not
/// for so long hangs, and does so for good.
const SILENT_MAX: Duration = Duration::from_secs(60);

/// Whoever comes so late to that conclusion has been stopped itself, as the brain may have been.
const OVERSLEPT: Duration = Duration::from_secs(5);

/// What came from the brain.
pub(super) enum Heard {
    /// A message.
    Message(Received),
    /// It closed its end, or sent what cannot be received.
    HungUp,
}

/// See the module.
pub(super) struct BrainSeat {
    program: PathBuf,
    args: Vec<OsString>,
    identity: Option<DropTo>,
    state: State,
    /// The next wait after a failure.
    next_wait: Duration,
    /// Whether any brain of this keeper has said something.
    spoken: bool,
    /// Whether any has said that it looks after the fleet.
    pulsed: bool,
}

enum State {
    /// None yet, or it died: the next is started at this moment of CLOCK_MONOTONIC.
    Empty { start_at_ns: u64 },
    /// It runs.
    Up(Running),
    /// It runs, but the channel has ended.
    Ending { child: Child, kill_at_ns: u64 },
}

struct Running {
    child: Child,
    channel: OwnedFd,
    outbox: Outbox,
    since_ns: u64,
    /// When it said so last; None before the first time, for what comes before may take its time.
    pulse_at_ns: Option<u64>,
}

impl BrainSeat {
    pub(super) fn new(program: PathBuf, args: &[OsString], identity: Option<DropTo>) -> Self {
        let args = std::iter::once("emperor".into()).chain(args.iter().cloned()).collect();
        let state = State::Empty { start_at_ns: 0 };
        Self { program, args, identity, state, next_wait: Duration::ZERO, spoken: false, pulsed: false }
    }

    /// Who it is or will be.
    pub(super) fn ids(&self) -> Identity {
        match &self.identity {
            Some(to) => Identity { uid: to.uid, gid: to.gid },
            None => Identity { uid: nix::unistd::geteuid().as_raw(), gid: nix::unistd::getegid().as_raw() },
        }
    }

    /// Whether there is one to speak with.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// Whether no brain of this keeper has said anything yet.
    pub(super) fn never_spoke(&self) -> bool {
        !self.spoken
    }

    /// It said something.
    pub(super) fn spoke(&mut self) {
        self.spoken = true;
    }

    /// What to wait for.
    pub(super) fn interest(&self) -> Option<PollFd<'_>> {
        let State::Up(running) = &self.state else { return None };
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::POLLIN, !running.outbox.is_full());
        flags.set(PollFlags::POLLOUT, running.outbox.is_waiting());
        Some(PollFd::new(running.channel.as_fd(), flags))
    }

    /// When [`Self::seat_when_due`] has something to do.
    pub(super) fn deadline_ns(&self) -> Option<u64> {
        match &self.state {
            State::Empty { start_at_ns } => Some(*start_at_ns),
            State::Up(running) => running.pulse_at_ns.map(|at_ns| at_ns.saturating_add(nanoseconds(SILENT_MAX))),
            State::Ending { kill_at_ns, .. } => Some(*kill_at_ns),
        }
    }

    /// It looks after the fleet; whether it is the first of this keeper to say so.
    pub(super) fn pulses_first(&mut self) -> bool {
        if let State::Up(running) = &mut self.state {
            running.pulse_at_ns = Some(monotonic_ns());
        }
        !std::mem::replace(&mut self.pulsed, true)
    }

    /// Starts it, or kills one that hangs or does not end, when it is time.
    pub(super) fn seat_when_due(&mut self, note: Option<&str>) {
        let now_ns = monotonic_ns();
        match &mut self.state {
            State::Empty { start_at_ns } if *start_at_ns <= now_ns => match self.start(note) {
                Ok(running) => {
                    tracing::debug!(pid = running.child.pid, "the brain was started");
                    self.state = State::Up(running);
                }
                Err(error) => {
                    tracing::error!("the brain could not be started: {error}");
                    self.fail(now_ns);
                }
            },
            State::Up(Running { child, pulse_at_ns, .. }) => {
                let due_ns = pulse_at_ns.map_or(u64::MAX, |at_ns| at_ns.saturating_add(nanoseconds(SILENT_MAX)));
                if now_ns >= due_ns.saturating_add(nanoseconds(OVERSLEPT)) {
                    *pulse_at_ns = Some(now_ns);
                } else if now_ns >= due_ns {
                    tracing::error!(
                        pid = child.pid,
                        "the brain hangs: it has said nothing for {} s, and is killed",
                        SILENT_MAX.as_secs()
                    );
                    let _ = process::pidfd_kill(&child.pidfd, libc::SIGKILL);
                    *pulse_at_ns = None;
                }
            }
            State::Ending { child, kill_at_ns } if *kill_at_ns <= now_ns => {
                // It may have ended at this very moment; it is reaped either way.
                let _ = process::pidfd_kill(&child.pidfd, libc::SIGKILL);
                *kill_at_ns = u64::MAX;
            }
            State::Empty { .. } | State::Ending { .. } => {}
        }
    }

    fn start(&self, note: Option<&str>) -> io::Result<Running> {
        point!("keeper.brain")?;
        let (channel, theirs) = seqpacket::pair()?;
        set_nonblocking(channel.as_fd())?;
        let child = spawn(Spawn {
            program: self.program.clone(),
            args: self.args.iter().cloned().chain(note.map(|note| format!("--upgrade={note}").into())).collect(),
            env: environment::of_brain(std::env::vars_os(), theirs.as_raw_fd()),
            directory: None,
            stdio: [None, None, None],
            inherit: vec![theirs.as_raw_fd()],
            identity: self.identity.clone(),
            // Ctrl-C in a terminal is for the keeper, which tells the brain.
            new_session: true,
        })?;
        Ok(Running { child, channel, outbox: Outbox::default(), since_ns: monotonic_ns(), pulse_at_ns: None })
    }

    /// Says a word, now or as soon as there is room. Nobody hears it while there is no brain: the next one asks.
    pub(super) fn say(&mut self, word: FromKeeper, fds: Vec<OwnedFd>) {
        if let State::Up(running) = &mut self.state {
            running.outbox.put(word, fds);
            self.flush();
        }
    }

    /// Sends what waits.
    pub(super) fn flush(&mut self) {
        let State::Up(running) = &mut self.state else { return };
        if let Err(error) = running.outbox.flush(running.channel.as_fd()) {
            tracing::debug!("the channel to the brain ended: {error}");
            self.hang_up();
        }
    }

    /// The next message, if one is there and there is room for its answer.
    pub(super) fn hear(&mut self) -> Option<Heard> {
        let State::Up(running) = &mut self.state else { return None };
        if running.outbox.is_full() {
            return None;
        }
        match seqpacket::receive(running.channel.as_fd()) {
            Ok(Some(message)) => return Some(Heard::Message(message)),
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            // What was asked is lost, and whoever asked waits for ever: a new brain starts over.
            Err(error) => tracing::error!("the brain said something that cannot be received: {error}"),
        }
        self.hang_up();
        Some(Heard::HungUp)
    }

    fn hang_up(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Empty { start_at_ns: 0 });
        self.state = match state {
            State::Up(Running { child, since_ns, .. }) => {
                self.count_life(since_ns);
                State::Ending { child, kill_at_ns: monotonic_ns().saturating_add(nanoseconds(ENDS_WITHIN)) }
            }
            other => other,
        };
    }

    fn count_life(&mut self, since_ns: u64) {
        if monotonic_ns().saturating_sub(since_ns) >= nanoseconds(LIVED_WELL) {
            self.next_wait = Duration::ZERO;
        }
    }

    /// Takes note of a child that has ended; whether it was the brain.
    pub(super) fn ended(&mut self, pid: i32, how: How) -> bool {
        let (child, since_ns) = match &self.state {
            State::Up(running) => (&running.child, Some(running.since_ns)),
            State::Ending { child, .. } => (child, None),
            State::Empty { .. } => return false,
        };
        if child.pid != pid {
            return false;
        }
        if let Some(since_ns) = since_ns {
            self.count_life(since_ns);
        }
        self.fail(monotonic_ns());
        tracing::warn!("the brain ended: {how}");
        true
    }

    fn fail(&mut self, now_ns: u64) {
        self.state = State::Empty { start_at_ns: now_ns.saturating_add(nanoseconds(self.next_wait)) };
        self.next_wait = (self.next_wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
    }

    /// Hangs up and waits until it has ended; kills it when that takes longer. Afterwards the next may be started at once.
    pub(super) fn dismiss(&mut self, within: Duration) {
        self.flush();
        let child = match std::mem::replace(&mut self.state, State::Empty { start_at_ns: 0 }) {
            // The channel closes here: that is how it learns.
            State::Up(running) => running.child,
            State::Ending { child, .. } => child,
            State::Empty { .. } => return,
        };
        let left = process::pidfd_wait(child.pidfd.as_fd(), within).unwrap_or(false);
        if !left {
            tracing::warn!(pid = child.pid, "the brain did not leave within {} s and is killed", within.as_secs());
            let _ = process::pidfd_kill(&child.pidfd, libc::SIGKILL);
        }
        // It has ended or is being killed: this ends soon. A failure means that somebody has reaped it already.
        let _ = process::wait_for(&child.pidfd);
    }
}

fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::tests::Room;

    /// A seat whose brain is a shell with this script.
    fn seat(script: &str) -> BrainSeat {
        BrainSeat::new("/bin/sh".into(), &["-c".into(), script.into()], None)
    }

    fn ending(seat: &mut BrainSeat) -> How {
        let (State::Up(Running { child, .. }) | State::Ending { child, .. }) = &seat.state else { panic!("no brain") };
        let (pid, how) = (child.pid, process::wait_for(&child.pidfd).unwrap());
        assert!(seat.ended(pid, how));
        how
    }

    #[test]
    fn a_brain_that_dies_is_started_at_once_and_then_later_and_later() {
        let mut seat = seat("exit 3");
        let mut waits = Vec::new();
        for _ in 0..4 {
            seat.state = State::Empty { start_at_ns: 0 };
            seat.seat_when_due(None);
            assert_eq!(ending(&mut seat), How::Code(3));
            let wait_ns = seat.deadline_ns().unwrap().saturating_sub(monotonic_ns());
            waits.push(Duration::from_nanos(wait_ns).as_secs_f64().mul_add(2.0, 0.4).round());
        }
        assert_eq!(waits, [0.0, 1.0, 2.0, 4.0], "in half seconds");
        seat.seat_when_due(None);
        assert!(!seat.is_up(), "it is not time yet");
    }

    #[test]
    fn a_brain_that_does_not_end_after_its_channel_is_killed_at_its_deadline() {
        let mut seat = seat("exec sleep 600");
        seat.seat_when_due(None);
        assert!(seat.is_up());
        seat.hang_up();
        let State::Ending { kill_at_ns, .. } = &mut seat.state else { panic!("it does not end") };
        *kill_at_ns = 0;
        seat.seat_when_due(None);
        assert_eq!(ending(&mut seat), How::Signal(libc::SIGKILL));
    }

    #[test]
    fn a_brain_without_a_pulse_is_killed_unless_the_keeper_was_stopped_too() {
        let mut seat = seat("exec sleep 600");
        seat.seat_when_due(None);
        assert_eq!(seat.deadline_ns(), None, "it may take its time to begin");
        assert!(seat.pulses_first() && !seat.pulses_first(), "systemd is told once");
        seat.seat_when_due(None);
        let last_felt = |seat: &mut BrainSeat, span: Duration| {
            let State::Up(running) = &mut seat.state else { panic!("no brain") };
            running.pulse_at_ns = Some(monotonic_ns().saturating_sub(nanoseconds(span)));
        };
        last_felt(&mut seat, SILENT_MAX + OVERSLEPT);
        seat.seat_when_due(None);
        assert!(seat.deadline_ns().unwrap() > monotonic_ns(), "it is given its time again");
        last_felt(&mut seat, SILENT_MAX);
        seat.seat_when_due(None);
        assert_eq!(ending(&mut seat), How::Signal(libc::SIGKILL));
    }

    #[test]
    fn a_dismissed_brain_learns_it_from_its_channel_and_is_waited_for() {
        let room = Room::new("dismissed-brain");
        let left = room.path().join("left");
        let python = "import os, socket, sys\n\
                      line = socket.socket(fileno=int(os.environ['EMPERY_KEEPER_FD']))\n\
                      assert b'reload_all' in line.recv(1000) and line.recv(1000) == b''\n\
                      open(sys.argv[1], 'w')";
        let mut seat = seat(&format!("exec python3 -c \"{python}\" {}", left.display()));
        seat.seat_when_due(None);
        seat.say(FromKeeper::ReloadAll, Vec::new());
        seat.dismiss(Duration::from_secs(10));
        assert!(!seat.is_up());
        assert!(left.exists());
    }
}
