//! Workers that are replaced while they serve, with and without memory for two at a time.

use super::*;

#[test]
fn a_worker_is_recycled_by_a_successor_that_serves_first_and_only_one_at_a_time() {
    let mut machine = serving();
    assert_eq!(machine.handle(asked(worker(1, 2, 0)), at(9)), [weigh(worker(1, 2, 0))]);
    assert_eq!(machine.handle(asked(worker(1, 1, 0)), at(9)), []);
    assert_eq!(machine.handle(weighed(worker(1, 2, 0), Room::Enough), at(9)), [Action::Spawn(worker(1, 2, 1))]);
    assert_eq!(
        machine.handle(Event::Proved { worker: worker(1, 2, 1) }, at(10)),
        [
            Action::OpenGate(worker(1, 2, 1)),
            Action::Drain(worker(1, 2, 0)),
            Action::Report(Report::Recycled { worker: worker(1, 2, 1), why: RecycleReason::Requests }),
            weigh(worker(1, 1, 0)),
        ]
    );
    machine.handle(weighed(worker(1, 1, 0), Room::Enough), at(10));
    machine.handle(Event::Proved { worker: worker(1, 1, 1) }, at(11));
    assert_eq!(machine.handle(asked(worker(1, 2, 1)), at(12)), [], "its predecessor still drains");
    assert_eq!(machine.handle(left(worker(1, 2, 0)), at(13)), [weigh(worker(1, 2, 1))]);
}

#[test]
fn a_worker_that_asks_again_at_once_waits_for_the_others_to_have_their_turn() {
    let mut machine = Generations::new(Policy::default());
    let plan = Plan { workers: 3, first: 3, least: 3, ..PLAN };
    machine.handle(Event::Deploy { operation: OperationId(1), revision: RevisionId(1), plan }, at(0));
    machine.handle(loaded(1), at(1));
    for number in 1..=3 {
        machine.handle(Event::Proved { worker: worker(1, number, 0) }, at(2));
    }
    let recycle = |machine: &mut Generations, number: u32, spawn: u32| {
        machine.handle(weighed(worker(1, number, spawn), Room::Short), at(9));
        machine.handle(left(worker(1, number, spawn)), at(9));
        machine.handle(Event::Proved { worker: worker(1, number, spawn + 1) }, at(9))
    };
    for number in 1..=3 {
        machine.handle(asked(worker(1, number, 0)), at(9));
    }
    assert!(recycle(&mut machine, 1, 0).contains(&weigh(worker(1, 2, 0))));
    machine.handle(asked(worker(1, 1, 1)), at(9));
    assert!(recycle(&mut machine, 2, 0).contains(&weigh(worker(1, 3, 0))), "the first again, and the third never");
    assert!(recycle(&mut machine, 3, 0).contains(&weigh(worker(1, 1, 1))));
}

#[test]
fn a_worker_whose_successor_fails_serves_on_and_is_recycled_later() {
    let mut machine = serving();
    machine.handle(asked(worker(1, 1, 0)), at(9));
    machine.handle(weighed(worker(1, 1, 0), Room::Enough), at(9));
    let actions = machine.handle(died(worker(1, 1, 1)), at(10));
    assert!(!actions.iter().any(|action| matches!(action, Action::Drain(_) | Action::Kill(_))), "{actions:?}");
    assert_eq!(machine.handle(Event::DeadlineReached, at(10)), [weigh(worker(1, 1, 0))]);
    assert_eq!(machine.handle(weighed(worker(1, 1, 0), Room::Enough), at(10)), [Action::Spawn(worker(1, 1, 3))]);
}

#[test]
fn a_worker_without_room_beside_it_goes_before_its_successor_comes() {
    let mut machine = serving();
    machine.handle(asked(worker(1, 1, 0)), at(9));
    machine.handle(asked(worker(1, 2, 0)), at(9));
    assert_eq!(machine.handle(weighed(worker(1, 1, 0), Room::Short), at(9)), [Action::Drain(worker(1, 1, 0))]);
    assert_eq!(machine.deadline(), Some(at(69)), "its mercy");
    assert_eq!(machine.handle(left(worker(1, 1, 0)), at(10)), [Action::Spawn(worker(1, 1, 1))]);
    assert_eq!(
        machine.handle(Event::Proved { worker: worker(1, 1, 1) }, at(11)),
        [Action::OpenGate(worker(1, 1, 1)), weigh(worker(1, 2, 0))],
        "the other one only now"
    );
}

