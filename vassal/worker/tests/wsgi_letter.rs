//! PEP 3333 where its letter counts: when things are sent, how answers end, what headers may say, and what `wsgi.input`
//! and `wsgi.file_wrapper` give. The ids A18 to A23 and those of CVEs name faults that servers have had here.
#![allow(clippy::unwrap_used)]

mod driver;

use std::io::{Read, Write};

use driver::{Generation, Listeners, app, assert_answer, connect, exchange, get, read_to_end, until, uwsgi};
use empery_wire::limits::BODY_HELD_MAX_BYTES;

/// Runs the checks against a worker with one thread and one with three.
fn with_each(check: impl Fn(&Listeners, &Generation)) {
    for threads in [1, 3] {
        let listeners = Listeners::new();
        let mut generation = Generation::serving(app("wsgi_letter.py"), &listeners, |boot| boot.threads = threads);
        check(&listeners, &generation);
        generation.drain();
    }
}

/// A FIFO that a route may wait on.
fn fifo(listeners: &Listeners) -> std::path::PathBuf {
    let path = listeners.uwsgi_path.with_extension("fifo");
    let _ = std::fs::remove_file(&path);
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    path
}

fn closed(listeners: &Listeners) -> String {
    let answer = get(listeners, "/closed");
    answer.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned()
}

#[test]
fn each_item_is_on_the_wire_before_the_next_is_asked_for() {
    with_each(|listeners, _| {
        for path in ["/waits-between", "/waits-after-write"] {
            let fifo = fifo(listeners);
            let mut stream = connect(listeners);
            let request = format!("GET {path}?{} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", fifo.display());
            stream.write_all(request.as_bytes()).unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"5\r\nfirst\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                seen.extend(byte);
            }
            drop(std::fs::OpenOptions::new().write(true).open(&fifo).unwrap());
            assert_eq!(read_to_end(stream), "6\r\nsecond\r\n0\r\n\r\n", "{path}");
            std::fs::remove_file(&fifo).unwrap();
        }
    });
}

