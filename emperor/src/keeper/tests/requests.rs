//! What the brain asks for is done, or refused with a word it can act on.

use std::{
    fs::File,
    io::Read,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use empery_control::{
    boot::MasterBoot,
    framing::encode,
    keeper::{Answer, Ask, FromKeeper, ListenAddress, ListenSpec, LockText, Request, RequestId, StartMaster},
    places,
};
use empery_lifecycle::{
    fleet::{Berth, MasterKey},
    ids::{GenerationId, MasterSerial, OperationId, RevisionId, VassalName},
};
use empery_sys::{memfd, process, seqpacket};

use super::{Room, desk, own_identity, until};
use crate::keeper::{desk::Desk, masters::Masters};

const SOON: Duration = Duration::from_secs(10);

fn vassal() -> VassalName {
    VassalName::new("shop.ini").unwrap()
}

fn ask(desk: &mut Desk, ask: Ask, fds: Vec<OwnedFd>) -> Vec<(Answer, Vec<OwnedFd>)> {
    let message = encode(&Request { id: RequestId(9), ask }).unwrap();
    let answered = |word| match word {
        FromKeeper::Answer { id: RequestId(9), answer } => answer,
        other => panic!("not an answer: {other:?}"),
    };
    desk.handle(&message, fds).replies.into_iter().map(|reply| (answered(reply.word), reply.fds)).collect()
}

fn ask_once(desk: &mut Desk, what: Ask, fds: Vec<OwnedFd>) -> (Answer, Vec<OwnedFd>) {
    let mut answers = ask(desk, what, fds);
    assert_eq!(answers.len(), 1);
    answers.remove(0)
}

fn code(answer: &Answer) -> &str {
    match answer {
        Answer::Failed { code, sentence } => {
            assert!(!sentence.is_empty());
            code
        }
        other => panic!("not refused: {other:?}"),
    }
}

fn tcp(key: &str, address: &str) -> ListenSpec {
    ListenSpec {
        key: key.to_owned(),
        address: ListenAddress::Tcp(address.parse().unwrap()),
        backlog: 16,
        mode: None,
        owner: None,
        reuse_port: false,
        freebind: false,
    }
}

fn bind(desk: &mut Desk, listener: ListenSpec) -> (Answer, Vec<OwnedFd>) {
    ask_once(desk, Ask::Bind { vassal: vassal(), identity: own_identity(), listener }, Vec::new())
}

fn order(serial: u64, listeners: &[&str]) -> StartMaster {
    StartMaster {
        tls_files: Vec::new(),
        master: MasterKey { vassal: vassal(), berth: Berth::A, serial: MasterSerial(serial) },
        identity: own_identity(),
        user: None,
        groups: Vec::new(),
        revision: RevisionId(1),
        operation: OperationId(1),
        first_generation: GenerationId(1),
        listeners: listeners.iter().map(ToString::to_string).collect(),
        awaited_listeners: Vec::new(),
        frozen: false,
        on_demand: None,
        common: Default::default(),
    }
}

fn kill(master: MasterKey) -> Ask {
    Ask::Kill { master, was_to_leave: false }
}

fn start(desk: &mut Desk, order: StartMaster) -> Answer {
    let content = memfd::sealed("content", b"[uwsgi]\n").unwrap();
    ask_once(desk, Ask::StartMaster(Box::new(order)), vec![content]).0
}

#[test]
fn a_long_listing_comes_in_parts_that_fit() {
    let room = Room::new("parts");
    let mut desk = desk(&room);
    assert!(
        matches!(ask(&mut desk, Ask::List, Vec::new()).as_slice(), [(Answer::Listing { files, more: false }, _)] if files.is_empty())
    );
    for number in 0..1_200 {
        std::fs::write(room.path().join(format!("vassals/{number:04}.ini")), "").unwrap();
    }
    let parts = ask(&mut desk, Ask::List, Vec::new());
    assert!(parts.len() > 1);
    let mut names = Vec::new();
    for (index, (answer, _)) in parts.iter().enumerate() {
        encode(&FromKeeper::Answer { id: RequestId(u64::MAX), answer: answer.clone() }).unwrap();
        let Answer::Listing { files, more } = answer else { panic!("not a listing") };
        assert_eq!(*more, index + 1 < parts.len());
        names.extend(files.iter().map(|facts| facts.name.to_string()));
    }
    assert_eq!(names.len(), 1_200);
    assert!(names.is_sorted());
    std::fs::remove_dir_all(room.path().join("vassals")).unwrap();
    assert_eq!(code(&ask_once(&mut desk, Ask::List, Vec::new()).0), "directory-lost");
}

#[test]
fn a_vassal_file_is_opened_with_the_facts_of_what_was_opened() {
    let room = Room::new("open");
    let mut desk = desk(&room);
    std::fs::write(room.path().join("vassals/shop.ini"), "[uwsgi]\n").unwrap();
    let (answer, mut fds) = ask_once(&mut desk, Ask::Open { name: vassal() }, Vec::new());
    assert!(matches!(answer, Answer::Opened { facts } if facts.size == 8));
    let mut text = String::new();
    File::from(fds.remove(0)).read_to_string(&mut text).unwrap();
    assert_eq!(text, "[uwsgi]\n");
    let missing = VassalName::new("missing.ini").unwrap();
    assert_eq!(code(&ask_once(&mut desk, Ask::Open { name: missing }, Vec::new()).0), "not-found");
}

#[test]
fn a_bound_socket_is_kept_until_it_is_forgotten() {
    let room = Room::new("bind");
    let mut desk = desk(&room);
    let (first, fds) = bind(&mut desk, tcp("here", "127.0.0.1:0"));
    let Answer::Bound { bound: ListenAddress::Tcp(place) } = &first else { panic!("not bound: {first:?}") };
    drop(fds);
    std::net::TcpStream::connect(place).unwrap();
    assert_eq!(bind(&mut desk, tcp("here", "127.0.0.1:0")).0, first, "the kept one");
    assert_eq!(code(&bind(&mut desk, tcp("there", &place.to_string())).0), "address-in-use");
    let forget = Ask::Forget { vassal: vassal(), keys: vec!["here".to_owned()] };
    assert_eq!(ask_once(&mut desk, forget, Vec::new()).0, Answer::Done);
    until("the socket to be closed", || std::net::TcpStream::connect(place).is_err());
}

#[test]
fn a_handed_over_socket_is_kept_and_what_is_none_is_refused() {
    let room = Room::new("keep");
    let mut desk = desk(&room);
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = socket.local_addr().unwrap();
    let keep = || Ask::Keep { vassal: vassal(), key: "k".to_owned() };
    assert_eq!(code(&ask_once(&mut desk, keep(), Vec::new()).0), "io");
    let (pipe, _write) = empery_sys::pipe::cloexec_pipe().unwrap();
    assert_eq!(code(&ask_once(&mut desk, keep(), vec![pipe]).0), "io");
    assert_eq!(ask_once(&mut desk, keep(), vec![socket.into()]).0, Answer::Done);
    assert_eq!(bind(&mut desk, tcp("k", "127.0.0.1:0")).0, Answer::Bound { bound: ListenAddress::Tcp(place) });
}

#[test]
fn a_master_is_started_found_again_by_its_lock_and_killed() {
    let room = Room::new("master");
    let mut desk = desk(&room);
    bind(&mut desk, tcp("here", "127.0.0.1:0"));
    std::fs::write(room.path().join("vassals/shop.ini"), "env > env.new; mv env.new env; exec sleep 600").unwrap();
    let started = start(&mut desk, order(1, &["here"]));
    let Answer::Started { pid } = started else { panic!("not started: {started:?}") };

    let told = room.path().join("vassals/env");
    until("the master to run", || told.exists());
    let environment = std::fs::read_to_string(told).unwrap();
    assert!(environment.contains("EMPERY_MASTER_BOOT_FD="), "{environment}");

    assert_eq!(code(&start(&mut desk, order(2, &[]))), "spawn", "one master for each berth");
    let runtime = room.path().join("run");
    let found = Masters::adopt(&runtime).unwrap().living();
    assert_eq!(
        ask_once(&mut desk, Ask::Masters, Vec::new()).0,
        Answer::Masters { masters: found.clone(), more: false }
    );
    assert_eq!(
        found.iter().map(|master| (master.pid, master.master.serial)).collect::<Vec<_>>(),
        [(pid, MasterSerial(1))]
    );

    let memory = || empery_sys::region::Region::create("r", 4096, empery_sys::region::Again::Counts).unwrap().1;
    let keep_regions = |number: usize| Ask::KeepRegions {
        master: order(1, &[]).master,
        names: (0..number).map(|number| number.to_string()).collect(),
    };
    assert_eq!(ask_once(&mut desk, keep_regions(1), vec![memory()]).0, Answer::Done);
    let (pipe, _write) = empery_sys::pipe::cloexec_pipe().unwrap();
    assert_eq!(code(&ask_once(&mut desk, keep_regions(2), vec![memory(), pipe]).0), "io");
    assert_eq!(desk.store.regions(&vassal(), own_identity()).len(), 1, "what was kept stays");

    let (read, write) = empery_sys::pipe::cloexec_pipe().unwrap();
    let keep_log = || Ask::KeepLog { master: order(1, &[]).master };
    assert_eq!(
        code(&ask_once(&mut desk, keep_log(), vec![write.try_clone().unwrap(), read.try_clone().unwrap()]).0),
        "io"
    );
    assert_eq!(code(&ask_once(&mut desk, keep_log(), vec![read.try_clone().unwrap()]).0), "io");
    assert_eq!(ask_once(&mut desk, keep_log(), vec![read, write]).0, Answer::Done);

    let stranger = order(7, &[]).master;
    assert_eq!(code(&ask_once(&mut desk, kill(stranger), Vec::new()).0), "not-found");
    let master = order(1, &[]).master;
    assert_eq!(ask_once(&mut desk, kill(master.clone()), Vec::new()).0, Answer::Done);
    let mut ended = Vec::new();
    until("its end", || {
        ended.extend(desk.masters.lost());
        !ended.is_empty()
    });
    assert_eq!(ended, [(master, "signal 9 (SIGKILL)".to_owned())]);
    until("its lock to be free", || Masters::adopt(&runtime).unwrap().is_empty());
    let Answer::Started { pid } = start(&mut desk, order(2, &["here"])) else { panic!("the berth is free again") };
    let pidfd = process::pidfd_open(pid).unwrap();
    process::pidfd_kill(&pidfd, libc::SIGKILL).unwrap();
    assert!(process::pidfd_wait(pidfd.as_fd(), SOON).unwrap());
}

#[test]
fn a_master_that_cannot_be_started_leaves_nothing_behind() {
    let room = Room::new("no-master");
    let mut desk = desk(&room);
    assert_eq!(code(&start(&mut desk, order(1, &["unbound"]))), "not-found");
    desk.vassal_program = room.path().join("vassal");
    assert_eq!(code(&start(&mut desk, order(1, &[]))), "spawn");
    assert!(desk.masters.is_empty());
    until("the lock to be free", || Masters::adopt(&room.path().join("run")).unwrap().is_empty());
    let (pipe, _write) = empery_sys::pipe::cloexec_pipe().unwrap();
    let no_file = ask_once(&mut desk, Ask::StartMaster(Box::new(order(1, &[]))), vec![pipe]).0;
    assert_eq!(code(&no_file), "io");
}

#[test]
fn whom_the_policy_forbids_nothing_is_bound_or_started_for() {
    let room = Room::new("policy");
    let mut desk = desk(&room);
    desk.uid_policy = crate::keeper::UidPolicy { allow_root: false, min_uid: u32::MAX };
    assert_eq!(code(&bind(&mut desk, tcp("here", "127.0.0.1:0")).0), "policy");
    assert_eq!(code(&start(&mut desk, order(1, &[]))), "policy");
}

#[test]
fn c19_the_groups_of_another_user_than_the_one_it_runs_as_are_not_given() {
    let room = Room::new("other-groups");
    let mut desk = desk(&room);
    let me = own_identity().uid;
    let other = if me == 0 { "daemon" } else { "root" };
    let with = |user: &str| StartMaster { user: Some(user.to_owned()), ..order(1, &[]) };
    assert_eq!(code(&start(&mut desk, with(other))), "policy");
    assert_eq!(code(&start(&mut desk, with(&me.to_string()))), "policy", "a number is no name");
    assert!(desk.masters.is_empty());
}

#[test]
fn leaving_is_answered_with_the_code_and_a_strange_word_with_its_number() {
    let room = Room::new("leave");
    let mut desk = desk(&room);
    let leave = encode(&Request { id: RequestId(9), ask: Ask::Leave { code: 3 } }).unwrap();
    assert_eq!(desk.handle(&leave, Vec::new()).leave, Some(3));
    let strange = desk.handle(br#"{"id":4,"ask":{"ask":"dance"}}"#, Vec::new());
    assert!(matches!(&strange.replies[0].word, FromKeeper::Answer { id: RequestId(4), answer: Answer::Failed { .. } }));
    assert!(desk.handle(b"\xff", Vec::new()).replies.is_empty());
}

#[test]
fn what_a_master_that_is_gone_has_left_is_in_use_in_another_way_than_by_a_stranger() {
    let room = Room::new("left-in-use");
    let mut desk = desk(&room);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert_eq!(code(&bind(&mut desk, tcp("here", &address)).0), "address-in-use");
    std::fs::write(room.path().join("vassals/shop.ini"), "exit 0").unwrap();
    assert!(matches!(start(&mut desk, order(1, &[])), Answer::Started { .. }));
    assert_eq!(code(&bind(&mut desk, tcp("here", &address)).0), "address-in-use", "its master lives");
    until("its end", || !desk.masters.lost().is_empty());
    assert_eq!(code(&bind(&mut desk, tcp("here", &address)).0), "left-in-use");
    // It was stopped: nobody is left who is to serve.
    ask_once(&mut desk, Ask::Forget { vassal: vassal(), keys: Vec::new() }, Vec::new());
    assert_eq!(code(&bind(&mut desk, tcp("here", &address)).0), "address-in-use");
}

#[test]
fn workers_of_a_master_in_one_berth_find_the_next_one_in_the_other() {
    let room = Room::new("signpost");
    let mut desk = desk(&room);
    let link = |berth| places::berth(&room.path().join("run"), &vassal(), berth).link;
    let content = room.path().join("vassals/shop.ini");
    std::fs::write(&content, "exit 0").unwrap();
    start(&mut desk, order(1, &[]));
    until("its end", || !desk.masters.lost().is_empty());
    std::fs::write(&content, "exec sleep 600").unwrap();
    let in_b = MasterKey { berth: Berth::B, serial: MasterSerial(2), ..order(2, &[]).master };
    start(&mut desk, StartMaster { master: in_b.clone(), ..order(2, &[]) });
    assert!(link(Berth::A).is_symlink());
    let _worker = seqpacket::connect(&link(Berth::A)).unwrap();
    let at_b = desk.store.link(&vassal(), Berth::B, || panic!("it was bound already")).unwrap();
    seqpacket::accept(at_b.as_fd()).unwrap();

    start(&mut desk, order(3, &[]));
    assert!(!link(Berth::A).is_symlink() && !link(Berth::B).is_symlink(), "both live");
    ask_once(&mut desk, kill(in_b), Vec::new());
    until("its end", || !desk.masters.lost().is_empty());
    desk.lead_on(&vassal(), Berth::B);
    assert!(link(Berth::B).is_symlink());

    // Its master would not admit workers of another user.
    std::fs::remove_file(link(Berth::B)).unwrap();
    let lock = places::berth(&room.path().join("run"), &vassal(), Berth::B).lock;
    let mut text: LockText = serde_json::from_slice(&std::fs::read(&lock).unwrap()).unwrap();
    text.identity.uid += 1;
    std::fs::write(&lock, serde_json::to_vec(&text).unwrap()).unwrap();
    std::fs::write(link(Berth::B), "").unwrap();
    desk.lead_on(&vassal(), Berth::B);
    assert!(link(Berth::B).symlink_metadata().is_err());
    ask_once(&mut desk, kill(order(3, &[]).master), Vec::new());
}

#[test]
fn children_of_a_master_that_was_to_leave_get_their_time_and_no_more() {
    for was_to_leave in [false, true] {
        let room = Room::new("children");
        let mut desk = desk(&room);
        let script = "sleep 600 & echo $! > child.new; mv child.new child; exec sleep 600";
        std::fs::write(room.path().join("vassals/shop.ini"), script).unwrap();
        let told = room.path().join("vassals/child");
        assert!(matches!(start(&mut desk, order(1, &[])), Answer::Started { .. }));
        until("its child", || told.exists());
        let child = std::fs::read_to_string(&told).unwrap().trim().parse().unwrap();
        let child = process::pidfd_open(child).unwrap();
        let master = order(1, &[]).master;
        assert_eq!(ask_once(&mut desk, Ask::Kill { master, was_to_leave }, Vec::new()).0, Answer::Done);
        until("its end", || !desk.masters.lost().is_empty());
        desk.survivors.end_due(process::monotonic_ns());
        assert!(!process::pidfd_wait(child.as_fd(), Duration::from_millis(300)).unwrap(), "it was ended at once");
        desk.survivors.end_due(u64::MAX);
        let within = if was_to_leave { SOON } else { Duration::from_millis(300) };
        assert_eq!(process::pidfd_wait(child.as_fd(), within).unwrap(), was_to_leave);
        let _ = process::pidfd_kill(&child, libc::SIGKILL);
    }
}

#[test]
fn a_master_is_told_who_its_predecessors_were_that_may_have_left_workers() {
    let room = Room::new("former");
    let mut desk = desk(&room);
    let script = "cat /proc/self/fd/$EMPERY_MASTER_BOOT_FD > boot.new; mv boot.new boot";
    std::fs::write(room.path().join("vassals/shop.ini"), script).unwrap();
    let told = room.path().join("vassals/boot");
    let former_uids = |desk: &mut Desk, serial| {
        assert!(matches!(start(desk, order(serial, &[])), Answer::Started { .. }));
        until("its end", || !desk.masters.lost().is_empty());
        let boot: MasterBoot = serde_json::from_slice(&std::fs::read(&told).unwrap()).unwrap();
        std::fs::remove_file(&told).unwrap();
        boot.former_uids
    };
    assert!(former_uids(&mut desk, 1).is_empty());
    assert!(former_uids(&mut desk, 2).is_empty(), "the same user");
    let lock = places::berth(&room.path().join("run"), &vassal(), Berth::A).lock;
    let mut text: LockText = serde_json::from_slice(&std::fs::read(&lock).unwrap()).unwrap();
    text.identity.uid = 4711;
    std::fs::write(&lock, serde_json::to_vec(&text).unwrap()).unwrap();
    assert_eq!(former_uids(&mut desk, 3), [4711]);
    ask_once(&mut desk, Ask::Forget { vassal: vassal(), keys: Vec::new() }, Vec::new());
    assert!(former_uids(&mut desk, 4).is_empty(), "it was stopped");
}
