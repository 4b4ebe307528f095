//! A long life: thirty vassals under a mixed load, one of them reloaded every minute for an hour (`./dev soak`; CI tells a
//! hundredth of it). In the end nothing is left over, nothing was lost, and nobody has grown.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use empery_tests::{
    books::{Account, Books, Door, Speech},
    emperor::{Emperor, SETTLED_WITHIN},
    ground::{self, Ground},
    http::{Ask, Target},
    load::Mode,
    procfs,
    runner::Story,
    wait,
};
use nix::sys::signal::Signal;

pub(crate) const STORIES: &[Story] =
    &[Story::new("soak/an-hour-under-load-leaves-nothing-over-and-nobody-grows", soak).alone().within_s(3 * 3600)];

const VASSALS: usize = 30;

/// Reloads, and looks at memory, over the whole length.
const RELOADS: u32 = 60;

/// How much of an hour: CI's part is a hundredth of it.
const HUNDREDTH: Duration = Duration::from_secs(36);

/// Growth from the first third to the last that is no growth: allocators keep what they had at the busiest moment.
const GROWTH_KIB: i64 = 1_024;

/// The brain's: SQLite fills its page caches (2 MiB by default for each connection, `PRAGMA cache_size`).
const GROWTH_OF_BRAIN_KIB: i64 = 4_096;

/// `EMPERY_MINUTES`, an hour with `EMPERY_LONG=1`, else CI's part.
fn length() -> Duration {
    ground::at_most().unwrap_or_else(|| ground::long_or(HUNDREDTH * 100, HUNDREDTH))
}

/// What one look at keeper, brain and masters finds.
#[derive(Debug)]
struct Look {
    at: Duration,
    descriptors: BTreeMap<&'static str, usize>,
    memory_kib: BTreeMap<&'static str, u64>,
}

fn soak(ground: &Ground) -> Result<()> {
    let length = length();
    let mut books = Books::open(ground)?.think(Duration::from_millis(40));
    let emperor = Emperor::start(ground)?;
    let mut doors = Vec::new();
    for number in 0..VASSALS {
        let port = ground.port()?;
        let socket = ground.path(&format!("v{number}.sock"));
        let more = format!("socket = {}\nprocesses = {}\n{}", socket.display(), 1 + number % 2, books.line());
        emperor.drop_file(&vassal(number), &super::ini(port, "books", &more))?;
        doors.push(match number % 3 {
            0 => ("kept alive", Target::from(port), Speech::Http(Mode::KeepAlive)),
            1 => ("closed", Target::from(port), Speech::Http(Mode::Close)),
            _ => ("over the uwsgi protocol", Target::from(&socket), Speech::Uwsgi),
        });
    }
    for number in 0..VASSALS {
        wait::until("a vassal to be loyal", SETTLED_WITHIN * 3, || {
            emperor.vassal(&vassal(number)).is_ok_and(|vassal| vassal["state"] == "loyal").then_some(())
        })?;
    }
    for (name, target, speech) in doors {
        books.let_in(&Door { name, target, speech, clients: 1, body_every: 10 });
    }
    books.goes_on(300)?;
    // What is opened and allocated once, at a first reload, is no growth.
    emperor.signal(Signal::SIGHUP)?;
    for number in 0..VASSALS {
        wait::until("every vassal to be reloaded once", SETTLED_WITHIN * 3, || {
            let vassal = emperor.vassal(&vassal(number)).ok()?;
            (vassal["state"] == "loyal" && vassal["generation"].as_u64() >= Some(2)).then_some(())
        })?;
    }
    let looks = live(&emperor, length)?;
    books.goes_on(300)?;
    let account: Account = books.close()?;
    ground.note(&format!("{} s, {RELOADS} reloads: {account}", length.as_secs()));
    let verdict = judge(ground, &looks);
    account.balances()?;
    verdict?;
    emperor.stop()
}

fn vassal(number: usize) -> String {
    format!("v{number:02}.ini")
}

