//! Many idle connections: what they cost, and who has to leave when there is no room.
#![allow(clippy::unwrap_used)]

mod driver;

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use driver::{Generation, Listeners, app_of, connect, get};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

fn ask(client: &mut TcpStream) -> bool {
    let mut buffer = [0; 1024];
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").is_ok()
        && client.read(&mut buffer).is_ok_and(|read| buffer[..read].starts_with(b"HTTP/1.1 200"))
}

/// Whether the server has closed it; nothing else comes on it.
fn is_closed(client: &mut TcpStream) -> bool {
    client.set_nonblocking(true).unwrap();
    let closed = client.read(&mut [0]).is_ok_and(|read| read == 0);
    client.set_nonblocking(false).unwrap();
    closed
}

#[test]
fn h3_when_descriptors_run_out_the_longest_idle_leave_and_the_app_has_its_own() {
    const APP: &str = "
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))

def application(environ, start_response):
    files = [open('/dev/null') for _ in range(10)]
    for file in files:
        file.close()
    start_response('200 OK', [])
    return [b'opened ten']
";
    let listeners = Listeners::new();
    let mut generation = Generation::serving(app_of("crowd-limit", APP), &listeners, |_| {});
    let mut clients: Vec<TcpStream> = Vec::new();
    for _ in 0..200 {
        clients.push(connect(&listeners));
        assert!(ask(clients.last_mut().unwrap()), "an answer, and ten files for the app");
    }
    assert!(get(&listeners, "/").ends_with("opened ten"));
    let closed: Vec<bool> = clients.iter_mut().map(is_closed).collect();
    let left = closed.iter().filter(|closed| !**closed).count();
    assert!((16..=64).contains(&left), "{left} are left of descriptors for 80");
    assert!(closed[..200 - 64].iter().all(|closed| *closed), "the oldest are those that left");
    assert!(closed[200 - 8..].iter().all(|closed| !closed), "the youngest stay");
    drop(clients);
    generation.drain();
    assert!(!generation.log().contains("accepting on"), "{}", generation.log());
}

#[test]
fn h3_an_idle_connection_costs_less_than_four_kibibytes() {
    const APP: &str = "
import resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

def application(environ, start_response):
    start_response('200 OK', [])
    return [b'x' * 100]
";
    let hard = getrlimit(Resource::RLIMIT_NOFILE).unwrap().1;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let number = usize::try_from(hard / 2).unwrap_or(usize::MAX).min(10_000);
    let listeners = Listeners::new();
    let mut generation = Generation::boot(1, app_of("crowd", APP), &listeners, |_| {});
    let pid = generation.fork(1);
    generation.open();
    // What the first hundreds of requests need once.
    for _ in 0..500 {
        get(&listeners, "/");
    }
    let before = anonymous_bytes(pid);
    let mut clients: Vec<TcpStream> = Vec::with_capacity(number);
    for _ in 0..number {
        let mut client = connect(&listeners);
        assert!(ask(&mut client));
        clients.push(client);
    }
    let each = anonymous_bytes(pid).saturating_sub(before) / number;
    println!("{number} idle connections cost {each} bytes each");
    assert!(each < 4096, "{number} idle connections cost {each} bytes each");
    for client in clients.iter_mut().step_by(997) {
        assert!(ask(client), "they are alive");
    }
    drop(clients);
    generation.drain();
}

/// Memory of the process that no file stands behind.
fn anonymous_bytes(pid: i32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}
