//! What other servers were told of in security advisories, by the advisories' names. Those that are forms of one fault stand with
//! the other forms of it, in `hostile_heads`, `hostile_framing` and `static_files`.
#![allow(clippy::unwrap_used)]

mod driver;

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

use driver::{
    Generation, Listeners, app_of,
    attack::{To, attack},
    connect, exchange, get, pace, read_to_end,
    recorder::Recorder,
    until,
};

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";

const APP: &str = "
from urllib.parse import parse_qsl
closed = []

class Body:
    def __init__(self, name, items):
        self.name, self.items = name, iter(items)
    def __iter__(self):
        return self
    def __next__(self):
        item = next(self.items)
        if item is None:
            raise ValueError('midway')
        return item
    def close(self):
        closed.append(self.name)

def application(environ, start_response):
    path = environ['PATH_INFO']
    headers = parse_qsl(environ['QUERY_STRING'], keep_blank_values=True)
    start_response('200 OK', headers)
    if path == '/closed':
        return [','.join(sorted(closed)).encode()]
    if path == '/success':
        return Body('success', [b'a', b'b'])
    if path == '/error':
        return Body('error', [b'a', None])
    if path == '/nothing':
        return Body('nothing', [None])
    if path == '/large':
        return Body('large', [b'l' * 65536] * 1000)
    return [b'ok']
";

/// User and system time of a process, in ticks of a hundredth of a second.
fn ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn h9_half_open_connections_cost_no_time_ghsa_3f84_rpwh_47g6() {
    for threads in [1, 2] {
        let listeners = Listeners::new();
        let mut generation = Generation::boot(1, app_of("half-open", APP), &listeners, |boot| {
            boot.threads = threads;
            boot.client_timeout_ms = 20_000;
        });
        let pid = generation.fork(1);
        generation.open();
        assert!(get(&listeners, "/").ends_with("ok"));
        // Whoever says its end in the middle of a request, or behind an answer that it does not take.
        let mut half_open: Vec<TcpStream> = Vec::new();
        for beginning in [
            "GET / HT",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n12",
            "GET /large HTTP/1.1\r\nHost: h\r\n\r\n",
        ] {
            for _ in 0..5 {
                let mut client = connect(&listeners);
                client.write_all(beginning.as_bytes()).unwrap();
                client.shutdown(Shutdown::Write).unwrap();
                half_open.push(client);
            }
            pace(50);
        }
        let before = ticks(pid);
        pace(1_000);
        let spent = ticks(pid) - before;
        assert!(spent < 30, "{spent} hundredths of a second in one second");
        drop(half_open);
    }
}

#[test]
fn h8_one_client_that_goes_on_and_on_keeps_nobody_waiting_cve_2019_16770_cve_2021_29509() {
    for threads in [1, 2] {
        let listeners = Listeners::new();
        let mut generation = Generation::serving(app_of("monopoly", APP), &listeners, |boot| boot.threads = threads);
        let greedy: Vec<_> = (0..threads)
            .map(|_| {
                let mut client = connect(&listeners);
                let mut reader = client.try_clone().unwrap();
                let reads =
                    std::thread::spawn(move || while reader.read(&mut [0; 65_536]).is_ok_and(|read| read > 0) {});
                let stop = client.try_clone().unwrap();
                let writes = std::thread::spawn(move || {
                    let some = "GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(500);
                    while client.write_all(some.as_bytes()).is_ok() {}
                });
                (stop, reads, writes)
            })
            .collect();
        for _ in 0..20 {
            let began = Instant::now();
            assert!(get(&listeners, "/").ends_with("ok"));
            assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        }
        for (stop, reads, writes) in greedy {
            let _ = stop.shutdown(Shutdown::Both);
            reads.join().unwrap();
            writes.join().unwrap();
        }
        generation.drain();
    }
}

