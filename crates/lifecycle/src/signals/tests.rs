//! Targets, timers and turns.

use proptest::prelude::*;

use super::*;

fn at(ms: u64) -> Moment {
    Moment::START.after(Duration::from_millis(ms))
}

fn seen(place: Place) -> Seen {
    Seen { place, is_busy: false }
}

const WORKERS: [Seen; 3] = [
    Seen { place: Place::Worker(1), is_busy: false },
    Seen { place: Place::Worker(2), is_busy: true },
    Seen { place: Place::Worker(3), is_busy: false },
];

#[test]
fn targets_are_those_of_uwsgi() {
    let farms = [("one".to_owned(), BTreeSet::from([1, 2])), ("two".to_owned(), BTreeSet::from([3]))];
    let read = |text| Target::read(text, &farms);
    for any in ["", "worker", "worker0"] {
        assert_eq!(read(any), Some(Target::AnyWorker));
    }
    assert_eq!((read("workers"), read("active-workers")), (Some(Target::Workers), Some(Target::Workers)));
    assert_eq!((read("worker3"), read("mule2")), (Some(Target::Worker(3)), Some(Target::Mule(2))));
    assert_eq!(
        (read("mule"), read("mules"), read("spooler")),
        (Some(Target::AnyMule), Some(Target::Mules), Some(Target::Spooler))
    );
    assert_eq!(
        (read("farm_two"), read("farm1")),
        (Some(Target::Farm(BTreeSet::from([3]))), Some(Target::Farm(BTreeSet::from([1, 2]))))
    );
    for none in ["workerx", "mule-1", "farm", "farm0", "farm3", "farm_x", "subscribed", "x"] {
        assert_eq!(read(none), None, "{none}");
    }
}

#[test]
fn a_signal_for_anybody_goes_to_those_without_work_in_turn() {
    let mut signals = Signals::default();
    signals.register(7, Target::AnyWorker, None);
    let mut got: Vec<Delivery> = (0..4).map(|_| signals.deliver(7, &WORKERS)).collect();
    got.sort_by_key(|delivery| format!("{delivery:?}"));
    let to = |index| Delivery::To(vec![index]);
    assert_eq!(got, [to(0), to(0), to(2), to(2)]);
    let busy = [Seen { place: Place::Worker(1), is_busy: true }];
    assert_eq!(signals.deliver(7, &busy), to(0), "it waits for its turn there");
    assert_eq!(signals.deliver(8, &WORKERS), Delivery::Unknown);
}

#[test]
fn a_signal_waits_for_somebody_to_be_there_unless_it_is_for_all() {
    let mut signals = Signals::default();
    signals.register(1, Target::Mule(2), None);
    signals.register(2, Target::Workers, None);
    assert_eq!(signals.deliver(1, &WORKERS), Delivery::Waits);
    assert_eq!(signals.deliver(2, &[]), Delivery::To(vec![]));
    assert_eq!(signals.deliver(2, &WORKERS), Delivery::To(vec![0, 1, 2]));
    let again = Arrival { his: vec![], again: vec![1] };
    assert_eq!((signals.arrived(Place::Mule(2)), signals.arrived(Place::Mule(2))), (again, Arrival::default()));
    assert_eq!(signals.deliver(1, &[seen(Place::Mule(1)), seen(Place::Mule(2))]), Delivery::To(vec![1]));
}

#[test]
fn a_function_that_one_process_has_registered_is_run_there_only() {
    let mut signals = Signals::default();
    signals.register(1, Target::AnyWorker, Some(Place::Worker(3)));
    assert_eq!(signals.deliver(1, &WORKERS), Delivery::To(vec![2]));
    signals.register(1, Target::Workers, Some(Place::Worker(1)));
    assert_eq!(signals.deliver(1, &WORKERS), Delivery::To(vec![0, 2]));
    signals.register(1, Target::Workers, None);
    assert_eq!(signals.deliver(1, &WORKERS), Delivery::To(vec![0, 1, 2]));
}

#[test]
fn timers_begin_when_the_generation_serves_and_end_with_it() {
    let mut signals = Signals::default();
    signals.add_timer(1, Duration::from_millis(100), 0, at(0));
    signals.add_timer(2, Duration::from_millis(70), 2, at(0));
    assert_eq!(signals.deadline(), None);
    signals.start(at(1000));
    assert_eq!(signals.due(at(1070)), [2]);
    assert_eq!(signals.due(at(1100)), [1]);
    assert_eq!(signals.due(at(1140)), [2]);
    assert_eq!((signals.due(at(1205)), signals.deadline()), (vec![1], Some(at(1300))));
    assert_eq!(signals.due(at(5000)), [1], "once, however late");
    assert_eq!(signals.deadline(), Some(at(5100)));
    signals.stop();
    assert_eq!((signals.deadline(), signals.due(at(9999))), (None, vec![]));
}

#[test]
fn workers_that_import_the_app_themselves_do_not_double_its_timers() {
    let mut signals = Signals::default();
    for _ in 0..4 {
        signals.add_timer(1, Duration::from_secs(1), 0, at(0));
        signals.add_cron(1, Pattern { minute: -1, hour: -1, day: -1, month: -1, week: -1 });
    }
    signals.start(at(0));
    assert_eq!(signals.due(at(1000)), [1]);
    let noon = Local { minute: 0, hour: 12, day: 1, month: 1, weekday: 1 };
    assert_eq!(signals.of_minutes(&[noon, noon]), [1]);
}

proptest! {
    /// A timer comes as often as time allows, and once at most for each look.
    #[test]
    fn a_timer_comes_no_oftener_than_its_time(every_ms in 1_u64..50, looks in proptest::collection::vec(0_u64..120, 1..60)) {
        let mut signals = Signals::default();
        signals.add_timer(1, Duration::from_millis(every_ms), 0, at(0));
        signals.start(at(0));
        let (mut now, mut came) = (0, 0);
        for look in looks {
            now += look;
            let due = signals.due(at(now));
            prop_assert!(due.len() <= 1);
            came += due.len() as u64;
            prop_assert!(signals.deadline().is_some_and(|next| next > at(now) && next <= at(now + every_ms)));
        }
        prop_assert!(came <= now / every_ms);
    }
}

#[test]
fn a_signal_for_all_mules_waits_for_those_that_are_being_started() {
    let mut signals = Signals::default();
    signals.register(1, Target::Mules, None);
    signals.expect(BTreeSet::from([Place::Mule(1), Place::Mule(2), Place::Spooler(1)]));
    assert_eq!(signals.deliver(1, &[seen(Place::Mule(2)), seen(Place::Worker(1))]), Delivery::To(vec![0]));
    assert_eq!(signals.arrived(Place::Spooler(1)), Arrival::default());
    assert_eq!(signals.arrived(Place::Mule(1)), Arrival { his: vec![1], again: vec![] });
}
