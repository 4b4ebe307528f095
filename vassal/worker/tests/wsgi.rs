//! PEP 3333 and HTTP as seen by a client, with one thread and with several.
#![allow(clippy::unwrap_used)]

mod driver;

use std::io::{Read, Write};

use driver::{Generation, Listeners, app, assert_answer, connect, exchange, get, read_to_end, until, uwsgi};
use empery_wire::limits::BODY_HELD_MAX_BYTES;

/// Runs the checks against a worker with one thread and one with three.
fn with_each(check: impl Fn(&Listeners, &Generation)) {
    for threads in [1, 3] {
        let listeners = Listeners::new();
        let mut generation = Generation::serving(app("wsgi_cases.py"), &listeners, |boot| boot.threads = threads);
        check(&listeners, &generation);
        generation.drain();
    }
}

#[test]
fn b47_what_the_app_returns_is_framed_so_that_the_client_sees_its_end() {
    with_each(|listeners, _| {
        let cases: &[(&str, &[&str], &[&str])] = &[
            ("/plain", &["HTTP/1.1 200 OK\r\n", "Content-Length: 5", "Date: ", "\r\n\r\nplain"], &["Server:"]),
            ("/items", &["chunked", "3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n"], &["Content-Length"]),
            ("/generator", &["X-Late: 1", "4\r\nlate\r\n0\r\n\r\n"], &[]),
            ("/bytes", &["Content-Length: 5", "\r\n\r\nbytes"], &[]),
            ("/empty", &["Content-Length: 0"], &[]),
            ("/write", &["\r\n\r\nonetwoend"], &[]),
            ("/long", &["\r\n\r\nlong"], &["longer"]),
            ("/short", &["\r\n\r\nshort<reset>"], &[]),
            ("/breaks-midway", &["3\r\none\r\n"], &["0\r\n\r\n"]),
            ("/status?204+No+Content", &[" 204 No Content"], &["body", "Content-Length", "chunked"]),
            ("/status?304+Not+Modified", &[" 304 "], &["body", "chunked"]),
            ("/file", &["Content-Length: 99995", "\r\n\r\n56789012"], &[]),
            ("/file-like", &["chunked"], &[]),
        ];
        for (path, holds, lacks) in cases {
            assert_answer(&get(listeners, path), path, holds, lacks);
        }
        let old = exchange(listeners, b"GET /items HTTP/1.0\r\n\r\n");
        assert_answer(&old, "HTTP/1.0", &["\r\n\r\nonetwothree"], &["chunked", "Content-Length"]);
        let head = exchange(listeners, b"HEAD /items HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        assert!(head.ends_with("\r\n\r\n") && head.contains("200 OK"), "{head:?}");
    });
}

#[test]
fn b48_an_app_that_fails_is_answered_for_and_the_worker_serves_on() {
    with_each(|listeners, generation| {
        for path in [
            "/raise",
            "/exit",
            "/no-start",
            "/text",
            "/twice",
            "/breaks-first",
            "/header-type",
            "/headers-tuple",
            "/status?100+Continue",
            "/status?20+OK",
            "/header?X-A=a%0d%0aX-B:%20c",
            "/header?X-A=a%0ab",
            "/header?X-A=a%00b",
            "/header?X%20A=b",
            "/header?X:A=b",
            "/header?=b",
            "/header?Content-Length=x",
        ] {
            assert_answer(
                &get(listeners, path),
                path,
                &["HTTP/1.1 500 Internal Server Error", "text/plain"],
                &["X-A", "X-B", "asked for"],
            );
        }
        assert_answer(&get(listeners, "/exc-info"), "exc_info", &["500 Oops", "X-New: 1", "replaced"], &["X-Old"]);
        assert_answer(&get(listeners, "/exc-info-late"), "late exc_info", &["begun"], &["never", "0\r\n\r\n"]);
        assert_answer(&get(listeners, "/plain"), "after all", &["200 OK"], &[]);
        assert!(generation.log().contains("RuntimeError: asked for"), "the traceback is in the log");
    });
}

#[test]
fn close_is_called_once_however_it_ends() {
    with_each(|listeners, _| {
        for path in ["/items", "/breaks-first", "/breaks-midway", "/close-raises"] {
            get(listeners, path);
        }
        let mut gone = connect(listeners);
        gone.write_all(b"GET /big?2000 HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        gone.read_exact(&mut [0; 1000]).unwrap();
        drop(gone);
        until(|| get(listeners, "/closed").ends_with("\r\n\r\n5"));
    });
}

#[test]
fn b50_a_body_is_read_as_it_was_sent_or_not_at_all() {
    with_each(|listeners, _| {
        let post = |path: &str, rest: &str| {
            exchange(listeners, format!("POST {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{rest}").as_bytes())
        };
        assert_answer(&post("/read", "Content-Length: 5\r\n\r\nhello"), "read", &["\r\n\r\nhello"], &[]);
        assert_answer(&post("/read?2", "Content-Length: 5\r\n\r\nhello"), "read(2)", &["\r\n\r\nhe"], &["hel"]);
        let chunked =
            post("/read", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x\r\n world\r\n0\r\nT: v\r\n\r\n");
        assert_answer(&chunked, "chunked", &["\r\n\r\nhello world"], &[]);
        let lines = post("/lines", "Content-Length: 22\r\n\r\na\nbcdefg\nhij\nk\n\nlm\nno\n");
        assert_answer(
            &lines,
            "lines",
            &[r"[b'a\n', b'bcd', b'efg\n', b'hij\n', b'k\n', b'\n', b'lm\n', b'no\n']"],
            &[],
        );
        let broken = post("/read-caught", "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n");
        assert_answer(&broken, "bad chunk", &["OSError: the chunked body is malformed"], &[]);
        // So much that the app is called before all of it is there.
        let late = post("/read-caught", &format!("Content-Length: 100000\r\n\r\n{}", "x".repeat(BODY_HELD_MAX_BYTES)));
        assert_answer(&late, "slow body", &["OSError: timeout during read() on wsgi.input"], &[]);
        let mut cut = connect(listeners);
        cut.write_all(b"POST /read-caught HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc").unwrap();
        cut.shutdown(std::net::Shutdown::Write).unwrap();
        assert_answer(&read_to_end(cut), "cut body", &["OSError: the client went away"], &[]);
    });
}

#[test]
fn b51_a_client_that_expects_100_gets_it_once_and_before_the_app_is_called() {
    const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
    with_each(|listeners, _| {
        for (framing, pieces) in [
            ("Content-Length: 3", ["a", "b", "c"]),
            ("Transfer-Encoding: chunked", ["2\r\nab", "\r\n1\r\nc\r\n", "0\r\n\r\n"]),
        ] {
            let mut asking = connect(listeners);
            asking.set_nodelay(true).unwrap();
            // Twice on one connection: each is told.
            for last in ["", "Connection: close\r\n"] {
                let head = format!("POST /read HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n{framing}\r\n{last}\r\n");
                asking.write_all(head.as_bytes()).unwrap();
                let mut first = [0; CONTINUE.len()];
                asking.read_exact(&mut first).unwrap();
                assert_eq!(first, CONTINUE.as_bytes());
                for piece in pieces {
                    asking.write_all(piece.as_bytes()).unwrap();
                }
                if last.is_empty() {
                    let mut answer = Vec::new();
                    while !answer.ends_with(b"\r\n\r\nabc") && !answer.ends_with(b"\r\n0\r\n\r\n") {
                        let mut byte = [0];
                        asking.read_exact(&mut byte).unwrap();
                        answer.push(byte[0]);
                    }
                    let answer = String::from_utf8(answer).unwrap();
                    assert_answer(&answer, "first", &["200 OK", "abc"], &["100 Continue"]);
                }
            }
            assert_answer(&read_to_end(asking), "after 100", &["200 OK", "abc"], &["100 Continue"]);
        }
        // Whoever sends the body at once is not waiting.
        let at_once = "POST /read HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc";
        let answer = driver::exchange(listeners, at_once.as_bytes());
        assert_answer(&answer, "at once", &["200 OK", "abc"], &["100 Continue"]);
        // And whoever is not going to send it is not waited for.
        let mut ended = connect(listeners);
        ended
            .write_all(b"POST /unread HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
            .unwrap();
        ended.shutdown(std::net::Shutdown::Write).unwrap();
        assert_answer(&read_to_end(ended), "ended", &["200 OK", "Connection: close", "unread"], &[]);
    });
}

#[test]
fn an_answer_arrives_although_the_upload_is_not_read() {
    with_each(|listeners, _| {
        let mut upload = connect(listeners);
        upload.write_all(b"POST /unread HTTP/1.1\r\nHost: h\r\nContent-Length: 50000000\r\n\r\n").unwrap();
        let block = vec![b'x'; 1_000_000];
        for _ in 0..50 {
            upload.write_all(&block).unwrap();
        }
        assert_answer(&read_to_end(upload), "upload", &["200 OK", "Connection: close", "unread"], &["<reset>"]);
    });
}

#[test]
fn requests_sent_ahead_are_answered_in_order_until_one_is_malformed() {
    with_each(|listeners, _| {
        let mut ahead = Vec::new();
        for number in 0..100 {
            ahead.extend_from_slice(
                format!("GET /environ?QUERY_STRING&{number}. HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes(),
            );
        }
        ahead.extend_from_slice(
            b"POST /read HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n",
        );
        ahead.extend_from_slice(b"BAD\r\n\r\nGET /plain HTTP/1.1\r\nHost: h\r\n\r\n");
        let mut stream = connect(listeners);
        stream.write_all(&ahead).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let answers = read_to_end(stream);
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 101, "{answers}");
        assert_answer(&answers, "ahead", &["xyz", "HTTP/1.1 400 Bad Request"], &["plain\r\n\r\nplain"]);
    });
}

#[test]
fn b22_environ_is_what_pep_3333_and_uwsgi_say() {
    with_each(|listeners, _| {
        let threads_value = get(listeners, "/environ?wsgi.multithread");
        assert!(threads_value.ends_with("True") || threads_value.ends_with("False"));
        for (key, value) in [
            ("SCRIPT_NAME", "''"),
            ("PATH_INFO", "'/environ'"),
            ("SERVER_PROTOCOL", "'HTTP/1.1'"),
            ("REMOTE_ADDR", "'127.0.0.1'"),
            ("wsgi.version", "(1, 0)"),
            ("wsgi.multiprocess", "False"),
            ("wsgi.run_once", "False"),
            ("wsgi.url_scheme", "'http'"),
            ("wsgi.input_terminated", "True"),
            ("uwsgi.version", "b'2.0.31'"),
            ("HTTP_X_FOO", "'a, b'"),
            ("HTTP_COOKIE", "'a=1; b=2'"),
            ("HTTP_X_BAR", "None"),
        ] {
            let headers = "X-Foo: a\r\nX_Bar: 1\r\nX-Foo: b\r\nCookie: a=1\r\nCookie: b=2\r\nConnection: close";
            let answer =
                exchange(listeners, format!("GET /environ?{key} HTTP/1.1\r\nHost: h\r\n{headers}\r\n\r\n").as_bytes());
            assert!(answer.ends_with(&format!("\r\n\r\n{value}")), "{key}: {answer}");
        }
        let latin = exchange(listeners, b"GET /latin HTTP/1.1\r\nHost: h\r\nX-Sent: \xfc\r\nConnection: close\r\n\r\n");
        assert_answer(&latin, "latin-1", &["X-Latin: \u{e4}", "X-Back: \u{fc}"], &[]);
    });
}

#[test]
fn the_uwsgi_protocol_is_served_and_steers_nothing() {
    with_each(|listeners, generation| {
        let base =
            [("REQUEST_METHOD", "GET"), ("SERVER_PROTOCOL", "HTTP/1.1"), ("SERVER_NAME", "s"), ("SERVER_PORT", "80")];
        let ask = |more: &[(&str, &str)], body: &[u8]| uwsgi(listeners, 0, &[&base, more].concat(), body);
        let plain = ask(&[("PATH_INFO", "/plain"), ("QUERY_STRING", "")], b"");
        assert_answer(&plain, "plain", &["HTTP/1.1 200 OK\r\n", "\r\n\r\nplain"], &["Date", "Connection"]);
        assert_answer(
            &ask(&[("PATH_INFO", "/items"), ("QUERY_STRING", "")], b""),
            "items",
            &["\r\n\r\nonetwothree"],
            &["chunked"],
        );
        let posted = ask(&[("PATH_INFO", "/read"), ("QUERY_STRING", ""), ("CONTENT_LENGTH", "5")], b"hello");
        assert_answer(&posted, "body", &["\r\n\r\nhello"], &[]);
        let scheme = ask(&[("PATH_INFO", "/environ"), ("QUERY_STRING", "wsgi.url_scheme"), ("HTTPS", "on")], b"");
        assert_answer(&scheme, "https", &["'https'"], &[]);
        assert_answer(
            &ask(&[("PATH_INFO", "/environ"), ("QUERY_STRING", "SCRIPT_NAME")], b""),
            "script name",
            &["\r\n\r\n''"],
            &[],
        );
        let keys = ask(
            &[("PATH_INFO", "/keys"), ("QUERY_STRING", ""), ("UWSGI_FILE", "/etc/passwd"), ("wsgi.input", "x")],
            b"",
        );
        assert_answer(&keys, "control variables", &["REQUEST_METHOD"], &["UWSGI_FILE"]);
        assert_eq!(uwsgi(listeners, 5, &base, b""), "");
        until(|| generation.log().contains("-- unavailable modifier requested: 5 --"));
        assert!(generation.log().contains("UWSGI_FILE is ignored"));
    });
}
