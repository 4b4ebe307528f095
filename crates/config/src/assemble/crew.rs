//! `max-requests`, `reload-on-…`, `cheaper`, `idle` and their relatives while they come in.

use crate::{
    crew::{Algorithm, Busyness, Cheaper, Crew, Recycle},
    problem::{Origin, Problem},
};

use super::values::Value;

/// Bytes of a megabyte as uWSGI has it.
const MEGABYTE: u64 = 1024 * 1024;

/// What has been said so far.
pub(super) struct CrewDraft {
    recycle: Recycle,
    crew: Crew,
    cheaper: Cheaper,
    /// Where `cheaper` is said, if it is.
    cheaper_at: Option<Origin>,
    first: Option<(u32, Origin)>,
    lifetime_at: Option<Origin>,
}

impl Default for CrewDraft {
    fn default() -> CrewDraft {
        CrewDraft {
            recycle: Recycle { min_worker_lifetime_s: 10, look_every_s: 3, ..Recycle::default() },
            crew: Crew::default(),
            cheaper: Cheaper {
                least: 0,
                first: 0,
                step: 1,
                overload: 3,
                algorithm: Algorithm::Spare,
                idle_s: 10,
                rss_soft_bytes: 0,
                rss_hard_bytes: 0,
                busyness: Busyness::default(),
            },
            cheaper_at: None,
            first: None,
            lifetime_at: None,
        }
    }
}

impl CrewDraft {
    /// Applies one directive if it is one of these.
    pub(super) fn take(&mut self, value: &mut Value<'_>) -> bool {
        self.take_recycle(value) || self.take_crew(value) || self.take_busyness(value)
    }

    fn take_recycle(&mut self, value: &mut Value<'_>) -> bool {
        let recycle = &mut self.recycle;
        match value.directive.key.as_str() {
            "max-requests" => recycle.max_requests = value.number().unwrap_or(0),
            "max-requests-delta" => recycle.max_requests_delta = value.number().unwrap_or(0),
            "min-worker-lifetime" => recycle.min_worker_lifetime_s = value.number().unwrap_or(0),
            "max-worker-lifetime" => {
                recycle.max_worker_lifetime_s = value.number().unwrap_or(0);
                self.lifetime_at = Some(value.directive.value_at.clone());
            }
            "max-worker-lifetime-delta" => recycle.max_worker_lifetime_delta_s = value.number().unwrap_or(0),
            "reload-on-rss" => recycle.rss_max_bytes = megabytes(value),
            "reload-on-as" => recycle.as_max_bytes = megabytes(value),
            "reload-on-pss" => recycle.pss_max_bytes = megabytes(value),
            "reload-on-uss" => recycle.uss_max_bytes = megabytes(value),
            "evil-reload-on-rss" => recycle.evil_rss_max_bytes = megabytes(value),
            "evil-reload-on-as" => recycle.evil_as_max_bytes = megabytes(value),
            // Never would be a limit that nobody watches.
            "mem-collector-freq" => recycle.look_every_s = value.number().unwrap_or(0).max(1),
            "reload-on-exception" => recycle.exceptions.any = value.boolean(),
            "reload-on-exception-type" => recycle.exceptions.types.extend(value.required()),
            "reload-on-exception-value" => recycle.exceptions.values.extend(value.required()),
            "reload-on-exception-repr" => recycle.exceptions.reprs.extend(value.required()),
            _ => return false,
        }
        true
    }

