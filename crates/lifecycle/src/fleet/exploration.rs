//! Every state that a fleet of two vassals can reach within stated bounds, by breadth-first search over everything
//! that can happen next. [`World`] checks each step, and from each state an undisturbed fleet must come to rest where
//! its files say.

use std::{
    collections::{BTreeSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
};

use super::world::{Bounds, Happening, World};
use crate::chance;

/// What stands for a state: two hashes of its canonical text.
type Key = (u64, u64);

/// How a state was reached, for the message of a failure.
struct Path {
    last: Happening,
    before: Option<Rc<Path>>,
}

fn story(path: &Option<Rc<Path>>) -> String {
    let mut lines = Vec::new();
    let mut at = path.as_ref();
    while let Some(step) = at {
        lines.push(format!("  {:?}", step.last));
        at = step.before.as_ref();
    }
    lines.reverse();
    lines.join("\n")
}

fn key(world: &World) -> Key {
    let text = world.canonical();
    let hash = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        text.hash(&mut hasher);
        hasher.finish()
    };
    (hash(0), hash(1))
}

fn explore(first: World) -> (usize, usize) {
    let first_key = key(&first);
    let (mut seen, mut restful) = (BTreeSet::from([first_key]), BTreeSet::new());
    let mut transitions = 0;
    let mut queue = VecDeque::from([(first, first_key, None::<Rc<Path>>)]);
    while let Some((world, at, path)) = queue.pop_front() {
        if let Err(broken) = comes_to_rest(&world, at, &mut restful) {
            panic!("an undisturbed fleet does not come to rest: {broken}\nafter\n{}\n{world:#?}", story(&path));
        }
        for happening in world.happenings() {
            transitions += 1;
            let mut next = world.clone();
            if let Err(broken) = next.happens(&happening) {
                panic!("{broken}\nafter\n{}\n  {happening:?}\n{world:#?}", story(&path));
            }
            let next_key = key(&next);
            if seen.insert(next_key) {
                assert!(seen.len() < 1_000_000, "the bounds are too wide");
                queue.push_back((next, next_key, Some(Rc::new(Path { last: happening, before: path.clone() }))));
            }
        }
    }
    (seen.len(), transitions)
}

fn comes_to_rest(world: &World, at: Key, restful: &mut BTreeSet<Key>) -> Result<(), String> {
    let (mut world, mut at, mut way) = (world.clone(), at, Vec::new());
    while !restful.contains(&at) {
        way.push(at);
        if way.len() > 200 {
            return Err(format!("200 steps and no rest: {world:#?}"));
        }
        match world.undisturbed() {
            Some(happening) => world.happens(&happening).map_err(|broken| format!("{broken} by {happening:?}"))?,
            None => {
                world.at_rest()?;
                break;
            }
        }
        at = key(&world);
    }
    restful.extend(way);
    Ok(())
}

const NOTHING: Bounds = Bounds {
    edits: 0,
    commands: 0,
    failures: 0,
    crashes: 0,
    brain_deaths: 0,
    signals: 0,
    shut_downs: 0,
    removals: 0,
    visits: 0,
};

/// Explores the narrow bounds, or the wide ones when a long run is asked for (`./dev sim`). Of two names, so many
/// have a file at first.
fn explored(title: &str, files: usize, narrow: Bounds, wide: Bounds) {
    let bounds = if chance::steps(0) > 0 { wide } else { narrow };
    match World::new(&["a.ini", "b.ini"], files, bounds) {
        Ok(first) => {
            let (states, transitions) = explore(first);
            chance::tell(&format!("fleet, {title}: {states} states, {transitions} transitions ({bounds:?})"));
        }
        Err(broken) => panic!("{broken}"),
    }
}

#[test]
fn every_history_of_edits_and_renames_keeps_the_invariants() {
    let narrow = Bounds { edits: 2, failures: 1, ..NOTHING };
    explored("edits", 1, narrow, Bounds { edits: 3, ..narrow });
}

#[test]
fn every_history_of_commands_keeps_the_invariants() {
    let narrow = Bounds { commands: 2, failures: 1, ..NOTHING };
    explored("commands", 1, narrow, Bounds { edits: 1, crashes: 1, ..narrow });
}

#[test]
fn every_history_of_crashes_and_brain_deaths_keeps_the_invariants() {
    let narrow = Bounds { edits: 1, crashes: 1, brain_deaths: 1, ..NOTHING };
    explored("deaths", 1, narrow, Bounds { commands: 1, failures: 1, ..narrow });
}

#[test]
fn every_history_of_a_directory_that_is_emptied_keeps_the_invariants() {
    let narrow = Bounds { removals: 1, brain_deaths: 1, ..NOTHING };
    explored("emptied", 2, narrow, Bounds { crashes: 1, ..narrow });
}

#[test]
fn every_history_of_visits_to_a_vassal_on_demand_keeps_the_invariants() {
    let narrow = Bounds { edits: 1, visits: 2, ..NOTHING };
    explored("on demand", 1, narrow, Bounds { edits: 2, failures: 1, brain_deaths: 1, ..narrow });
}

#[test]
fn every_history_of_two_vassals_and_their_end_keeps_the_invariants() {
    let narrow = Bounds { signals: 1, shut_downs: 2, ..NOTHING };
    explored("two", 2, narrow, Bounds { failures: 1, ..narrow });
}
