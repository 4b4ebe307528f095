//! A file of one MiB is read in less than 100 ms of CPU time: measured with an optimised build, and with a bound of its own
//! in others.

// Tests may do I/O; the crate may not.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros, clippy::unwrap_used)]

use std::{fmt::Write as _, time::Duration};

use empery_config::{
    facts::{Facts, NoFiles},
    read::{Entry, read},
};

/// Of an optimised build.
const LIMIT: Duration = Duration::from_millis(100);
/// How much slower a build without optimisation on a busy machine is at most: a quadratic step would be far beyond.
const UNOPTIMISED: u32 = 80;
/// The best of so many counts.
const ROUNDS: usize = 5;

/// How long this thread has been on a CPU (proc_pid_schedstat: the first number, in ns): what others do does not count.
fn on_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn texts() -> Vec<(&'static str, &'static str, String)> {
    let mut distinct = String::from("[uwsgi]\n");
    let mut number = 0;
    while distinct.len() < 1 << 20 {
        let _ = writeln!(distinct, "env = NAME{number}=value of $(HOME) number {number} in %d");
        number += 1;
    }
    let repeated = |head: &str, line: &str| format!("{head}{}", line.repeat((1 << 20) / line.len()));
    vec![
        ("a.ini", "variables with magic", distinct),
        ("a.ini", "comments", repeated("[uwsgi]\n", "; a comment of a usual length, as people write them\n")),
        ("a.ini", "placeholders", repeated("[uwsgi]\nbase = /srv\n", "static-map = /static/x=%(base)/static/x\n")),
        ("a.yaml", "yaml", repeated("uwsgi:\n", "  env: \"NAME=a value of some length\"\n")),
        ("a.xml", "xml", format!("{}</uwsgi>", repeated("<uwsgi>", "<env>NAME=a value of some length</env>\n"))),
        (
            "a.json",
            "json",
            format!("{}\"x\"]}}}}", repeated("{\"uwsgi\": {\"env\": [", "\"NAME=a value of some length\",\n")),
        ),
    ]
}

#[test]
fn a_mebibyte_is_read_in_less_than_100_ms() {
    let limit = if cfg!(debug_assertions) { LIMIT * UNOPTIMISED } else { LIMIT };
    for (name, what, text) in texts() {
        let facts = Facts { working_directory: "/v".into(), uid: 1000, ..Facts::default() };
        let mut best = Duration::MAX;
        for _ in 0..ROUNDS {
            let entry = Entry::File { path: format!("/v/{name}"), content: text.clone().into_bytes() };
            let began = on_cpu();
            let outcome = read(&entry, &facts, &NoFiles);
            best = best.min(on_cpu() - began);
            assert!(!outcome.problems.is_empty(), "no app is named");
        }
        println!("{what}: {} KiB in {:.1} ms", text.len() / 1024, best.as_secs_f64() * 1000.0);
        assert!(best < limit, "{what} took {best:?}; the limit is {limit:?}");
    }
}
