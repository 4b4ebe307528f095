//! The algorithms of `cheaper`, second by second; `idle` and `cheap`.

use super::*;

fn at(seconds: u64) -> Moment {
    Moment::START.after(Duration::from_secs(seconds))
}

fn rules(algorithm: Algorithm) -> Rules {
    Rules {
        most: 8,
        least: 2,
        first: 2,
        step: 1,
        algorithm,
        rss_soft_bytes: None,
        rss_hard_bytes: None,
        idle: None,
        at_rest: AtRest::Waits,
    }
}

fn look(busy: u32, idle: u32) -> Look {
    let worker =
        |number: u32| Seen { worker: WorkerId(number), is_busy: number <= busy, serves: number <= busy, running_us: 0 };
    Look { workers: (1..=busy + idle).map(worker).collect(), backlog: 0, rss_bytes: 0, requests: 0 }
}

/// Looks once a second; `busy` says how many of so many are busy then. Answers with how many were wanted at each.
fn seconds(crew: &mut Crew, seconds: std::ops::Range<u64>, look_of: impl Fn(u64, u32) -> Look) -> Vec<u32> {
    seconds
        .map(|second| {
            let seen = look_of(second, crew.wanted);
            let _ = crew.looked(&seen, at(second));
            crew.wanted
        })
        .collect()
}

#[test]
fn b30_spare_adds_one_after_more_than_so_many_busy_looks_and_lets_one_go_in_so_many_idle_ones() {
    let mut crew = Crew::new(rules(Algorithm::Spare { overload: 3 }), 2, at(0));
    let busy = seconds(&mut crew, 1..9, |_, wanted| look(wanted, 0));
    assert_eq!(busy, [2, 2, 2, 3, 3, 3, 3, 4]);
    let stable = seconds(&mut crew, 9..15, |_, wanted| look(wanted - 1, 1));
    assert_eq!(stable, [4; 6], "one spare worker is what is aimed at");
    let idle = seconds(&mut crew, 15..24, |_, wanted| look(0, wanted));
    assert_eq!(idle, [4, 4, 3, 3, 3, 2, 2, 2, 2]);
}

#[test]
fn a_step_adds_several_but_never_more_than_there_may_be() {
    let mut crew = Crew::new(Rules { step: 5, ..rules(Algorithm::Spare { overload: 1 }) }, 2, at(0));
    assert_eq!(seconds(&mut crew, 1..7, |_, wanted| look(wanted, 0)), [2, 7, 7, 8, 8, 8]);
}

#[test]
fn nobody_is_added_while_those_that_were_added_are_not_there_yet() {
    let mut crew = Crew::new(rules(Algorithm::Spare { overload: 1 }), 2, at(0));
    assert_eq!(seconds(&mut crew, 1..9, |_, _| look(2, 0)), [2, 3, 3, 3, 3, 3, 3, 3]);
}

#[test]
fn spare2_keeps_so_many_idle_and_lets_go_slowly() {
    let mut crew = Crew::new(Rules { step: 4, ..rules(Algorithm::Spare2 { idle: 3 }) }, 2, at(0));
    let busy = seconds(&mut crew, 1..4, |_, wanted| look(2, wanted - 2));
    assert_eq!(busy, [4, 4, 4], "two are busy, two more are idle");
    let idle = seconds(&mut crew, 4..13, |_, wanted| look(0, wanted));
    assert_eq!(idle, [4, 4, 3, 3, 3, 2, 2, 2, 2]);
}

#[test]
fn b30_backlog_follows_the_queue() {
    let mut crew = Crew::new(rules(Algorithm::Backlog { overload: 3 }), 2, at(0));
    let with = |backlog| move |_: u64, wanted: u32| Look { backlog, ..look(0, wanted) };
    assert_eq!(seconds(&mut crew, 1..4, with(9)), [3, 4, 5]);
    assert_eq!(seconds(&mut crew, 4..6, with(3)), [5, 5]);
    assert_eq!(seconds(&mut crew, 6..11, with(0)), [4, 3, 2, 2, 2]);
}

fn busyness() -> Busyness {
    Busyness {
        window: Duration::from_secs(2),
        max_percent: 50,
        min_percent: 25,
        multiplier: 3,
        penalty: 2,
        backlog_alert: 33,
        backlog_multiplier: 1,
        backlog_step: 2,
        backlog_nonzero: Duration::from_secs(60),
    }
}

/// Everybody is busy for so many percent of each second.
fn busy(percent: u64) -> impl Fn(u64, u32) -> Look {
    move |second, wanted| {
        let mut seen = look(0, wanted);
        for worker in &mut seen.workers {
            worker.running_us = second * percent * 10_000;
        }
        seen
    }
}

#[test]
fn b30_busyness_adds_when_busier_than_the_maximum_and_waits_before_it_lets_go() {
    let mut crew = Crew::new(rules(Algorithm::Busyness(busyness())), 2, at(0));
    assert_eq!(seconds(&mut crew, 1..9, busy(90)), [2, 2, 2, 3, 3, 4, 4, 5]);
    let calm = |second: u64, wanted: u32| busy(0)(second, wanted);
    let wanted = seconds(&mut crew, 9..23, calm);
    assert_eq!(wanted, [5, 5, 5, 5, 5, 4, 4, 4, 4, 4, 4, 3, 3, 3], "three windows of two seconds each time");
}

