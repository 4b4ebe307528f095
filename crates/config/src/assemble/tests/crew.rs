//! What `max-requests`, `reload-on-…`, `cheaper` and `idle` come to.

use super::{config, error, outcome};
use crate::{
    crew::Algorithm,
    registry::{self, Kind, Status},
};

#[test]
fn sizes_are_megabytes_and_times_seconds() {
    let recycle =
        config("reload-on-rss = 100\nevil-reload-on-as = 2048\nmax-worker-lifetime = 3600\nmem-collector-freq = 0")
            .recycle;
    assert_eq!((recycle.rss_max_bytes, recycle.evil_as_max_bytes), (100 << 20, 2048 << 20));
    assert_eq!((recycle.max_worker_lifetime_s, recycle.min_worker_lifetime_s, recycle.look_every_s), (3600, 10, 1));
}

#[test]
fn b29_a_life_that_may_not_end_before_it_must_is_refused_as_in_uwsgi() {
    assert!(error("max-worker-lifetime = 10").contains("expected more than `min-worker-lifetime`, which is 10"));
    config("max-worker-lifetime = 10\nmin-worker-lifetime = 5");
}

#[test]
fn cheaper_must_be_less_than_processes_as_in_uwsgi() {
    assert!(error("cheaper = 1").contains("expected less than `processes`, which is 1"));
    assert!(error("processes = 4\ncheaper = 2\ncheaper-initial = 5").contains("at most `processes`"));
    let crew =
        config("processes = 4\ncheaper = 2\ncheaper-initial = 3\ncheaper-algo = backlog\ncheaper-overload = 9").crew;
    let cheaper = crew.cheaper.unwrap();
    assert_eq!((cheaper.least, cheaper.first, cheaper.step, cheaper.overload), (2, 3, 1, 9));
    assert_eq!(cheaper.algorithm, Algorithm::Backlog);
    assert_eq!(config("processes = 4\ncheaper = 2").crew.cheaper.unwrap().first, 2);
    assert_eq!(config("processes = 4\ncheaper = 0\ncheaper-step = 2").crew.cheaper, None);
}

#[test]
fn an_unknown_algorithm_is_spare_with_a_warning() {
    let outcome = outcome("processes = 4\ncheaper = 2\ncheaper-algo = sparer");
    assert_eq!(outcome.problems.len(), 1);
    assert_eq!(outcome.config.unwrap().crew.cheaper.unwrap().algorithm, Algorithm::Spare);
}

#[test]
fn a_zero_of_busyness_is_its_default() {
    let lines =
        "processes = 4\ncheaper = 1\ncheaper-algo = busyness\ncheaper-busyness-max = 0\ncheaper-busyness-min = 10";
    let busyness = config(lines).crew.cheaper.unwrap().busyness;
    assert_eq!((busyness.max_percent, busyness.min_percent, busyness.backlog_alert), (50, 10, 33));
}

#[test]
fn c20_every_number_at_its_extremes_is_a_configuration_or_a_problem_with_its_place() {
    let numbers = registry::all().iter().filter(|entry| {
        entry.kind == Kind::Number && matches!(entry.status, Status::Supported { .. } | Status::Accepted { .. })
    });
    let mut tried = 0;
    for entry in numbers {
        for value in ["0", "-1", "2147483648", "9223372036854775808", "-9223372036854775808", "1e9", " 5 ", "0x10", ""]
        {
            let outcome = outcome(&format!("{} = {value}", entry.name));
            tried += 1;
            if outcome.config.is_none() {
                let first = &outcome.problems[0];
                assert!(first.origin.line == 4 && !first.message.is_empty(), "{} = {value}: {first:?}", entry.name);
            }
            let is_read = matches!(entry.status, Status::Supported { .. });
            // Taken for no limit, and told.
            let is_told = outcome.problems.iter().any(|problem| problem.message.contains("no limit"));
            let is_taken = is_read && value == "-1" && outcome.config.is_some() && !is_told;
            assert!(!is_taken, "{} = -1 was taken", entry.name);
        }
    }
    assert!(tried > 300, "{tried}");
}
