//! FastCGI, SCGI and the uwsgi protocol as a web server sees them, and what of it the app sees.
#![allow(clippy::unwrap_used)]

mod driver;

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

use driver::{
    Generation, Listeners, app, read_to_end,
    recorder::Recorder,
    records::{answer, get, head, record},
};
use empery_control::boot::{AppBoot, Protocol};

fn speaking(protocol: Protocol) -> impl FnOnce(&mut AppBoot) {
    move |boot| boot.listeners[1].protocol = protocol
}

fn connect(listeners: &Listeners) -> UnixStream {
    let stream = UnixStream::connect(&listeners.uwsgi_path).unwrap();
    stream.set_read_timeout(Some(driver::DEADLINE)).unwrap();
    stream
}

#[test]
fn a_fastcgi_connection_serves_one_request_after_the_other_until_the_web_server_has_enough() {
    for threads in [1, 3] {
        let listeners = Listeners::new();
        let mut generation = Generation::serving(app("wsgi_cases.py"), &listeners, |boot| {
            boot.threads = threads;
            speaking(Protocol::FastCgi)(boot);
        });
        let mut stream = connect(&listeners);
        for (id, path, holds) in [
            (1, "/plain", "Status: 200 OK\r\n"),
            (2, "/items", "\r\n\r\nonetwothree"),
            (3, "/raise", "Status: 500 Internal Server Error\r\n"),
            (4, "/generator", "\r\n\r\nlate"),
            (5, "/write", "\r\n\r\nonetwoend"),
            (6, "/file", "\r\n\r\n56789012"),
            (7, "/empty", "Content-Length: 0"),
            (700, "/status?204+No+Content", "Status: 204 No Content"),
        ] {
            let (path_info, query) = path.split_once('?').unwrap_or((path, ""));
            let vars = [("REQUEST_METHOD", "GET"), ("PATH_INFO", path_info), ("QUERY_STRING", query)];
            stream.write_all(&[head(id, true, &vars), record(5, id, b"")].concat()).unwrap();
            let (stdout, status) = answer(&mut stream, id);
            assert!(stdout.contains(holds) && !stdout.contains("chunked"), "{path}: {stdout:?}");
            if id == 3 {
                // After a failure the connection is not used again, whatever the web server wants.
                assert_eq!(read_to_end(&mut stream), "", "{path}");
                stream = connect(&listeners);
            }
            assert_eq!(status, Some(0), "{path}");
        }
        stream.write_all(&[get(8, true, "/plain"), get(9, false, "/plain")].concat()).unwrap();
        assert_eq!(answer(&mut stream, 8).1, Some(0), "two requests sent ahead");
        assert!(answer(&mut stream, 9).0.ends_with("\r\n\r\nplain"));
        assert_eq!(read_to_end(stream), "", "closed, as the second one asked");
        generation.drain();
    }
}

#[test]
fn an_answer_that_is_not_whole_never_looks_whole_to_a_web_server() {
    let listeners = Listeners::new();
    let _generation = Generation::serving(app("wsgi_cases.py"), &listeners, speaking(Protocol::FastCgi));
    for path in ["/short", "/breaks-midway"] {
        let mut stream = connect(&listeners);
        stream.write_all(&get(1, true, path)).unwrap();
        let (stdout, status) = answer(&mut stream, 1);
        assert!(stdout.contains("Status: 200") && status.is_none(), "{path}: {stdout:?} {status:?}");
    }
}

#[test]
fn a_fastcgi_body_reaches_the_app_whole_or_as_an_error() {
    let recorder = Recorder::new("fastcgi-body", speaking(Protocol::FastCgi));
    let post = |length: &str, records: &[u8]| {
        let mut stream = connect(&recorder.listeners);
        let vars = [("REQUEST_METHOD", "POST"), ("PATH_INFO", "/"), ("CONTENT_LENGTH", length)];
        stream.write_all(&head(1, true, &vars)).unwrap();
        stream.write_all(records).unwrap();
        let _ = stream.shutdown(std::net::Shutdown::Write);
        answer(&mut stream, 1);
        recorder.last()
    };
    let whole = [record(5, 1, b"hel"), record(5, 1, b"lo"), record(5, 1, b"")].concat();
    assert_eq!(post("5", &whole)["body"], "hello");
    assert_eq!(post("", &whole)["body"], "hello", "a body whose length nobody knew");
    for (what, length, records) in [
        ("longer than was said", "4", whole.clone()),
        ("shorter than was said", "6", whole.clone()),
        ("without its end", "5", record(5, 1, b"hel")),
        ("given up", "5", [record(5, 1, b"hel"), record(2, 1, b"")].concat()),
        ("malformed", "5", [record(5, 1, b"hel"), b"GET / HTTP/1.1\r\n\r\n".to_vec()].concat()),
    ] {
        let seen = post(length, &records);
        assert!(seen["body"].is_null() && seen["body_error"].is_string(), "{what}: {seen}");
    }
}

