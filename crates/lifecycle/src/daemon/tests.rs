//! Rules one by one, and then every history of a daemon up to a certain length.

use std::collections::BTreeSet;

use super::*;
use crate::chance::tell;

fn rules(kind: Kind) -> Rules {
    Rules { kind, throttle_max: Duration::from_secs(3), mercy: Duration::from_secs(2), hears_reloads: true }
}

fn at(seconds: u64) -> Moment {
    Moment::START.after(Duration::from_secs(seconds))
}

const BY_FILE: Kind = Kind::Pidfile { looks: 2, notify: false };

#[test]
fn quick_ends_wait_a_second_longer_each_up_to_the_throttle_and_a_life_forgets_them() {
    let mut daemon = Daemon::new(rules(Kind::Plain), false, at(0));
    let mut now = at(0);
    let mut waits = Vec::new();
    for _ in 0..5 {
        assert_eq!(daemon.wake(now), [Step::Spawn]);
        assert_eq!(daemon.ended(now), []);
        waits.push(daemon.waits(now).unwrap().as_secs());
        now = daemon.deadline().unwrap();
    }
    assert_eq!(waits, [1, 2, 3, 3, 3]);
    daemon.wake(now);
    daemon.ended(now.after(Duration::from_secs(4)));
    assert_eq!(daemon.deadline(), Some(now.after(Duration::from_secs(4))));
}

#[test]
fn the_end_of_a_control_daemon_stops_the_vassal() {
    let mut daemon = Daemon::new(rules(Kind::Control), false, at(0));
    daemon.wake(at(0));
    assert_eq!(daemon.ended(at(9)), [Step::StopVassal]);
    assert!(daemon.is_over());
}

#[test]
fn a_daemon_that_was_told_of_a_reload_or_touched_is_started_again_at_once() {
    for tell in [Daemon::touched, Daemon::reloaded] {
        let mut daemon = Daemon::new(rules(Kind::Plain), false, at(0));
        daemon.wake(at(0));
        assert_eq!(tell(&mut daemon).len(), 1);
        daemon.ended(at(1));
        assert_eq!(daemon.wake(at(1)), [Step::Spawn]);
    }
}

#[test]
fn a_daemon_that_does_not_stop_is_killed_after_its_mercy_and_not_started_again() {
    let mut daemon = Daemon::new(rules(Kind::Plain), false, at(0));
    daemon.wake(at(0));
    assert_eq!(daemon.retire(at(10)), [Step::Stop]);
    assert_eq!((daemon.wake(at(11)), daemon.wake(at(12))), (vec![], vec![Step::Kill]));
    assert!(!daemon.is_over());
    daemon.ended(at(12));
    assert!(daemon.is_over());
}

#[test]
fn a_smart_daemon_that_is_there_is_not_started_and_outlives_the_vassal() {
    let mut daemon = Daemon::new(rules(BY_FILE), true, at(0));
    assert!(!daemon.wants_look(at(0)) && daemon.wants_look(at(1)));
    assert_eq!((daemon.wake(at(1)), daemon.looked(true, at(1))), (vec![], vec![]));
    assert_eq!(daemon.retire(at(2)), []);
    assert!(daemon.is_over());
}

#[test]
fn a_smart_daemon_that_vanishes_is_started_at_the_next_look_and_one_that_never_came_after_some() {
    let mut daemon = Daemon::new(rules(BY_FILE), true, at(0));
    daemon.looked(false, at(10));
    assert_eq!(daemon.wake(at(10)), [Step::Spawn]);
    daemon.ended(at(10));
    assert_eq!((daemon.looked(false, at(11)), daemon.wake(at(11))), (vec![], vec![]));
    daemon.looked(false, at(20));
    assert_eq!(daemon.wake(at(20)), [Step::Spawn]);
}

