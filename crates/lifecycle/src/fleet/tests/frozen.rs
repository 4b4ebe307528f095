//! Vassals that an operator froze: told once to every master there is, and to each that comes.

use super::*;

fn gate(master: MasterKey, frozen: bool) -> Action {
    Action::Gate { master, frozen }
}

fn recorded(frozen: bool) -> Action {
    Action::Freeze { name: name("a.ini"), frozen }
}

fn frozen() -> Stage {
    let mut stage = Stage::loyal();
    let (operation, actions) = stage.command(1, Verb::Freeze);
    let begun = begin("a.ini", operation, Verb::Freeze, Cause::Command);
    assert_eq!(actions, [begun, recorded(true), gate(a(1), true), succeeded(operation)]);
    assert!(stage.view().frozen && stage.view().state == State::Loyal);
    stage
}

#[test]
fn freezing_and_resuming_tell_the_master_once_and_are_written_down() {
    let mut stage = frozen();
    let (operation, again) = stage.command(2, Verb::Freeze);
    assert_eq!(again, [begin("a.ini", operation, Verb::Freeze, Cause::Command), succeeded(operation)]);
    let (operation, actions) = stage.command(3, Verb::Resume);
    let begun = begin("a.ini", operation, Verb::Resume, Cause::Command);
    assert_eq!(actions, [begun, recorded(false), gate(a(1), false), succeeded(operation)]);
    assert!(!stage.view().frozen);
}

#[test]
fn a_master_started_while_frozen_is_frozen_from_the_start() {
    let mut stage = frozen();
    let died = stage.exited(2, a(1));
    let frozen_start = died.iter().any(|action| matches!(action, Action::Start { frozen: true, .. }));
    assert!(frozen_start, "{died:?}");
    let (_, resumed) = stage.command(3, Verb::Resume);
    assert!(!resumed.iter().any(|action| matches!(action, Action::Gate { .. })), "it is not there yet: {resumed:?}");
    assert_eq!(stage.at(4, Event::MasterStarted { master: a(2) }), [gate(a(2), false)]);
}

#[test]
fn it_outlives_the_brain_and_a_lost_database() {
    let found = |frozen| {
        let serving = Some((GenerationId(1), RevisionId(1)));
        let content = Some(ContentDigest(1));
        Event::Found(Alive { master: a(1), identity: WWW, serving, booting: None, content, frozen })
    };
    let mut next = Stage::new();
    next.at(5, Event::Recalled(Recalled { frozen: vec![name("a.ini")], ..Recalled::default() }));
    assert_eq!(next.at(5, found(false)), [gate(a(1), true)]);
    let mut forgetful = Stage::new();
    assert_eq!(forgetful.at(5, found(true)), [recorded(true)]);
    forgetful.at(5, Event::Scanned(vec![file("a.ini", 1)]));
    assert!(forgetful.view().frozen);
}

#[test]
fn it_ends_with_the_vassal() {
    let mut stage = frozen();
    stage.at(2, Event::Scanned(Vec::new()));
    assert!(stage.exited(3, a(1)).contains(&recorded(false)));
}

#[test]
fn clients_of_one_asleep_wait_until_it_is_resumed() {
    let verdict = Verdict::Runs { identity: WWW, mercy: Duration::from_secs(60), on_demand: true };
    let mut stage = Stage::new();
    stage.at(0, Event::Scanned(vec![Sighting { verdict, ..file("a.ini", 1) }]));
    stage.command(1, Verb::Freeze);
    assert_eq!(stage.at(2, Event::Knocked { name: name("a.ini") }), []);
    let (_, resumed) = stage.command(3, Verb::Resume);
    assert!(resumed.contains(&Action::Await { name: name("a.ini"), revision: RevisionId(1) }), "{resumed:?}");
}