#[test]
fn busyness_in_between_changes_nothing() {
    let mut crew = Crew::new(rules(Algorithm::Busyness(busyness())), 4, at(0));
    assert_eq!(seconds(&mut crew, 1..40, busy(40)), [4; 39]);
}

#[test]
fn one_that_was_needed_again_soon_makes_the_next_wait_longer() {
    let mut crew = Crew::new(rules(Algorithm::Busyness(busyness())), 3, at(0));
    let before = seconds(&mut crew, 1..8, busy(0)).iter().position(|wanted| *wanted == 2);
    assert_eq!(before, Some(5));
    let mut second = 8;
    let mut grown = 2;
    while grown == 2 {
        grown = seconds(&mut crew, second..second + 1, |second, wanted| busy(90)(second, wanted))[0];
        second += 1;
    }
    let calm_from = second;
    while crew.wanted == grown {
        seconds(&mut crew, second..second + 1, |_, wanted| busy(90)(calm_from, wanted));
        second += 1;
        assert!(second < calm_from + 60);
    }
    assert!(second - calm_from >= 10, "five windows instead of three: {}", second - calm_from);
}

#[test]
fn a_long_queue_is_an_emergency_at_any_moment() {
    let mut crew = Crew::new(rules(Algorithm::Busyness(busyness())), 2, at(0));
    let verdict = crew.looked(&Look { backlog: 34, ..look(0, 2) }, at(1));
    assert_eq!(verdict, Verdict::Want(4, "34 connections wait".to_owned()));
}

#[test]
fn a_queue_that_never_empties_is_one_too() {
    let mut crew = Crew::new(rules(Algorithm::Busyness(busyness())), 2, at(0));
    let wanted = seconds(&mut crew, 1..63, |_, wanted| Look { backlog: 1, ..look(0, wanted) });
    assert_eq!((wanted[58], wanted[61]), (2, 4));
}

#[test]
fn memory_stops_the_growth_and_takes_workers_away() {
    let limits = Rules {
        rss_soft_bytes: Some(100),
        rss_hard_bytes: Some(200),
        least: 1,
        ..rules(Algorithm::Spare { overload: 1 })
    };
    let mut crew = Crew::new(limits, 4, at(0));
    let with = |rss_bytes| move |_: u64, wanted: u32| Look { rss_bytes, ..look(wanted, 0) };
    assert_eq!(seconds(&mut crew, 1..6, with(150)), [4; 5], "busy, but above the soft limit");
    assert_eq!(seconds(&mut crew, 6..11, with(250)), [3, 2, 1, 1, 1], "one is always left");
}

#[test]
fn idleness_ends_the_workers_and_a_client_brings_them_back() {
    let mut crew = Crew::new(Rules { idle: Some(Duration::from_secs(10)), ..rules(Algorithm::Manual) }, 3, at(0));
    let wanted = seconds(&mut crew, 1..16, |second, wanted| Look { requests: second.min(4), ..look(0, wanted) });
    assert_eq!(wanted.iter().position(|wanted| *wanted == 0), Some(13), "the last request was seen in second 4");
    assert_eq!(crew.look_at(), None, "at rest nothing is looked at");
    assert_eq!(crew.client_waits(at(99)), Verdict::Want(2, "a client waits".to_owned()));
    assert_eq!(crew.client_waits(at(99)), Verdict::Stay);
}

#[test]
fn a_request_in_flight_is_not_idleness() {
    let mut crew = Crew::new(Rules { idle: Some(Duration::from_secs(2)), ..rules(Algorithm::Manual) }, 2, at(0));
    assert_eq!(seconds(&mut crew, 1..20, |_, wanted| look(1, wanted - 1)), [2; 19]);
}

#[test]
fn a_vassal_that_dies_on_idle_ends() {
    let mut crew = Crew::new(
        Rules { idle: Some(Duration::from_secs(2)), at_rest: AtRest::Ends, ..rules(Algorithm::Manual) },
        2,
        at(0),
    );
    assert_eq!(crew.looked(&look(0, 2), at(1)), Verdict::Stay);
    assert_eq!(crew.looked(&look(0, 2), at(2)), Verdict::End);
}

#[test]
fn a_fixed_number_that_never_idles_is_never_looked_at() {
    let crew = Crew::new(Rules { least: 8, ..rules(Algorithm::Manual) }, 8, at(0));
    assert_eq!(crew.look_at(), None);
}

#[test]
fn an_operator_gets_what_he_asks_for_within_the_limits() {
    let mut crew = Crew::new(rules(Algorithm::Manual), 2, at(0));
    assert_eq!(crew.asked_for(1), Verdict::Want(3, "an operator asked for it".to_owned()));
    assert_eq!(crew.asked_for(-5), Verdict::Want(2, "an operator asked for it".to_owned()));
    assert_eq!(crew.asked_for(-1), Verdict::Stay);
    assert_eq!(crew.asked_for(i64::from(u32::MAX)), Verdict::Want(8, "an operator asked for it".to_owned()));
    crew.rest("no request for 5 s");
    assert_eq!(crew.asked_for(-1), Verdict::Stay, "what rests is not woken by wanting less");
    assert!(matches!(crew.asked_for(1), Verdict::Want(..)));
}
