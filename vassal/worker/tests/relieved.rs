//! A worker that is told to drain while all its threads are inside the app: it gives away what waits there, and does not
//! keep clients until its mercy is over.
#![allow(clippy::unwrap_used)]

mod driver;

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
};

use driver::{Generation, Listeners, app_of, connect};
use empery_control::worker::{FromWorker, ToWorker};
use empery_sys::process;
use nix::libc::SIGRTMIN;

/// `/hold/PATH` answers when PATH exists.
const APP: &str = "
import os, time

def application(environ, start_response):
    path = environ['PATH_INFO']
    if path.startswith('/hold/'):
        open(path[5:] + environ['QUERY_STRING'], 'w').close()
        while not os.path.exists(path[5:]):
            time.sleep(0.002)
    start_response('200 OK', [('Content-Length', '2')])
    return [b'ok']
";

fn ask(client: &mut TcpStream, target: &str) {
    client.write_all(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).unwrap();
}

fn is_answered(client: &mut TcpStream) {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\nok") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    assert!(bytes.starts_with(b"HTTP/1.1 200 OK\r\n"));
}

/// All threads are stuck, somebody waits on an idle connection, and the worker is told to drain: by that signal it hears so.
fn gives_away(threads: u32, signal: i32) {
    let listeners = Listeners::new();
    let mut generation =
        Generation::boot(1, app_of(&format!("relieved-{threads}"), APP), &listeners, |boot| boot.threads = threads);
    let pid = generation.fork(1);
    generation.open();
    let gate: PathBuf = std::env::temp_dir().join(format!("empery-worker-{}-relieved-{threads}", std::process::id()));
    let mut waiting = connect(&listeners);
    ask(&mut waiting, "/first");
    is_answered(&mut waiting);
    let mut stuck: Vec<TcpStream> = (0..threads).map(|_| connect(&listeners)).collect();
    for (number, client) in stuck.iter_mut().enumerate() {
        let begun = gate.with_extension(number.to_string());
        let extension = begun.extension().unwrap().to_str().unwrap();
        ask(client, &format!("/hold{}?.{extension}", gate.display()));
        driver::until(|| begun.exists());
        std::fs::remove_file(begun).unwrap();
    }
    ask(&mut waiting, "/second");
    generation.line().say(&ToWorker::Drain, &[]);
    process::signal_thread(pid, pid, signal).unwrap();
    let given = std::iter::from_fn(|| generation.line().hear::<FromWorker>());
    let (token, fds) = { given }
        .find_map(|(word, fds)| match word {
            FromWorker::Handover { token, .. } => Some((token, fds)),
            _ => None,
        })
        .unwrap();
    let theirs: TcpStream = fds.into_iter().next().unwrap().into();
    assert_eq!(theirs.peer_addr().unwrap(), waiting.local_addr().unwrap());
    let mut unread = vec![0; 4096];
    let length = { &theirs }.read(&mut unread).unwrap();
    assert!(unread[..length].starts_with(b"GET /second "), "nobody has read what waits");
    generation.line().say(&ToWorker::Adopted { token }, &[]);
    // What had begun is finished, and then the worker leaves.
    std::fs::write(&gate, "").unwrap();
    stuck.iter_mut().for_each(is_answered);
    std::fs::remove_file(gate).unwrap();
    drop(stuck);
    generation.drain();
    assert!(!generation.log().contains("panicked"), "{}", generation.log());
}

#[test]
fn whose_only_thread_is_stuck_is_reached_by_a_native_handler() {
    gives_away(1, SIGRTMIN() + 13);
}

#[test]
fn whose_threads_are_all_stuck_is_reached_by_a_handler_of_python() {
    gives_away(3, SIGRTMIN() + 11);
}
