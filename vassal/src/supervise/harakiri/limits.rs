//! What `harakiri` and its relatives say of a generation, in a form that one image of a master can leave to the next.

use std::time::Duration;

use empery_config::vassal::VassalConfig;
use empery_lifecycle::harakiri::Mercy;
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// `harakiri`, in s; 0 is off.
    limit_s: u32,
    /// `harakiri-graceful-timeout` and `harakiri-graceful-signal`.
    graceful: Option<(Duration, i32)>,
    /// `harakiri-queue-threshold`; 0 is always.
    pub(super) queue_threshold: u64,
    /// `harakiri-verbose`.
    pub(super) is_verbose: bool,
    /// `worker-reload-mercy`.
    mercy: Duration,
}

impl Limits {
    /// Those of a configuration.
    pub(crate) fn of(config: &VassalConfig) -> Self {
        let request = &config.request;
        Self {
            limit_s: request.harakiri_s,
            graceful: request.harakiri_graceful_timeout.map(|timeout| (timeout, request.harakiri_graceful_signal)),
            queue_threshold: request.harakiri_queue_threshold,
            is_verbose: request.harakiri_verbose,
            mercy: config.mercy,
        }
    }

    /// What any request may take.
    pub(super) fn limit(&self) -> Option<Duration> {
        (self.limit_s > 0).then(|| Duration::from_secs(self.limit_s.into()))
    }

    /// For an app that has a handler for it: without one it would only be a kill.
    pub(super) fn graceful_signal(&self) -> Option<i32> {
        self.graceful.map(|(_, signal)| signal)
    }

    /// Without `harakiri-graceful-timeout` the others get as much time as any request may take, but not more than in a drain.
    pub(super) fn mercy(&self, limit_s: u64) -> Mercy {
        let as_any = || Duration::from_secs(limit_s.max(1)).min(self.mercy);
        Mercy { drain: self.graceful.map_or_else(as_any, |(timeout, _)| timeout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_others_get_as_long_as_a_request_and_no_longer_than_a_drain_unless_it_is_said() {
        let limits = Limits { mercy: Duration::from_secs(60), ..Limits::default() };
        assert_eq!(limits.mercy(7).drain, Duration::from_secs(7));
        assert_eq!(limits.mercy(700).drain, Duration::from_secs(60));
        let said = Limits { graceful: Some((Duration::from_secs(3), 15)), ..limits };
        assert_eq!((said.mercy(7).drain, said.graceful_signal()), (Duration::from_secs(3), Some(15)));
    }
}
