//! The zygote: imports the app once, serves nothing, and forks workers when the master asks. It stays single-threaded
//! (a fork copies one thread only): an app that starts threads at import makes it start over and leave the import to the workers.

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    time::Instant,
};

use empery_control::{
    boot::{AppBoot, WorkerBoot},
    worker::{FromZygote, ToZygote},
};
use empery_failpoint::point;
use pyo3::prelude::*;

use crate::{
    awaiting::{self, Waited},
    bereft,
    fork::{Forked, fork},
    imports,
    line::{self, Heard},
    load::{self, CollectorIs, LoadFailure, Loaded},
    os::{self, OnExec, Ready},
    posts, prepare, python, signals, start_over, title, worker,
};

/// Exit code of a zygote that could not load the app: uWSGI's FAILED_APP.
const FAILED_APP: i32 = 22;

/// How the zygote's part of the program ends.
enum Turn {
    /// It is the zygote still, and leaves.
    Leave(i32),
    /// It has become a worker, which has ended.
    WorkerEnded(i32),
}

/// Runs the zygote in the calling process; returns only in a worker, with its exit code.
pub(crate) fn run(py: Python<'_>, channel: RawFd, resume: RawFd) -> PyResult<i32> {
    // SAFETY: the master has made this descriptor for this process alone, and its number comes once, on the command line.
    let channel = unsafe { OwnedFd::from_raw_fd(channel) };
    let turn = match serve(py, channel, resume) {
        Ok(turn) => turn,
        Err(error) => {
            python::print_exception(py, &error);
            Turn::Leave(1)
        }
    };
    match turn {
        Turn::WorkerEnded(code) => Ok(code),
        Turn::Leave(code) => {
            // The exit handlers belong to the workers: they would close what the app has opened, as if it had served.
            python::flush(py);
            py.import("os")?.call_method1("_exit", (code,))?;
            Ok(code)
        }
    }
}

fn serve(py: Python<'_>, channel: OwnedFd, resume: RawFd) -> PyResult<Turn> {
    let Some((boot, threads_at_import)) = start_over::told(resume)?.or_else(|| first_word(py, channel.as_fd())) else {
        return Ok(Turn::Leave(0));
    };
    let boot: &'static AppBoot = Box::leak(boot);
    // The title is written over it.
    let command_line = std::fs::read("/proc/self/cmdline")?;
    nix::fcntl::fcntl(&channel, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))
        .map_err(std::io::Error::from)?;
    for fd in inherited(boot, &channel) {
        os::on_exec(fd, OnExec::Close)?;
    }
    title::zygote(boot);
    if let Err(sentence) = prepare::prepare(py, boot) {
        return Ok(refused(channel.as_fd(), LoadFailure { sentence, traceback: None }));
    }
    for failure in empery_sys::limits::take_on(&boot.process) {
        os::write_stderr(format!("*** {failure} ***\n").as_bytes());
    }
    // One that has started over has waited already.
    let waits = if threads_at_import.is_empty() { &boot.process.waits[..] } else { &[] };
    match awaiting::all(py, waits, channel.as_fd()) {
        Waited::Found => {}
        Waited::CalledOff => return Ok(Turn::Leave(0)),
        Waited::InVain(sentence) => return Ok(refused(channel.as_fd(), LoadFailure { sentence, traceback: None })),
    }
    load::collector(py, CollectorIs::Off)?;
    let watch = bereft::Watch::begin(channel.as_fd());
    let began = Instant::now();
    if let Err(failure) = imports::early(py, &boot.apps.imports) {
        python::flush(py);
        return Ok(refused(channel.as_fd(), failure));
    }
    let app = if boot.lazy_apps {
        None
    } else {
        if let Err(error) = point!("zygote.load") {
            return Ok(refused(channel.as_fd(), LoadFailure { sentence: error.to_string(), traceback: None }));
        }
        match load::load(py, boot) {
            Ok(app) => Some(app),
            Err(failure) => {
                python::flush(py);
                return Ok(refused(channel.as_fd(), failure));
            }
        }
    };
    // What it may start as next, and what it forks, watch for themselves.
    drop(watch);
    let import_ms = if boot.lazy_apps { 0 } else { began.elapsed().as_millis() as u64 };
    python::flush(py);
    let threads = python::other_threads(py)?;
    if !threads.is_empty() && !boot.lazy_apps {
        start_over::lazily(py, boot, threads, &channel, &command_line)?;
    }
    load::freeze(py)?;
    for word in signals::told_at_import() {
        if line::say(channel.as_fd(), &FromZygote::Signals { word }, &[]).is_err() {
            return Ok(Turn::Leave(0));
        }
    }
    let loaded = FromZygote::Loaded { import_ms, python: python::version(py), threads_at_import };
    if point!("zygote.loaded").is_err() || line::say(channel.as_fd(), &loaded, &[]).is_err() {
        return Ok(Turn::Leave(0));
    }
    fork_on_request(py, boot, channel, app)
}