    fn take_crew(&mut self, value: &mut Value<'_>) -> bool {
        let cheaper = &mut self.cheaper;
        match value.directive.key.as_str() {
            "cheap" => self.crew.cheap = value.boolean(),
            "idle" => self.crew.idle_s = value.number().unwrap_or(0),
            "die-on-idle" => self.crew.die_on_idle = value.boolean(),
            "cheaper" => {
                cheaper.least = value.number_up_to(u32::MAX).unwrap_or(0);
                self.cheaper_at = Some(value.directive.value_at.clone());
            }
            "cheaper-initial" => {
                self.first = value.number_up_to(u32::MAX).map(|first| (first, value.directive.value_at.clone()));
            }
            "cheaper-step" => cheaper.step = value.number_up_to(u32::MAX).unwrap_or(0).max(1),
            "cheaper-overload" => cheaper.overload = value.number().unwrap_or(0).max(1),
            "cheaper-idle" => cheaper.idle_s = value.number().unwrap_or(0).max(1),
            "cheaper-rss-limit-soft" => cheaper.rss_soft_bytes = value.number().unwrap_or(0),
            "cheaper-rss-limit-hard" => cheaper.rss_hard_bytes = value.number().unwrap_or(0),
            "cheaper-algo" => match value.text().as_str() {
                "spare" => cheaper.algorithm = Algorithm::Spare,
                "spare2" => cheaper.algorithm = Algorithm::Spare2,
                "backlog" => cheaper.algorithm = Algorithm::Backlog,
                "busyness" => cheaper.algorithm = Algorithm::Busyness,
                "manual" => cheaper.algorithm = Algorithm::Manual,
                other => {
                    let message = format!("`{other}` is no algorithm of `cheaper`; `spare` is used, as in uWSGI");
                    let hint = "write `spare`, `spare2`, `backlog`, `busyness` or `manual`";
                    let at = value.directive.value_at.clone();
                    value.problems.push(Problem::warning("bad-value", at, message).hint(hint));
                    cheaper.algorithm = Algorithm::Spare;
                }
            },
            _ => return false,
        }
        true
    }

    /// A 0 is the default, as in uWSGI.
    fn take_busyness(&mut self, value: &mut Value<'_>) -> bool {
        let (busyness, default) = (&mut self.cheaper.busyness, Busyness::default());
        let directive = value.directive;
        let mut or = |default| value.number().filter(|number| *number > 0).unwrap_or(default);
        match directive.key.as_str() {
            "cheaper-busyness-max" => busyness.max_percent = or(default.max_percent),
            "cheaper-busyness-min" => busyness.min_percent = or(default.min_percent),
            "cheaper-busyness-multiplier" => busyness.multiplier = or(default.multiplier),
            "cheaper-busyness-penalty" => busyness.penalty = or(default.penalty),
            "cheaper-busyness-backlog-alert" => busyness.backlog_alert = or(default.backlog_alert),
            "cheaper-busyness-backlog-multiplier" => busyness.backlog_multiplier = or(default.backlog_multiplier),
            "cheaper-busyness-backlog-step" => {
                busyness.backlog_step = u32::try_from(or(default.backlog_step.into())).unwrap_or(u32::MAX);
            }
            "cheaper-busyness-backlog-nonzero" => busyness.backlog_nonzero_s = or(default.backlog_nonzero_s),
            _ => return false,
        }
        true
    }

    /// All of it, for a vassal with so many `processes`; what contradicts itself is added to `problems`.
    pub(super) fn finish(mut self, processes: u32, problems: &mut Vec<Problem>) -> (Recycle, Crew) {
        let recycle = self.recycle;
        let longest = recycle.max_worker_lifetime_s;
        if longest > 0 && recycle.min_worker_lifetime_s >= longest {
            let shortest = recycle.min_worker_lifetime_s;
            let message = format!(
                "`max-worker-lifetime = {longest}`: expected more than `min-worker-lifetime`, which is {shortest}"
            );
            let hint = "set `min-worker-lifetime` lower (10 is the default), or the other higher";
            problems.push(Problem::error("bad-value", self.lifetime_at.unwrap_or_default(), message).hint(hint));
        }
        if let Some(at) = self.cheaper_at.filter(|_| self.cheaper.least > 0) {
            let least = self.cheaper.least;
            if least >= processes {
                let message = format!("`cheaper = {least}`: expected less than `processes`, which is {processes}");
                let hint =
                    "`cheaper` is how many workers stay when there is little to do, `processes` how many there can be";
                problems.push(Problem::error("bad-value", at, message).hint(hint));
            }
            if let Some((first, at)) = self.first.clone().filter(|(first, _)| *first > processes) {
                let message =
                    format!("`cheaper-initial = {first}`: expected at most `processes`, which is {processes}");
                problems.push(Problem::error("bad-value", at, message).hint("set it lower, or `processes` higher"));
            }
            self.cheaper.first = self.first.map_or(least, |(first, _)| first).clamp(least, processes.max(least));
            self.crew.cheaper = Some(self.cheaper);
        }
        (recycle, self.crew)
    }
}

fn megabytes(value: &mut Value<'_>) -> u64 {
    value.number().unwrap_or(0).saturating_mul(MEGABYTE)
}
