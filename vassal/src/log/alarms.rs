//! Which lines raise alarms (`alarm-log`, `not-alarm-log`): each is looked at before it goes its way, also one that is dropped
//! then (core/logging.c, `uwsgi_master_log`). Who raises them is told and nobody waits.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use empery_config::alarms::OnLine;
use regex::bytes::Regex;

use super::sorter::pattern;
use crate::supervise::input::{Inbox, Input};

/// Most lines that wait for somebody to raise their alarms; more are counted, and raise none.
const WAITING_MAX: usize = 256;

/// Who raises alarms.
static RAISER: OnceLock<(Inbox, Arc<AtomicUsize>)> = OnceLock::new();

/// A line that raises alarms; it waits as long as it lives.
pub(crate) struct Raising {
    /// These.
    pub(crate) alarms: Vec<String>,
    /// The line, without its end.
    pub(crate) line: String,
    /// How many before it raised none: too many waited.
    pub(crate) missed: u64,
    waiting: Arc<AtomicUsize>,
}

impl Drop for Raising {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Alarms of lines are raised there from now on.
pub(crate) fn raise_at(inbox: Inbox) {
    RAISER.get_or_init(|| (inbox, Arc::default()));
}

/// The lines that are waited for.
pub(super) struct Watch {
    rules: Vec<(Regex, Vec<String>)>,
    missed: u64,
}

impl Watch {
    /// None when none are.
    pub(super) fn of(rules: &[OnLine]) -> Option<Watch> {
        let rules: Vec<_> =
            rules.iter().filter_map(|rule| Some((pattern(&rule.pattern)?, rule.alarms.clone()))).collect();
        (!rules.is_empty()).then_some(Watch { rules, missed: 0 })
    }

    /// Looks at a line, which has no end.
    pub(super) fn look(&mut self, line: &[u8]) {
        if line.starts_with(b"[uwsgi-alarm") {
            return;
        }
        let alarms = raised(&self.rules, line);
        let Some((inbox, waiting)) = RAISER.get().filter(|_| !alarms.is_empty()) else { return };
        if waiting.load(Ordering::Relaxed) >= WAITING_MAX {
            self.missed += 1;
            return;
        }
        waiting.fetch_add(1, Ordering::Relaxed);
        inbox.put(Input::LineRaises(Box::new(Raising {
            alarms,
            line: String::from_utf8_lossy(line).into_owned(),
            missed: std::mem::take(&mut self.missed),
            waiting: Arc::clone(waiting),
        })));
    }
}

/// The alarms of a line.
fn raised(rules: &[(Regex, Vec<String>)], line: &[u8]) -> Vec<String> {
    let mut raised = Vec::new();
    for (_, alarms) in rules.iter().filter(|(pattern, _)| pattern.is_match(line)) {
        if alarms.is_empty() {
            break;
        }
        raised.extend(alarms.iter().cloned());
    }
    raised
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_raises_the_alarms_of_all_its_patterns_up_to_one_that_says_not() {
        let rule = |pattern: &str, alarms: &[&str]| OnLine {
            pattern: pattern.into(),
            alarms: alarms.iter().map(|name| (*name).to_owned()).collect(),
        };
        let rules = [rule("ERROR", &["a"]), rule("harmless", &[]), rule("E", &["b", "c"])];
        let watch = Watch::of(&rules).unwrap();
        let of = |line: &str| raised(&watch.rules, line.as_bytes()).join(" ");
        assert_eq!(of("an ERROR"), "a b c");
        assert_eq!(of("a harmless ERROR"), "a");
        assert_eq!(of("harmless E"), "");
        assert_eq!(of("fine"), "");
        assert!(Watch::of(&[]).is_none());
    }
}
