//! Clients that are slow, rude or many: what they do to a worker, and what they cannot do to each other. Stories that
//! prove a known fault begin with its number.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};
use empery_tests::{
    ground::Ground,
    http::{Ask, Connection},
    runner::Story,
    vassal::Vassal,
    wait,
};

pub(crate) const STORIES: &[Story] = &[
    Story::new("clients/nobody-waits-behind-a-slow-request-with-one-thread", parting).alone(),
    Story::new("clients/a-slow-request-sees-nothing-of-the-parting", unnoticed),
    Story::new("clients/a-storm-of-slow-requests-loses-and-mixes-up-nothing", storm).alone(),
    Story::new("clients/one-thread-is-one-thread", one_task),
    Story::new("clients/slow-requests-are-spread-over-processes-that-have-threads", spread),
];

/// Longest wait for any answer.
const PATIENCE: Duration = Duration::from_secs(20);

fn serving(ground: &Ground, more: &str) -> Result<(Vassal, u16)> {
    let port = ground.port()?;
    let mut vassal =
        Vassal::from_ini(ground, "app.ini", &super::ini(port, "clients", &format!("master = true\n{more}")))?;
    vassal.answers(port)?;
    Ok((vassal, port))
}

/// A kept-alive connection, and the worker that has it.
struct Client {
    connection: Connection,
    worker: String,
}

impl Client {
    fn open(port: u16) -> Result<Client> {
        let mut client = Client { connection: Connection::open(port, PATIENCE)?, worker: String::new() };
        client.worker = client.ask("/")?;
        Ok(client)
    }

    fn ask(&mut self, path: &str) -> Result<String> {
        let answer = self.connection.ask(&Ask::get(path))?;
        ensure!(answer.status == 200, "{path}: {} {}", answer.status, answer.text());
        Ok(answer.text())
    }
}

/// Clients of each of two workers.
fn clients_of_two(port: u16, each: usize) -> Result<Vec<Vec<Client>>> {
    let mut found: Vec<Vec<Client>> = Vec::new();
    // On a busy machine the second worker may hear of the open gate long after the first.
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let client = Client::open(port)?;
        match found.iter_mut().find(|clients| clients.iter().all(|known| known.worker == client.worker)) {
            Some(clients) if clients.len() < each => clients.push(client),
            Some(_) => {}
            None => found.push(vec![client]),
        }
        if found.len() == 2 && found.iter().all(|clients| clients.len() == each) {
            return Ok(found);
        }
    }
    Err(anyhow!("no two workers with {each} connections each"))
}

/// Waits until a request for `/hold/GATE` is inside the app.
fn held(gate: &std::path::Path) -> Result<()> {
    let begun = gate.with_extension("begun");
    wait::until("the request to be inside", PATIENCE, || begun.exists().then_some(()))
}

fn parting(ground: &Ground) -> Result<()> {
    let (vassal, port) = serving(ground, "processes = 2\n")?;
    let mut workers = clients_of_two(port, 5)?;
    let mut slow = workers[0].pop().ok_or_else(|| anyhow!("no client"))?;
    let stop = Arc::new(AtomicBool::new(false));
    let fast: Vec<_> = workers
        .into_iter()
        .flatten()
        .map(|mut client| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || -> Result<Vec<Duration>> {
                let mut times = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    client.ask("/")?;
                    times.push(began.elapsed());
                    wait::pause(Duration::from_millis(1));
                }
                Ok(times)
            })
        })
        .collect();
    for _ in 0..3 {
        slow.ask("/sleep/1000")?;
    }
    stop.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for client in fast {
        times.extend(client.join().map_err(|_| anyhow!("a client panicked"))??);
    }
    times.sort();
    let at = |part: usize| times.get(times.len() * part / 1000).copied().unwrap_or_default();
    let longest = times.last().copied().unwrap_or_default();
    ground.note(&format!(
        "{} fast requests beside one of 1 s on two workers with one thread: p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, longest {:.1} ms",
        times.len(),
        at(500).as_secs_f64() * 1e3,
        at(990).as_secs_f64() * 1e3,
        at(999).as_secs_f64() * 1e3,
        longest.as_secs_f64() * 1e3
    ));
    // Without parting half of the clients would wait for a second each time. The bound of 5 ms is for a quiet machine.
    ensure!(longest < Duration::from_millis(600), "a client waited for {longest:?} behind a slow request");
    ensure!(at(990) < Duration::from_millis(50), "p99 is {:?}", at(990));
    vassal.stop()
}

