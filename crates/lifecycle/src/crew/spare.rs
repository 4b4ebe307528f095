//! The algorithms that count: how many workers are idle, how many connections wait. Used by the machine in the parent
//! module.

use super::{Look, Step};

/// What `spare` and `spare2` remember between two looks.
#[derive(Debug, Clone, Default)]
pub(super) struct SpareWatch {
    /// Looks at which everybody was busy, less those at which somebody was not.
    overloaded: u64,
    /// Looks at which there were more idle workers than needed.
    idle: u64,
}

impl SpareWatch {
    /// One idle worker is what is aimed at (`uwsgi_cheaper_algo_spare`).
    pub(super) fn spare(&mut self, look: &Look, overload: u64, step: u32) -> Step {
        let idle = idle(look);
        if idle > 0 {
            self.overloaded = self.overloaded.saturating_sub(1);
        } else {
            self.overloaded += 1;
            self.idle = 0;
        }
        if self.overloaded > overload {
            self.overloaded = 0;
            return Step::More(step, format!("all {} were busy for more than {overload} s", look.workers.len()));
        }
        if self.overloaded > 0 || idle <= 1 {
            return Step::Stay;
        }
        self.idle += 1;
        if self.idle.is_multiple_of(overload.max(1)) { Step::Fewer(format!("{idle} are idle")) } else { Step::Stay }
    }

    /// So many idle workers are what is aimed at; they come at once and go slowly.
    pub(super) fn spare2(&mut self, look: &Look, wanted_idle: u32, patience: u64, step: u32) -> Step {
        let idle = idle(look);
        if idle < wanted_idle {
            self.idle = 0;
            return Step::More(step.min(wanted_idle - idle), format!("{idle} are idle, of {}", look.workers.len()));
        }
        if idle == wanted_idle {
            self.idle = 0;
            return Step::Stay;
        }
        self.idle += 1;
        if self.idle < patience {
            return Step::Stay;
        }
        self.idle = 0;
        Step::Fewer(format!("{idle} are idle"))
    }
}

/// A short queue is what is aimed at (`uwsgi_cheaper_algo_backlog`).
pub(super) fn backlog(look: &Look, overload: u64, step: u32) -> Step {
    match look.backlog.cmp(&overload) {
        std::cmp::Ordering::Greater => Step::More(step, format!("{} connections wait", look.backlog)),
        std::cmp::Ordering::Less => Step::Fewer(format!("{} connections wait", look.backlog)),
        std::cmp::Ordering::Equal => Step::Stay,
    }
}

fn idle(look: &Look) -> u32 {
    look.workers.iter().map(|worker| u32::from(!worker.is_busy)).sum()
}
