//! Mules and spoolers: processes of the app that answer no requests. Forked by the zygote as workers are; each ends with its
//! master, whatever it does (PR_SET_PDEATHSIG, as in uWSGI), and leaves when it is told to.

mod leaving;
mod module;
mod mule;
pub(crate) mod queues;
pub(crate) mod spooler;
mod wait;

use std::{
    os::fd::{BorrowedFd, OwnedFd},
    sync::OnceLock,
};

use empery_control::{
    boot::AppBoot,
    posts::{FromPost, Post, PostRef, ToPost},
};
use empery_sys::scoreboard::Scoreboard;
use nix::{
    sys::{prctl::set_pdeathsig, signal::Signal},
    unistd::{Pid, getppid},
};
use pyo3::prelude::*;

pub(crate) use self::module::add;
use self::{leaving::Wanted, queues::Address};
use crate::{
    gevent, leave,
    line::{Heard, Line},
    load::{self, CollectorIs, Loaded},
    mounts,
    os::{self, Ready},
    python, signals, title, uwsgi_module,
};

/// The mule or spooler that this process is.
pub(crate) struct PostProcess {
    pub(crate) boot: &'static AppBoot,
    /// The workers'.
    pub(crate) scoreboard: Scoreboard,
    reference: PostRef,
    line: Line,
}

/// How long the word may take that a signal of the master's comes with.
const WORD_WITHIN_MS: u64 = 1000;

static HERE: OnceLock<PostProcess> = OnceLock::new();

impl PostProcess {
    /// That of this process; None in a zygote and in workers.
    pub(crate) fn here() -> Option<&'static PostProcess> {
        HERE.get()
    }

    /// Which.
    pub(crate) fn post(&self) -> Post {
        self.reference.post
    }

    /// Its number as a mule; 0 when it is none.
    pub(crate) fn mule(&self) -> u32 {
        match self.reference.post {
            Post::Mule(number) => number,
            Post::Spooler(_) => 0,
        }
    }

    /// Tells the master.
    pub(crate) fn say(&self, word: &FromPost, descriptors: &[BorrowedFd<'_>]) -> std::io::Result<()> {
        self.line.say(word, descriptors)
    }

    /// Its line, to wait for.
    fn line(&self) -> Option<BorrowedFd<'static>> {
        // SAFETY: the line of such a process is neither replaced nor cut, so the descriptor stays open as long as the process.
        self.line.raw().map(|raw| unsafe { BorrowedFd::borrow_raw(raw) })
    }

    /// Whether the master wants it to leave, or is gone.
    fn is_told_to_leave(&self) -> bool {
        self.wanted() != Wanted::Stays
    }

    /// What the master wants, which may be gone. Other words are answered by `wake`.
    fn wanted(&self) -> Wanted {
        loop {
            match self.line.hear::<ToPost>() {
                Heard::Word(ToPost::Leave, _) | Heard::End => return leaving::hear(Wanted::Leaves),
                Heard::Word(ToPost::Finish, _) => return leaving::hear(Wanted::Finishes),
                Heard::Word(ToPost::Wake, _) | Heard::Noise(_) => {}
                Heard::Nothing => match leaving::heard() {
                    Some(wanted) => return wanted,
                    None if self.word_comes() => {}
                    // Somebody else has sent the signal.
                    None => return leaving::hear(Wanted::Leaves),
                },
            }
        }
    }

    /// The master's signal may be there before its word.
    fn word_comes(&self) -> bool {
        self.line.raw().is_some_and(|raw| os::wait(raw, Ready::Read, WORD_WITHIN_MS).unwrap_or(true))
    }

    /// Runs something of the app that must end within `harakiri_s`, if that is not 0, and that is not interrupted when the process is to
    /// leave.
    fn work<T>(&self, py: Python<'_>, harakiri_s: u32, work: impl FnOnce() -> T) -> T {
        let within_ms = (harakiri_s > 0).then(|| u64::from(harakiri_s) * 1000);
        let _ = py.detach(|| self.say(&FromPost::Begins { within_ms }, &[]));
        let done = leaving::later(work);
        let _ = py.detach(|| self.say(&FromPost::Ended, &[]));
        done
    }
}

