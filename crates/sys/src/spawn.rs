//! fork and exec (fork(2), execve(2)) with everything said: the program finds exactly the named descriptors, the
//! whole environment given, default signal dispositions, an empty signal mask and, if asked, another identity.
//!
//! Between fork and exec only system calls are made (signal-safety(7)): everything is looked up and laid out before.
//! [`hold`] stops the child right before the exec, so that its pid can be written down while it cannot do anything
//! yet; if the parent dies meanwhile, so does the child.

use std::{
    ffi::{CString, OsString},
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::{ffi::OsStringExt, fs::PermissionsExt},
    },
    path::{Path, PathBuf},
    ptr,
};

use nix::{
    fcntl::{FcntlArg, fcntl},
    sys::resource::{Resource, getrlimit},
};

use crate::{
    identity::{Credentials, Refused},
    limits,
    pipe::cloexec_pipe,
    process::{self, pidfd_open},
};

pub use crate::identity::DropTo;

#[cfg(test)]
mod tests;

/// What to start and how.
#[derive(Debug)]
pub struct Spawn {
    /// The file to execute; without a slash it is looked up on our PATH.
    pub program: PathBuf,
    /// Arguments, the program's own name first.
    pub args: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory, entered before the identity is taken on; None is ours.
    pub directory: Option<PathBuf>,
    /// Its descriptors 0, 1 and 2. None is /dev/null for 0, and ours for 1 and 2.
    pub stdio: [Option<OwnedFd>; 3],
    /// Descriptors that it finds under the same number. All others are closed.
    pub inherit: Vec<RawFd>,
    /// Who it becomes; None stays who we are.
    pub identity: Option<DropTo>,
    /// Whether it leads a session of its own, without our terminal.
    pub new_session: bool,
}

/// A started program.
#[derive(Debug)]
pub struct Child {
    /// Its pid.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
}

/// A child that waits right before its exec. Dropping it ends the child.
#[derive(Debug)]
pub struct Held {
    child: Option<Child>,
    go: Option<OwnedFd>,
    outcome: File,
    program: PathBuf,
}

/// Starts a program; returns once it runs.
///
/// # Errors
/// When it cannot be started, with the step that failed and the program in the text. Nothing is left of it then.
pub fn spawn(spawn: Spawn) -> io::Result<Child> {
    hold(spawn)?.release()
}

/// Forks a child that waits for [`Held::release`] before it becomes the program.
///
/// # Errors
/// When there are no processes or descriptors left, or a text holds a NUL.
pub fn hold(spawn: Spawn) -> io::Result<Held> {
    let plan = Plan::lay_out(&spawn)?;
    fork(spawn.program, &plan)
}

/// The same of a child that gets a signal when the calling thread ends (PR_SET_PDEATHSIG, prctl(2)), and never runs when
/// that has happened before.
///
/// # Errors
/// As [`hold`].
pub fn hold_mortal(spawn: Spawn, death_signal: i32) -> io::Result<Held> {
    let plan = Plan { death: Some((death_signal, nix::unistd::getpid().as_raw())), ..Plan::lay_out(&spawn)? };
    fork(spawn.program, &plan)
}

fn fork(program: PathBuf, plan: &Plan) -> io::Result<Held> {
    let (wait_for_go, go) = cloexec_pipe()?;
    let (outcome, report) = cloexec_pipe()?;
    let keep = plan.sorted_with(&[wait_for_go.as_raw_fd(), report.as_raw_fd()]);
    let everything = all_signals();
    let mut before = everything;
    // No handler of ours may run in the child: signals wait until its dispositions are reset.
    // SAFETY: both are valid signal sets.
    check_errno(unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &everything, &mut before) })?;
    // SAFETY: the child runs `Plan::carry_out` only, which makes system calls on what was laid out before.
    let pid = unsafe { libc::fork() };
    let refused = io::Error::last_os_error();
    if pid == 0 {
        plan.carry_out(&keep, wait_for_go.as_raw_fd(), report.as_raw_fd());
    }
    // SAFETY: `before` is the set that pthread_sigmask has filled; no old set is asked for.
    check_errno(unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut()) })?;
    if pid < 0 {
        return Err(refused);
    }
    let pidfd = pidfd_open(pid)?;
    Ok(Held { child: Some(Child { pid, pidfd }), go: Some(go), outcome: File::from(outcome), program })
}