#[test]
fn what_is_asked_beside_a_request_is_answered_and_calls_no_app() {
    let recorder = Recorder::new("fastcgi-beside", speaking(Protocol::FastCgi));
    let mut stream = connect(&recorder.listeners);
    stream.write_all(&record(9, 0, b"\x0f\0FCGI_MPXS_CONNS")).unwrap();
    let mut values = [0; 26];
    stream.read_exact(&mut values).unwrap();
    assert_eq!(&values[8..], b"\x0f\x01FCGI_MPXS_CONNS0");
    // A second request on a busy connection is told so, and the first is served.
    stream
        .write_all(&head(1, true, &[("REQUEST_METHOD", "POST"), ("PATH_INFO", "/"), ("CONTENT_LENGTH", "2")]))
        .unwrap();
    stream.write_all(&[get(2, true, "/second"), record(5, 1, b"ok"), record(5, 1, b"")].concat()).unwrap();
    assert_eq!(answer(&mut stream, 2), (String::new(), Some(1)));
    assert_eq!(answer(&mut stream, 1).1, Some(0));
    stream.write_all(&record(1, 3, &[0, 2, 1, 0, 0, 0, 0, 0])).unwrap();
    assert_eq!(answer(&mut stream, 3), (String::new(), Some(3)), "an authorizer is not served");
    stream.write_all(&get(4, false, "/last")).unwrap();
    assert_eq!(answer(&mut stream, 4).1, Some(0));
    let paths: Vec<_> = recorder.seen().iter().map(|seen| seen["PATH_INFO"].clone()).collect();
    assert_eq!(paths, ["/", "/last"]);
}

#[test]
fn stock_parameter_files_of_nginx_give_the_app_its_path() {
    let recorder = Recorder::new("fastcgi-path", speaking(Protocol::FastCgi));
    let path = |vars: &[(&str, &str)]| {
        let mut stream = connect(&recorder.listeners);
        stream.write_all(&[head(1, false, vars), record(5, 1, b"")].concat()).unwrap();
        answer(&mut stream, 1);
        let seen = recorder.last();
        (seen["SCRIPT_NAME"].as_str().unwrap().to_owned(), seen["PATH_INFO"].as_str().unwrap().to_owned())
    };
    let pair = |script: &str, path: &str| (script.to_owned(), path.to_owned());
    let (uri, decoded) = (("REQUEST_URI", "/a%20b?x=/y"), "/a b");
    assert_eq!(path(&[("SCRIPT_NAME", decoded), uri, ("DOCUMENT_URI", decoded)]), pair("", decoded));
    assert_eq!(path(&[("SCRIPT_NAME", decoded), uri]), pair("", decoded));
    assert_eq!(path(&[uri]), pair("", decoded));
    assert_eq!(path(&[("SCRIPT_NAME", "/app"), ("PATH_INFO", "/x"), uri]), pair("/app", "/x"));
    assert_eq!(path(&[("SCRIPT_NAME", "/app"), ("REQUEST_URI", "/app/")]), pair("/app", ""));
}

fn scgi(listeners: &Listeners, vars: &[(&str, &str)], body: &[u8]) -> String {
    let block: String = vars.iter().map(|(name, value)| format!("{name}\0{value}\0")).collect();
    let mut stream = connect(listeners);
    stream.write_all(&[format!("{}:{block},", block.len()).as_bytes(), body].concat()).unwrap();
    read_to_end(stream)
}