#[test]
fn a18_a_broken_body_is_cut_where_it_broke_and_closed_once() {
    with_each(|listeners, generation| {
        assert_answer(&get(listeners, "/raises-midway"), "raises", &["5\r\nbegun\r\n"], &["0\r\n\r\n"]);
        assert_answer(&get(listeners, "/text-midway"), "text", &["5\r\nbegun\r\n"], &["0\r\n\r\n", "text\r\n0"]);
        assert_answer(&get(listeners, "/nothing"), "nothing", &["200 OK", "Content-Length: 0\r\n"], &["chunked"]);
        let mut gone = connect(listeners);
        gone.write_all(b"GET /endless HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        gone.read_exact(&mut [0; 100_000]).unwrap();
        drop(gone);
        until(|| closed(listeners) == "raises,text,nothing,endless");
        let log = generation.log();
        assert!(
            log.contains("ValueError: midway") && log.contains("TypeError: the app must give bytes, not str"),
            "{log}"
        );
    });
}

#[test]
fn a_client_that_leaves_ends_write_with_an_exception_and_takes_nothing_along() {
    with_each(|listeners, _| {
        let mut gone = connect(listeners);
        gone.write_all(b"GET /keeps-writing HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        gone.read_exact(&mut [0; 1000]).unwrap();
        drop(gone);
        until(|| closed(listeners) == "write: write error: the client is gone");
    });
}

#[test]
fn a_client_that_takes_nothing_of_an_endless_answer_is_given_up() {
    with_each(|listeners, _| {
        let mut stuck = connect(listeners);
        stuck.write_all(b"GET /endless HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        until(|| closed(listeners) == "endless");
        let rest = read_to_end(stuck);
        assert!(!rest.ends_with("0\r\n\r\n") && !rest.ends_with("<timeout>"), "it is cut");
    });
}

#[test]
fn a19_b49_a_body_that_is_not_as_long_as_its_content_length_ends_the_connection() {
    with_each(|listeners, generation| {
        let ahead = b"GET /framed?Content-Length=9 HTTP/1.1\r\nHost: h\r\n\r\nGET /closed HTTP/1.1\r\nHost: h\r\n\r\n";
        let short = exchange(listeners, ahead);
        assert_answer(
            &short,
            "short",
            &["Content-Length: 9", "body"],
            &["404", "200 OK\r\nContent-Type: text/plain\r\nContent-Length: 0"],
        );
        let endless = get(listeners, "/endless-framed");
        assert!(endless.ends_with(&format!("\r\n\r\n{}", "x".repeat(70_000))), "{} bytes", endless.len());
        assert_eq!(closed(listeners), "endless-framed", "it is not asked for more");
        let long = get(listeners, "/framed?Content-Length=3");
        assert!(long.ends_with("\r\n\r\nbod"), "{long}");
        until(|| {
            let log = generation.log();
            log.contains("5 bytes less than its Content-Length") && log.contains("more than its Content-Length")
        });
    });
}

#[test]
fn a20_and_cve_2023_27522_and_cve_2024_24795_headers_that_contradict_the_framing_are_a_500() {
    with_each(|listeners, generation| {
        for query in [
            "Content-Length=4&Transfer-Encoding=chunked",
            "Transfer-Encoding=chunked&Content-Length=4",
            "Content-Length=4&Content-Length=4",
            "Content-Length=4&content-length=5",
            "Transfer-Encoding=gzip",
            "Transfer-Encoding=chunked&Transfer-Encoding=chunked",
            "Transfer-Encoding=chunked,%20chunked",
            "Content-Length=+4",
            "Content-Length=-1",
            "Content-Length=0x4",
            "Content-Length=4,4",
            "Content-Length=18446744073709551616",
            "Content-Length=",
        ] {
            let answer = get(listeners, &format!("/framed?{query}"));
            assert_answer(
                &answer,
                query,
                &["HTTP/1.1 500 Internal Server Error\r\n", "Content-Length: 22\r\n"],
                &["body", "chunked", "Content-Length: 4"],
            );
            let spoken = uwsgi(
                listeners,
                0,
                &[("REQUEST_METHOD", "GET"), ("PATH_INFO", "/framed"), ("QUERY_STRING", query)],
                b"",
            );
            assert_answer(&spoken, query, &["HTTP/1.1 500 "], &["body", "chunked", "Content-Length: 4"]);
        }
        let coded = get(listeners, "/framed?Transfer-Encoding=chunked");
        assert_answer(&coded, "the server codes", &["Content-Length: 4\r\n", "\r\n\r\nbody"], &["chunked"]);
        let hops = "Connection=X-Hop&Keep-Alive=timeout&TE=x&Trailer=y&Upgrade=z";
        assert_answer(
            &get(listeners, &format!("/framed?{hops}")),
            "hops",
            &["200 OK"],
            &["X-Hop", "Keep-Alive", "TE:", "Trailer", "Upgrade"],
        );
        assert!(generation.log().contains("both Content-Length and Transfer-Encoding"));
    });
}

#[test]
fn an_app_may_ask_for_the_end_of_the_connection() {
    with_each(|listeners, _| {
        let answer = exchange(listeners, b"GET /framed?Connection=Close HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_answer(&answer, "close", &["Connection: close\r\n", "\r\n\r\nbody"], &["Connection: Close", "<"]);
    });
}

#[test]
fn a21_start_response_may_replace_the_head_until_it_is_out() {
    with_each(|listeners, _| {
        assert_answer(&get(listeners, "/keyword"), "keyword", &["503 Later", "\r\n\r\nreplaced"], &["200 OK"]);
        let late = get(listeners, "/late-traceback");
        assert_answer(&late, "raised again", &["200 OK", "the first one in application", "0\r\n\r\n"], &["Oops"]);
    });
}

#[test]
fn a22_an_upload_that_nobody_reads_does_not_keep_the_answer_from_its_client() {
    with_each(|listeners, _| {
        let mut upload = connect(listeners);
        upload.write_all(b"POST /closed HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n").unwrap();
        let block = vec![b'x'; 1_000_000];
        for _ in 0..20 {
            upload.write_all(&block).unwrap();
        }
        upload.shutdown(std::net::Shutdown::Write).unwrap();
        assert_answer(&read_to_end(upload), "upload", &["200 OK", "Connection: close\r\n"], &["<"]);
    });
}

#[test]
fn a23_a_forked_child_that_comes_back_from_the_app_answers_nobody() {
    with_each(|listeners, generation| {
        let twice =
            b"GET /fork HTTP/1.1\r\nHost: h\r\n\r\nGET /fork-midway HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        let answers = exchange(listeners, twice);
        assert_answer(&answers, "fork", &["\r\n\r\nparent", "7\r\nbefore,\r\n6\r\nparent\r\n0\r\n\r\n"], &["child"]);
        assert_eq!(answers.matches("HTTP/1.1").count(), 2, "{answers}");
        assert_answer(&get(listeners, "/fork-exits"), "exit code", &["exited with 7"], &[]);
        assert_eq!(generation.log().matches("it exits, its parent answers").count(), 2, "{}", generation.log());
        assert!(!generation.log().contains("Traceback"), "{}", generation.log());
    });
}

#[test]
fn b49_head_and_the_statuses_without_a_body_send_none_and_keep_the_connection() {
    with_each(|listeners, _| {
        let head = exchange(listeners, b"HEAD /head HTTP/1.1\r\nHost: h\r\n\r\nHEAD /waits HTTP/1.1\r\nHost: h\r\n\r\nGET /closed HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        assert_answer(
            &head,
            "HEAD",
            &["Content-Length: 12\r\n", "404 Not Found", "\r\n\r\nhead"],
            &["and body", "not here"],
        );
        for (status, lacks) in [("204+No+Content", "Content-Length"), ("304+Not+Modified", "chunked")] {
            let two = format!(
                "GET /status?{status} HTTP/1.1\r\nHost: h\r\n\r\nGET /errors HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
            );
            let answers = exchange(listeners, two.as_bytes());
            let (first, second) = answers.split_once("\r\n\r\n").unwrap();
            assert_answer(first, status, &["Date: "], &[lacks, "chunked", "Connection"]);
            assert_answer(second, "after it", &["HTTP/1.1 200 OK\r\n", "\r\n\r\ntold"], &["body"]);
        }
        for status in ["100+Continue", "101+Switching", "199+x", "600+x", "20+x", "OK", "", "2000"] {
            assert_answer(&get(listeners, &format!("/status?{status}")), status, &["HTTP/1.1 500 "], &["body"]);
        }
        let head = exchange(listeners, b"HEAD /status?OK HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(head.contains(" 500 ") && head.ends_with("\r\n\r\n"), "a failure has no body either: {head}");
    });
}

#[test]
fn wsgi_errors_is_the_log() {
    with_each(|listeners, generation| {
        get(listeners, "/errors");
        assert!(generation.log().contains("written\na line\nand another\n"), "{}", generation.log());
    });
}

#[test]
fn the_input_gives_what_was_asked_for_however_it_arrives() {
    with_each(|listeners, _| {
        let sizes = exchange(listeners, b"POST /sizes HTTP/1.1\r\nHost: h\r\nContent-Length: 19\r\nConnection: close\r\n\r\n0123456\n89\na\nb\ncd\ne");
        let expected =
            r"[b'', b'', b'012', b'34', b'56\n', [b'89\n'], [b'a\n', b'b\n', b'cd\n', b'e'], b'', b'', b'', []]";
        assert!(sizes.ends_with(&format!("\r\n\r\n{expected}")), "{sizes}");

        let body: Vec<u8> = (0..1_000_000_u32).map(|number| (number % 251) as u8).collect();
        for step in [1000, 16_384, 65_536, 2_000_000] {
            for chunked in [false, true] {
                let mut stream = connect(listeners);
                let coding = if chunked {
                    "Transfer-Encoding: chunked".into()
                } else {
                    format!("Content-Length: {}", body.len())
                };
                write!(stream, "POST /count?{step} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{coding}\r\n\r\n")
                    .unwrap();
                // Pieces of sizes that share no factor with what is read, so that every boundary is crossed.
                for piece in body.chunks(7919) {
                    if chunked {
                        write!(stream, "{:x}\r\n", piece.len()).unwrap();
                    }
                    stream.write_all(piece).unwrap();
                    if chunked {
                        stream.write_all(b"\r\n").unwrap();
                    }
                }
                if chunked {
                    stream.write_all(b"0\r\n\r\n").unwrap();
                }
                let answer = read_to_end(stream);
                assert!(answer.ends_with("1000000 bytes, 0 wrong, then b''"), "{step} {chunked}: {answer}");
            }
        }
    });
}

#[test]
fn a_body_that_breaks_stays_broken_and_ends_the_connection() {
    with_each(|listeners, _| {
        let next = "GET /errors HTTP/1.1\r\nHost: h\r\n\r\n";
        let chunked =
            "POST /read-twice HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n";
        let answer = exchange(listeners, format!("{chunked}{next}").as_bytes());
        assert_eq!(answer.matches("OSError: the chunked body is malformed").count(), 2, "{answer}");
        assert_answer(&answer, "nothing after it runs", &["Connection: close"], &["told", "<reset>"]);
        let mut cut = connect(listeners);
        cut.write_all(b"POST /read-twice HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n").unwrap();
        cut.write_all(&[b'x'; 100_000]).unwrap();
        cut.shutdown(std::net::Shutdown::Write).unwrap();
        let answer = read_to_end(cut);
        assert_eq!(answer.matches("OSError: the client went away during read() on wsgi.input").count(), 2, "{answer}");
    });
}

#[test]
fn b53_a_body_that_trickles_is_given_up() {
    with_each(|listeners, _| {
        let mut slow = connect(listeners);
        slow.write_all(b"POST /read-twice HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n").unwrap();
        // So much that the app is called before all of it is there.
        slow.write_all(&[b'x'; BODY_HELD_MAX_BYTES]).unwrap();
        slow.set_read_timeout(Some(std::time::Duration::from_millis(20))).unwrap();
        let began = std::time::Instant::now();
        let mut answer = Vec::new();
        let mut block = [0; 1000];
        // Each read without an answer is followed by a byte: a time per read of the server would never be over.
        while !answer.ends_with(b"timeout during read() on wsgi.input") {
            match slow.read(&mut block) {
                Ok(read) => answer.extend_from_slice(&block[..read]),
                Err(_) => slow.write_all(b"x").unwrap(),
            }
            assert!(began.elapsed() < driver::DEADLINE, "it waits on");
        }
    });
}

#[test]
fn b22_file_wrapper_sends_what_reading_the_file_would_give() {
    with_each(|listeners, _| {
        let whole = get(listeners, "/file");
        assert_answer(&whole, "from its offset", &["Content-Length: 99995\r\n", "\r\n\r\n56789012"], &["<"]);
        assert_eq!(whole.len() - whole.find("\r\n\r\n").unwrap(), 4 + 99_995);
        assert!(get(listeners, "/file?7").ends_with("\r\n\r\n5678901"), "no more than its Content-Length");
        assert_answer(&get(listeners, "/file?200000"), "less", &["Content-Length: 200000\r\n", "<reset>"], &[]);
        let head = exchange(listeners, b"HEAD /file HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        assert!(head.ends_with("\r\n\r\n"), "{head}");
        assert!(get(listeners, "/gzip").contains("unpackedunpacked"), "not the compressed bytes");
        assert!(get(listeners, "/pipe").ends_with("\r\n\r\nb\r\nfrom a pipe\r\n0\r\n\r\n"));
        assert!(get(listeners, "/file-like").ends_with("\r\n0\r\n\r\n"));
        assert_eq!(closed(listeners), "file-like");
        assert!(get(listeners, "/named").ends_with("\r\n\r\n89"));
        assert!(get(listeners, "/rewritten").ends_with("\r\n\r\nfresh"));
    });
}

#[test]
fn answers_larger_than_any_buffer_arrive_whole() {
    with_each(|listeners, _| {
        let file = get(listeners, "/big-file?20000000");
        assert!(file.len() > 20_000_000 && file.ends_with("0123456789"));
        let blocks = get(listeners, "/blocks?160");
        assert_eq!(blocks.matches("10000\r\n").count(), 160);
        assert!(blocks.ends_with("\r\n0\r\n\r\n"));
    });
}

/// Changes to a protocol that says what it hears, and counts the requests it gets.
const ECHO: &str = "
import os
import select
import uwsgi

paths = []

def talk():
    yield b''
    fd = uwsgi.connection_fd()
    select.select([fd], [], [], 10)
    yield b'heard ' + os.read(fd, 1000)

def application(environ, start_response):
    path = environ['PATH_INFO']
    paths.append(path)
    if path == '/seen':
        start_response('200 OK', [])
        return [','.join(paths).encode()]
    headers = [('Connection', 'Upgrade'), ('Content-Length', '5')]
    if path != '/names-none':
        headers.append(('Upgrade', 'echo'))
    start_response('101 Switching Protocols', headers)
    if path == '/raises':
        return (1 / 0 for _ in range(1))
    return [b'hello'] if path == '/says' else talk() if path == '/talks' else []
";

#[test]
fn an_app_may_change_the_protocol_when_the_client_asked_for_that_and_nothing_behind_is_a_request() {
    for threads in [1, 3] {
        let listeners = Listeners::new();
        let mut generation =
            Generation::serving(driver::app_of("echo", ECHO), &listeners, |boot| boot.threads = threads);
        let wish =
            |path: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: x, upgrade\r\nUpgrade: echo\r\n\r\n");
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
        let switched = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n";

        let mut client = connect(&listeners);
        client.write_all(wish("/talks").as_bytes()).unwrap();
        // The head comes before the client says anything.
        let mut head = vec![0; switched.len()];
        client.read_exact(&mut head).unwrap();
        assert_eq!(String::from_utf8(head).unwrap(), switched);
        client.write_all(smuggled.as_bytes()).unwrap();
        assert_eq!(read_to_end(client), format!("heard {smuggled}"));

        for (path, said) in [("/says", "hello"), ("/nothing", "")] {
            let answer = exchange(&listeners, (wish(path) + smuggled).as_bytes());
            assert_eq!(answer, format!("{switched}{said}"), "{path}");
        }
        for (why, request) in [
            ("no wish", "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".to_owned()),
            ("half a wish", "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nUpgrade: echo\r\n\r\n".to_owned()),
            ("HTTP/1.0", wish("/").replace("HTTP/1.1", "HTTP/1.0")),
            ("no protocol", wish("/names-none")),
            ("no head", wish("/raises")),
        ] {
            let answer = exchange(&listeners, (request + smuggled).as_bytes());
            assert!(answer.starts_with("HTTP/1.1 500 ") && answer.matches("HTTP/").count() == 1, "{why}: {answer}");
        }
        let spoken = uwsgi(&listeners, 0, &[("REQUEST_METHOD", "GET"), ("PATH_INFO", "/says")], b"");
        assert!(spoken.starts_with("HTTP/1.1 500 "), "{spoken}");
        let seen = get(&listeners, "/seen");
        assert!(!seen.contains("/smuggled"), "{seen}");
        assert!(generation.log().contains("101 needs a header Upgrade"), "{}", generation.log());
        generation.drain();
    }
}
