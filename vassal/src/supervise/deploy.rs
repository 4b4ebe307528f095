//! How a revision gets to the machine: read, its sockets made sure of, offered. One that cannot be run is offered too,
//! with the sentence that says why: its boot fails the way every boot fails, and what serves serves on.

use std::{sync::Arc, time::Duration};

use empery_config::vassal::VassalConfig;
use empery_failpoint::point;
use empery_lifecycle::{
    generations::{Event, Plan},
    ids::{OperationId, RevisionId},
};

use super::{Supervisor, gateways::Waiting};
use crate::{log, revision::Offer};

impl Supervisor {
    /// Brings a revision into service.
    pub(crate) fn deploy(&mut self, operation: OperationId, id: RevisionId, offer: Offer) {
        let offer = offer.and_then(|revision| {
            point!("master.deploy").map_err(|error| error.to_string())?;
            self.listeners.provide(&revision.config.listeners)?;
            Ok(revision)
        });
        self.queue_deploy(Waiting { operation, id, offer });
    }

    /// Its gateway is ready, if it wants one.
    pub(super) fn begin_deploy(&mut self, waiting: Waiting) {
        let Waiting { operation, id, offer } = waiting;
        // The shape of a boot that fails at once does not matter to anybody.
        let none = Plan { workers: 1, first: 1, least: 1, mercy: Duration::ZERO, boot_deadline: Duration::ZERO };
        let plan = offer.as_ref().map_or(none, |revision| plan(&revision.config));
        self.deploys += 1;
        if let (Ok(revision), None) = (&offer, self.machine.serving()) {
            // That the app cannot be loaded may be what somebody wants to be told.
            self.alarms_follow(&revision.config);
        }
        self.revisions.offer(id, offer);
        self.tell(Event::Deploy { operation, revision: id, plan });
    }

    /// Reads the configuration again and deploys it: SIGHUP, a touched file, `uwsgi.reload()`.
    pub(super) fn reload(&mut self, why: &str) {
        if self.stop_asked {
            return;
        }
        log::say(&format!("...reloading: {why}"));
        self.announce_reload();
        log::reopen();
        let (operation, id, offer) = self.station.read_again();
        self.deploy(operation, id, offer.map(Arc::new));
    }

    /// `die-on-term = false`, said explicitly, keeps uWSGI's old meaning of SIGTERM.
    pub(super) fn term_reloads(&self) -> bool {
        let serving = self.machine.serving().and_then(|(generation, _)| self.generations.get(&generation));
        serving.is_some_and(|generation| generation.revision.config.die_on_term == Some(false))
    }
}

/// What a generation of this configuration consists of.
fn plan(config: &VassalConfig) -> Plan {
    let (workers, crew) = (config.processes, &config.crew);
    let may_rest = crew.cheap || (crew.idle_s > 0 && !crew.die_on_idle);
    let (first, least) = crew.cheaper.as_ref().map_or((workers, workers), |cheaper| {
        // The hard limit of their memory goes below `cheaper`, as in uWSGI.
        let least = if cheaper.rss_soft_bytes > 0 && cheaper.rss_hard_bytes > 0 { 1 } else { cheaper.least };
        (cheaper.first, least)
    });
    Plan {
        workers,
        first: if crew.cheap { 0 } else { first },
        least: if may_rest { 0 } else { least },
        mercy: config.mercy,
        boot_deadline: config.boot_deadline + config.waits.iter().map(|wait| wait.within).sum::<Duration>(),
    }
}