#[test]
fn a_predecessor_that_does_not_leave_gives_way_at_the_end_of_its_mercy() {
    let mut machine = serving();
    machine.handle(asked(worker(1, 1, 0)), at(9));
    machine.handle(weighed(worker(1, 1, 0), Room::Short), at(9));
    assert_eq!(machine.handle(Event::DeadlineReached, at(69)), [Action::Kill(worker(1, 1, 0))]);
    assert_eq!(machine.handle(died(worker(1, 1, 0)), at(69)), [Action::Spawn(worker(1, 1, 1))]);
}

#[test]
fn a_generation_without_room_beside_the_old_one_takes_its_workers_places_one_by_one() {
    let mut machine = serving();
    machine.handle(deploy(2), at(5));
    assert_eq!(
        machine.handle(loaded(2), at(6)),
        [
            Action::Report(Report::Loaded { generation: GenerationId(2) }),
            Action::Weigh(Weighing::Workers(GenerationId(2)))
        ]
    );
    assert_eq!(machine.handle(workers_weighed(2, Room::Short), at(6)), [Action::Spawn(worker(2, 1, 0))]);
    assert_eq!(
        machine.handle(Event::Proved { worker: worker(2, 1, 0) }, at(7)),
        [
            Action::OpenGate(worker(2, 1, 0)),
            Action::Report(Report::Serving {
                operation: Some(OperationId(2)),
                generation: GenerationId(2),
                revision: RevisionId(2)
            }),
            Action::RetireZygote(GenerationId(1)),
            Action::Drain(worker(1, 1, 0)),
        ]
    );
    assert_eq!(machine.handle(zygote_left(1), at(7)), []);
    assert_eq!(machine.handle(left(worker(1, 1, 0)), at(8)), [Action::Spawn(worker(2, 2, 1))]);
    assert_eq!(
        machine.handle(Event::Proved { worker: worker(2, 2, 1) }, at(9)),
        [Action::OpenGate(worker(2, 2, 1)), Action::Drain(worker(1, 2, 0))]
    );
    assert_eq!(machine.handle(left(worker(1, 2, 0)), at(9)), [drained(1, 0)]);
    assert_eq!(machine.deadline(), None);
}

#[test]
fn a_stop_between_two_generations_drains_both() {
    let mut machine = serving();
    machine.handle(deploy(2), at(5));
    machine.handle(loaded(2), at(6));
    machine.handle(workers_weighed(2, Room::Short), at(6));
    machine.handle(Event::Proved { worker: worker(2, 1, 0) }, at(7));
    assert_eq!(
        machine.handle(Event::Stop, at(8)),
        [Action::Drain(worker(2, 1, 0)), Action::RetireZygote(GenerationId(2)), Action::Drain(worker(1, 2, 0)),]
    );
}

#[test]
fn the_half_of_the_scoreboard_of_a_worker_that_still_drains_is_not_given_to_another() {
    let mut machine = serving();
    machine.handle(asked(worker(1, 1, 0)), at(9));
    machine.handle(weighed(worker(1, 1, 0), Room::Enough), at(9));
    machine.handle(Event::Proved { worker: worker(1, 1, 1) }, at(10));
    let actions = machine.handle(died(worker(1, 1, 1)), at(11));
    assert_eq!(
        actions.last(),
        Some(&Action::Spawn(worker(1, 1, 3))),
        "spawn 0 still drains, and 2 would share its half"
    );
}

#[test]
fn without_room_for_another_import_the_zygote_goes_first_and_the_workers_serve_on() {
    let mut machine = serving();
    assert_eq!(machine.handle(deploy(2), at(10)), boot(Some(2), 2, 2));
    let no_room = Event::NoRoom { generation: GenerationId(2) };
    assert_eq!(machine.handle(no_room.clone(), at(10)), [Action::RetireZygote(GenerationId(1))]);
    assert_eq!(machine.handle(no_room, at(10)), [], "said twice");
    let again = Action::Boot { generation: GenerationId(2), revision: RevisionId(2) };
    assert_eq!(machine.handle(zygote_left(1), at(11)), [again]);
    assert!(machine.handle(loaded(2), at(12)).contains(&Action::Weigh(Weighing::Workers(GenerationId(2)))));
}

#[test]
fn a_deploy_that_is_given_up_before_there_was_room_leaves_a_generation_that_gets_its_zygote_back() {
    let mut machine = serving();
    machine.handle(deploy(2), at(10));
    machine.handle(Event::NoRoom { generation: GenerationId(2) }, at(10));
    let given_up = machine.handle(Event::Cancel { operation: OperationId(2) }, at(10));
    assert!(!given_up.contains(&Action::KillZygote(GenerationId(2))), "it was never there: {given_up:?}");
    assert!(given_up.contains(&Action::Boot { generation: GenerationId(3), revision: RevisionId(1) }), "{given_up:?}");
}
