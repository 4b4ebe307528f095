//! When a worker asks to be replaced: `max-requests`, `reload-on-rss` and its relatives, `reload-on-exception`. It asks
//! once and serves on; who takes its place, and when, is the master's business.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use empery_control::{
    boot::RecycleRules,
    ids::WorkerRef,
    worker::{FromWorker, RecycleReason},
};
use empery_lifecycle::spread;
use nix::unistd::{SysconfVar, sysconf};
use pyo3::prelude::*;

use crate::{os, worker::Worker};

/// How often the sizes are read that the kernel has to add up page by page, at most, in ns.
const ROLLUP_EVERY_NS: u64 = 1_000_000_000;

/// See the module.
pub(crate) struct Recycling {
    rules: &'static RecycleRules,
    /// How many requests are enough.
    most_requests: Option<u64>,
    asked: AtomicBool,
    /// /proc/self/statm, when a limit needs it: one pread(2) a request.
    statm: Option<File>,
    /// /proc/self/smaps_rollup.
    rollup: Option<File>,
    /// When that was read last.
    rolled_up_ns: AtomicU64,
    page_bytes: u64,
}

impl Recycling {
    /// For the process that calls this.
    ///
    /// # Errors
    /// When proc(5) is not there and a limit needs it.
    pub(crate) fn new(rules: &'static RecycleRules, worker: WorkerRef) -> io::Result<Self> {
        let open = |needed: bool, name: &str| {
            let failed = |error: io::Error| io::Error::new(error.kind(), format!("/proc/self/{name}: {error}"));
            needed.then(|| File::open(format!("/proc/self/{name}")).map_err(failed)).transpose()
        };
        Ok(Self {
            rules,
            most_requests: most_requests(rules, worker),
            asked: AtomicBool::new(false),
            statm: open(rules.rss_max_bytes > 0 || rules.as_max_bytes > 0, "statm")?,
            rollup: open(rules.pss_max_bytes > 0 || rules.uss_max_bytes > 0, "smaps_rollup")?,
            rolled_up_ns: AtomicU64::new(0),
            page_bytes: sysconf(SysconfVar::PAGE_SIZE)?.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(4096),
        })
    }

    /// A request has ended; so many have.
    pub(crate) fn after_request(&self, worker: &Worker, done: u64) {
        let rules = self.rules;
        let enough = self.most_requests.is_some_and(|most| done >= most);
        if !(enough || self.statm.is_some() || self.rollup.is_some()) || self.asked.load(Ordering::Relaxed) {
            return;
        }
        let age_s = os::monotonic_ns().saturating_sub(worker.spawned_monotonic_ns) / 1_000_000_000;
        if age_s < rules.min_worker_lifetime_s {
            return;
        }
        if enough {
            let detail = format!("it has served {done} requests (max-requests)");
            self.ask(worker, RecycleReason::Requests, detail);
        } else if let Some(detail) = self.size().or_else(|| self.shares()) {
            self.ask(worker, RecycleReason::Memory, detail);
        }
    }

    /// The app raised.
    pub(crate) fn after_exception(&self, py: Python<'_>, worker: &Worker, error: &PyErr) {
        let rules = self.rules;
        let named = [&rules.exception_types, &rules.exception_values, &rules.exception_reprs];
        if !rules.exceptions && named.iter().all(|names| names.is_empty()) {
            return;
        }
        let kind = type_name(py, error);
        let value = error.value(py).str().map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned());
        let whole = format!("{kind}: {value}");
        let because = if rules.exceptions {
            "reload-on-exception"
        } else if rules.exception_types.contains(&kind) {
            "reload-on-exception-type"
        } else if rules.exception_values.contains(&value) {
            "reload-on-exception-value"
        } else if rules.exception_reprs.contains(&whole) {
            "reload-on-exception-repr"
        } else {
            return;
        };
        self.ask(worker, RecycleReason::Exception, format!("the app raised {kind} ({because})"));
    }

    /// There is no descriptor left for a client.
    pub(crate) fn out_of_descriptors(&self, worker: &Worker) {
        self.ask(worker, RecycleReason::Descriptors, "it has no descriptors left".to_owned());
    }

    fn ask(&self, worker: &Worker, why: RecycleReason, detail: String) {
        if !self.asked.swap(true, Ordering::Relaxed) && !worker.say(&FromWorker::RecycleAsked { why, detail }) {
            self.asked.store(false, Ordering::Relaxed);
        }
    }

    /// Whether it is too large, in words (proc(5), statm: pages of the address space, then resident ones).
    fn size(&self) -> Option<String> {
        let text = read(self.statm.as_ref()?)?;
        let mut pages = text.split_ascii_whitespace().map_while(|number| number.parse::<u64>().ok());
        let (address_space, resident) = (pages.next()? * self.page_bytes, pages.next()? * self.page_bytes);
        too_much("rss", resident, self.rules.rss_max_bytes, "reload-on-rss")
            .or_else(|| too_much("address space", address_space, self.rules.as_max_bytes, "reload-on-as"))
    }

    /// The same by what it shares with others (proc(5), smaps).
    fn shares(&self) -> Option<String> {
        let file = self.rollup.as_ref()?;
        let now_ns = os::monotonic_ns();
        if now_ns.saturating_sub(self.rolled_up_ns.load(Ordering::Relaxed)) < ROLLUP_EVERY_NS {
            return None;
        }
        self.rolled_up_ns.store(now_ns, Ordering::Relaxed);
        let text = read(file)?;
        let line = |name: &str| -> u64 {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kib = value.and_then(|value| value.split_ascii_whitespace().next()?.parse::<u64>().ok());
            kib.unwrap_or(0) * 1024
        };
        too_much("pss", line("Pss"), self.rules.pss_max_bytes, "reload-on-pss").or_else(|| {
            let unshared = line("Private_Clean") + line("Private_Dirty");
            too_much("uss", unshared, self.rules.uss_max_bytes, "reload-on-uss")
        })
    }
}

/// Without `max-requests-delta` its processes are spread a little by themselves.
fn most_requests(rules: &RecycleRules, worker: WorkerRef) -> Option<u64> {
    let most = match rules.max_requests_delta {
        0 => spread::later(rules.max_requests, worker),
        delta => rules.max_requests.saturating_add(u64::from(worker.worker.0 - 1).saturating_mul(delta)),
    };
    (rules.max_requests > 0).then_some(most)
}

fn too_much(what: &str, bytes: u64, most_bytes: u64, option: &str) -> Option<String> {
    const MEGABYTE: u64 = 1024 * 1024;
    (most_bytes > 0 && bytes >= most_bytes)
        .then(|| format!("its {what} is {} MB ({option} = {})", bytes / MEGABYTE, most_bytes / MEGABYTE))
}

/// A file of proc(5), from its beginning.
fn read(file: &File) -> Option<String> {
    let mut buffer = [0; 4096];
    let length = file.read_at(&mut buffer, 0).ok()?;
    std::str::from_utf8(&buffer[..length]).ok().map(str::to_owned)
}

/// `ValueError`, `package.module.Error`: as uWSGI names it, without `builtins`.
fn type_name(py: Python<'_>, error: &PyErr) -> String {
    let kind = error.get_type(py);
    let name = kind.name().map_or_else(|_| String::new(), |name| name.to_string());
    let module = kind.module().map_or_else(|_| String::new(), |module| module.to_string());
    if module.is_empty() || module == "builtins" { name } else { format!("{module}.{name}") }
}