fn reload(emperor: &Emperor<'_>, number: usize) -> Result<()> {
    let ended = emperor.json(Ask::post(&format!("/api/v1/vassals/{}/reload?wait=60s", vassal(number))))?;
    ensure!(ended["end"]["result"] == "succeeded", "{ended:#}");
    Ok(())
}

/// Reloads one vassal after the other at even distances and looks at everybody after each.
fn live(emperor: &Emperor<'_>, length: Duration) -> Result<Vec<Look>> {
    let began = Instant::now();
    let mut looks = vec![look(emperor, began)?];
    for turn in 1..=RELOADS {
        let due = length * turn / RELOADS;
        wait::pause(due.saturating_sub(began.elapsed()));
        reload(emperor, turn as usize % VASSALS)?;
        looks.push(look(emperor, began)?);
    }
    Ok(looks)
}

/// Waits until nothing is under way, then counts. A process more than there should be, or a zombie, never lets it settle.
fn look(emperor: &Emperor<'_>, began: Instant) -> Result<Look> {
    let keeper = emperor.keeper_pid()?;
    let expected = 1 + (0..VASSALS).map(|number| 2 + 1 + number % 2).sum::<usize>();
    wait::until_ok("the fleet to be as large as it should be", SETTLED_WITHIN, || {
        let family = procfs::descendants(keeper);
        let zombies = family.iter().filter(|pid| procfs::state(**pid) == Some('Z')).count();
        ensure!(family.len() == expected && zombies == 0, "{} processes, {zombies} zombies", family.len());
        Ok(())
    })?;
    let masters = emperor.masters();
    ensure!(masters.len() == VASSALS, "{} masters", masters.len());
    let brain = [emperor.brain_pid()?];
    let keeper = [keeper];
    let groups: [(&str, &[i32]); 3] = [("keeper", &keeper), ("brain", &brain), ("masters", &masters)];
    let sum = |pids: &[i32], count: fn(i32) -> Option<u64>| pids.iter().filter_map(|pid| count(*pid)).sum::<u64>();
    Ok(Look {
        at: began.elapsed(),
        descriptors: groups
            .iter()
            .map(|(name, pids)| (*name, pids.iter().filter_map(|pid| procfs::descriptors(*pid)).sum()))
            .collect(),
        memory_kib: groups.iter().map(|(name, pids)| (*name, sum(pids, procfs::pss_kib))).collect(),
    })
}

fn judge(ground: &Ground, looks: &[Look]) -> Result<()> {
    let mut wrong = String::new();
    let third = looks.len() / 3;
    for name in ["keeper", "brain", "masters"] {
        let memory: Vec<(f64, f64)> =
            looks.iter().map(|look| (look.at.as_secs_f64() / 3600.0, look.memory_kib[name] as f64)).collect();
        let (first, last) = (median(&memory[..third]), median(&memory[memory.len() - third..]));
        let descriptors: Vec<usize> = looks.iter().map(|look| look.descriptors[name]).collect();
        let lowest = |part: &[usize]| part.iter().copied().min().unwrap_or_default();
        let (few, many) = (lowest(&descriptors[..third]), lowest(&descriptors[descriptors.len() - third..]));
        ground.note(&format!(
            "{name}: {first:.0} KiB of PSS in the first third, {last:.0} KiB in the last (slope {:+.0} KiB an hour); \
             descriptors {few} and {many}",
            slope(&memory)
        ));
        let allowed = if name == "brain" { GROWTH_OF_BRAIN_KIB } else { GROWTH_KIB };
        if last - first > allowed as f64 {
            writeln!(wrong, "the {name} grew from {first:.0} to {last:.0} KiB")?;
        }
        if many > few {
            writeln!(wrong, "the {name} had {few} descriptors and ended with {many}")?;
        }
    }
    ensure!(wrong.is_empty(), "{wrong}");
    Ok(())
}

fn median(memory: &[(f64, f64)]) -> f64 {
    let mut values: Vec<f64> = memory.iter().map(|(_, kib)| *kib).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Of the straight line with the least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let (mean_x, mean_y) =
        (points.iter().map(|(x, _)| x).sum::<f64>() / count, points.iter().map(|(_, y)| y).sum::<f64>() / count);
    let rise: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let run: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    rise / run
}
