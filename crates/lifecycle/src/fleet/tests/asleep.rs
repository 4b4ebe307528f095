//! Vassals on demand: what wakes them, and what they do when they are idle again.

use super::*;

fn on_demand(revision: u64) -> Sighting {
    let verdict = Verdict::Runs { identity: WWW, mercy: Duration::from_secs(60), on_demand: true };
    Sighting { verdict, ..file("a.ini", revision) }
}

fn awaits(revision: u64) -> Action {
    Action::Await { name: name("a.ini"), revision: RevisionId(revision) }
}

fn knocked() -> Event {
    Event::Knocked { name: name("a.ini") }
}

/// `a.ini` was woken by its first client and serves.
fn awake() -> Stage {
    let mut stage = Stage::new();
    assert_eq!(stage.at(0, Event::Scanned(vec![on_demand(1)])), [awaits(1)]);
    assert_eq!(stage.view().state, State::Asleep);
    assert_eq!(stage.at(1, knocked()), [begin("a.ini", 1, Verb::Start, Cause::Client), start(a(1), 1, 1)]);
    stage.at(1, Event::MasterStarted { master: a(1) });
    assert_eq!(stage.serving(2, a(1), 1, 1, 1), [succeeded(1)]);
    stage
}

#[test]
fn the_first_client_starts_it_and_idleness_sends_it_back_to_wait_for_the_next() {
    let mut stage = awake();
    assert_eq!(
        stage.at(60, Event::MasterLeft { master: a(1) }),
        [awaits(1)],
        "its sockets stay, and so do who waits there"
    );
    assert_eq!(stage.view().state, State::Asleep);
    let woken = stage.at(61, knocked());
    assert_eq!(woken, [begin("a.ini", 2, Verb::Start, Cause::Client), start(a(2), 1, 2)]);
    assert_eq!(stage.at(61, knocked()), [], "one knock is enough");
}

#[test]
fn one_that_dies_is_started_again_and_one_that_is_not_on_demand_is_never_asleep() {
    let mut stage = awake();
    let died = stage.exited(60, a(1));
    assert!(died.contains(&start(a(2), 1, 2)), "{died:?}");
    let mut usual = Stage::loyal();
    let left = usual.at(60, Event::MasterLeft { master: a(1) });
    assert!(left.contains(&start(a(2), 1, 2)), "{left:?}");
}

#[test]
fn an_edit_while_it_sleeps_changes_what_will_be_started_and_a_reload_has_nothing_to_do() {
    let mut stage = Stage::new();
    stage.at(0, Event::Scanned(vec![on_demand(1)]));
    assert_eq!(stage.at(1, Event::Scanned(vec![on_demand(2)])), [awaits(2)]);
    let (operation, actions) = stage.command(2, Verb::Reload);
    assert_eq!(actions, [begin("a.ini", operation, Verb::Reload, Cause::Command), succeeded(operation)]);
    let (operation, actions) = stage.command(3, Verb::Start);
    assert_eq!(actions, [begin("a.ini", operation, Verb::Start, Cause::Command), start(a(1), 2, operation)]);
}

#[test]
fn a_file_that_is_no_longer_on_demand_is_started_and_one_that_goes_closes_its_sockets() {
    let mut stage = Stage::new();
    stage.at(0, Event::Scanned(vec![on_demand(1)]));
    let switched = stage.at(1, Event::Scanned(vec![file("a.ini", 1)]));
    assert_eq!(switched, [begin("a.ini", 1, Verb::Start, Cause::File), start(a(1), 1, 1)]);
    let mut gone = Stage::new();
    gone.at(0, Event::Scanned(vec![on_demand(1)]));
    assert_eq!(gone.at(1, Event::Scanned(Vec::new())), [forget("a.ini")]);
    assert_eq!(gone.at(1, knocked()), []);
}

#[test]
fn held_or_stopping_it_wakes_for_nobody() {
    let mut stage = Stage::new();
    stage.at(0, Event::Scanned(vec![on_demand(1)]));
    let (_, actions) = stage.command(1, Verb::Stop);
    assert!(actions.contains(&forget("a.ini")), "{actions:?}");
    assert_eq!(stage.at(2, knocked()), []);
    let mut stopping = Stage::new();
    stopping.at(0, Event::Scanned(vec![on_demand(1)]));
    assert_eq!(stopping.at(1, Event::ShutDown), [forget("a.ini"), Action::Leave]);
}

#[test]
fn sockets_that_cannot_be_held_are_tried_again_later_and_later() {
    let mut stage = Stage::new();
    stage.at(0, Event::Scanned(vec![on_demand(1)]));
    let failed = Event::AwaitFailed { name: name("a.ini"), reason: broken() };
    assert_eq!(stage.at(0, failed.clone()), [forget("a.ini")]);
    assert_eq!(stage.view().state, State::Cursed { retry_at: at(1) });
    assert_eq!(stage.at(1, Event::DeadlineReached), [awaits(1)]);
    stage.at(1, failed);
    assert_eq!(stage.view().state, State::Cursed { retry_at: at(3) });
}

#[test]
fn a_start_that_fails_closes_the_sockets_and_waits_for_the_next_client_after_its_back_off() {
    let mut stage = Stage::new();
    stage.at(0, Event::Scanned(vec![on_demand(1)]));
    stage.at(0, knocked());
    stage.at(0, Event::MasterStarted { master: a(1) });
    stage.failed(1, a(1), 1, 1, false);
    assert_eq!(stage.exited(1, a(1)), [forget("a.ini")], "clients must not wait for nobody");
    assert_eq!(stage.at(2, Event::DeadlineReached), [awaits(1)]);
}

#[test]
fn of_one_that_goes_in_its_sleep_before_its_failures_are_forgotten_nothing_is_due() {
    let mut stage = awake();
    stage.exited(60, a(1));
    stage.at(60, Event::MasterStarted { master: a(2) });
    stage.serving(60, a(2), 2, 1, 2);
    stage.at(61, Event::MasterLeft { master: a(2) });
    stage.exited(61, a(2));
    assert_eq!((stage.view().state, stage.fleet.deadline()), (State::Asleep, Some(at(90))));
    assert_eq!(stage.at(62, Event::Scanned(Vec::new())), [forget("a.ini")]);
    assert_eq!((stage.fleet.views(), stage.fleet.deadline()), (vec![], None));
}
