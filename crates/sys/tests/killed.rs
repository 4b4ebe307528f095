//! Processes that use one cache in shared memory and are killed in the middle of it: the others go on, nothing is torn.
//! The test starts itself again as those processes, so it has no harness.
// Clippy counts only functions marked #[test] as tests.
#![allow(clippy::unwrap_used)]

use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd},
    process::{Child, Command},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use empery_shared::{
    cache::{Cache, Counts, Expiry, Present, Rules, Shape},
    memory::Memory,
};
use empery_sys::region::{Again, Region};

const SHAPE: Shape = Shape { items: 40, block_bytes: 64, blocks: 300, hashes: 7, key_max_bytes: 8, bitmap: true };
const RULES: Rules = Rules {
    expiry: Expiry::Swept { every_s: 1 },
    purge_lru: true,
    clear_on_full: false,
    math_initial: 0,
    last_modified: false,
};
const PROCESSES: usize = 4;
/// So many kills must have hit a change.
const REPAIRS_WANTED: u64 = 3;
const WITHIN: Duration = Duration::from_secs(60);
/// Exit code of a process that found a value with parts of two.
const TORN: i32 = 3;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.as_slice() {
        [_, word, path, number] if word == "hammer" => hammer(path, number.parse().unwrap()),
        _ => killed_in_the_middle(),
    }
}

/// Where the counters begin: how often each process has called, then how often one has found a change not finished.
fn counters_at() -> usize {
    SHAPE.layout().unwrap().length().next_multiple_of(8)
}

fn length() -> usize {
    counters_at() + 8 * (PROCESSES + 1)
}

fn counter(region: &Region, number: usize) -> u64 {
    with_counter(region, number, |counter| counter.load(Ordering::Relaxed))
}

fn with_counter<T>(region: &Region, number: usize, use_it: impl FnOnce(&AtomicU64) -> T) -> T {
    use_it(region.glance().counter(counters_at() + 8 * number).unwrap())
}

/// Stores, reads and removes for ever.
fn hammer(path: &str, number: usize) {
    let layout = SHAPE.layout().unwrap();
    let region = Region::map(File::options().read(true).write(true).open(path).unwrap().as_fd(), length()).unwrap();
    let mut random = std::process::id().into();
    loop {
        let dice = next(&mut random);
        let key = (dice % 60).to_ne_bytes();
        let mut locked = region.lock().unwrap();
        let mut cache = Cache::open(&mut locked, &layout, &RULES, 1_000);
        let repaired = cache.noticed.repaired;
        match dice >> 8 & 3 {
            0 => drop(cache.delete(&key)),
            1 => {
                let value = cache.get(&key).unwrap_or_default();
                if value.iter().any(|byte| *byte != value[0]) {
                    std::process::exit(TORN);
                }
            }
            _ => drop(cache.store(
                &key,
                &vec![(dice >> 24) as u8; 1 + (dice >> 32) as usize % 900],
                0,
                Present::Replaced,
            )),
        }
        drop(locked);
        with_counter(&region, PROCESSES, |counter| counter.fetch_add(repaired.into(), Ordering::Relaxed));
        with_counter(&region, number, |counter| counter.fetch_add(1, Ordering::Relaxed));
    }
}

/// xorshift
fn next(random: &mut u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random
}

fn start(path: &str, number: usize) -> Child {
    let number = number.to_string();
    Command::new(std::env::current_exe().unwrap()).args(["hammer", path, &number]).spawn().unwrap()
}

fn killed_in_the_middle() {
    let layout = SHAPE.layout().unwrap();
    let (region, fd) = Region::create("killed", length(), Again::IsAnError).unwrap();
    Cache::create(&mut region.lock().unwrap(), &layout, 42);
    let path = format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd());
    let mut processes: Vec<Child> = (0..PROCESSES).map(|number| start(&path, number)).collect();
    let until = Instant::now() + WITHIN;
    let mut kills = 0;
    while counter(&region, PROCESSES) < REPAIRS_WANTED {
        let victim = kills % PROCESSES;
        let before: Vec<u64> = (0..PROCESSES).map(|number| counter(&region, number)).collect();
        let all_go_on = || (0..PROCESSES).all(|number| counter(&region, number) > before[number]);
        while !all_go_on() {
            let ended = processes.iter_mut().find_map(|process| process.try_wait().unwrap());
            assert!(ended.is_none(), "a process ended itself: {ended:?}");
            assert!(Instant::now() < until, "after {kills} kills somebody waits for ever");
            std::thread::yield_now();
        }
        processes[victim].kill().unwrap();
        processes[victim].wait().unwrap();
        processes[victim] = start(&path, victim);
        kills += 1;
    }
    for process in &mut processes {
        process.kill().unwrap();
        process.wait().unwrap();
    }
    let mut locked = region.lock().unwrap();
    let keys = Cache::open(&mut locked, &layout, &RULES, 1_000).keys();
    assert_eq!(keys.len() as u64, Counts::of(|at| locked.load(at)).items);
    for key in &keys {
        let value = Cache::open(&mut locked, &layout, &RULES, 1_000).get(key).unwrap();
        assert!(value.iter().all(|byte| *byte == value[0]), "a torn value of {key:?}");
    }
    Cache::open(&mut locked, &layout, &RULES, 1_000).clear();
    println!("{kills} kills, {} in the middle of a change, {} items left", counter(&region, PROCESSES), keys.len());
}