#[test]
fn a_smart_daemon_that_stays_in_the_foreground_is_told_and_not_doubled() {
    let mut daemon = Daemon::new(rules(BY_FILE), false, at(0));
    assert_eq!(daemon.wake(at(0)), [Step::Spawn]);
    assert_eq!(daemon.looked(false, at(1)), []);
    assert_eq!(daemon.looked(false, at(2)), [Step::SayNoPidfile]);
    assert_eq!(daemon.deadline(), Some(at(3)));
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Happens {
    Ends,
    Wakes(u64),
    Touched,
    Reloaded,
    Retired,
    Hurried,
    Looked(bool),
}

const HAPPENS: [Happens; 9] = [
    Happens::Ends,
    Happens::Wakes(1),
    Happens::Wakes(4),
    Happens::Touched,
    Happens::Reloaded,
    Happens::Retired,
    Happens::Hurried,
    Happens::Looked(true),
    Happens::Looked(false),
];

/// What the world knows: whether a child runs, whether it was to go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    daemon: Daemon,
    now: Moment,
    child: bool,
    retired: bool,
    stop_told: bool,
}

#[test]
fn in_every_history_there_is_one_child_at_most_and_none_is_started_after_the_end_was_asked_for() {
    for kind in [Kind::Plain, Kind::Control, BY_FILE, Kind::Pidfile { looks: 0, notify: true }] {
        let mut worlds = BTreeSet::from([World {
            daemon: Daemon::new(rules(kind), false, at(0)),
            now: at(0),
            child: false,
            retired: false,
            stop_told: false,
        }]);
        let mut seen = worlds.clone();
        for _ in 0..9 {
            let next: BTreeSet<World> =
                worlds.iter().flat_map(|world| HAPPENS.iter().filter_map(|what| step(world, *what))).collect();
            worlds = next.difference(&seen).cloned().collect();
            seen.extend(worlds.iter().cloned());
        }
        tell(&format!("daemon {kind:?}: {} states", seen.len()));
        assert!(seen.len() > 100);
    }
}

fn step(world: &World, what: Happens) -> Option<World> {
    let mut world = world.clone();
    let steps = match what {
        Happens::Ends if !world.child => return None,
        Happens::Ends => {
            world.child = false;
            world.daemon.ended(world.now)
        }
        Happens::Wakes(seconds) => {
            world.now = world.now.after(Duration::from_secs(seconds));
            world.daemon.wake(world.now)
        }
        Happens::Touched => world.daemon.touched(),
        Happens::Reloaded => world.daemon.reloaded(),
        Happens::Retired => {
            world.retired = true;
            world.daemon.retire(world.now)
        }
        Happens::Hurried => world.daemon.hurry(),
        Happens::Looked(is_there) if world.daemon.wants_look(world.now) => world.daemon.looked(is_there, world.now),
        Happens::Looked(_) => return None,
    };
    for step in steps {
        match step {
            Step::Spawn => {
                assert!(!world.child && !world.retired, "{world:?} {what:?}");
                world.child = true;
            }
            Step::Stop => world.stop_told = true,
            Step::Kill => assert!(world.child && world.retired && world.stop_told, "{world:?} {what:?}"),
            Step::StopVassal => assert!(!world.child && matches!(world.daemon.rules.kind, Kind::Control)),
            Step::SayNoPidfile => assert!(world.child),
            Step::Reload => assert!(!world.retired),
        }
    }
    let has_pidfile = matches!(world.daemon.rules.kind, Kind::Pidfile { .. });
    assert!(!world.daemon.is_over() || !world.child || has_pidfile, "{world:?} {what:?}");
    // Whoever waits is waited for with an end in sight.
    let leaves = world.retired && !world.daemon.is_over();
    assert!(!leaves || world.child, "{world:?} {what:?}");
    if let Some(wait) = world.daemon.waits(world.now) {
        assert!(wait <= Duration::from_secs(3) && !world.retired);
    }
    Some(world)
}
