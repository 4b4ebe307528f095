//! `threads`, `gevent` and their relatives while they come in: how many requests one process runs at once, and what runs them.

use crate::{
    problem::{Origin, Problem},
    vassal::{Engine, MonkeyPatch},
};

use super::values::Value;

const THREADS_MAX: u32 = 1024;

/// Most greenlets of one process: each has a place on the scoreboard.
const GREENLETS_MAX: u32 = 10_000;

/// What has been said so far.
#[derive(Default)]
pub(super) struct EngineDraft {
    threads: Option<(u32, Origin)>,
    /// `gevent`.
    greenlets: Option<u32>,
    /// `async`, which says how many but not of what.
    cores: Option<(u32, Origin)>,
    /// `loop`.
    loop_engine: Option<(String, Origin)>,
    patches_early: bool,
    patches: bool,
}

impl EngineDraft {
    /// Applies one directive if it is one of these.
    pub(super) fn take(&mut self, value: &mut Value<'_>) -> bool {
        let at = value.directive.value_at.clone();
        match value.directive.key.as_str() {
            // Without threads there is still the one of the process.
            "threads" if value.text() == "0" => self.threads = None,
            "threads" => self.threads = value.count(THREADS_MAX).map(|threads| (threads, at)),
            "gevent" => self.greenlets = value.count(GREENLETS_MAX),
            "async" => self.cores = value.count(GREENLETS_MAX).map(|cores| (cores, at)),
            "loop" => self.loop_engine = value.required().map(|name| (name, at)),
            "gevent-early-monkey-patch" => self.patches_early = value.boolean(),
            "gevent-monkey-patch" => self.patches = value.boolean(),
            _ => return false,
        }
        true
    }

    /// How many at once, and by what.
    pub(super) fn finish(self, problems: &mut Vec<Problem>) -> (u32, Engine) {
        let mut refuse = |at: &Origin, message: String, hint: &str| {
            problems.push(Problem::error("no-such-engine", at.clone(), message).hint(hint));
        };
        let by_loop = match &self.loop_engine {
            None => None,
            Some((name, _)) if name == "gevent" => Some(self.cores.as_ref().map_or(1, |(cores, _)| *cores)),
            Some((name, at)) => {
                let message =
                    format!("the loop engine `{name}` is not there; requests are run by threads or by gevent");
                refuse(at, message, "say `gevent = 100`, or remove it and raise `threads`");
                None
            }
        };
        let greenlets = self.greenlets.or(by_loop);
        match (&self.cores, greenlets) {
            (Some((cores, at)), None) if *cores > 1 => {
                let message = format!("`async = {cores}` names no engine; requests are run by threads or by gevent");
                refuse(at, message, "say `gevent = 100`, or remove it and raise `threads`");
            }
            (Some(_) | None, _) => {}
        }
        match (greenlets, self.threads) {
            (Some(greenlets), Some((threads, at))) if threads > 1 => {
                let message = format!("`threads = {threads}` beside gevent: its greenlets run in one thread");
                refuse(&at, message, "remove one of the two; more processes take more cores");
                (greenlets, Engine::Threads)
            }
            (Some(greenlets), _) => {
                let patch = match (self.patches_early, self.patches) {
                    (true, _) => MonkeyPatch::BeforeApp,
                    (false, true) => MonkeyPatch::InWorker,
                    (false, false) => MonkeyPatch::Never,
                };
                (greenlets, Engine::Gevent { patch })
            }
            (None, threads) => (threads.map_or(1, |(threads, _)| threads), Engine::Threads),
        }
    }
}