/// The descriptors that came through exec and must not go on to the app's own children.
pub(crate) fn inherited(boot: &AppBoot, channel: &OwnedFd) -> Vec<RawFd> {
    let mut fds = vec![channel.as_raw_fd(), boot.scoreboard_fd, boot.log_write_fd];
    fds.extend(boot.log_spare_fd);
    fds.extend(boot.shared.descriptors());
    fds.extend(boot.listeners.iter().map(|listener| listener.fd));
    fds
}

fn first_word(py: Python<'_>, channel: BorrowedFd<'_>) -> Option<(Box<AppBoot>, Vec<String>)> {
    match hear(py, channel) {
        Heard::Word(ToZygote::Load(boot), _) => Some((boot, Vec::new())),
        Heard::Noise(what) => {
            // One of the two was replaced while the other runs: without an answer the master would wait out its boot deadline.
            let sentence = format!(
                "the worker extension (empery {}) does not understand the master's boot word: {what}; they are of different \
                 versions: restart the vassal with the `vassal` program that belongs to the extension",
                env!("CARGO_PKG_VERSION")
            );
            refused(channel, LoadFailure { sentence, traceback: None });
            None
        }
        Heard::Word(
            ToZygote::Fork(_) | ToZygote::ForkPost { .. } | ToZygote::PutMessage { .. } | ToZygote::Retire,
            _,
        )
        | Heard::Nothing
        | Heard::End => None,
    }
}

/// Waits for the master's next word; None when it is gone.
fn next_word(py: Python<'_>, channel: BorrowedFd<'_>) -> Option<(ToZygote, Vec<OwnedFd>)> {
    loop {
        match hear(py, channel) {
            Heard::Word(word, fds) => return Some((word, fds)),
            Heard::Noise(what) => {
                os::write_stderr(format!("zygote: the master said what is not understood: {what}\n").as_bytes())
            }
            Heard::Nothing => {}
            Heard::End => return None,
        }
    }
}

fn hear(py: Python<'_>, channel: BorrowedFd<'_>) -> Heard<ToZygote> {
    loop {
        let raw = channel.as_raw_fd();
        if py.detach(|| os::wait(raw, Ready::Read, u64::MAX)).is_err() {
            // A signal: the app's handlers run here, and what they raise is theirs. Ctrl-C is for the master to act on.
            if let Err(error) = py.check_signals() {
                python::print_exception(py, &error);
            }
            continue;
        }
        match line::hear(channel) {
            Heard::Nothing => {}
            heard => return heard,
        }
    }
}

fn refused(channel: BorrowedFd<'_>, failure: LoadFailure) -> Turn {
    let word = FromZygote::LoadFailed { sentence: failure.sentence, traceback: failure.traceback };
    if let Err(error) = line::say(channel, &word, &[]) {
        os::write_stderr(
            format!("zygote: the master cannot be told that the app was not loaded: {error}\n").as_bytes(),
        );
    }
    Turn::Leave(FAILED_APP)
}

fn fork_on_request(py: Python<'_>, boot: &'static AppBoot, channel: OwnedFd, app: Option<Loaded>) -> PyResult<Turn> {
    while let Some((word, fds)) = next_word(py, channel.as_fd()) {
        match word {
            ToZygote::Fork(WorkerBoot { worker }) => {
                let mut fds = fds.into_iter();
                let (Some(line), crash) = (fds.next(), fds.next()) else {
                    let sentence = "the order to fork came without the worker's channel".to_owned();
                    let _ = line::say(channel.as_fd(), &FromZygote::ForkFailed { worker, sentence }, &[]);
                    continue;
                };
                let answer = match point!("zygote.fork").map_err(PyErr::from).and_then(|()| fork(py)) {
                    Ok(Forked::Worker) => {
                        drop(channel);
                        return Ok(Turn::WorkerEnded(worker::run(py, boot, worker, (line, crash), app)));
                    }
                    Ok(Forked::Zygote(pid)) => FromZygote::Forked { worker, pid },
                    Err(error) => FromZygote::ForkFailed { worker, sentence: python::one_line(py, &error) },
                };
                if point!("zygote.forked").is_err() || line::say(channel.as_fd(), &answer, &[]).is_err() {
                    break;
                }
            }
            ToZygote::ForkPost { post } => {
                let Some(line) = fds.into_iter().next() else {
                    let sentence = "the order to fork came without its channel".to_owned();
                    let _ = line::say(channel.as_fd(), &FromZygote::PostNotForked { post, sentence }, &[]);
                    continue;
                };
                let answer = match fork(py) {
                    Ok(Forked::Worker) => {
                        drop(channel);
                        return Ok(Turn::WorkerEnded(posts::run(py, boot, post, line, app)));
                    }
                    Ok(Forked::Zygote(pid)) => FromZygote::PostForked { post, pid },
                    Err(error) => FromZygote::PostNotForked { post, sentence: python::one_line(py, &error) },
                };
                if line::say(channel.as_fd(), &answer, &[]).is_err() {
                    break;
                }
            }
            ToZygote::PutMessage { mule, message } => posts::put_of_master(mule, message.as_bytes()),
            ToZygote::Retire | ToZygote::Load(_) => break,
        }
    }
    Ok(Turn::Leave(0))
}
