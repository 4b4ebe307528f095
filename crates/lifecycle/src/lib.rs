//! The deciding machines of Empery, and nothing else: no clock, no I/O, no randomness.
//!
//! [`Fleet`](fleet::Fleet) decides what every vassal of an emperor should be doing; the brain feeds it and
//! performs its actions. [`Generations`](generations::Generations) decides which generation of one app serves;
//! the master of a vassal feeds it and performs its actions, as it does with one [`Harakiri`](harakiri::Harakiri) for
//! each worker that is stuck. [`Crew`](crew::Crew) decides how many workers of it there should be, a [`Daemon`](daemon::Daemon)
//! when a program beside them is started, [`cron`] which minutes something happens in, [`Signals`](signals::Signals) who
//! gets a uWSGI signal. Time comes in as a
//! [`Moment`](moment::Moment).

#![forbid(unsafe_code)]
#![deny(clippy::wildcard_enum_match_arm)]

pub mod alarms;
mod backoff;
#[cfg(test)]
mod chance;
pub mod crew;
pub mod cron;
pub mod daemon;
pub mod fleet;
pub mod generations;
pub mod harakiri;
pub mod ids;
pub mod moment;
pub mod posts;
pub mod signals;
pub mod spread;