impl Held {
    /// Its pid, which it keeps over the exec.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.as_ref().map_or(0, |child| child.pid)
    }

    /// Lets it become the program; returns once it has.
    ///
    /// # Errors
    /// With the step that failed and the program in the text; the child is gone and reaped then.
    pub fn release(mut self) -> io::Result<Child> {
        if let Some(go) = self.go.take() {
            nix::unistd::write(&go, &[1])?;
        }
        let mut report = Vec::new();
        self.outcome.read_to_end(&mut report)?;
        let Ok([step, a, b, c, d]) = <[u8; 5]>::try_from(report.as_slice()) else {
            // exec closed the pipe without a report: the program runs.
            return self.child.take().ok_or_else(|| io::ErrorKind::NotFound.into());
        };
        let error = io::Error::from_raw_os_error(i32::from_le_bytes([a, b, c, d]));
        let sentence = format!("{} {}: {error}", Step::of(step).attempted(), self.program.display());
        Err(io::Error::new(error.kind(), sentence))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // End of file instead of the word to go: the child exits, if it has not already.
        self.go = None;
        if let Some(child) = &self.child {
            // Somebody who reaps all children may have been first.
            let _ = process::wait_for(&child.pidfd);
        }
    }
}

/// The steps of the child, as it reports them.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Step {
    Descriptors,
    Session,
    Directory,
    Groups,
    Gid,
    Uid,
    NotForGood,
    Death,
    Limit,
    Exec,
}

impl Step {
    fn of(number: u8) -> Step {
        [
            Step::Descriptors,
            Step::Session,
            Step::Directory,
            Step::Groups,
            Step::Gid,
            Step::Uid,
            Step::NotForGood,
            Step::Death,
            Step::Limit,
        ]
        .into_iter()
        .find(|step| *step as u8 == number)
        .unwrap_or(Step::Exec)
    }

    fn attempted(self) -> &'static str {
        match self {
            Step::Descriptors => "passing descriptors to",
            Step::Session => "making a session for",
            Step::Directory => "entering the working directory of",
            Step::Groups => "setting the supplementary groups of",
            Step::Gid => "setting the group of",
            Step::Uid => "setting the user of",
            Step::NotForGood => "giving up root for good for",
            Step::Death => "arranging for our death to end",
            Step::Limit => "setting the limit of open files of",
            Step::Exec => "executing",
        }
    }
}

/// Everything the child needs, in the form system calls take.
struct Plan {
    program: CString,
    /// Owns what `arguments` points to.
    _texts: Vec<CString>,
    arguments: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
    directory: Option<CString>,
    /// Owns the numbers in `stdio_numbers`: none of them is 0, 1 or 2.
    _stdio: [Option<OwnedFd>; 3],
    stdio_numbers: [Option<RawFd>; 3],
    inherit: Vec<RawFd>,
    credentials: Option<Credentials>,
    new_session: bool,
    /// The signal it gets when its parent, which has this pid, dies.
    death: Option<(i32, i32)>,
    /// RLIMIT_NOFILE, where this process has taken more for itself.
    descriptors: Option<libc::rlimit>,
}

