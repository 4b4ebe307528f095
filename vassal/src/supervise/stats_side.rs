//! The stats socket follows the revision that serves.

use empery_config::vassal::VassalConfig;
use empery_control::link::Severity;

use super::Supervisor;
use crate::stats::{collect::View, serve};

impl Supervisor {
    /// Serves the statistics where this configuration wants them.
    pub(super) fn serve_stats(&mut self, config: &VassalConfig) {
        if self.stats.as_ref().is_some_and(|server| server.follow(config)) {
            return;
        }
        self.stats = None;
        let bound = serve::bind(config, None).and_then(|socket| {
            socket.map(|socket| socket.serve(self.inbox.clone()).map_err(|error| error.to_string())).transpose()
        });
        match bound {
            Ok(server) => self.stats = server,
            Err(sentence) => {
                self.notice(Severity::Warning, "stats-not-bound", format!("no statistics are served: {sentence}"), None)
            }
        }
    }

    /// What the statistics are made of now.
    pub(super) fn stats_view(&self) -> View<'_> {
        let serving = self.machine.serving().map(|(generation, _)| generation);
        let shown = serving.or_else(|| self.machine.booting().map(|(generation, ..)| generation));
        View {
            generation: shown.and_then(|id| self.generations.get(&id)),
            listeners: &self.listeners,
            regions: &self.regions,
            beside: &self.beside,
            posts: &self.posts,
        }
    }
}
