//! Answers that are known whole and clients that take them slowly.
#![allow(clippy::unwrap_used)]

mod driver;

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use driver::{Generation, Listeners, app_of, connect, get, read_to_end};
use empery_control::{
    boot::{AppBoot, Protocol},
    worker::ToWorker,
};

/// More than the kernel takes for a client that does not read.
const LENGTH: usize = 32 << 20;

const APP: &str = "
import tempfile
file = tempfile.TemporaryFile()
file.write(b'f' * (32 << 20))
file.flush()

taken = []

def last(length):
    yield b'g'
    yield b'g' * (length - 1)
    taken.append(length)

class Framework:
    def __init__(self, length):
        self.items = iter([b'g' * length])
    def __iter__(self):
        return self
    def __next__(self):
        return next(self.items)
    def close(self):
        taken.append('closed')

def disconnect(length):
    import uwsgi
    yield b'g' * length
    uwsgi.disconnect()

def application(environ, start_response):
    path = environ['PATH_INFO']
    if path.startswith('/last/'):
        start_response('200 OK', [('Content-Length', path[6:])])
        return last(int(path[6:]))
    if path.startswith('/framework/'):
        start_response('200 OK', [('Content-Length', path[11:])])
        return Framework(int(path[11:]))
    if path.startswith('/list/'):
        start_response('200 OK', [('Content-Length', path[6:])])
        return [b'g', b'g' * (int(path[6:]) - 1)]
    if path.startswith('/disconnect/'):
        start_response('200 OK', [('Content-Length', path[12:])])
        return disconnect(int(path[12:]))
    start_response('200 OK', [])
    if path == '/taken':
        return [str(taken).encode()]
    if path == '/bytes':
        return [b'b' * (32 << 20)]
    if path == '/file':
        return environ['wsgi.file_wrapper'](open(f'/proc/self/fd/{file.fileno()}', 'rb'))
    if path == '/cut':
        file.truncate(16 << 20)
    return [b'at once']
";

fn with_each(change: fn(&mut AppBoot), check: impl Fn(&Listeners, &mut Generation)) {
    for threads in [1, 3] {
        let listeners = Listeners::new();
        let mut generation = Generation::serving(app_of("outgoing", APP), &listeners, |boot| {
            boot.threads = threads;
            change(boot);
        });
        check(&listeners, &mut generation);
        if generation.worker.is_some() {
            generation.drain();
        }
    }
}

/// Asks for something large and reads the first byte only.
fn ask(listeners: &Listeners, path: &str, more: &str) -> TcpStream {
    let mut client = connect(listeners);
    client.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n{more}").as_bytes()).unwrap();
    client.read_exact(&mut [0]).unwrap();
    client
}

const LAST: &str = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

#[test]
fn slow_readers_of_known_answers_hold_no_thread() {
    with_each(
        |boot| boot.write_timeout_ms = 60_000,
        |listeners, _| {
            let slow: Vec<TcpStream> = (0..4).map(|n| ask(listeners, ["/bytes", "/file"][n % 2], LAST)).collect();
            let began = Instant::now();
            assert!(get(listeners, "/").ends_with("at once"));
            assert!(began.elapsed() < Duration::from_secs(10), "it waited for a slow reader: {:?}", began.elapsed());
            for (n, client) in slow.into_iter().enumerate() {
                let answer = read_to_end(client);
                let (head, rest) = answer.split_once("\r\n\r\n").unwrap();
                assert!(head.contains(&format!("Content-Length: {LENGTH}")), "{head}");
                let letter = ["b", "f"][n % 2];
                assert!(rest[..LENGTH] == letter.repeat(LENGTH), "not the body");
                assert!(rest[LENGTH..].starts_with("HTTP/1.1 200 OK"), "what was asked next comes after");
                assert!(rest.ends_with("at once"));
            }
        },
    );
}

#[test]
fn what_is_kept_for_slow_readers_of_one_piece_is_bounded() {
    let listeners = Listeners::new();
    let mut generation = Generation::serving(app_of("outgoing", APP), &listeners, |boot| {
        boot.threads = 1;
        boot.write_timeout_ms = 60_000;
    });
    let slow: Vec<TcpStream> = (0..10).map(|_| ask(&listeners, "/bytes", LAST)).collect();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| get(&listeners, "/"));
        driver::pace(500);
        assert!(!other.is_finished(), "ten times 32 MiB are kept");
        // The thread waits for the last one, and has the others sent what is kept of theirs after that.
        for client in slow.into_iter().rev() {
            assert!(read_to_end(client).len() > LENGTH);
        }
        assert!(other.join().unwrap().ends_with("at once"));
    });
    generation.drain();
}

#[test]
fn a_reader_that_takes_nothing_is_reset_and_one_that_takes_a_little_is_not() {
    with_each(
        |boot| boot.write_timeout_ms = 1_000,
        |listeners, _| {
            let dead = ask(listeners, "/bytes", "");
            let mut slow = ask(listeners, "/bytes", LAST);
            let mut taken = 1;
            let mut buffer = vec![0; 512 * 1024];
            let began = Instant::now();
            // Three deadlines pass meanwhile.
            while began.elapsed() < Duration::from_millis(3_500) {
                taken += slow.read(&mut buffer).unwrap();
                driver::pace(100);
            }
            assert!(taken + read_to_end(slow).len() > LENGTH, "the slow one got all of it");
            assert!(read_to_end(dead).ends_with("<reset>"));
        },
    );
}