impl Plan {
    fn lay_out(spawn: &Spawn) -> io::Result<Self> {
        let mut texts = Vec::new();
        let mut pointers = |texts_of: Vec<Vec<u8>>| -> io::Result<Vec<*const libc::c_char>> {
            let mut row = Vec::with_capacity(texts_of.len() + 1);
            for text in texts_of {
                let text = CString::new(text)?;
                // A CString's bytes stay where they are when it moves.
                row.push(text.as_ptr());
                texts.push(text);
            }
            row.push(ptr::null());
            Ok(row)
        };
        let arguments = pointers(spawn.args.iter().cloned().map(OsString::into_vec).collect())?;
        let entry = |(name, value): &(OsString, OsString)| {
            let mut entry = name.clone();
            entry.push("=");
            entry.push(value);
            entry.into_vec()
        };
        let environment = pointers(spawn.env.iter().map(entry).collect())?;
        let null;
        let input = match &spawn.stdio[0] {
            Some(given) => given,
            None => {
                null = OwnedFd::from(File::open("/dev/null")?);
                &null
            }
        };
        let stdio = [
            Some(out_of_the_way(input)?),
            spawn.stdio[1].as_ref().map(out_of_the_way).transpose()?,
            spawn.stdio[2].as_ref().map(out_of_the_way).transpose()?,
        ];
        Ok(Self {
            program: CString::new(look_up(&spawn.program)?.into_os_string().into_vec())?,
            _texts: texts,
            arguments,
            environment,
            directory: match &spawn.directory {
                None => None,
                Some(path) => Some(CString::new(path.clone().into_os_string().into_vec())?),
            },
            stdio_numbers: stdio.each_ref().map(|fd| fd.as_ref().map(AsRawFd::as_raw_fd)),
            _stdio: stdio,
            inherit: spawn.inherit.clone(),
            credentials: spawn.identity.as_ref().map(Credentials::look_up).transpose()?,
            new_session: spawn.new_session,
            death: None,
            descriptors: limits::descriptors_as_found().map(limit_as_found).transpose()?,
        })
    }

    /// All descriptors above 2 that the child needs until it executes its program, in order.
    fn sorted_with(&self, own: &[RawFd]) -> Vec<RawFd> {
        let stdio = self.stdio_numbers.iter().flatten();
        let mut numbers: Vec<RawFd> =
            stdio.chain(&self.inherit).chain(own).copied().filter(|number| *number > 2).collect();
        numbers.sort_unstable();
        numbers
    }

    /// In the child: becomes the program, or reports and ends.
    fn carry_out(&self, keep: &[RawFd], wait_for_go: RawFd, report: RawFd) -> ! {
        // While it waits it must not hold what its parent alone should hold, such as locks, and the other end of what it
        // waits on: then the parent's death could not be told.
        close_all_but(keep);
        reset_signals();
        let mut word = 0_u8;
        // SAFETY: one byte of room.
        let came = retry_in_child(|| unsafe { libc::read(wait_for_go, ptr::from_mut(&mut word).cast(), 1) });
        if came == 1 {
            let step = self.prepare().and_then(|()| before_exec()).err().unwrap_or_else(|| {
                // SAFETY: NUL-terminated texts and null-terminated rows of them, owned by `self`.
                unsafe { libc::execve(self.program.as_ptr(), self.arguments.as_ptr(), self.environment.as_ptr()) };
                Step::Exec
            });
            let [a, b, c, d] = io::Error::last_os_error().raw_os_error().unwrap_or(0).to_le_bytes();
            let text = [step as u8, a, b, c, d];
            // SAFETY: `text` is five readable bytes; a pipe takes them at once.
            retry_in_child(|| unsafe { libc::write(report, text.as_ptr().cast(), text.len()) });
        }
        // SAFETY: _exit ends the child without running anything of the parent's.
        unsafe { libc::_exit(127) }
    }

