//! Every history of two posts over three generations, up to a certain length.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::chance::tell;

const MERCY: Duration = Duration::from_secs(2);

fn at(seconds: u64) -> Moment {
    Moment::START.after(Duration::from_secs(seconds))
}

fn one(generation: u64, spawn: u32) -> PostRef {
    PostRef { generation: GenerationId(generation), post: Post::Mule(1), spawn }
}

#[test]
fn the_next_generation_s_mule_starts_when_the_last_one_s_has_ended() {
    let mut posts = Posts::default();
    let mules = || vec![Post::Mule(1)];
    assert_eq!(posts.follow(GenerationId(1), mules(), MERCY, at(0)), [Step::Start(one(1, 0))]);
    assert_eq!(posts.follow(GenerationId(2), mules(), MERCY, at(3)), []);
    assert_eq!(posts.over(|_| false, at(4)), [], "its workers may have something for it");
    assert_eq!(posts.over(|_| true, at(5)), [Step::Finish(one(1, 0))]);
    assert_eq!((posts.wake(at(6)), posts.wake(at(7))), (vec![], vec![Step::Kill(one(1, 0))]));
    assert_eq!(posts.ended(one(1, 0), at(7)), [Step::Start(one(2, 1))]);
    assert_eq!(posts.follow(GenerationId(3), vec![], MERCY, at(9)), []);
    assert_eq!(posts.over(|id| id == GenerationId(2), at(9)), [Step::Finish(one(2, 1))]);
    assert_eq!((posts.ended(one(2, 1), at(9)), posts.are_empty(), posts.deadline()), (vec![], true, None));
}

#[test]
fn a_mule_that_keeps_dying_is_waited_for_longer_each_time_and_a_new_generation_tries_at_once() {
    let mut posts = Posts::default();
    let mut now = at(0);
    posts.follow(GenerationId(1), vec![Post::Mule(1)], MERCY, now);
    let mut waits = Vec::new();
    for spawn in 0..5 {
        let steps = posts.ended(one(1, spawn), now);
        waits.push(posts.waits(Post::Mule(1), now).map_or(0, |wait| wait.as_millis()));
        if steps.is_empty() {
            now = posts.deadline().unwrap();
            assert_eq!(posts.wake(now), [Step::Start(one(1, spawn + 1))]);
        }
    }
    assert_eq!(waits, [0, 500, 1000, 2000, 4000]);
    assert_eq!(posts.ended(one(1, 5), now), []);
    assert_eq!(posts.follow(GenerationId(2), vec![Post::Mule(1)], MERCY, now), [Step::Start(one(2, 6))]);
}

#[test]
fn one_that_is_replaced_or_condemned_is_started_again_at_once() {
    let mut posts = Posts::default();
    posts.follow(GenerationId(1), vec![Post::Mule(1), Post::Spooler(1)], MERCY, at(0));
    assert_eq!(posts.replace(|post| post == Post::Mule(1), at(1)), [Step::Tell(one(1, 0))]);
    assert_eq!(posts.ended(one(1, 0), at(1)), [Step::Start(one(1, 2))]);
    posts.condemned(one(1, 2));
    assert_eq!(posts.ended(one(1, 2), at(1)), [Step::Start(one(1, 3))]);
}

#[test]
fn one_that_leaves_by_itself_has_the_same_mercy_and_is_started_again_at_once() {
    let mut posts = Posts::default();
    posts.follow(GenerationId(1), vec![Post::Mule(1)], MERCY, at(0));
    posts.leaves(one(1, 0), at(1));
    assert_eq!((posts.wake(at(2)), posts.deadline()), (vec![], Some(at(3))));
    assert_eq!(posts.wake(at(3)), [Step::Kill(one(1, 0))]);
    assert_eq!(posts.ended(one(1, 0), at(3)), [Step::Start(one(1, 1))]);
    posts.leaves(one(1, 1), at(4));
    assert_eq!(posts.ended(one(1, 1), at(4)), [Step::Start(one(1, 2))]);
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    posts: Posts,
    now: Moment,
    generation: u64,
    stopped: bool,
    /// Processes that run, and whether they were told to leave.
    run: BTreeMap<PostRef, bool>,
}

#[test]
fn in_every_history_a_post_is_held_by_one_process_and_none_starts_after_a_stop() {
    let mut worlds = BTreeSet::from([World {
        posts: Posts::default(),
        now: at(0),
        generation: 0,
        stopped: false,
        run: BTreeMap::new(),
    }]);
    let mut seen = worlds.clone();
    for _ in 0..9 {
        let next: BTreeSet<World> = worlds.iter().flat_map(steps_from).collect();
        worlds = next.difference(&seen).cloned().collect();
        seen.extend(worlds.iter().cloned());
    }
    tell(&format!("posts: {} states", seen.len()));
    assert!(seen.len() > 1000);
}

fn steps_from(world: &World) -> Vec<World> {
    let mut next = Vec::new();
    let mut happens = |change: &dyn Fn(&mut World) -> Vec<Step>| {
        let mut world = world.clone();
        let steps = change(&mut world);
        carry_out(&mut world, steps);
        next.push(world);
    };
    if world.generation < 3 && !world.stopped {
        for posts in [vec![Post::Mule(1), Post::Spooler(1)], vec![Post::Mule(1)]] {
            happens(&|world| {
                world.generation += 1;
                world.posts.follow(GenerationId(world.generation), posts.clone(), MERCY, world.now)
            });
        }
    }
    happens(&|world| {
        world.now = world.now.after(Duration::from_secs(1));
        world.posts.wake(world.now)
    });
    happens(&|world| world.posts.replace(|_| true, world.now));
    happens(&|world| world.posts.hurry());
    for over in 1..=world.generation {
        happens(&|world| world.posts.over(|id| id.0 <= over, world.now));
    }
    happens(&|world| {
        world.stopped = true;
        world.posts.stop();
        Vec::new()
    });
    for by in world.run.keys() {
        happens(&|world| {
            world.run.remove(by);
            world.posts.ended(*by, world.now)
        });
    }
    next
}

fn carry_out(world: &mut World, steps: Vec<Step>) {
    for step in steps {
        match step {
            Step::Start(by) => {
                assert!(!world.stopped && by.generation == GenerationId(world.generation), "{world:?} {by:?}");
                assert!(world.run.keys().all(|other| other.post != by.post), "{world:?} {by:?}");
                world.run.insert(by, false);
            }
            Step::Tell(by) => assert_eq!(world.run.insert(by, true), Some(false), "{world:?}"),
            Step::Finish(by) => {
                assert!(world.stopped || by.generation != GenerationId(world.generation), "{world:?} {by:?}");
                assert_eq!(world.run.insert(by, true), Some(false), "{world:?}");
            }
            Step::Kill(by) => {
                let told = world.run.insert(by, true);
                assert!(told.is_some_and(|told| told || world.stopped), "{world:?}");
            }
        }
    }
    assert_eq!(world.posts.are_empty(), world.run.is_empty(), "{world:?}");
    // Whoever was told to leave does so in the end, and who is missing comes.
    let told = world.run.values().filter(|told| **told).count();
    assert!(told == 0 || world.posts.deadline().is_some() || told <= world.run.len(), "{world:?}");
    let mut in_the_end = world.posts.clone();
    in_the_end.over(|_| true, world.now);
    let may_stay = |by: &PostRef| !world.stopped && by.generation == GenerationId(world.generation);
    let untold: Vec<_> = world.run.iter().filter(|(by, told)| !**told && !may_stay(by)).collect();
    assert!(untold.is_empty() || in_the_end.deadline().is_some(), "{world:?}");
}
