//! What a fleet does when most of its files are gone at one look.

use super::*;

fn files(count: u64) -> Vec<Sighting> {
    (0..count).map(|number| file(&format!("v{number:02}.ini"), number + 1)).collect()
}

/// So many vassals whose files were seen, and who wait or boot.
fn seen(count: u64) -> Stage {
    let mut stage = Stage::new();
    stage.at(0, Event::Scanned(files(count)));
    stage
}

fn missing(stage: &Stage) -> usize {
    stage.fleet.doubted().len()
}

fn stops(actions: &[Action]) -> usize {
    let ends = |action: &&Action| matches!(action, Action::Begin { verb: Verb::Stop, .. });
    actions.iter().filter(ends).count()
}

#[test]
fn ten_of_twelve_gone_at_once_are_left_as_they_are_until_somebody_confirms() {
    let mut stage = seen(12);
    assert_eq!(stage.at(1, Event::Scanned(files(2))), []);
    assert_eq!(missing(&stage), 10);
    assert!(stage.fleet.view(&name("v05.ini")).is_some_and(|view| view.missing && view.revision.is_some()));
    assert!(stage.fleet.view(&name("v00.ini")).is_some_and(|view| !view.missing));
    // Looked at again, or not to be looked at, changes nothing.
    assert_eq!(stage.at(2, Event::Scanned(files(2))), []);
    assert_eq!(stage.at(2, Event::DirectoryLost), []);
    assert_eq!(stops(&stage.at(3, Event::RemovalConfirmed)), 10);
    assert_eq!(missing(&stage), 0);
    assert_eq!(stage.at(4, Event::RemovalConfirmed), []);
}

#[test]
fn nine_gone_at_once_or_half_of_a_fleet_are_wishes() {
    let mut few = seen(9);
    few.at(1, Event::Scanned(Vec::new()));
    assert_eq!(missing(&few), 0);
    assert!(few.fleet.views().iter().all(|view| view.revision.is_none()));
    let mut half = seen(20);
    half.at(1, Event::Scanned(files(10)));
    assert_eq!(missing(&half), 0);
}

#[test]
fn files_that_come_back_are_believed_each_by_itself() {
    let mut stage = seen(12);
    stage.at(1, Event::Scanned(Vec::new()));
    assert_eq!(missing(&stage), 12);
    assert_eq!(stage.at(2, Event::Scanned(files(11))), [], "unchanged, so nothing is deployed");
    assert_eq!(stage.fleet.doubted(), [name("v11.ini")], "the doubt stays until the last is back");
    stage.at(3, Event::Scanned(files(10)));
    assert_eq!(missing(&stage), 2, "while one removal is doubted, every other is");
    stage.at(4, Event::Scanned(files(12)));
    assert_eq!(missing(&stage), 0);
}

#[test]
fn who_goes_when_the_last_doubted_file_is_back_under_another_name_is_doubted_like_any_other() {
    let mut stage = seen(12);
    stage.at(1, Event::Scanned(Vec::new()));
    stage.at(2, Event::Scanned(files(11)));
    assert_eq!(stage.fleet.doubted(), [name("v11.ini")]);
    let mut looked = files(10);
    looked.push(Sighting { name: name("w.ini"), ..file("v11.ini", 12) });
    stage.at(3, Event::Scanned(looked));
    assert_eq!(stage.fleet.doubted(), [name("v10.ini")], "v11.ini has become w.ini");
}

#[test]
fn masters_found_over_an_empty_directory_are_left_as_they_are() {
    let mut stage = Stage::new();
    for number in 0..12 {
        let master = key(&format!("v{number:02}.ini"), Berth::A, number + 1);
        let serving = Some((GenerationId(1), RevisionId(number + 1)));
        let content = Some(ContentDigest(number + 1));
        stage.at(0, Event::Found(Alive { master, identity: WWW, serving, booting: None, content, frozen: false }));
    }
    assert_eq!(stage.at(0, Event::Scanned(Vec::new())), []);
    assert_eq!(missing(&stage), 12);
    let died = stage.at(1, Event::MasterExited { master: key("v03.ini", Berth::A, 4), how: "signal 9".into() });
    let restarted = start(key("v03.ini", Berth::A, 13), 4, 1);
    assert!(died.contains(&restarted), "it runs again what it served: {died:?}");
    stage.serving(2, key("v03.ini", Berth::A, 13), 2, 4, 1);
    assert_eq!(stage.at(3, Event::Scanned(files(12))), [], "the files are back and say what runs");
    assert_eq!(missing(&stage), 0);
}

