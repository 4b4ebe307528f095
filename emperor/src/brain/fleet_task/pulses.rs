//! Masters that do not answer, a brain that was itself stopped for a while, and the brain's own pulse: what a silence is worth. The signs are
//! read by [`Pulse`](crate::brain::pulse::Pulse); what follows is decided by the fleet machine.

use std::time::Duration;

use empery_control::{
    keeper::Ask,
    link::{Order, Severity},
};
use empery_lifecycle::{fleet::Event, moment::Moment};

use super::FleetTask;
use crate::brain::{
    clock,
    link::Sent,
    pulse::{ANSWERS_WITHIN, Beat},
};

/// A deadline that is noticed so late was slept through: this process was stopped, or got no CPU.
const SLEPT_THROUGH: Duration = Duration::from_secs(1);

/// How often the keeper is told that this task lives, in samples.
const OWN_PULSE_EVERY_SAMPLES: u64 = 10;

/// How long what happened meanwhile may take to be heard, before such a deadline counts.
const CATCH_UP: Duration = Duration::from_secs(1);

impl FleetTask {
    /// A deadline of the machine has passed. What is in the sockets by then is heard first when it was slept through:
    /// an absence of this process must not look like one of everybody else.
    pub(super) fn reach_deadline(&mut self) {
        let now = clock::now();
        let late = self.fleet.deadline().map_or(Duration::ZERO, |deadline| now.since(deadline));
        if late >= SLEPT_THROUGH && now.since(self.catches_up_until) >= SLEPT_THROUGH {
            tracing::warn!(late_ms = late.as_millis(), "the emperor was stopped for a while, and catches up");
            self.catches_up_until = now.after(CATCH_UP);
            return;
        }
        self.decide(Event::DeadlineReached);
    }

    /// The keeper kills a brain that does not say for a minute that it looks after the fleet.
    pub(super) fn tell_own_pulse(&self) {
        if self.samples_taken.is_multiple_of(OWN_PULSE_EVERY_SAMPLES) {
            self.performer.ask_keeper(Ask::Pulse);
        }
    }

    /// A second has passed: masters that look stopped are asked, and those that do not answer are told of.
    pub(super) fn feel_pulses(&mut self, now: Moment) {
        let sample = self.samples_taken;
        let mut hanging = Vec::new();
        let seats = self.posts.values_mut().flat_map(|post| &mut post.seats);
        for (turn, (master, seat)) in (0_u64..).zip(seats) {
            match seat.pulse.feel(now, sample, turn) {
                Beat::Fine => {}
                // A link that has ended belongs to a master that has left.
                Beat::Ask => drop(seat.link.orders().send(Sent { order: Order::Ping, fds: Vec::new(), outcome: None })),
                Beat::Hangs => hanging.push(master.clone()),
            }
        }
        for master in hanging {
            let seconds = ANSWERS_WITHIN.as_secs();
            let text = format!("The master did not answer for {seconds} s. It is killed; its workers serve on.");
            self.told_notice(
                &master.vassal,
                Severity::Incident,
                "master-hangs".to_owned(),
                text,
                None,
                clock::unix_ms(),
            );
            self.decide(Event::MasterHangs { master });
        }
    }
}