#[test]
fn an_scgi_request_is_answered_as_cgi_unless_nph_is_asked_for() {
    for (nph, begins) in [(false, "Status: 200 OK\r\n"), (true, "HTTP/1.1 200 OK\r\n")] {
        let recorder = Recorder::new(&format!("scgi-{nph}"), |boot| {
            boot.listeners[1].protocol = Protocol::Scgi;
            boot.listeners[1].nph = nph;
        });
        let vars = [("CONTENT_LENGTH", "5"), ("SCGI", "1"), ("REQUEST_METHOD", "POST"), ("PATH_INFO", "/p")];
        let answer = scgi(&recorder.listeners, &vars, b"hello");
        assert!(answer.starts_with(begins) && answer.ends_with("request 1"), "{answer:?}");
        let seen = recorder.last();
        assert_eq!((&seen["body"], &seen["PATH_INFO"]), (&"hello".into(), &"/p".into()));
    }
}

/// Every variable by which a peer of uWSGI steers it (uWSGI: core/protocol.c), and how one would know.
const CONTROL: [&str; 15] = [
    "UWSGI_FILE",
    "UWSGI_SCRIPT",
    "UWSGI_MODULE",
    "UWSGI_CALLABLE",
    "UWSGI_APPID",
    "UWSGI_SETENV",
    "UWSGI_CHDIR",
    "UWSGI_HOME",
    "UWSGI_PYHOME",
    "UWSGI_TOUCH_RELOAD",
    "UWSGI_POSTFILE",
    "UWSGI_CACHE_GET",
    "UWSGI_ROUTER",
    "wsgi.errors",
    "uwsgi.version",
];

#[test]
fn h14_variables_that_steer_uwsgi_are_never_honoured_and_named_once_in_the_log() {
    let evil = std::env::temp_dir().join(format!("empery-evil-{}", std::process::id()));
    let code = format!("exec://touch {}", evil.display());
    let common = [("REQUEST_METHOD", "GET"), ("PATH_INFO", "/"), ("UWSGI_SCHEME", "https")];
    let vars: Vec<(&str, &str)> = common.into_iter().chain(CONTROL.map(|name| (name, code.as_str()))).collect();
    for protocol in [Protocol::Uwsgi, Protocol::FastCgi, Protocol::Scgi] {
        let recorder = Recorder::new(&format!("steer-{}", protocol.as_str()), speaking(protocol));
        for _ in 0..2 {
            match protocol {
                Protocol::Scgi => {
                    let with: Vec<_> =
                        [("CONTENT_LENGTH", "0"), ("SCGI", "1")].into_iter().chain(vars.clone()).collect();
                    scgi(&recorder.listeners, &with, b"");
                }
                Protocol::FastCgi => {
                    let mut stream = connect(&recorder.listeners);
                    stream.write_all(&[head(1, false, &vars), record(5, 1, b"")].concat()).unwrap();
                    answer(&mut stream, 1);
                }
                Protocol::Uwsgi | Protocol::Http => {
                    driver::uwsgi(&recorder.listeners, 0, &vars, b"");
                }
            }
        }
        let seen = recorder.seen();
        assert_eq!(seen.len(), 2, "the requests themselves are served");
        for name in CONTROL {
            assert!(!seen[0].as_object().unwrap().iter().any(|(_, value)| value == code.as_str()), "{name} is shown");
            let log = recorder.generation.log();
            let named = log.matches(&format!("the variable {name} is ignored")).count();
            assert_eq!(named, 1, "{protocol:?} {name}: {log}");
        }
        assert_eq!(seen[0]["wsgi.url_scheme"], "https", "the scheme is the web server's to say");
    }
    assert!(!evil.exists(), "a variable was obeyed");
}

#[test]
fn what_is_asked_beside_a_request_holds_nobody_up_whose_answers_are_not_taken() {
    let listeners = Listeners::new();
    let mut generation = Generation::serving(app("wsgi_cases.py"), &listeners, |boot| {
        speaking(Protocol::FastCgi)(boot);
        boot.write_timeout_ms = 60_000;
    });
    let asks = [record(1, 9, &[0, 1, 0, 0, 0, 0, 0, 0]), record(9, 0, b"\x0f\x00FCGI_MPXS_CONNS")].concat();
    let last = [asks, get(9, false, "/plain").split_off(16)].concat();
    // Each answer takes its own room: for one of these what is asked beside the last request is the first that finds none.
    let clients: Vec<UnixStream> = (260..300)
        .map(|number| {
            let mut client = connect(&listeners);
            client.write_all(&[get(1, true, "/plain").repeat(number), last.clone()].concat()).unwrap();
            client
        })
        .collect();
    let mut other = connect(&listeners);
    other.write_all(&get(3, false, "/plain")).unwrap();
    assert_eq!(answer(&mut other, 3).1, Some(0), "others are served");
    for (number, mut client) in (260..).zip(clients) {
        for _ in 0..number {
            assert_eq!(answer(&mut client, 1).1, Some(0));
        }
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        let (values, behind) = rest.split_at(26);
        assert!(values[1] == 10 && values.ends_with(b"\x0f\x01FCGI_MPXS_CONNS0"), "what was asked: {rest:?}");
        assert_eq!(answer(&mut &*behind, 9).1, Some(0), "and the answer behind it");
    }
    generation.drain();
}

