//! Clients that attack, or merely behave badly: what they can do to a worker with one thread, and to the others. Each
//! story is named after the fault it proves.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};
use empery_tests::{
    ground::Ground,
    http::{self, Ask, Connection, Failure},
    procfs,
    runner::Story,
    vassal::Vassal,
    wait,
};
use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    signal::Signal,
    socket::{setsockopt, sockopt},
};

pub(crate) const STORIES: &[Story] = &[
    Story::new("clients/h1-a-thousand-slow-heads-hold-nobody-up", slow_heads).alone(),
    Story::new("clients/h2-a-thousand-slow-bodies-hold-nobody-up", slow_bodies).alone(),
    Story::new("clients/h2-slow-readers-hold-nobody-up", slow_readers),
    Story::new("clients/h9-a-half-closed-connection-gets-its-answer", half_close),
    Story::new("clients/h9-whoever-leaves-is-forgotten-within-a-second", leavers),
    Story::new("clients/h18-b4-nobody-is-refused-below-the-listen-queue", listen_queue),
    Story::new("clients/h20-a-herd-is-spread-evenly", herd).alone(),
];

/// Longest wait for any answer.
const PATIENCE: Duration = Duration::from_secs(20);

fn serving(ground: &Ground, more: &str) -> Result<(Vassal, u16)> {
    let port = ground.port()?;
    let text = super::ini(port, "clients", &format!("master = true\ndisable-logging = true\n{more}"));
    let mut vassal = Vassal::from_ini(ground, "app.ini", &text)?;
    vassal.answers(port)?;
    Ok((vassal, port))
}

/// How many attackers there may be, of a thousand: each is a descriptor here.
fn attackers() -> Result<usize> {
    let hard = getrlimit(Resource::RLIMIT_NOFILE)?.1;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(usize::try_from(hard / 2).unwrap_or(usize::MAX).min(1_000))
}

/// The 99th of a hundred times that a normal client waits.
fn p99_of_normal(port: u16) -> Result<Duration> {
    let mut client = Connection::open(port, PATIENCE)?;
    let mut times = Vec::new();
    for _ in 0..500 {
        let began = Instant::now();
        ensure!(client.ask(&Ask::get("/"))?.status == 200);
        times.push(began.elapsed());
    }
    times.sort();
    Ok(times.get(times.len() * 99 / 100).copied().unwrap_or_default())
}

/// Attacks with connections that begin with `first` and go on byte by byte; normal clients notice nothing, and the
/// attackers are gone when their time is over although they go on.
fn trickle(ground: &Ground, first: &str, goes_on: u8) -> Result<()> {
    let (vassal, port) = serving(ground, "socket-timeout = 3\n")?;
    let normally = p99_of_normal(port)?;
    let number = attackers()?;
    let mut attackers = Vec::with_capacity(number);
    for _ in 0..number {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(first.as_bytes())?;
        stream.set_nonblocking(true)?;
        attackers.push(stream);
    }
    let attacked = p99_of_normal(port)?;
    ground.note(&format!(
        "p99 of a normal client: {:.2} ms, beside {number} attackers {:.2} ms",
        normally.as_secs_f64() * 1e3,
        attacked.as_secs_f64() * 1e3
    ));
    // Twice the normal one, and what a busy machine adds.
    ensure!(attacked < normally * 2 + Duration::from_millis(20), "p99 {attacked:?} instead of {normally:?}");
    wait::until("the attackers to be cut off", Duration::from_secs(15), || {
        // A byte now and then: whoever sends faster is no attacker but slow.
        wait::pause(Duration::from_millis(100));
        attackers.retain_mut(|stream| {
            let ended = matches!(stream.read(&mut [0; 512]), Ok(0));
            !ended && stream.write_all(&[goes_on]).is_ok()
        });
        attackers.is_empty().then_some(())
    })?;
    p99_of_normal(port)?;
    vassal.stop()
}

fn slow_heads(ground: &Ground) -> Result<()> {
    trickle(ground, "GET / HTTP/1.1\r\nHost: h\r\nX-Slow: ", b'a')
}

fn slow_bodies(ground: &Ground) -> Result<()> {
    trickle(ground, "POST /read HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n", b'a')
}

fn slow_readers(ground: &Ground) -> Result<()> {
    let (vassal, port) = serving(ground, "")?;
    let mut readers = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"GET /sized/30000000 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")?;
        stream.read_exact(&mut [0; 12])?;
        readers.push(stream);
    }
    let attacked = p99_of_normal(port)?;
    ensure!(attacked < Duration::from_millis(200), "p99 {attacked:?} beside four readers that read nothing");
    for mut stream in readers {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest)?;
        ensure!(rest.len() > 30_000_000, "{} bytes came of 30,000,000", rest.len());
    }
    vassal.stop()
}

fn half_close(ground: &Ground) -> Result<()> {
    for threads in [1, 2] {
        let (vassal, port) = serving(ground, &format!("threads = {threads}\n"))?;
        for path in ["/", "/sleep/100", "/sized/10000000"] {
            let mut stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes())?;
            stream.shutdown(std::net::Shutdown::Write)?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            ensure!(answer.starts_with(b"HTTP/1.1 200 "), "{path}: {} bytes", answer.len());
            ensure!(!path.starts_with("/sized") || answer.len() > 10_000_000, "{path}: {} bytes", answer.len());
        }
        vassal.stop()?;
    }
    Ok(())
}

/// How a client leaves.
#[derive(Debug, Clone, Copy)]
enum Leaving {
    /// It says the end in both directions.
    Close,
    /// It resets the connection.
    Reset,
}