/// Runs it in the process that the zygote has just forked; its exit code.
pub(crate) fn run(
    py: Python<'_>,
    boot: &'static AppBoot,
    reference: PostRef,
    line: OwnedFd,
    app: Option<Loaded>,
) -> i32 {
    let code = match begin(py, boot, reference, line).and_then(|here| live(py, here, app)) {
        Ok(code) => code,
        Err(error) if python::exit_argument(py, &error).is_some_and(|code| code.is_empty() || code == "0") => 0,
        Err(error) => {
            python::print_exception(py, &error);
            1
        }
    };
    leaving::for_good();
    let say = |text: &str| os::write_stderr(format!("[{}] {text}\n", name(reference.post)).as_bytes());
    if let Err(error) = leave::leave(py, code, say) {
        python::print_exception(py, &error);
    }
    code
}

fn name(post: Post) -> String {
    match post {
        Post::Mule(number) => format!("mule {number}"),
        Post::Spooler(number) => format!("spooler {number}"),
    }
}

fn begin(py: Python<'_>, boot: &'static AppBoot, reference: PostRef, line: OwnedFd) -> PyResult<&'static PostProcess> {
    for stream in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        os::duplicate_onto(boot.log_write_fd, stream)?;
    }
    end_with(boot.master_pid)?;
    title::post(boot, reference.post);
    load::collector(py, CollectorIs::On)?;
    leaving::catch_signals(py)?;
    let line = Line::new(line)?;
    // SAFETY: the zygote keeps the number open for all its processes, and nothing in it closes it.
    let scoreboard = Scoreboard::map(unsafe { BorrowedFd::borrow_raw(boot.scoreboard_fd) })?;
    let here = HERE.get_or_init(|| PostProcess { boot, scoreboard, reference, line });
    here.say(&FromPost::Up { post: reference, pid: std::process::id() as i32 }, &[])?;
    Ok(here)
}

/// In the zygote: puts a message of the master's into the queue of a mule, or, with 0, of all. What finds no room is lost, and told.
pub(crate) fn put_of_master(mule: u32, message: &[u8]) {
    let address = if mule == 0 { Address::Any } else { Address::Mule(mule) };
    let put = queues::get().and_then(|queues| queues.put(address, message));
    let why = match put {
        Some(Ok(())) => return,
        Some(Err(error)) => error.to_string(),
        None => "there is none".to_owned(),
    };
    os::write_stderr(
        format!("[uwsgi-alarm] a message of {} bytes does not reach a mule: {why}\n", message.len()).as_bytes(),
    );
}

/// Whatever becomes of the master becomes of this process. It is its parent as soon as the process between is gone.
fn end_with(master: i32) -> std::io::Result<()> {
    let master = Pid::from_raw(master);
    let orphaned = || std::io::Error::other("the master is gone");
    while getppid() != master {
        if getppid() == Pid::from_raw(1) {
            return Err(orphaned());
        }
        std::thread::yield_now();
    }
    set_pdeathsig(Signal::SIGKILL)?;
    if getppid() == master { Ok(()) } else { Err(orphaned()) }
}

fn live(py: Python<'_>, here: &'static PostProcess, app: Option<Loaded>) -> PyResult<i32> {
    let app = match app {
        Some(app) => app,
        // Under `lazy-apps` what its functions belong to is imported here, too.
        None => match load::load(py, here.boot) {
            Ok(app) => app,
            Err(failure) => {
                os::write_stderr(format!("{}\n", failure.traceback.unwrap_or(failure.sentence)).as_bytes());
                return Ok(22);
            }
        },
    };
    gevent::after_fork(py, here.boot)?;
    let app = mounts::keep(app, &here.boot.apps);
    signals::begin()?;
    uwsgi_module::after_fork(py, &app)?;
    // The hook may have registered the first.
    signals::begin()?;
    let ended = match here.post() {
        Post::Mule(number) => mule::run(py, here, number),
        Post::Spooler(number) => spooler::run(py, here, number),
    };
    leaving::for_good();
    uwsgi_module::at_exit(py);
    python::flush(py);
    ended.map(|()| 0)
}