#[test]
fn a_mass_renaming_is_no_removal() {
    let mut stage = seen(12);
    let renamed = files(12).into_iter().map(|file| Sighting { name: name(&format!("new-{}", file.name)), ..file });
    stage.at(1, Event::Scanned(renamed.collect()));
    assert_eq!(missing(&stage), 0);
    assert!(stage.fleet.view(&name("v00.ini")).is_none_or(|view| view.revision.is_none()));
}

#[test]
fn an_operator_may_stop_what_is_missing() {
    let mut stage = Stage::loyal();
    let mut all = files(12);
    all.insert(0, file("a.ini", 1));
    stage.at(1, Event::Scanned(all));
    stage.at(2, Event::Scanned(Vec::new()));
    let (_, actions) = stage.command(3, Verb::Stop);
    assert!(actions.contains(&Action::Stop { master: a(1) }), "{actions:?}");
}

#[test]
fn a_doubt_is_written_down_and_outlives_the_brain_however_few_are_still_missing() {
    let mut stage = seen(12);
    let doubts = |actions: Vec<Action>, so: bool| {
        actions.iter().filter(|action| matches!(action, Action::Doubt { doubted, .. } if *doubted == so)).count()
    };
    assert_eq!(doubts(stage.fleet.handle(Event::Scanned(Vec::new()), at(1)), true), 12);
    assert_eq!(doubts(stage.fleet.handle(Event::Scanned(files(10)), at(2)), false), 10);

    let mut next = Stage::new();
    next.at(3, Event::Recalled(Recalled { doubted: vec![name("v10.ini"), name("v11.ini")], ..Recalled::default() }));
    for number in 0..11 {
        let master = key(&format!("v{number:02}.ini"), Berth::A, number + 1);
        let serving = Some((GenerationId(1), RevisionId(number + 1)));
        let content = Some(ContentDigest(number + 1));
        next.at(3, Event::Found(Alive { master, identity: WWW, serving, booting: None, content, frozen: false }));
    }
    let looked = next.fleet.handle(Event::Scanned(files(10)), at(3));
    assert_eq!(stops(&looked), 0, "one of eleven is a wish, but it was doubted before: {looked:?}");
    assert_eq!(next.fleet.doubted(), [name("v10.ini")]);
    let over = Action::Doubt { name: name("v11.ini"), doubted: false };
    assert!(looked.contains(&over), "nothing runs of it that could be stopped: {looked:?}");
    let confirmed = next.fleet.handle(Event::RemovalConfirmed, at(4));
    assert_eq!((stops(&confirmed), doubts(confirmed, false)), (1, 1));
}

#[test]
fn a_missing_file_of_a_master_found_alive_may_come_back_under_another_name() {
    let mut stage = Stage::new();
    for number in 0..12 {
        let master = key(&format!("v{number:02}.ini"), Berth::A, number + 1);
        let serving = Some((GenerationId(1), RevisionId(number + 1)));
        let content = Some(ContentDigest(number + 1));
        stage.at(0, Event::Found(Alive { master, identity: WWW, serving, booting: None, content, frozen: false }));
    }
    stage.at(0, Event::Scanned(Vec::new()));
    assert_eq!(missing(&stage), 12);
    let renamed = Sighting { name: name("new.ini"), ..file("v05.ini", 6) };
    let looked = stage.at(1, Event::Scanned(vec![renamed]));
    assert_eq!((stops(&looked), missing(&stage)), (1, 11), "{looked:?}");
}

#[test]
fn of_two_masters_found_alive_the_newer_says_what_the_missing_file_said_last() {
    let mut stage = Stage::new();
    for number in 0..12 {
        let name = format!("v{number:02}.ini");
        let alive = |berth, serial, serves: bool, content| Alive {
            master: key(&name, berth, serial),
            identity: WWW,
            serving: serves.then_some((GenerationId(1), RevisionId(content))),
            booting: (!serves).then_some(RevisionId(content)),
            content: Some(ContentDigest(content)),
            frozen: false,
        };
        stage.at(0, Event::Found(alive(Berth::A, number + 1, true, number + 1)));
        if number == 5 {
            stage.at(0, Event::Found(alive(Berth::B, 20, false, 40)));
        }
    }
    stage.at(0, Event::Scanned(Vec::new()));
    assert_eq!(missing(&stage), 12);
    let older = Sighting { name: name("older.ini"), ..file("v05.ini", 6) };
    stage.at(1, Event::Scanned(vec![older.clone()]));
    assert_eq!(missing(&stage), 12, "what the older one serves is what the file said before");
    let newer = Sighting { content: ContentDigest(40), name: name("newer.ini"), ..file("v05.ini", 40) };
    stage.at(2, Event::Scanned(vec![newer, older]));
    assert_eq!(missing(&stage), 11, "{:?}", stage.fleet.doubted());
}