fn leavers(ground: &Ground) -> Result<()> {
    for threads in [1, 2] {
        let (vassal, port) = serving(ground, &format!("threads = {threads}\n"))?;
        let worker: i32 = http::get(port, "/")?.text().parse()?;
        let open = || procfs::descriptors(worker).unwrap_or_default();
        wait::until("the first connections to be closed", PATIENCE, || (open() > 0).then_some(()))?;
        let usual = open();
        for leaving in [Leaving::Close, Leaving::Reset] {
            let gate = ground.path(&format!("gate-{threads}-{leaving:?}"));
            let phases = [
                String::new(),
                "GET / HT".to_owned(),
                "GET / HTTP/1.1\r\nHost: h\r\n".to_owned(),
                "POST /read HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc".to_owned(),
                "POST /read HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab".to_owned(),
                "GET /sized/30000000 HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
                "GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
                format!("GET /hold{} HTTP/1.1\r\nHost: h\r\n\r\n", gate.display()),
            ];
            for phase in &phases {
                leave_in(port, phase, leaving, &gate)?;
                wait::until(&format!("{phase:?} to be forgotten after {leaving:?}"), Duration::from_secs(3), || {
                    (open() <= usual).then_some(())
                })?;
            }
        }
        let before = procfs::cpu_time(worker);
        wait::pause(Duration::from_millis(500));
        let spent = procfs::cpu_time(worker).saturating_sub(before);
        ensure!(spent < Duration::from_millis(100), "{spent:?} of CPU in 500 ms without a client");
        ensure!(http::get(port, "/")?.status == 200);
        let told = vassal.master.output();
        ensure!(!told.contains("Traceback") || told.contains("wsgi.input"), "the log has:\n{told}");
        vassal.stop()?;
    }
    Ok(())
}

/// Sends the beginning of something and leaves; when that holds the app up, lets it go on after.
fn leave_in(port: u16, phase: &str, leaving: Leaving, gate: &std::path::Path) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(phase.as_bytes())?;
    if phase.starts_with("GET /sized") {
        stream.read_exact(&mut [0; 12])?;
    }
    if phase.starts_with("GET /hold") {
        let begun = gate.with_extension("begun");
        wait::until("the request to be inside", PATIENCE, || begun.exists().then_some(()))?;
    }
    if matches!(leaving, Leaving::Reset) {
        setsockopt(&stream.as_fd(), sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 })?;
    }
    drop(stream);
    if phase.starts_with("GET /hold") {
        fs::write(gate, "")?;
    }
    Ok(())
}

fn listen_queue(ground: &Ground) -> Result<()> {
    let stats = ground.port()?;
    let (mut vassal, port) = serving(ground, &format!("listen = 100\nstats = 127.0.0.1:{stats}\n"))?;
    let gate = ground.path("gate");
    let path = format!("/hold{}", gate.display());
    let holding = std::thread::spawn(move || http::get(port, &path));
    let begun = gate.with_extension("begun");
    wait::until("the request to be inside", PATIENCE, || begun.exists().then_some(()))?;
    // Nobody accepts: they lie in the kernel's queue, and are told of.
    let mut waiting = Vec::new();
    for number in 0..80 {
        let opened =
            Connection::open(port, PATIENCE).map_err(|failure: Failure| anyhow!("number {number}: {failure}"))?;
        waiting.push(opened);
    }
    wait::until("the queue to be told", PATIENCE, || {
        (super::stats::read(stats).ok()?["listen_queue"].as_u64()? >= 80).then_some(())
    })?;
    // A reload comes while the worker is stuck: the next generation takes them.
    vassal.signal(Signal::SIGHUP);
    for client in &mut waiting {
        ensure!(client.ask(&Ask::get("/"))?.status == 200);
    }
    fs::write(&gate, "")?;
    ensure!(holding.join().map_err(|_| anyhow!("the client panicked"))??.status == 200, "the old one finishes");
    drop(waiting);
    vassal.master.says("serves", PATIENCE)?;
    vassal.stop()
}

fn herd(ground: &Ground) -> Result<()> {
    const WORKERS: usize = 4;
    const EACH: usize = 100;
    let (vassal, port) = serving(ground, &format!("processes = {WORKERS}\nlisten = 1000\n"))?;
    // All come at once and stay.
    let barrier = std::sync::Arc::new(std::sync::Barrier::new(2 * WORKERS));
    let herd: Vec<_> = (0..2 * WORKERS)
        .map(|_| {
            let barrier = std::sync::Arc::clone(&barrier);
            std::thread::spawn(move || -> Result<Vec<(Connection, String)>> {
                barrier.wait();
                let mut mine = Vec::new();
                for _ in 0..EACH / 2 {
                    let mut client = Connection::open(port, PATIENCE)?;
                    let worker = client.ask(&Ask::get("/"))?.text();
                    mine.push((client, worker));
                }
                Ok(mine)
            })
        })
        .collect();
    let mut connections = Vec::new();
    for thread in herd {
        connections.extend(thread.join().map_err(|_| anyhow!("a client panicked"))??);
    }
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for (_, worker) in &connections {
        *counts.entry(worker).or_default() += 1;
    }
    let counts: Vec<usize> = counts.into_values().collect();
    ground.note(&format!("{} connections on {WORKERS} workers: {counts:?}", connections.len()));
    ensure!(counts.len() == WORKERS, "some worker got none: {counts:?}");
    let fair = EACH - EACH / 5..=EACH + EACH / 5;
    ensure!(counts.iter().all(|count| fair.contains(count)), "not within a fifth: {counts:?}");
    vassal.stop()
}