#[test]
fn a_file_that_becomes_shorter_ends_in_a_reset() {
    with_each(
        |_| {},
        |listeners, _| {
            let client = ask(listeners, "/file", "");
            assert!(get(listeners, "/cut").ends_with("at once"));
            let answer = read_to_end(client);
            assert!(answer.ends_with("<reset>") && answer.len() < LENGTH, "{} bytes", answer.len());
        },
    );
}

#[test]
fn a_worker_that_drains_sends_what_it_has_begun() {
    with_each(
        |boot| boot.write_timeout_ms = 60_000,
        |listeners, generation| {
            let client = ask(listeners, "/bytes", "");
            generation.line().say(&ToWorker::Drain, &[]);
            let reading = std::thread::spawn(move || read_to_end(client));
            generation.drain();
            let answer = reading.join().unwrap();
            assert!(answer.len() > LENGTH && !answer.ends_with('>'), "{} bytes", answer.len());
        },
    );
}

#[test]
fn a_client_that_goes_away_frees_what_it_was_sent() {
    with_each(
        |boot| boot.write_timeout_ms = 60_000,
        |listeners, generation| {
            drop(ask(listeners, "/bytes", ""));
            // A drain waits for everything that is not idle: it ends well before the deadline of the answer.
            let began = Instant::now();
            generation.drain();
            assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
            assert!(generation.worker.is_none());
        },
    );
}

/// As [`ask`], on the unix socket: the kernel takes about 200 KiB for a client that does not read, and no more.
fn ask_by_unix(listeners: &Listeners, path: &str) -> UnixStream {
    let mut client = UnixStream::connect(&listeners.uwsgi_path).unwrap();
    client.set_read_timeout(Some(driver::DEADLINE)).unwrap();
    client.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    client.read_exact(&mut [0]).unwrap();
    client
}

/// By unix socket, with HTTP there, and clients that are given a while.
fn by_unix(boot: &mut AppBoot) {
    boot.write_timeout_ms = 60_000;
    boot.listeners[1].protocol = Protocol::Http;
}

fn assert_whole(client: UnixStream, length: usize) {
    let answer = read_to_end(client);
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(body.len() == length && body.bytes().all(|byte| byte == b'g'), "{} bytes", body.len());
}

/// More than the kernel takes for a client that does not read, by less than what is kept of an answer.
const SHORT: usize = 400 << 10;

#[test]
fn the_last_item_of_a_list_holds_no_thread_when_it_is_short() {
    with_each(by_unix, |listeners, generation| {
        let slow: Vec<UnixStream> = (0..4).map(|_| ask_by_unix(listeners, &format!("/list/{SHORT}"))).collect();
        assert!(get(listeners, "/").ends_with("at once"));
        slow.into_iter().for_each(|client| assert_whole(client, SHORT));
        // A long one is waited for: what is kept of an answer is bounded.
        let long = ask_by_unix(listeners, &format!("/list/{}", 4 << 20));
        if generation.scoreboard.threads() > 1 {
            assert!(get(listeners, "/").ends_with("at once"));
        }
        assert_whole(long, 4 << 20);
    });
}

#[test]
fn the_answer_of_a_framework_holds_no_thread_once_it_is_given() {
    with_each(by_unix, |listeners, _| {
        // Its close() is called, as if the client had all of it.
        let slow: Vec<UnixStream> = (0..4).map(|_| ask_by_unix(listeners, "/framework/1048576")).collect();
        let began = Instant::now();
        driver::until(|| get(listeners, "/taken").matches("closed").count() == 4);
        assert!(began.elapsed() < Duration::from_secs(10), "it waited for a slow reader: {:?}", began.elapsed());
        slow.into_iter().for_each(|client| assert_whole(client, 1 << 20));
        // One that reads has the rest before close() is called.
        let quick = ask_by_unix(listeners, "/framework/4194304");
        assert_whole(quick, 4 << 20);
        driver::until(|| get(listeners, "/taken").matches("closed").count() == 5);
    });
}

#[test]
fn a_generator_goes_on_when_its_last_piece_is_sent_and_not_before() {
    with_each(by_unix, |listeners, generation| {
        let slow = ask_by_unix(listeners, &format!("/last/{SHORT}"));
        if generation.scoreboard.threads() > 1 {
            for _ in 0..20 {
                assert!(get(listeners, "/taken").ends_with("[]"), "it goes on before its client has anything");
            }
        }
        assert_whole(slow, SHORT);
        driver::until(|| get(listeners, "/taken").ends_with(&format!("[{SHORT}]")));
    });
}

#[test]
fn a_disconnect_cuts_nothing_of_what_was_given_before() {
    with_each(by_unix, |listeners, _| assert_whole(ask_by_unix(listeners, &format!("/disconnect/{SHORT}")), SHORT));
}
