//! Whether a master still answers. A healthy idle master is not woken to find that out: its state is read from proc(5)
//! every now and then, and it is asked over the link when it looks stopped, was given an order, or has been silent for
//! long. Any word of it is an answer. What follows from silence is the fleet machine's.

use std::{fs::File, os::unix::fs::FileExt, time::Duration};

use empery_lifecycle::moment::Moment;

/// How long a master that was asked may be silent before it is taken to hang: long enough for a machine that has far too
/// much to do.
pub(crate) const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// How often the state of each master is read, in samples (seconds): reading costs the brain 5 µs.
const LOOK_EVERY_SAMPLES: u64 = 15;

/// A master that has said nothing for so long is asked: an exchange costs both sides 60 µs together, and that of every
/// vassal.
const ASK_AFTER: Duration = Duration::from_secs(300);

/// When this process has not sampled for so long, it was itself stopped: it must not take its own absence for a master's.
const SLEPT: Duration = Duration::from_secs(3);

/// What a look at a master comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Nothing is to be done.
    Fine,
    /// It is to be asked over the link.
    Ask,
    /// It has not answered in time.
    Hangs,
}

/// The pulse of one master.
#[derive(Debug)]
pub(crate) struct Pulse {
    heard_at: Moment,
    /// Since when an answer is waited for.
    asked_at: Option<Moment>,
    looked_at: Moment,
    was_ordered: bool,
    can_be_asked: bool,
    /// `/proc/PID/stat`, kept open: of this very process, whoever gets its pid later. None where it cannot be read.
    stat: Option<File>,
}

impl Pulse {
    /// Of a process that was just started or found.
    pub(crate) fn new(pid: i32, now: Moment) -> Pulse {
        let stat = File::open(format!("/proc/{pid}/stat")).ok();
        Pulse { heard_at: now, asked_at: None, looked_at: now, was_ordered: false, can_be_asked: false, stat }
    }

    /// It said something.
    pub(crate) fn heard(&mut self, now: Moment) {
        self.heard_at = now;
        self.asked_at = None;
        self.was_ordered = false;
    }

    /// Whether it knows what a ping is: one of an earlier version does not.
    pub(crate) fn answers_pings(&mut self, answers: bool) {
        self.can_be_asked = answers;
    }

    /// It was given an order, which a master that is well answers with something.
    pub(crate) fn ordered(&mut self) {
        self.was_ordered = true;
    }

    /// A second has passed, the `sample`th; `turn` spreads the looks of many masters over the seconds.
    pub(crate) fn feel(&mut self, now: Moment, sample: u64, turn: u64) -> Beat {
        let slept = now.since(self.looked_at) >= SLEPT;
        self.looked_at = now;
        if slept {
            self.asked_at = self.asked_at.map(|_| now);
        }
        match self.asked_at {
            Some(at) if now.since(at) < ANSWERS_WITHIN => Beat::Fine,
            Some(_) if !self.can_be_asked && !self.is_stopped() => {
                self.asked_at = None;
                Beat::Fine
            }
            Some(_) => {
                // Should nothing come of it, it is told again.
                self.asked_at = Some(now);
                Beat::Hangs
            }
            None => {
                let is_silent = self.was_ordered || now.since(self.heard_at) >= ASK_AFTER;
                let looks_stopped = (sample + turn).is_multiple_of(LOOK_EVERY_SAMPLES) && self.is_stopped();
                if !(looks_stopped || is_silent && self.can_be_asked) {
                    return Beat::Fine;
                }
                self.asked_at = Some(now);
                if self.can_be_asked { Beat::Ask } else { Beat::Fine }
            }
        }
    }

    /// Whether the process is stopped by a signal or a debugger (proc_pid_stat(5), field 3).
    fn is_stopped(&self) -> bool {
        let mut text = [0; 64];
        let Some(length) = self.stat.as_ref().and_then(|stat| stat.read_at(&mut text, 0).ok()) else { return false };
        let text = &text[..length];
        // The name before it is in brackets, and may have some in it.
        let state = text.iter().rposition(|byte| *byte == b')').and_then(|end| text.get(end + 2));
        matches!(state, Some(b'T' | b't'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Moment {
        Moment::START.after(Duration::from_secs(second))
    }

    /// What each of these seconds came to, but for the quiet ones.
    fn seconds(pulse: &mut Pulse, seconds: std::ops::Range<u64>) -> Vec<(u64, Beat)> {
        seconds
            .map(|second| (second, pulse.feel(at(second), second, 0)))
            .filter(|(_, beat)| *beat != Beat::Fine)
            .collect()
    }

    fn mine() -> Pulse {
        let mut pulse = Pulse::new(i32::try_from(std::process::id()).unwrap(), at(0));
        pulse.answers_pings(true);
        pulse
    }

    #[test]
    fn a_master_of_an_earlier_version_is_never_taken_to_hang_for_being_silent() {
        let mut pulse = mine();
        pulse.answers_pings(false);
        pulse.ordered();
        assert_eq!(seconds(&mut pulse, 1..700), []);
    }

    #[test]
    fn a_silent_master_is_asked_now_and_then_and_hangs_when_it_does_not_answer() {
        let mut pulse = mine();
        assert_eq!(seconds(&mut pulse, 1..311), [(300, Beat::Ask), (310, Beat::Hangs)]);
        pulse.heard(at(311));
        assert_eq!(seconds(&mut pulse, 311..600), []);
    }

    #[test]
    fn a_master_that_was_given_an_order_is_asked_at_once() {
        let mut pulse = mine();
        assert_eq!(seconds(&mut pulse, 1..3), []);
        pulse.ordered();
        assert_eq!(seconds(&mut pulse, 3..5), [(3, Beat::Ask)]);
        pulse.heard(at(5));
        pulse.ordered();
        pulse.heard(at(5));
        assert_eq!(seconds(&mut pulse, 5..20), [], "it has answered already");
    }

    #[test]
    fn a_brain_that_slept_gives_masters_their_time_again() {
        let mut pulse = mine();
        pulse.ordered();
        assert_eq!(seconds(&mut pulse, 1..3), [(1, Beat::Ask)]);
        assert_eq!(pulse.feel(at(63), 63, 0), Beat::Fine);
        assert_eq!(seconds(&mut pulse, 64..74), [(73, Beat::Hangs)]);
    }

    #[test]
    fn a_stopped_process_is_seen_from_outside() {
        use nix::{
            sys::{
                signal::{Signal, kill},
                wait::{WaitPidFlag, waitpid},
            },
            unistd::Pid,
        };
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let mut pulse = Pulse::new(pid, at(0));
        kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
        waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert_eq!(seconds(&mut pulse, 1..26), [(25, Beat::Hangs)], "of an earlier version, or never introduced");
        pulse.answers_pings(true);
        pulse.heard(at(26));
        assert_eq!(seconds(&mut pulse, 26..41), [(30, Beat::Ask), (40, Beat::Hangs)]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!pulse.is_stopped());
    }
}
