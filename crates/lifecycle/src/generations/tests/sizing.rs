//! Generations whose number of workers changes.

use super::*;

const ADAPTIVE: Plan = Plan { workers: 3, first: 1, least: 0, ..PLAN };

fn deploy_adaptive(operation: u64, plan: Plan) -> Event {
    Event::Deploy { operation: OperationId(operation), revision: RevisionId(operation), plan }
}

fn proved(worker: WorkerRef) -> Event {
    Event::Proved { worker }
}

/// A vassal that has begun with one worker of three.
fn small() -> Generations {
    let mut machine = Generations::new(Policy::default());
    machine.handle(deploy_adaptive(1, ADAPTIVE), at(0));
    machine.handle(loaded(1), at(0));
    machine.handle(proved(worker(1, 1, 0)), at(0));
    machine
}

#[test]
fn it_begins_with_as_many_as_the_plan_says_and_grows_when_more_are_wanted() {
    let mut machine = small();
    assert_eq!(
        machine.handle(Event::Resize { workers: 3 }, at(1)),
        [Action::Spawn(worker(1, 2, 1)), Action::Spawn(worker(1, 3, 1))]
    );
    assert_eq!(machine.handle(proved(worker(1, 3, 1)), at(2)), [Action::OpenGate(worker(1, 3, 1))]);
    assert_eq!(machine.handle(Event::Resize { workers: 9 }, at(2)), [], "not more than the plan allows");
}

#[test]
fn when_fewer_are_wanted_those_that_never_accepted_go_first_and_then_the_oldest() {
    let mut machine = small();
    machine.handle(Event::Resize { workers: 3 }, at(1));
    machine.handle(proved(worker(1, 3, 1)), at(2));
    assert_eq!(machine.handle(Event::Resize { workers: 2 }, at(3)), [Action::Kill(worker(1, 2, 1))]);
    assert_eq!(machine.handle(Event::Resize { workers: 1 }, at(4)), [Action::Drain(worker(1, 1, 0))]);
    assert_eq!(machine.handle(left(worker(1, 1, 0)), at(5)), []);
    assert_eq!(machine.deadline(), None);
}

#[test]
fn it_rests_when_nobody_is_wanted_and_comes_back() {
    let mut machine = small();
    assert_eq!(machine.handle(Event::Resize { workers: 0 }, at(1)), [Action::Drain(worker(1, 1, 0))]);
    assert_eq!(machine.handle(left(worker(1, 1, 0)), at(2)), []);
    assert_eq!((machine.deadline(), machine.wanted()), (None, Some(0)));
    assert_eq!(machine.serving(), Some((GenerationId(1), RevisionId(1))));
    assert_eq!(machine.handle(Event::Resize { workers: 1 }, at(900)), [Action::Spawn(worker(1, 1, 1))]);
}

#[test]
fn a_vassal_that_is_to_rest_from_the_start_proves_with_one_worker_that_never_accepts() {
    let mut machine = Generations::new(Policy::default());
    machine.handle(deploy_adaptive(1, Plan { first: 0, ..ADAPTIVE }), at(0));
    let actions = machine.handle(loaded(1), at(0));
    assert_eq!(actions.last(), Some(&Action::Spawn(worker(1, 1, 0))));
    let actions = machine.handle(proved(worker(1, 1, 0)), at(1));
    assert_eq!(actions.first(), Some(&Action::Kill(worker(1, 1, 0))));
    assert!(!actions.contains(&Action::OpenGate(worker(1, 1, 0))));
    assert_eq!(machine.handle(died(worker(1, 1, 0)), at(1)), []);
    assert_eq!(machine.deadline(), None);
}

#[test]
fn a_reload_begins_with_as_many_as_serve_now() {
    let mut machine = small();
    machine.handle(Event::Resize { workers: 2 }, at(1));
    machine.handle(proved(worker(1, 2, 1)), at(2));
    machine.handle(deploy_adaptive(2, ADAPTIVE), at(3));
    machine.handle(loaded(2), at(3));
    assert_eq!(
        machine.handle(workers_weighed(2, Room::Enough), at(3)),
        [Action::Spawn(worker(2, 1, 0)), Action::Spawn(worker(2, 2, 0))]
    );
}

#[test]
fn a_reload_of_one_that_rests_rests_too() {
    let mut machine = small();
    machine.handle(Event::Resize { workers: 0 }, at(1));
    machine.handle(left(worker(1, 1, 0)), at(2));
    machine.handle(deploy_adaptive(2, ADAPTIVE), at(3));
    machine.handle(loaded(2), at(3));
    let actions = machine.handle(proved(worker(2, 1, 0)), at(4));
    assert!(!actions.iter().any(|action| matches!(action, Action::OpenGate(_))), "{actions:?}");
    assert!(actions.contains(&Action::RetireZygote(GenerationId(1))));
}

#[test]
fn a_client_that_comes_while_one_that_rests_is_reloaded_gets_the_worker_that_proves() {
    let mut machine = small();
    machine.handle(Event::Resize { workers: 0 }, at(1));
    machine.handle(left(worker(1, 1, 0)), at(2));
    machine.handle(deploy_adaptive(2, ADAPTIVE), at(3));
    machine.handle(loaded(2), at(3));
    machine.handle(Event::Resize { workers: 1 }, at(3));
    let actions = machine.handle(proved(worker(2, 1, 0)), at(4));
    assert_eq!(actions.first(), Some(&Action::OpenGate(worker(2, 1, 0))));
}
