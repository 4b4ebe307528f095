//! Who is to be replaced: a worker that asks for it, one that has lived long enough, one that has grown too large
//! without asking. How, and when it is its turn, the machine decides; here it is told, and answered whether there is
//! memory for two.

use std::time::Duration;

use empery_config::crew::Recycle;
use empery_control::link::{Severity, WorkerPhase};
use empery_lifecycle::{
    generations::{Event, RecycleReason, Room, Weighing},
    ids::{GenerationId, WorkerRef},
    moment::Moment,
    spread,
};
use empery_sys::process;

use super::{
    Supervisor,
    generation::{Generation, WorkerHandle},
};
use crate::{clock, log, room};

const MEGABYTE: u64 = 1024 * 1024;

impl Supervisor {
    /// A worker is to be replaced, for a reason.
    pub(super) fn recycle(&mut self, worker: WorkerRef, why: RecycleReason, detail: &str) {
        let Some(handle) = self.worker_mut(worker).filter(|handle| !handle.recycle_told) else { return };
        handle.recycle_told = true;
        let pid = handle.pid.unwrap_or(0);
        log::say(&format!("worker {} (pid: {pid}) is to be replaced: {detail}", worker.worker.0));
        self.tell(Event::RecycleAsked { worker, why });
    }

    /// A worker has begun to serve, or another generation does.
    pub(super) fn arm_recycling(&mut self) {
        let now = clock::now();
        self.size_look_at = self.of_serving(|generation| size_look(generation, self.size_look_at, now)).flatten();
        let life = self.of_serving(next_end_of_life).flatten();
        self.recycle_at = life.into_iter().chain(self.size_look_at).min();
    }

    /// Somebody may be too old or too large.
    pub(super) fn look_at_workers(&mut self, now: Moment) {
        let found = self.of_serving(|generation| overdue(generation, now)).unwrap_or_default();
        for (worker, why, detail) in found {
            self.recycle(worker, why, &detail);
        }
        self.size_look_at = None;
        self.arm_recycling();
    }

    pub(super) fn of_serving<T>(&self, ask: impl FnOnce(&Generation) -> T) -> Option<T> {
        let (serving, _) = self.machine.serving()?;
        self.generations.get(&serving).map(ask)
    }

    /// Whether there is memory for this beside what is there.
    pub(super) fn weigh(&mut self, what: Weighing) {
        let needed = self.needed_bytes(what);
        let room = match (needed, room::available_bytes()) {
            (Some(needed), Some(available)) if needed > available => {
                let (needed, available) = (needed / MEGABYTE, available / MEGABYTE);
                let text = match what {
                    Weighing::Successor(worker) => format!(
                        "there is no memory for a second worker {}: it takes about {needed} MB, and {available} MB are left; \
                         the old one finishes first",
                        worker.worker.0
                    ),
                    Weighing::Workers(generation) => format!(
                        "there is no memory for the workers of generation {generation} beside the old ones: they take about \
                         {needed} MB, and {available} MB are left; they take the places of the old ones one by one"
                    ),
                };
                self.notice(Severity::Warning, "memory-short", text, None);
                Room::Short
            }
            _ => Room::Enough,
        };
        self.tell(Event::Weighed { what, room });
    }

    /// Whether the app can be imported once more beside what serves. Where it surely does not fit the kernel would kill
    /// somebody, perhaps one who serves.
    pub(super) fn import_beside(&self) -> Import {
        let memory = || {
            let (serving, _) = self.machine.serving()?;
            let zygote = self.generations.get(&serving)?.zygote.as_ref()?.pid;
            Some((zygote, process::anonymous_bytes(zygote)?, room::available_bytes()?))
        };
        match memory() {
            Some((zygote, needed, available)) if needed > available => {
                import_short(needed, available, process::unshared_bytes(zygote).unwrap_or(0))
            }
            Some(_) | None => Import::Fits,
        }
    }

    /// What it will take: what the smallest of the workers that serve has to itself, and for those forked from a zygote
    /// that has imported the app at most all that the zygote has.
    fn needed_bytes(&self, what: Weighing) -> Option<u64> {
        let (serving, _) = self.machine.serving()?;
        let now = self.generations.get(&serving)?;
        let pids = now.workers.values().filter(|handle| handle.accepts()).filter_map(|handle| handle.pid);
        let own = pids.filter_map(process::unshared_bytes).min()?;
        let (next, count): (GenerationId, u64) = match what {
            Weighing::Successor(worker) => (worker.generation, 1),
            Weighing::Workers(generation) => (generation, self.machine.wanted()?.into()),
        };
        let next = self.generations.get(&next)?;
        let zygote = next.zygote.as_ref().and_then(|zygote| process::memory(zygote.pid));
        let each = match zygote {
            Some(zygote) if !next.revision.config.app.lazy_apps && next.import_ms > 0 => own.min(zygote.rss_bytes),
            Some(_) | None => own,
        };
        Some(each.saturating_mul(count))
    }
}

/// Whether the app can be imported while another generation serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Import {
    /// As far as anybody can tell.
    Fits,
    /// It would when the zygote of that one were gone, and why.
    WithoutZygote(String),
    /// Why not.
    Never(String),
}

