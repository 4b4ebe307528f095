//! What uWSGI's numbers mean, and clocks that are set.

use proptest::prelude::*;

use super::*;

const ANY: Pattern = Pattern { minute: -1, hour: -1, day: -1, month: -1, week: -1 };

/// A Sunday.
const NOON: Local = Local { minute: 0, hour: 12, day: 15, month: 3, weekday: 0 };

#[test]
fn a_number_is_that_one_and_a_negative_one_every_so_many() {
    assert!(ANY.fits(&NOON) && Pattern { hour: 12, ..ANY }.fits(&NOON) && !Pattern { hour: 13, ..ANY }.fits(&NOON));
    let every = |minute| Pattern { minute, ..ANY };
    let fits = |pattern: Pattern| (0..60).filter(|minute| pattern.fits(&Local { minute: *minute, ..NOON })).collect();
    let quarters: Vec<u8> = fits(every(-15));
    assert_eq!(quarters, [0, 15, 30, 45]);
    let sevenths: Vec<u8> = fits(every(-7));
    assert_eq!(sevenths, [0, 7, 14, 21, 28, 35, 42, 49, 56]);
    let daily: Vec<u8> = fits(every(-1440));
    assert_eq!(daily, [0], "as in uWSGI, only 0 is divided by 1440");
    assert!(fits(every(i32::MIN)).iter().eq([0].iter()));
    assert!(!Pattern { day: -31, ..ANY }.fits(&NOON) && !Pattern { month: -2, ..ANY }.fits(&NOON));
}

#[test]
fn sunday_is_0_and_7_and_a_named_day_of_month_or_week_will_do() {
    let monday = Local { weekday: 1, day: 16, ..NOON };
    for week in [0, 7] {
        assert!(Pattern { week, ..ANY }.fits(&NOON) && !Pattern { week, ..ANY }.fits(&monday));
    }
    let either = Pattern { day: 16, week: 0, ..ANY };
    assert!(either.fits(&NOON) && either.fits(&monday) && !either.fits(&Local { weekday: 2, day: 17, ..NOON }));
    let both = Pattern { day: -1, week: 1, ..ANY };
    assert!(both.fits(&monday) && !both.fits(&NOON));
}

fn judged(clock: &[i64]) -> Vec<i64> {
    let mut minutes = Minutes::default();
    clock.iter().flat_map(|unix_s| minutes.come(*unix_s)).collect()
}

#[test]
fn the_minute_of_the_start_is_judged_and_then_each_once() {
    assert_eq!(judged(&[630, 631, 659, 660, 661, 720, 800]), [10, 11, 12, 13]);
}

#[test]
fn minutes_in_which_the_master_was_held_up_are_made_up_but_not_hours() {
    assert_eq!(judged(&[600, 600 + 150]), [10, 11, 12]);
    assert_eq!(judged(&[600, 600 + 3600]), [10, 70]);
}

#[test]
fn a_clock_set_back_a_little_runs_nothing_twice_and_one_that_was_wrong_begins_anew() {
    assert_eq!(judged(&[7200, 3600, 3660, 7199, 7200, 7260]), [120, 121]);
    assert_eq!(judged(&[86_400 * 365, 600, 660]), [1440 * 365, 10, 11]);
}

#[test]
fn a_change_to_summer_time_skips_what_does_not_exist_and_the_way_back_has_it_twice_as_in_uwsgi() {
    // What a minute since 1970 is called where the clock goes from 1:59 to 3:00 at minute 120, and back an hour at 1000.
    let local = |minute: i64| {
        let offset = if (120..1000).contains(&minute) { 60 } else { 0 };
        let wall = minute + offset;
        Local {
            minute: u8::try_from(wall % 60).unwrap(),
            hour: u8::try_from(wall / 60 % 24).unwrap(),
            day: 15,
            month: 3,
            weekday: 0,
        }
    };
    let run = |pattern: Pattern, clock: std::ops::Range<i64>| {
        let mut minutes = Minutes::default();
        clock
            .step_by(10)
            .flat_map(|unix_s| minutes.come(unix_s).collect::<Vec<_>>())
            .filter(|minute| pattern.fits(&local(*minute)))
            .count()
    };
    let half_past = |hour| Pattern { minute: 30, hour, ..ANY };
    assert_eq!(run(half_past(2), 0..1000 * 60), 0, "there is no half past two on that day");
    assert_eq!(run(half_past(3), 0..500 * 60), 1);
    // 17:00 of the wall comes at minute 960 and again at 1020.
    assert_eq!(run(Pattern { minute: 0, hour: 17, ..ANY }, 900 * 60..1100 * 60), 2);
    assert_eq!(run(Pattern { minute: -10, ..ANY }, 0..1200 * 60), 120, "what comes every so often does not care");
}

#[test]
fn a_unique_job_waits_for_its_last_run_and_others_do_not() {
    let rules = |unique| Rules { pattern: ANY, unique, harakiri: Some(Duration::from_secs(5)) };
    let mut unique = Job::new(rules(true));
    assert!(unique.is_due(&[NOON]) && !unique.is_due(&[]));
    unique.started(1, Moment::START);
    assert!(!unique.is_due(&[NOON]));
    assert!(unique.ended(1) && !unique.ended(1) && unique.is_due(&[NOON]));
    let mut job = Job::new(rules(false));
    job.started(1, Moment::START);
    assert!(job.is_due(&[NOON]));
}

#[test]
fn a_run_that_takes_too_long_is_told_once() {
    let mut job = Job::new(Rules { pattern: ANY, unique: false, harakiri: Some(Duration::from_secs(5)) });
    job.started(7, Moment::START);
    let at = job.deadline().unwrap();
    assert_eq!((job.overdue(Moment(at.0 - 1)), job.overdue(at), job.overdue(at)), (vec![], vec![7], vec![]));
    assert_eq!((job.deadline(), job.runs().count()), (None, 1));
}

proptest! {
    /// Whatever the clock does in steps of up to some hours, no minute is judged twice unless the clock went back by days.
    #[test]
    fn no_minute_is_judged_twice(steps in proptest::collection::vec(-5_400_i64..7_200, 1..200)) {
        let mut now = 1_000_000_000;
        let mut minutes = Minutes::default();
        let (mut highest, mut lowest_since) = (0, i64::MAX);
        for step in steps {
            now += step;
            let last = minutes.last();
            for minute in minutes.come(now) {
                let begins_anew = last.is_some_and(|last| last - minute > SET_BACK_MAX_MINUTES);
                prop_assert!(minute > highest || begins_anew);
                highest = minute;
                lowest_since = lowest_since.min(minute);
            }
        }
        prop_assert!(lowest_since <= highest);
    }

    #[test]
    fn the_next_look_is_just_behind_the_next_minute_or_soon(unix_ms in 0_i64..10_000_000_000) {
        let wait = i64::try_from(look_again_in(unix_ms).as_millis()).unwrap();
        prop_assert!((5..=20_005).contains(&wait));
        prop_assert!((unix_ms + wait).div_euclid(60_000) - unix_ms.div_euclid(60_000) <= 1);
    }
}