#[test]
fn a18_close_is_called_once_on_success_error_and_disconnect_ghsa_rmj8_8hhh_gv5h() {
    let listeners = Listeners::new();
    let mut generation = Generation::serving(app_of("closed", APP), &listeners, |_| {});
    assert!(get(&listeners, "/success").contains("1\r\nb\r\n0\r\n\r\n"));
    assert!(get(&listeners, "/error").ends_with("<reset>"));
    assert!(get(&listeners, "/nothing").starts_with("HTTP/1.1 500 "));
    let mut leaves = connect(&listeners);
    leaves.write_all(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    leaves.read_exact(&mut [0; 100]).unwrap();
    drop(leaves);
    assert!(get(&listeners, "/closed").ends_with("error,large,nothing,success"));
    generation.drain();
}

#[test]
fn a20_nothing_of_a_header_that_would_split_the_answer_is_sent_cve_2018_1000164_cve_2020_5247_cve_2020_5249() {
    let listeners = Listeners::new();
    let mut generation = Generation::serving(app_of("split", APP), &listeners, |_| {});
    for query in [
        "X-A=b%0D%0AX-Evil:1",
        "X-A=b%0AX-Evil:1",
        "X-A=b%0DX-Evil:1",
        "X-A=b%0D%0A%0D%0AX-Evil",
        "X-A=X-Evil%00",
        "X-A%0D%0AX-Evil=1",
        "X-Evil%3A%20a=1",
        "X-Evil%20=1",
        "=X-Evil",
    ] {
        let answer = get(&listeners, &format!("/?{query}"));
        assert!(answer.starts_with("HTTP/1.1 500 ") && !answer.contains("X-Evil"), "{query}: {answer:?}");
    }
    generation.drain();
}

#[test]
fn h5_what_was_smuggled_past_puma_and_waitress_is_refused_whole() {
    let recorder = Recorder::new("advisories", |_| {});
    for (advisory, head) in [
        ("GHSA-68xg-gqqm-vgj8: an empty Content-Length", "Content-Length:\r\n\r\n"),
        ("GHSA-68xg-gqqm-vgj8: blanks for a Content-Length", "Content-Length: \t\r\n\r\n"),
        ("CVE-2020-11076: a Transfer-Encoding that is not one", "Transfer-Encoding: \x0bchunked\r\n\r\n"),
        ("CVE-2020-11077: both", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("CVE-2022-24790: two codings", "Transfer-Encoding: chunked, identity\r\n\r\n"),
        ("CVE-2022-24790: a sign", "Content-Length: +5\r\n\r\n"),
        ("CVE-2021-41136: LF ends a line", "X: y\nContent-Length: 5\r\n\r\n"),
        ("GHSA-4ppp-gpcr-7qf6: two lengths", "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"),
        ("GHSA-4ppp-gpcr-7qf6: a list of lengths", "Content-Length: 5,5\r\n\r\n"),
    ] {
        let bytes = format!("POST / HTTP/1.1\r\nHost: h\r\n{head}{SMUGGLED}");
        attack(&recorder, To::Http, advisory, bytes.as_bytes(), |outcome| {
            assert!([400, 501].contains(&outcome.status), "{}", outcome.status);
            assert!(outcome.seen.is_empty(), "the app saw {:?}", outcome.seen);
            assert_eq!(outcome.text.matches("HTTP/1.1 ").count(), 1);
        });
    }
    // Headers that CGI makes one (CVE-2015-7519 of Passenger): who has the underscore has none.
    let bytes = b"GET / HTTP/1.1\r\nHost: h\r\nX_User: evil\r\nX-User: good\r\nx_user: evil\r\n\r\n";
    attack(&recorder, To::Http, "CVE-2015-7519", bytes, |_| {
        assert_eq!(recorder.last()["HTTP_X_USER"], "good");
    });
}

#[test]
fn h4_a_header_of_blanks_takes_no_longer_than_any_ghsa_73m2_3pwg_5fgc() {
    let listeners = Listeners::new();
    let mut generation = Generation::serving(app_of("blanks", APP), &listeners, |_| {});
    let began = Instant::now();
    for end in ["\x01", "x \t", ""] {
        for _ in 0..20 {
            let blanks = " \t".repeat(32_000);
            let mut client = connect(&listeners);
            let head = format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX: a{blanks}{end}\r\n\r\n");
            client.write_all(head.as_bytes()).unwrap();
            let answer = read_to_end(client);
            assert!(answer.starts_with(if end == "\x01" { "HTTP/1.1 400 " } else { "HTTP/1.1 200 " }), "{answer:?}");
        }
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(exchange(&listeners, b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").ends_with("ok"));
    generation.drain();
}

/// Tells of every message of a WebSocket and of its end.
const MESSAGES: &str = "
import json
import sys
import uwsgi

def saw(kind, what):
    with open(sys.argv[1], 'a') as file:
        file.write(json.dumps({'REQUEST_METHOD': kind, 'PATH_INFO': what}) + '\\n')

def application(environ, start_response):
    uwsgi.websocket_handshake()
    try:
        while True:
            saw('message', uwsgi.websocket_recv().decode('latin-1'))
    except OSError:
        saw('the', 'end')
    return []
";

const HANDSHAKE: &str = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A text as a client sends it. The mask is of zeros: what is said is what is sent.
fn text(said: &str) -> Vec<u8> {
    [&[0x81, 0x80 | u8::try_from(said.len()).unwrap(), 0, 0, 0, 0], said.as_bytes()].concat()
}

/// What the app has seen, as soon as that was the end.
fn messages(recorder: &Recorder) -> Vec<String> {
    let seen = || -> Vec<String> {
        recorder.seen().iter().map(|seen| seen["PATH_INFO"].as_str().unwrap().to_owned()).collect()
    };
    until(|| seen().last().is_some_and(|last| last == "end"));
    seen()
}

#[test]
fn a_websocket_client_that_does_not_wait_for_its_handshake_loses_nothing() {
    let recorder = Recorder::of("early", app_of("early", MESSAGES), |_| {});
    let close = [0x88, 0x80, 0, 0, 0, 0];
    let bytes = [HANDSHAKE.as_bytes(), &text("hello"), &text("again"), &close].concat();
    attack(&recorder, To::Http, "all at once", &bytes, |outcome| {
        assert_eq!((outcome.status, messages(&recorder)), (101, ["hello", "again", "end"].map(String::from).to_vec()));
    });
}

#[test]
fn h14_a_websocket_frame_that_lies_about_its_length_ends_it_cve_2025_1695() {
    let long = |length: u64| [&[0x82, 0x80 | 127][..], &length.to_be_bytes(), &[0; 4], b"abc"].concat();
    let recorder = Recorder::of("frames", app_of("frames", MESSAGES), |boot| boot.websocket.message_max_bytes = 1000);
    for (what, frame) in [
        ("beyond 63 bits", long(u64::MAX)),
        ("the longest there is", long(u64::MAX >> 1)),
        ("the length with its header overflows", long(u64::MAX - 13)),
        ("beyond 32 bits", long(1 << 32)),
        ("longer than is allowed", long(1001)),
        ("a long ping", [&[0x89, 0x80 | 126, 0xff, 0xff, 0, 0, 0, 0][..], b"abc"].concat()),
        ("a close in pieces", [&[0x08, 0x82, 0, 0, 0, 0][..], b"ab"].concat()),
        ("not masked", [&[0x81, 3][..], b"abc"].concat()),
        ("longer than what comes", [&[0x81, 0x80 | 126, 0, 200, 0, 0, 0, 0][..], b"abc"].concat()),
    ] {
        // The last one takes what is behind it for its own; nothing of the others is a message.
        let bytes = [text("hello"), frame, text("smuggled")].concat();
        attack(&recorder, To::Behind(HANDSHAKE), what, &bytes, |outcome| {
            assert_eq!((outcome.status, messages(&recorder)), (101, ["hello", "end"].map(String::from).to_vec()));
            assert_eq!(outcome.text.matches("HTTP/1.1 ").count(), 1);
        });
    }
}