/// It takes as much as the zygote has, which is more than there is; the zygote alone has so much of it.
fn import_short(needed_bytes: u64, available_bytes: u64, of_zygote_bytes: u64) -> Import {
    let (needed, available) = (needed_bytes / MEGABYTE, available_bytes / MEGABYTE);
    let short = format!(
        "there is no memory to import the app a second time: it takes about {needed} MB, and {available} MB are left"
    );
    if needed_bytes <= available_bytes.saturating_add(of_zygote_bytes) {
        Import::WithoutZygote(format!(
            "{short}; the zygote of the generation that serves goes first, and until the next one serves nobody takes the \
             place of a worker that ends"
        ))
    } else {
        Import::Never(format!("{short}; raise the limit, have fewer workers, or stop the vassal and start it again"))
    }
}

fn candidates(generation: &Generation) -> impl Iterator<Item = (WorkerRef, &WorkerHandle)> {
    let serving = generation.workers.iter().filter(|(_, handle)| handle.accepts() && !handle.recycle_told);
    serving.map(|(worker, handle)| (*worker, handle))
}

/// When it has lived as long as it may. Without `max-worker-lifetime-delta` the workers are spread a little by themselves.
fn end_of_life(recycle: &Recycle, worker: WorkerRef, handle: &WorkerHandle) -> Option<Moment> {
    let most_s = recycle.max_worker_lifetime_s;
    let life_ms = match recycle.max_worker_lifetime_delta_s {
        0 => spread::later(most_s.saturating_mul(1000), worker),
        delta_s => most_s.saturating_add(u64::from(worker.worker.0 - 1).saturating_mul(delta_s)).saturating_mul(1000),
    };
    (most_s > 0).then(|| handle.since.after(Duration::from_millis(life_ms)))
}

fn next_end_of_life(generation: &Generation) -> Option<Moment> {
    let recycle = &generation.revision.config.recycle;
    candidates(generation).filter_map(|(worker, handle)| end_of_life(recycle, worker, handle)).min()
}

/// When the sizes are looked at next, where they were to be at `planned`.
fn size_look(generation: &Generation, planned: Option<Moment>, now: Moment) -> Option<Moment> {
    let recycle = &generation.revision.config.recycle;
    let watched = recycle.evil_rss_max_bytes > 0 || recycle.evil_as_max_bytes > 0;
    let is_due = watched && generation.workers.values().any(|handle| handle.phase == WorkerPhase::Serving);
    is_due.then(|| sooner(planned, now.after(Duration::from_secs(recycle.look_every_s))))
}

/// Workers that come and go more often than that do not put it off.
fn sooner(planned: Option<Moment>, next: Moment) -> Moment {
    planned.map_or(next, |planned| planned.min(next))
}

fn overdue(generation: &Generation, now: Moment) -> Vec<(WorkerRef, RecycleReason, String)> {
    let recycle = &generation.revision.config.recycle;
    let found = candidates(generation).filter_map(|(worker, handle)| {
        if end_of_life(recycle, worker, handle).is_some_and(|end| end <= now) {
            let lived = now.since(handle.since).as_secs();
            let detail =
                format!("it has lived for {lived} s (max-worker-lifetime = {})", recycle.max_worker_lifetime_s);
            return Some((worker, RecycleReason::Lifetime, detail));
        }
        let (rss, address_space) = (recycle.evil_rss_max_bytes, recycle.evil_as_max_bytes);
        let memory = process::memory(handle.pid.filter(|_| rss > 0 || address_space > 0)?)?;
        let too_large = |what: &str, bytes: u64, most: u64, option: &str| {
            (most > 0 && bytes >= most)
                .then(|| format!("its {what} is {} MB ({option} = {})", bytes / MEGABYTE, most / MEGABYTE))
        };
        let detail = too_large("rss", memory.rss_bytes, rss, "evil-reload-on-rss")
            .or_else(|| too_large("address space", memory.vsz_bytes, address_space, "evil-reload-on-as"))?;
        Some((worker, RecycleReason::Memory, detail))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_that_surely_does_not_fit_is_refused_with_both_numbers_unless_the_zygote_can_go_first() {
        let short = |of_zygote| import_short(300 * MEGABYTE, 120 * MEGABYTE, of_zygote * MEGABYTE);
        let Import::Never(sentence) = short(179) else { panic!("it does not fit") };
        assert!(sentence.contains("about 300 MB, and 120 MB are left; raise the limit"), "{sentence}");
        let Import::WithoutZygote(sentence) = short(180) else { panic!("it fits without the zygote") };
        assert!(sentence.contains("about 300 MB, and 120 MB are left; the zygote"), "{sentence}");
    }

    #[test]
    fn a_look_that_is_planned_is_not_put_off_by_workers_that_begin_meanwhile() {
        let at = |seconds| Moment::START.after(Duration::from_secs(seconds));
        let first = sooner(None, at(60));
        let looks = (1..60).fold(first, |planned, second| sooner(Some(planned), at(second + 60)));
        assert_eq!(looks, at(60));
        assert_eq!(sooner(Some(at(60)), at(30)), at(30), "another revision looks more often");
    }
}
