//! What a started program finds, and what becomes of one that cannot be started.

use std::os::fd::AsFd;

use nix::fcntl::FdFlag;

use super::*;
use crate::process::How;

fn shell(script: &str) -> Spawn {
    Spawn {
        program: "sh".into(),
        args: vec!["sh".into(), "-c".into(), script.into()],
        env: vec![("PATH".into(), "/usr/bin:/bin".into()), ("ONLY".into(), "this".into())],
        directory: None,
        stdio: [None, None, None],
        inherit: Vec::new(),
        identity: None,
        new_session: false,
    }
}

/// What the program writes and how it ends.
fn run(mut what: Spawn) -> (String, How) {
    let (read, write) = cloexec_pipe().unwrap();
    what.stdio[1] = Some(write);
    let child = spawn(what).unwrap();
    let mut written = String::new();
    File::from(read).read_to_string(&mut written).unwrap();
    (written, process::wait_for(&child.pidfd).unwrap())
}

#[test]
fn the_program_finds_its_arguments_environment_and_directory_and_nothing_else() {
    let mut what = shell("echo $ONLY $HOME; pwd; exit 3");
    what.directory = Some("/usr".into());
    assert_eq!(run(what), ("this\n/usr\n".to_owned(), How::Code(3)));
}

#[test]
fn only_named_descriptors_are_passed_even_when_others_would_survive_exec() {
    let (named, leaked) = cloexec_pipe().unwrap();
    fcntl(leaked.as_fd(), FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let (named_number, leaked_number) = (named.as_raw_fd(), leaked.as_raw_fd());
    let there = |number| format!("test -e /proc/self/fd/{number} && echo yes || echo no;");
    let mut what = shell(&format!("{}{}", there(named_number), there(leaked_number)));
    what.inherit = vec![named_number];
    assert_eq!(run(what).0, "yes\nno\n");
}

#[test]
fn ignored_and_blocked_signals_are_reset() {
    // Rust's runtime ignores SIGPIPE, which would survive exec.
    let mut blocked = nix::sys::signal::SigSet::empty();
    blocked.add(nix::sys::signal::SIGTERM);
    blocked.thread_block().unwrap();
    let (status, _) = run(shell("grep -E 'Sig(Blk|Ign)' /proc/self/status"));
    blocked.thread_unblock().unwrap();
    let masks: Vec<&str> = status.lines().filter_map(|line| line.split_ascii_whitespace().nth(1)).collect();
    assert_eq!(masks, ["0000000000000000", "0000000000000000"]);
}

#[test]
fn what_cannot_be_started_is_named_with_the_step() {
    let mut missing = shell("");
    missing.program = "/no/such/program".into();
    let error = spawn(missing).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(error.to_string().starts_with("executing /no/such/program"), "{error}");
    let mut nowhere = shell("");
    nowhere.directory = Some("/no/such/directory".into());
    let error = spawn(nowhere).unwrap_err().to_string();
    assert!(error.starts_with("entering the working directory of"), "{error}");
}

#[test]
fn a_held_child_does_nothing_until_released_and_ends_when_given_up() {
    let (read, write) = cloexec_pipe().unwrap();
    let mut what = shell("echo ran");
    what.stdio[1] = Some(write);
    let held = hold(what).unwrap();
    let pidfd = process::pidfd_open(held.pid()).unwrap();
    assert!(!process::pidfd_wait(pidfd.as_fd(), std::time::Duration::ZERO).unwrap());
    drop(held);
    assert!(process::pidfd_kill(&pidfd, 0).is_err(), "given up, gone and reaped");
    let mut written = String::new();
    File::from(read).read_to_string(&mut written).unwrap();
    assert_eq!(written, "");

    let child = hold(shell("exit 4")).unwrap().release().unwrap();
    assert_eq!(process::wait_for(&child.pidfd).unwrap(), How::Code(4));
}

#[test]
fn root_becomes_somebody_else_for_good_and_others_are_refused() {
    let mut what = shell("id -u; id -g; id -G; kill -0 1 2>/dev/null && echo still root; exit 0");
    what.identity = Some(DropTo { uid: 65_534, gid: 65_533, user: None, groups: Vec::new() });
    if nix::unistd::Uid::effective().is_root() {
        assert_eq!(run(what).0, "65534\n65533\n65533\n");
    } else {
        assert_eq!(spawn(what).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}

#[test]
fn a_held_child_does_not_hold_its_parents_locks() {
    let path = std::env::temp_dir().join(format!("empery-spawn-lock-{}", std::process::id()));
    let (mine, other) = (File::create(&path).unwrap(), File::open(&path).unwrap());
    assert!(crate::lock::try_exclusive(mine.as_fd()).unwrap());
    let held = hold(shell("exit 0")).unwrap();
    drop(mine);
    crate::lock::wait_exclusive(other.as_fd()).unwrap();
    drop(held);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_program_finds_the_limit_of_open_files_that_this_process_was_started_with() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let found = hard.min(500);
    nix::sys::resource::setrlimit(Resource::RLIMIT_NOFILE, found, hard).unwrap();
    limits::take_descriptors().unwrap();
    assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap().0, hard);
    assert_eq!(run(shell("ulimit -S -n")).0, format!("{found}\n"));
}
