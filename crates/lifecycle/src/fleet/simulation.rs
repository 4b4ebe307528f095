//! Long histories of a fleet in the [`World`] of the exploration: random walks through edits, renames, commands,
//! failing boots, crashes, deaths of the brain and signals. When the world calms down, what runs must be what the
//! files say. A failure names its seed.

use super::world::{Bounds, Happening, World};
use crate::chance::{self, Chance};

const STORM: Bounds = Bounds {
    edits: 40,
    commands: 25,
    failures: 25,
    crashes: 15,
    brain_deaths: 3,
    signals: 6,
    shut_downs: 0,
    removals: 2,
    visits: 20,
};

fn weight(happening: &Happening) -> u64 {
    match happening {
        Happening::Forked(_)
        | Happening::WordArrives(_)
        | Happening::OrderArrives(_)
        | Happening::BootSucceeds(_)
        | Happening::Exits(_)
        | Happening::HangIsNoticed(_)
        | Happening::Deadline => 12,
        Happening::Knocks(_) | Happening::LeavesIdle(_) => 3,
        Happening::AwaitFails(_) | Happening::OnDemand(_) => 1,
        Happening::ForkFails(_) | Happening::OrderFails(_) | Happening::BootFails(_) => 4,
        Happening::Crashes(_) | Happening::Hangs(_) => 2,
        Happening::Edited(_)
        | Happening::Refused(_)
        | Happening::OtherIdentity(_)
        | Happening::Removed(_)
        | Happening::Renamed(..)
        | Happening::Emptied
        | Happening::Returned(_)
        | Happening::RemovalConfirmed
        | Happening::Commanded(..) => 1,
        Happening::BrainDies | Happening::DirectoryLost | Happening::ReloadAll | Happening::ShutDown => 1,
    }
}

fn one_of(happenings: Vec<Happening>, chance: &mut Chance) -> Option<Happening> {
    let mut at = chance.below(happenings.iter().map(weight).sum());
    happenings.into_iter().find(|happening| {
        let here = at < weight(happening);
        at = at.saturating_sub(weight(happening));
        here
    })
}

/// One history; answers how many steps it took. `log` is what happened, for the message of a failure.
fn lives(seed: u64, log: &mut Vec<Happening>) -> Result<u64, String> {
    let mut chance = Chance::seeded(seed);
    let names = ["a.ini", "b.ini", "c.ini", "d.ini", "e.ini"];
    let files = chance.below(6) as usize;
    let mut world = World::new(&names, files, STORM)?;
    let stormy = 60 + chance.below(200);
    while (log.len() as u64) < stormy {
        let Some(happening) = one_of(world.happenings(), &mut chance) else { break };
        log.push(happening.clone());
        world.happens(&happening)?;
        if chance.percent(5) {
            world.scan()?;
        }
    }
    if chance.percent(30) {
        world.left.shut_downs = 1 + chance.below(2) as u32;
    }
    while world.left.shut_downs > 0 {
        log.push(Happening::ShutDown);
        world.happens(&Happening::ShutDown)?;
        if world.happenings().is_empty() {
            break;
        }
    }
    for _ in 0..2_000 {
        let Some(happening) = world.undisturbed() else {
            world.at_rest()?;
            return Ok(log.len() as u64);
        };
        log.push(happening.clone());
        world.happens(&happening)?;
    }
    Err("2,000 undisturbed steps and no rest".into())
}

fn lines(log: &[Happening]) -> String {
    log.iter().map(|happening| format!("  {happening:?}\n")).collect()
}

#[test]
fn every_history_settles_at_what_the_files_say() {
    chance::histories("simulation of the fleet", 30_000, |seed| {
        let mut log = Vec::new();
        match lives(seed, &mut log) {
            Ok(steps) => steps,
            Err(broken) => panic!("seed {seed}: {broken}\nafter\n{}", lines(&log)),
        }
    });
}