/// Says which variables whose names begin with `V`, and which other ones of interest, the app sees.
const SAYS: &str = "
def application(environ, start_response):
    seen = sorted(name for name in environ if name[0] == 'V' or name in ('HTTP_A', 'HTTP_B', 'PATH_INFO', 'wsgi.url_scheme'))
    start_response('200 OK', [])
    text = ' '.join(name + '=' + environ[name] for name in seen)
    environ.update(V9='left behind', HTTP_A='left behind')
    return [text.encode('latin-1')]
";

#[test]
fn what_differs_from_the_last_request_is_seen_and_nothing_of_the_last_is() {
    let listeners = Listeners::new();
    let mut generation = Generation::serving(driver::app_of("cgi-says", SAYS), &listeners, |_| {});
    type Vars<'v> = &'v [(&'v str, &'v str)];
    let requests: [(Vars<'_>, &str); 12] = [
        (&[("PATH_INFO", "/a"), ("V1", "1"), ("HTTP_A", "a")], "HTTP_A=a PATH_INFO=/a V1=1 wsgi.url_scheme=http"),
        (&[("PATH_INFO", "/a"), ("V1", "1"), ("HTTP_A", "a")], "HTTP_A=a PATH_INFO=/a V1=1 wsgi.url_scheme=http"),
        (&[("PATH_INFO", "/b"), ("V1", "2"), ("HTTP_B", "b")], "HTTP_B=b PATH_INFO=/b V1=2 wsgi.url_scheme=http"),
        (&[("PATH_INFO", "/b")], "PATH_INFO=/b wsgi.url_scheme=http"),
        (&[("V1", "\u{e4}"), ("PATH_INFO", "/b")], "PATH_INFO=/b V1=\u{c3}\u{a4} wsgi.url_scheme=http"),
        // Of two of one name the later one counts, whichever changes.
        (&[("V1", "1"), ("V1", "2"), ("PATH_INFO", "/")], "PATH_INFO=/ V1=2 wsgi.url_scheme=http"),
        (&[("V1", "3"), ("V1", "2"), ("PATH_INFO", "/")], "PATH_INFO=/ V1=2 wsgi.url_scheme=http"),
        (
            &[("V1", "3"), ("HTTP_A", "a"), ("V1", "4"), ("PATH_INFO", "/")],
            "HTTP_A=a PATH_INFO=/ V1=4 wsgi.url_scheme=http",
        ),
        (&[("V1", "3"), ("PATH_INFO", "/"), ("UWSGI_SCHEME", "https")], "PATH_INFO=/ V1=3 wsgi.url_scheme=https"),
        (&[("V1", "3"), ("PATH_INFO", "/"), ("UWSGI_SCHEME", "gopher")], "PATH_INFO=/ V1=3 wsgi.url_scheme=gopher"),
        (
            &[("V1", "3"), ("PATH_INFO", "/"), ("V.dot", "x"), ("UWSGI_FILE", "x")],
            "PATH_INFO=/ V1=3 wsgi.url_scheme=http",
        ),
        (&[("HTTP_A", "c"), ("V.dot", "x"), ("PATH_INFO", "/c")], "HTTP_A=c PATH_INFO=/c wsgi.url_scheme=http"),
    ];
    for (vars, seen) in requests {
        let answer = driver::uwsgi(&listeners, 0, vars, b"");
        assert_eq!(answer.split("\r\n\r\n").nth(1), Some(seen), "{vars:?}");
    }
    assert_eq!(generation.log().matches("is ignored: a peer must not steer").count(), 2, "each once");
    generation.drain();
}
