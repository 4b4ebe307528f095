//! What concerns the whole process, and so cannot be tested beside tests that have children of their own.
// Clippy counts only functions marked #[test] as tests.
#![allow(clippy::unwrap_used)]

use empery_sys::{
    process::{How, become_subreaper, children_of, pidfd_open, pidfd_wait, reap, reap_any, set_title, wait_for},
    spawn::{Child, Spawn, spawn},
};
use std::{os::fd::AsFd, time::Duration};

fn shell(script: &str) -> Child {
    spawn(Spawn {
        program: "/bin/sh".into(),
        args: vec!["sh".into(), "-c".into(), script.into()],
        env: Vec::new(),
        directory: None,
        stdio: [None, None, None],
        inherit: Vec::new(),
        identity: None,
        new_session: false,
    })
    .unwrap()
}

const SOON: Duration = Duration::from_secs(10);

#[test]
fn children_and_orphans_are_reaped_with_how_they_ended() {
    let me = std::process::id().cast_signed();
    become_subreaper().unwrap();
    assert_eq!(reap_any().unwrap(), None);

    for (script, how) in [("exit 7", How::Code(7)), ("kill -9 $$", How::Signal(9)), ("kill -40 $$", How::Signal(40))] {
        let child = shell(script);
        assert!(pidfd_wait(child.pidfd.as_fd(), SOON).unwrap());
        assert_eq!(reap_any().unwrap(), Some((child.pid, how)), "{script}");
    }

    let child = shell("exit 5");
    assert!(pidfd_wait(child.pidfd.as_fd(), SOON).unwrap());
    assert_eq!(reap(child.pidfd.as_fd()).unwrap(), Some(How::Code(5)));
    assert_eq!(reap(child.pidfd.as_fd()).unwrap(), None, "only once");

    // The middle one exits; its child becomes ours.
    let middle = shell("(read line; exit 9) <&- & exit 0");
    assert_eq!(wait_for(&middle.pidfd).unwrap(), How::Code(0));
    let orphans = children_of(me).unwrap();
    assert_eq!(orphans.len(), 1);
    let orphan = pidfd_open(orphans[0]).unwrap();
    assert!(pidfd_wait(orphan.as_fd(), SOON).unwrap());
    assert_eq!(reap_any().unwrap(), Some((orphans[0], How::Code(9))));
    assert_eq!(children_of(me).unwrap(), Vec::<i32>::new());
}

#[test]
fn b59_a_title_is_what_ps_shows_cut_to_the_old_command_line() {
    let shown = || std::fs::read("/proc/self/cmdline").unwrap();
    let room = shown().len();
    set_title("a title");
    assert!(shown().starts_with(b"a title\0"));
    set_title(&"x".repeat(room * 2));
    let longest = shown();
    assert_eq!(longest.iter().filter(|byte| **byte == b'x').count(), room - 1);
}
