//! A generation's life: booting, failing, serving, handing over, leaving.
#![allow(clippy::unwrap_used)]

mod driver;

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::fd::AsFd,
    path::PathBuf,
    time::Duration,
};

use driver::{Channel, Generation, Listeners, app, app_of, connect, get};
use empery_control::{
    apps::AppTarget,
    worker::{FromWorker, FromZygote, Introduction, RecycleReason, ToWorker},
};
use empery_sys::{process, seqpacket};

fn ask(stream: &mut TcpStream, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).unwrap();
    let mut buffer = [0; 4096];
    let read = stream.read(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..read]).into_owned()
}

#[test]
fn an_app_that_cannot_be_loaded_is_told_in_one_sentence() {
    let cases = [
        ("syntax", "def application(:\n", "SyntaxError"),
        ("import", "import nothing_of_that_name\n", "No module named 'nothing_of_that_name'"),
        ("exit", "import sys\nsys.exit(4)\n", "the app called sys.exit(4)"),
        ("kind", "application = 5\n", "is not callable: it is of type int"),
        (
            "name",
            "from json import dumps\ndef app(environ, start_response): pass\n",
            "has no application; it has app: set callable",
        ),
    ];
    for (name, text, expected) in cases {
        let listeners = Listeners::new();
        let generation = Generation::boot(1, app_of(name, text), &listeners, |_| {});
        let Some(FromZygote::LoadFailed { sentence, .. }) = &generation.loaded else {
            panic!("{name}: {:?}", generation.loaded)
        };
        assert!(sentence.contains(expected), "{name}: {sentence}");
        let how = process::wait_for(&generation.zygote.pidfd).unwrap();
        assert_eq!(how.to_string(), "exit code 22", "{name}");
    }
}

#[test]
fn a_boot_word_of_another_version_is_refused_at_once() {
    let (zygote, answer) = driver::misunderstood();
    let Some(FromZygote::LoadFailed { sentence, .. }) = answer else { panic!("{answer:?}") };
    assert!(sentence.contains("of different versions") && sentence.contains("missing field"), "{sentence}");
    process::wait_for(&zygote.pidfd).unwrap();
}

#[test]
fn an_app_that_starts_threads_at_import_is_imported_by_each_worker_instead() {
    let text = "import threading, time\nthread = threading.Thread(target=time.sleep, args=(1000,), name='pumper', daemon=True)\nthread.start()\n\
                def application(environ, start_response):\n    start_response('200 OK', [])\n    return [str(thread.is_alive()).encode()]\n";
    let listeners = Listeners::new();
    let mut generation = Generation::boot(1, app_of("threads", text), &listeners, |_| {});
    let Some(FromZygote::Loaded { threads_at_import, .. }) = &generation.loaded else {
        panic!("{:?}", generation.loaded)
    };
    assert_eq!(threads_at_import, &["pumper"]);
    generation.fork(1);
    generation.open();
    assert!(get(&listeners, "/").ends_with("True"), "the thread lives in the worker");
    generation.drain();
}

