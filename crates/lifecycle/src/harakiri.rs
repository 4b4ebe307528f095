//! What happens to a worker with a request that has run too long: its stacks are collected, the request alone is ended,
//! the others get to finish while a successor takes over, and only then, and only if it is stuck still, is the worker
//! killed. One machine for each such worker, fed and performed by the vassal's master. What it sees comes from the
//! scoreboard, so it is looked at again and again; every step has a deadline.

use std::time::Duration;

use crate::moment::Moment;

/// How long a request that was told to end may take to do so.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

/// How long the last word to the clients may take before the worker is killed anyway.
const TOLD_WITHIN: Duration = Duration::from_millis(250);

/// How often it is looked at, as long as something is awaited.
pub const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What may be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mercy {
    /// From the moment the request is told to end to the kill (`harakiri-graceful-timeout`).
    pub drain: Duration,
}

/// What is seen of the worker at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sight {
    /// A request that is to end is still running.
    pub is_stuck: bool,
    /// Other requests run.
    pub has_others: bool,
    /// Everything that was left for it to hear has been heard.
    pub has_heard: bool,
}

/// Who told the stacks: whether anybody in the worker is left to finish a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Voice {
    /// A thread, in Python.
    Python,
    /// None could.
    Silence,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Have a successor started, which takes over as soon as it has proved.
    Recycle,
    /// Collect the stacks; [`Harakiri::recorded`] is to follow, whatever comes of it.
    Collect,
    /// Tell the requests that are to end to do so.
    EndRequests,
    /// Answer the clients of the requests that are to end, as far as nothing was sent to them.
    TellClients,
    /// Answer the clients of every request.
    TellAll,
    /// SIGKILL.
    Kill,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Harakiri {
    mercy: Mercy,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum State {
    Collecting,
    Ending {
        until: Moment,
        killed_at: Moment,
        voice: Voice,
    },
    Draining {
        until: Moment,
    },
    Telling {
        until: Moment,
    },
    /// The requests have ended: the worker lives until its successor has taken over.
    Ended,
    Killed,
}

impl Harakiri {
    /// A request of a worker is overdue.
    #[must_use]
    pub fn begin(mercy: Mercy) -> (Harakiri, Vec<Step>) {
        (Harakiri { mercy, state: State::Collecting }, vec![Step::Recycle, Step::Collect])
    }

    /// The stacks are written down, or it is written down that there are none.
    pub fn recorded(&mut self, voice: Voice, now: Moment) -> Vec<Step> {
        match self.state {
            State::Collecting => {
                let killed_at = now.after(self.mercy.drain);
                self.state = State::Ending { until: now.after(ENDS_WITHIN).min(killed_at), killed_at, voice };
                vec![Step::EndRequests]
            }
            State::Ending { .. } | State::Draining { .. } | State::Telling { .. } | State::Ended | State::Killed => {
                Vec::new()
            }
        }
    }

    /// Another request of the same worker is overdue.
    pub fn joined(&mut self) -> Vec<Step> {
        match self.state {
            // It is told with the first.
            State::Collecting | State::Telling { .. } | State::Killed => Vec::new(),
            State::Ending { .. } | State::Draining { .. } => vec![Step::EndRequests],
            State::Ended => {
                self.state = State::Collecting;
                vec![Step::Recycle, Step::Collect]
            }
        }
    }

    /// Looks at the worker.
    pub fn look(&mut self, sight: Sight, now: Moment) -> Vec<Step> {
        match self.state {
            State::Ending { .. } | State::Draining { .. } | State::Telling { .. } if !sight.is_stuck => {
                self.state = State::Ended;
                Vec::new()
            }
            State::Ending { until, killed_at, voice } if until <= now => {
                if voice == Voice::Python || sight.has_heard {
                    self.state = State::Draining { until: killed_at };
                    vec![Step::TellClients]
                } else {
                    // No thread of it runs Python: nobody is going to finish.
                    self.tell_all(now)
                }
            }
            State::Draining { until } if !sight.has_others || until <= now => self.tell_all(now),
            State::Telling { until } if sight.has_heard || until <= now => {
                self.state = State::Killed;
                vec![Step::Kill]
            }
            State::Collecting
            | State::Ending { .. }
            | State::Draining { .. }
            | State::Telling { .. }
            | State::Ended
            | State::Killed => Vec::new(),
        }
    }

    fn tell_all(&mut self, now: Moment) -> Vec<Step> {
        self.state = State::Telling { until: now.after(TOLD_WITHIN) };
        vec![Step::TellAll]
    }

    /// Whether it is to be looked at again.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        match self.state {
            State::Ending { .. } | State::Draining { .. } | State::Telling { .. } => true,
            // The collecting has deadlines of its own.
            State::Collecting | State::Ended | State::Killed => false,
        }
    }

    /// Whether the requests have ended and the worker was spared.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.state == State::Ended
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, VecDeque};

    use super::*;

    const MERCY: Mercy = Mercy { drain: Duration::from_secs(3) };

    fn sight(is_stuck: bool, has_others: bool, has_heard: bool) -> Sight {
        Sight { is_stuck, has_others, has_heard }
    }

    fn at(ms: u64) -> Moment {
        Moment(ms * 1_000_000)
    }

    #[test]
    fn a_request_that_ends_when_it_is_told_costs_no_worker_its_life() {
        let (mut harakiri, steps) = Harakiri::begin(MERCY);
        assert_eq!(steps, [Step::Recycle, Step::Collect]);
        assert_eq!(harakiri.recorded(Voice::Python, at(0)), [Step::EndRequests]);
        assert!(harakiri.look(sight(true, true, false), at(10)).is_empty());
        assert!(harakiri.look(sight(false, true, true), at(20)).is_empty());
        assert!(harakiri.has_ended() && !harakiri.is_under_way());
        assert!(harakiri.look(sight(false, true, true), at(90_000)).is_empty());
    }

    #[test]
    fn the_others_finish_before_a_stuck_worker_is_killed() {
        let (mut harakiri, _) = Harakiri::begin(MERCY);
        harakiri.recorded(Voice::Python, at(0));
        assert_eq!(harakiri.look(sight(true, true, false), at(1_000)), [Step::TellClients]);
        assert!(harakiri.look(sight(true, true, true), at(2_900)).is_empty());
        assert_eq!(harakiri.look(sight(true, false, true), at(2_950)), [Step::TellAll]);
        assert_eq!(harakiri.look(sight(true, false, true), at(2_960)), [Step::Kill]);
    }

    #[test]
    fn a_worker_in_which_nobody_runs_python_is_not_waited_for() {
        let (mut harakiri, _) = Harakiri::begin(MERCY);
        harakiri.recorded(Voice::Silence, at(0));
        assert_eq!(harakiri.look(sight(true, true, false), at(1_000)), [Step::TellAll]);
        assert!(harakiri.look(sight(true, true, false), at(1_100)).is_empty());
        assert_eq!(harakiri.look(sight(true, true, false), at(1_250)), [Step::Kill]);
    }

    /// Everything that can be seen, in every order, every 250 ms.
    #[test]
    fn p9_a8_a9_in_every_history_a_worker_is_killed_only_stuck_with_its_clients_told_and_in_time() {
        let (first, _) = Harakiri::begin(MERCY);
        let mut seen = BTreeSet::new();
        let mut open = VecDeque::from([(first, 0_u64, false)]);
        while let Some(history) = open.pop_front() {
            if !seen.insert(history.clone()) {
                continue;
            }
            let (machine, ms, told) = history;
            let mut follow = |mut next: Harakiri, steps: Vec<Step>, is_stuck: bool| {
                let now_told = told || steps.contains(&Step::TellAll);
                if steps.contains(&Step::Kill) {
                    assert!(is_stuck && told, "killed at {ms} ms, stuck: {is_stuck}, told: {told}");
                }
                if next.has_ended() {
                    assert!(next.look(sight(true, false, true), at(u64::from(u32::MAX))).is_empty());
                    return;
                }
                if next.state == State::Killed {
                    return;
                }
                assert!(ms <= 4_000, "still {next:?} after {ms} ms");
                open.push_back((next, ms + 250, now_told));
            };
            if machine.state == State::Collecting {
                for voice in [Voice::Python, Voice::Silence] {
                    let mut next = machine.clone();
                    let steps = next.recorded(voice, at(ms));
                    follow(next, steps, true);
                }
                continue;
            }
            for bits in 0..8 {
                let sight = sight(bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
                let mut next = machine.clone();
                let steps = next.look(sight, at(ms));
                follow(next, steps, sight.is_stuck);
            }
            let mut next = machine.clone();
            let steps = next.joined();
            assert!(steps.iter().all(|step| *step == Step::EndRequests));
            assert_eq!(next.state, machine.state);
        }
        assert!(seen.len() > 20, "{}", seen.len());
    }
}