    fn prepare(&self) -> Result<(), Step> {
        let done = |result: libc::c_int, step| if result < 0 { Err(step) } else { Ok(()) };
        // SAFETY: integers, NUL-terminated texts and one rlimit only. dup2 onto 0, 1 and 2 replaces what the child does not need;
        // its sources are none of these. close_range only marks, so that the pipe of the report works until exec.
        unsafe {
            for (number, source) in (0..).zip(self.stdio_numbers) {
                if let Some(source) = source {
                    done(libc::dup2(source, number), Step::Descriptors)?;
                }
            }
            let mark = libc::CLOSE_RANGE_CLOEXEC as libc::c_int;
            done(libc::close_range(3, libc::c_uint::MAX, mark), Step::Descriptors)?;
            for number in &self.inherit {
                done(libc::fcntl(*number, libc::F_SETFD, 0), Step::Descriptors)?;
            }
            if self.new_session {
                done(libc::setsid(), Step::Session)?;
            }
            if let Some(directory) = &self.directory {
                done(libc::chdir(directory.as_ptr()), Step::Directory)?;
            }
            if let Some(limit) = &self.descriptors {
                done(libc::setrlimit(libc::RLIMIT_NOFILE, limit), Step::Limit)?;
            }
        }
        match &self.credentials {
            None => Ok(()),
            Some(credentials) => credentials.take_on().map_err(|refused| match refused {
                Refused::Groups => Step::Groups,
                Refused::Gid => Step::Gid,
                Refused::Uid => Step::Uid,
                Refused::NotForGood => Step::NotForGood,
            }),
        }?;
        // Behind the change of identity, which takes it away (prctl(2)).
        self.death.map_or(Ok(()), |(signal, parent)| {
            // SAFETY: integers only; getppid cannot fail.
            let done = unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::c_long::from(signal), 0_usize, 0_usize, 0_usize) == 0
                    && libc::getppid() == parent
            };
            if done { Ok(()) } else { Err(Step::Death) }
        })
    }
}

/// The limit of open files with this soft one, or with the hard one where that is lower by now.
fn limit_as_found(soft: u64) -> io::Result<libc::rlimit> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(libc::rlimit { rlim_cur: soft.min(hard), rlim_max: hard })
}

/// In the child: the failpoint between fork and exec.
fn before_exec() -> Result<(), Step> {
    if empery_failpoint::point_in_child!("spawn.exec") { Ok(()) } else { Err(Step::Exec) }
}

/// As execvp(3) finds it, but before the fork.
fn look_up(program: &Path) -> io::Result<PathBuf> {
    if program.as_os_str().as_encoded_bytes().contains(&b'/') {
        return Ok(program.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| {
        std::fs::metadata(file).is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
    });
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no {} on PATH", program.display())))
}

/// A copy with a number above 2, so that dup2 onto 0, 1 and 2 in turn overwrites no source.
fn out_of_the_way(fd: &OwnedFd) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: fcntl has just made this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

fn all_signals() -> libc::sigset_t {
    // SAFETY: sigfillset initialises the whole set.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigfillset(&mut set);
        set
    }
}

/// In the child: closes every descriptor above 2 that is not in this ordered list. A kernel before 5.9 closes none; what
/// is left is marked close-on-exec later, which is reported when it fails.
fn close_all_but(keep: &[RawFd]) {
    let mut first = 3;
    for number in keep.iter().copied().chain([RawFd::MAX]) {
        if number > first {
            // SAFETY: integers only; nothing in the child uses the descriptors in between.
            unsafe { libc::close_range(first.unsigned_abs(), number.unsigned_abs() - 1, 0) };
        }
        first = number.saturating_add(1);
    }
}

/// In the child: every signal back to its default (an ignored one would stay ignored over exec, as Rust's SIGPIPE
/// does), then none blocked.
fn reset_signals() {
    // rt_sigaction(2) itself, since glibc's sigaction refuses the two signals it uses, ignored or not.
    let default = [0_u64; 4];
    const MASK_BYTES: usize = 8;
    // SAFETY: `default` is as long as the kernel's struct sigaction or longer; zeros in it mean SIG_DFL without flags.
    // Numbers that cannot be set (KILL, STOP) are refused without harm. sigemptyset initialises the set.
    unsafe {
        for number in 1..=libc::SIGRTMAX() {
            libc::syscall(libc::SYS_rt_sigaction, number, default.as_ptr(), ptr::null_mut::<u64>(), MASK_BYTES);
        }
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &none, ptr::null_mut());
    }
}

fn retry_in_child(mut call: impl FnMut() -> isize) -> isize {
    loop {
        let result = call();
        if result >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return result;
        }
    }
}

/// For calls that answer with the error number instead of setting errno.
fn check_errno(number: libc::c_int) -> io::Result<()> {
    if number == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(number)) }
}