#[test]
fn nobody_is_accepted_before_the_gate_is_open() {
    let listeners = Listeners::new();
    let mut generation = Generation::boot(1, app("wsgi_cases.py"), &listeners, |_| {});
    generation.fork(1);
    let mut waiting = connect(&listeners);
    waiting.write_all(b"GET /plain HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    generation.line().say(&ToWorker::Ping { token: 1 }, &[]);
    assert_eq!(generation.line().hear::<FromWorker>().unwrap().0, FromWorker::Pong { token: 1 });
    assert_eq!(generation.scoreboard.totals().requests, 0);
    generation.line().say(&ToWorker::OpenGate, &[]);
    assert!(driver::read_to_end(waiting).contains("200 OK"));
    generation.drain();
}

#[test]
fn an_idle_connection_goes_on_in_the_next_generation() {
    for threads in [1, 3] {
        let listeners = Listeners::new();
        let old = Generation::serving(app("wsgi_cases.py"), &listeners, |boot| boot.threads = threads);
        let mut clients: Vec<TcpStream> = (0..20).map(|_| connect(&listeners)).collect();
        let before: Vec<String> = clients.iter_mut().map(|client| ask(client, "/pid")).collect();
        let mut new = Generation::boot(2, app("wsgi_cases.py"), &listeners, |boot| boot.threads = threads);
        new.fork(2);
        new.open();
        old.line().say(&ToWorker::Drain, &[]);
        let mut tokens = std::collections::HashMap::new();
        let mut gates_closed = 0;
        while let Some((word, fds)) = old.line().hear::<FromWorker>() {
            let (token, mut connection) = match word {
                FromWorker::Handover { token, connection } => (token, connection),
                FromWorker::GateClosed => {
                    gates_closed += 1;
                    continue;
                }
                _ => panic!("{word:?}"),
            };
            connection.token = token + 1000;
            tokens.insert(connection.token, token);
            new.line().say(&ToWorker::Adopt(connection), &[fds[0].as_fd()]);
            let Some((FromWorker::AdoptedHere { token }, _)) = new.line().hear() else { panic!("not adopted") };
            old.line().say(&ToWorker::Adopted { token: tokens[&token] }, &[]);
        }
        assert_eq!((tokens.len(), gates_closed), (20, 1));
        for (client, before) in clients.iter_mut().zip(before) {
            let after = ask(client, "/pid");
            assert!(after.contains("200 OK"), "{after:?}");
            assert_ne!(after.rsplit("\r\n").next(), before.rsplit("\r\n").next(), "another process answers");
        }
        drop(clients);
        new.drain();
    }
}

#[test]
fn a_drain_ends_though_nobody_says_what_became_of_a_connection() {
    for threads in [1, 3] {
        let listeners = Listeners::new();
        let generation = Generation::serving(app("wsgi_cases.py"), &listeners, |boot| boot.threads = threads);
        let mut client = connect(&listeners);
        assert!(ask(&mut client, "/pid").contains("200 OK"));
        generation.line().say(&ToWorker::Drain, &[]);
        let mut words = Vec::new();
        while let Some((word, _)) = generation.line().hear::<FromWorker>() {
            words.push(word);
        }
        // The answer may be out before the worker sees the connection as idle.
        assert_eq!(words.len(), 2, "{words:?}");
        assert!(words.iter().any(|word| matches!(word, FromWorker::Handover { .. })), "{words:?}");
        assert!(words.contains(&FromWorker::GateClosed), "{words:?}");
        assert_eq!(client.read(&mut [0; 10]).unwrap(), 0, "and the connection is closed");
    }
}

#[test]
fn what_is_in_flight_is_finished_and_exit_handlers_run() {
    let text = "import atexit, time\natexit.register(lambda: print('exit handler ran'))\n\
                def application(environ, start_response):\n    time.sleep(0.3)\n    start_response('200 OK', [])\n    return [b'finished']\n";
    for threads in [1, 3] {
        let listeners = Listeners::new();
        let mut generation = Generation::serving(app_of("inflight", text), &listeners, |boot| boot.threads = threads);
        let mut client = connect(&listeners);
        client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
        while (0..threads).all(|core| generation.scoreboard.slot(core).in_flight().is_none()) {
            std::thread::yield_now();
        }
        generation.drain();
        assert!(driver::read_to_end(client).ends_with("finished"));
        assert_eq!(generation.log().matches("exit handler ran").count(), 1);
    }
}

#[test]
fn what_came_before_a_stop_is_answered_though_nobody_takes_its_connection() {
    let text = "import time\n\ndef application(environ, start_response):\n    if environ['PATH_INFO'] == '/slow':\n        time.sleep(0.3)\n    \
                start_response('200 OK', [('Content-Length', '2')])\n    return [b'ok']\n";
    let listeners = Listeners::new();
    let generation = Generation::serving(app_of("stop", text), &listeners, |_| {});
    let mut clients: Vec<TcpStream> = (0..5).map(|_| connect(&listeners)).collect();
    for client in &mut clients {
        assert!(ask(client, "/").contains("200 OK"));
    }
    let mut slow = connect(&listeners);
    slow.write_all(b"GET /slow HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    while generation.scoreboard.slot(0).in_flight().is_none() {
        std::thread::yield_now();
    }
    for client in &mut clients {
        client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").unwrap();
    }
    generation.line().say(&ToWorker::Drain, &[]);
    while let Some((word, _)) = generation.line().hear::<FromWorker>() {
        if let FromWorker::Handover { token, .. } = word {
            generation.line().say(&ToWorker::NotAdopted { token }, &[]);
        }
    }
    assert!(driver::read_to_end(slow).ends_with("ok"));
    for mut client in clients {
        let mut answer = String::new();
        let read = client.read_to_string(&mut answer);
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{read:?} {answer:?}");
    }
}

#[test]
fn an_orphan_serves_on_and_calls_for_its_next_master() {
    let listeners = Listeners::new();
    let link = std::env::temp_dir().join(format!("empery-worker-{}-link", std::process::id()));
    let _ = std::fs::remove_file(&link);
    let mut generation = Generation::serving(app("wsgi_cases.py"), &listeners, |boot| {
        boot.outlive_master = true;
        boot.link_path = Some(link.clone());
    });
    generation.worker = None;
    let mut client = connect(&listeners);
    assert!(ask(&mut client, "/plain").contains("200 OK"));
    let listening = seqpacket::listen(&link, 4).unwrap();
    let line = Channel(seqpacket::accept(listening.as_fd()).unwrap());
    let Some((Introduction::OrphanedWorker { listeners: keys, .. }, fds)) = line.hear() else {
        panic!("no introduction")
    };
    assert_eq!((keys, fds.len()), (vec!["http".to_owned(), "uwsgi".to_owned()], 2));
    assert!(matches!(line.hear(), Some((FromWorker::Up { .. }, _))));
    line.say(&ToWorker::Ping { token: 4 }, &[]);
    assert!(matches!(line.hear(), Some((FromWorker::Pong { token: 4 }, _))));
    assert!(ask(&mut client, "/plain").contains("200 OK"));
    generation.worker = Some(line);
    generation.drain();
    std::fs::remove_file(&link).unwrap();
}

#[test]
fn a_worker_alone_finishes_and_leaves_when_its_master_dies() {
    let listeners = Listeners::new();
    let mut generation = Generation::boot(1, app("wsgi_cases.py"), &listeners, |_| {});
    let pid = generation.fork(1);
    generation.open();
    let pidfd = process::pidfd_open(pid).unwrap();
    let mut client = connect(&listeners);
    client.write_all(b"GET /sleep?0.3 HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    while generation.scoreboard.slot(0).in_flight().is_none() {
        std::thread::yield_now();
    }
    generation.worker = None;
    assert!(driver::read_to_end(client).contains("slept"));
    assert_eq!(process::wait_for(&pidfd).unwrap().to_string(), "exit code 0");
}

/// The text of an app that says where it is and hangs in its import, and the file that says so.
fn hanging(name: &str, hang: &str) -> (AppTarget, PathBuf) {
    let place = std::env::temp_dir().join(format!("empery-worker-{}-hangs-{name}", std::process::id()));
    let _ = std::fs::remove_file(&place);
    let text = format!("import ctypes, threading\nopen({:?}, 'w').close()\n{hang}\n", place.display().to_string());
    (app_of(&format!("hangs-{name}"), &text), place)
}

/// A semaphore is waited for again after a signal, as a lock is; sleep(3) and its relatives are not (signal(7)).
const HANGS: [(&str, &str); 2] = [
    ("in-python", "threading.Event().wait()"),
    (
        "with-its-lock",
        "room, libc = ctypes.create_string_buffer(64), ctypes.PyDLL(None)\nlibc.sem_init(room, 0, 0)\nlibc.sem_wait(room)",
    ),
];

#[test]
fn a2_a_zygote_that_hangs_in_the_import_leaves_with_its_master() {
    for (name, hang) in HANGS {
        let listeners = Listeners::new();
        let (app, place) = hanging(name, hang);
        let mut generation = Generation::begin(1, app, &listeners, |_| {});
        driver::until(|| place.exists());
        let (nobody, _) = seqpacket::pair().unwrap();
        generation.channel = Channel(nobody);
        assert!(process::pidfd_wait(generation.zygote.pidfd.as_fd(), driver::DEADLINE).unwrap(), "{name}: it stays");
        std::fs::remove_file(place).unwrap();
    }
}

#[test]
fn a2_a_worker_that_hangs_in_the_import_leaves_with_its_master_and_not_when_that_speaks() {
    for (name, hang) in HANGS {
        let listeners = Listeners::new();
        let (app, place) = hanging(&format!("lazily-{name}"), hang);
        let mut generation = Generation::boot(1, app, &listeners, |boot| boot.lazy_apps = true);
        let pidfd = process::pidfd_open(generation.fork(1)).unwrap();
        driver::until(|| place.exists());
        generation.line().say(&ToWorker::Ping { token: 1 }, &[]);
        generation.line().say(&ToWorker::Freeze, &[]);
        driver::pace(50);
        assert!(!process::pidfd_wait(pidfd.as_fd(), Duration::ZERO).unwrap(), "{name}: a word has ended it");
        generation.worker = None;
        assert_eq!(process::wait_for(&pidfd).unwrap().to_string(), "exit code 0", "{name}");
        std::fs::remove_file(place).unwrap();
    }
}

#[test]
fn a7_an_app_that_ignores_its_children_or_waits_for_all_of_them_has_workers() {
    let ignores = "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n";
    let reaps = "
def reap(*_):
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
signal.signal(signal.SIGCHLD, reap)
";
    for (name, at_import) in [("ignores", ignores), ("reaps", reaps)] {
        let rest = "
def application(environ, start_response):
    start_response('200 OK', [])
    return [b'here']
";
        let listeners = Listeners::new();
        let text = format!("import os, signal\n{at_import}{rest}");
        let mut generation = Generation::serving(app_of(name, &text), &listeners, |_| {});
        assert!(get(&listeners, "/").ends_with("here"), "{name}");
        generation.drain();
    }
}

#[test]
fn a_successor_is_asked_for_once_after_max_requests() {
    let listeners = Listeners::new();
    let mut generation = Generation::serving(app("wsgi_cases.py"), &listeners, |boot| boot.recycle.max_requests = 3);
    for _ in 0..6 {
        assert!(get(&listeners, "/plain").contains("200 OK"));
    }
    let detail = "it has served 3 requests (max-requests)".to_owned();
    let asked = FromWorker::RecycleAsked { why: RecycleReason::Requests, detail };
    assert_eq!(generation.line().hear::<FromWorker>().unwrap().0, asked);
    generation.line().say(&ToWorker::Ping { token: 2 }, &[]);
    assert_eq!(generation.line().hear::<FromWorker>().unwrap().0, FromWorker::Pong { token: 2 });
    generation.drain();
}
