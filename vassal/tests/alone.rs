//! A vassal that runs alone, as a process: what it does with signals, identities and what it leaves in its log. Needs
//! the worker extension beside the binary (`cargo build -p empery-worker`).
#![allow(clippy::unwrap_used)]

mod started;

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};

use started::{APP, Vassal};

fn worker_pid(log: &str) -> Pid {
    let pid = log.split("spawned worker 1 (pid: ").nth(1).unwrap().split(',').next().unwrap();
    Pid::from_raw(pid.parse().unwrap())
}

fn add_to(path: &Path, text: &str) {
    let before = fs::read_to_string(path).unwrap();
    fs::write(path, before + text).unwrap();
}

#[test]
fn signals_that_whoever_started_it_had_blocked_are_heard() {
    let block = "import os, signal, sys\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))\nos.execv(sys.argv[1], sys.argv[1:])";
    let vassal = Vassal::start("blocked", "", &["python3", "-c", block]);
    vassal.wait_for("generation 1 serves");
    vassal.signal(Signal::SIGHUP);
    vassal.wait_for("generation 2 serves");
    assert!(vassal.stop().0.success());
}

#[test]
fn a_reload_that_would_change_who_it_runs_as_is_refused_and_what_serves_serves_on() {
    let vassal = Vassal::start("identity", "", &[]);
    vassal.wait_for("generation 1 serves");
    let other = if geteuid().is_root() { 65_534 } else { 0 };
    add_to(&vassal.directory.join("app.ini"), &format!("uid = {other}\ngid = {other}\n"));
    vassal.signal(Signal::SIGHUP);
    let log = vassal.wait_for("did not come into service");
    assert!(log.contains(&format!("uid and gid are now {other}:{other}, and this vassal runs as")), "{log}");
    assert!(log.contains("(what served before serves on)"), "{log}");
    assert!(vassal.stop().0.success());
}

#[test]
fn the_pid_of_a_respawned_worker_is_in_the_log() {
    let vassal = Vassal::start("respawn", "", &[]);
    let log = vassal.wait_for("generation 1 serves");
    kill(worker_pid(&log), Signal::SIGKILL).unwrap();
    vassal.wait_for("respawned worker 1 (new pid: ");
    assert!(vassal.stop().0.success());
}

#[test]
fn why_a_respawned_worker_cannot_load_the_app_is_in_the_log() {
    let vassal = Vassal::start("lazy", "lazy-apps = true\n", &[]);
    let log = vassal.wait_for("generation 1 serves");
    fs::write(vassal.directory.join("app.py"), "import nothing_of_that_name\n").unwrap();
    kill(worker_pid(&log), Signal::SIGKILL).unwrap();
    let log = vassal.wait_for("worker 1 has no app");
    assert!(log.contains("ModuleNotFoundError: No module named 'nothing_of_that_name'"), "{log}");
    assert!(log.contains("File \"") && log.contains("line 1"), "{log}");
    fs::write(vassal.directory.join("app.py"), APP).unwrap();
    vassal.wait_for("respawned worker 1 (new pid: ");
    assert!(vassal.stop().0.success());
}

#[test]
fn b10_an_edit_changes_the_mode_of_a_socket_that_is_bound_already() {
    let vassal = Vassal::start("mode", "socket = own.sock\nchmod-socket = 600\n", &[]);
    vassal.wait_for("generation 1 serves");
    let mode = || fs::metadata(vassal.directory.join("own.sock")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    add_to(&vassal.directory.join("app.ini"), "chmod-socket = 664\n");
    vassal.signal(Signal::SIGHUP);
    vassal.wait_for("generation 2 serves");
    assert_eq!(mode(), 0o664);
    assert!(vassal.stop().0.success());
}

#[test]
fn a_port_that_the_vassal_itself_has_on_another_address_is_named() {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = probe.local_addr().unwrap().port();
    drop(probe);
    let vassal = Vassal::start("itself", &format!("http-socket = 127.0.0.1:{port}\n"), &[]);
    vassal.wait_for("generation 1 serves");
    add_to(&vassal.directory.join("app.ini"), &format!("http-socket = :{port}\n"));
    vassal.signal(Signal::SIGHUP);
    let log = vassal.wait_for("did not come into service");
    assert!(log.contains(&format!("this vassal itself listens on 127.0.0.1:{port} of that port")), "{log}");
    assert!(vassal.stop().0.success());
}

#[test]
fn what_vacuum_cannot_remove_is_told() {
    if !geteuid().is_root() {
        // Only root can leave a file behind that it may not remove later: it gives its privileges away in between.
        return;
    }
    let vassal = Vassal::start("vacuum", "uid = nobody\nsocket = own.sock\npidfile = own.pid\nvacuum = true\n", &[]);
    vassal.wait_for("generation 1 serves");
    let directory = vassal.directory.clone();
    let (status, log) = vassal.stop();
    assert!(status.success());
    for (what, name) in [("the unix socket", "own.sock"), ("the pidfile", "own.pid")] {
        let told = format!("VACUUM: {what} {} cannot be removed: Permission denied", directory.join(name).display());
        assert!(log.contains(&told), "{log}");
    }
}