fn unnoticed(ground: &Ground) -> Result<()> {
    let (vassal, port) = serving(ground, "processes = 2\n")?;
    let mut workers = clients_of_two(port, 2)?;
    let mut neighbour = workers[0].pop().ok_or_else(|| anyhow!("no client"))?;
    let mut slow = workers[0].pop().ok_or_else(|| anyhow!("no client"))?;
    let stuck = slow.worker.clone();
    let gate = ground.path("gate");
    let path = format!("/hold{}", gate.display());
    let holding = std::thread::spawn(move || slow.ask(&path).map(|_| slow));
    held(&gate)?;
    // It is answered by the other worker while its own is held up, and stays there.
    ensure!(neighbour.ask("/")? != stuck, "the stuck worker answered");
    fs::write(&gate, "")?;
    let mut slow = holding.join().map_err(|_| anyhow!("the client panicked"))??;
    ensure!(slow.ask("/")? == stuck, "the connection of the slow request stays where it is");
    // The app checks that no sleep is cut short, and that its own children are its own.
    slow.ask("/sleep/300")?;
    ensure!(slow.ask("/fork")? == "7");
    ensure!(neighbour.ask("/")? != stuck);
    vassal.stop()
}

fn storm(ground: &Ground) -> Result<()> {
    let seed = u64::from(std::process::id()) << 16 | 1;
    let (vassal, port) = serving(ground, "processes = 3\ndisable-logging = true\n")?;
    let clients: Vec<_> = (1..=16_u64)
        .map(|number| {
            std::thread::spawn(move || -> Result<usize> {
                let mut dice = seed.wrapping_mul(number);
                let mut client = Client::open(port)?;
                let mut moves = 0;
                for _ in 0..150 {
                    dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let roll = dice >> 33;
                    if roll % 8 == 0 {
                        // Long enough for the first two looks at the others.
                        client.ask(&format!("/sleep/{}", 5 + roll % 40))?;
                        continue;
                    }
                    let length = roll % 5_000;
                    let answer = client.ask(&format!("/sized/{length}"))?;
                    ensure!(answer.len() as u64 == length, "{} bytes instead of {length} (seed {seed})", answer.len());
                    let worker = client.ask("/")?;
                    moves += usize::from(worker != client.worker);
                    client.worker = worker;
                }
                Ok(moves)
            })
        })
        .collect();
    let mut moves = 0;
    for client in clients {
        moves += client.join().map_err(|_| anyhow!("a client panicked"))??;
    }
    ground.note(&format!("16 clients changed their workers {moves} times in between"));
    ensure!(moves > 0, "nobody was given to another worker");
    vassal.stop()
}

fn one_task(ground: &Ground) -> Result<()> {
    let (vassal, port) = serving(ground, "processes = 2\n")?;
    let mut client = Client::open(port)?;
    let _other = clients_of_two(port, 2)?;
    client.ask("/sleep/50")?;
    let tasks = client.ask("/tasks")?;
    ground.note(&format!("a worker with threads = 1 has {tasks} thread"));
    ensure!(tasks == "1", "a worker with one thread has {tasks}");
    vassal.stop()
}

/// Two threads of one process share Python's lock: a view that computes wants the process where nobody else does.
fn spread(ground: &Ground) -> Result<()> {
    let (vassal, port) = serving(ground, "processes = 2\nthreads = 4\n")?;
    let gates: Vec<_> = (0..6).map(|number| ground.path(&format!("gate-{number}"))).collect();
    let mut holding = Vec::new();
    for gate in &gates {
        let path = format!("/hold{}", gate.display());
        let mut connection = Connection::open(port, PATIENCE)?;
        holding.push(std::thread::spawn(move || -> Result<String> { Ok(connection.ask(&Ask::get(&path))?.text()) }));
        held(gate)?;
        // Another thread waits for the next connection meanwhile.
        wait::pause(Duration::from_millis(20));
    }
    for gate in &gates {
        fs::write(gate, "")?;
    }
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for thread in holding {
        *counts.entry(thread.join().map_err(|_| anyhow!("a client panicked"))??).or_default() += 1;
    }
    ground.note(&format!("six held requests in two processes of four threads: {counts:?}"));
    ensure!(counts.len() == 2 && counts.values().all(|count| *count >= 2), "not spread: {counts:?}");
    vassal.stop()
}
