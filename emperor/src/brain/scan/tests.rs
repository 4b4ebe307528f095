//! The scanner over real directories and a real channel; only the keeper at its other end is played.

use std::{
    fs::{self, File},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};

use empery_control::keeper::{FromKeeper, Request};
use empery_lifecycle::{fleet::Identity, ids::RevisionId};
use empery_sys::channel::Channel;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use super::*;
use crate::sources::Sources;

/// How long anything may take before a test gives up.
const SOON: Duration = Duration::from_secs(10);

/// Longer than the scanner waits before it believes, and than its burst of looks.
const QUIET: Duration = Duration::from_millis(300);

struct Stage {
    directory: PathBuf,
    heard: mpsc::UnboundedReceiver<Scanned>,
    looks: Looks,
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Stage {
    fn set(name: &str, files: &[(&str, &str)], numbers: Numbers) -> Stage {
        let directory = std::env::temp_dir().join(format!("empery-scan-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        for (file, text) in files {
            fs::write(directory.join(file), text).unwrap();
        }
        let (ours, theirs) = empery_sys::seqpacket::pair().unwrap();
        tokio::spawn(play_keeper(Channel::new(theirs).unwrap(), directory.clone()));
        let keeper = KeeperLine::connect(ours, |_| {}).unwrap();
        let sources = Arc::new(Sources::of_directory(directory.clone()));
        let reader = Reader::new(Arc::clone(&sources), Identity { uid: 1000, gid: 1000 });
        let wake = Arc::new(Notify::new());
        let watch = Watch::new(sources, Arc::clone(&wake));
        let looks = Looks::new(Arc::clone(&wake));
        let (tell, heard) = mpsc::unbounded_channel();
        tokio::spawn(Scanner::new(keeper, reader, numbers, OnDemand::default(), looks.clone()).run(
            wake,
            watch,
            move |scanned| drop(tell.send(scanned)),
        ));
        Stage { directory, heard, looks }
    }

    async fn next(&mut self) -> BTreeMap<VassalName, Arc<Reading>> {
        match timeout(SOON, self.heard.recv()).await.unwrap().unwrap() {
            Scanned::Files { all, .. } => all,
            other @ (Scanned::Lost(_) | Scanned::Looked(_)) => panic!("{other:?}"),
        }
    }

    async fn revision_of(&mut self, name: &str) -> Option<RevisionId> {
        self.next().await.get(&VassalName::new(name).unwrap()).map(|reading| reading.revision)
    }

    async fn nothing_more(&mut self) {
        let more = timeout(QUIET, self.heard.recv()).await;
        assert!(more.is_err(), "{more:?}");
    }
}

async fn play_keeper(channel: Channel, directory: PathBuf) {
    while let Ok(Some((Request { id, ask }, _))) = channel.receive::<Request>().await {
        let (answer, file) = match ask {
            Ask::List => (list(&directory), None),
            Ask::Open { name } => {
                let file = File::open(directory.join(name.as_str())).unwrap();
                let facts = facts_of(&name, &file.metadata().unwrap());
                (Answer::Opened { facts }, Some(OwnedFd::from(file)))
            }
            other => panic!("a scanner does not ask {other:?}"),
        };
        use std::os::fd::AsFd;
        let fds: Vec<_> = file.iter().map(AsFd::as_fd).collect();
        channel.send(&FromKeeper::Answer { id, answer }, &fds).await.unwrap();
    }
}

fn list(directory: &Path) -> Answer {
    let Ok(entries) = fs::read_dir(directory) else {
        return Answer::Failed { code: "directory-lost".to_owned(), sentence: "it is gone".to_owned() };
    };
    let mut files: Vec<_> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok().filter(|name| empery_control::places::counts(name))?;
            let facts = facts_of(&VassalName::new(name).ok()?, &entry.metadata().ok()?);
            let now_ns = || i64::try_from(std::time::UNIX_EPOCH.elapsed().ok()?.as_nanos()).ok();
            Some(match facts.name.as_str() {
                RESTLESS => FileFacts { uid: 4242, ctime_ns: now_ns()?, ..facts },
                _ => facts,
            })
        })
        .collect();
    files.sort_by(|one, other| one.name.cmp(&other.name));
    Answer::Listing { files, more: false }
}

fn facts_of(name: &VassalName, facts: &fs::Metadata) -> FileFacts {
    FileFacts {
        name: name.clone(),
        device: facts.dev(),
        inode: facts.ino(),
        size: facts.size(),
        mtime_ns: facts.mtime() * 1_000_000_000 + facts.mtime_nsec(),
        ctime_ns: facts.ctime() * 1_000_000_000 + facts.ctime_nsec(),
        uid: facts.uid(),
        gid: facts.gid(),
        mode: facts.mode(),
        on_demand: None,
    }
}

/// A file that never holds still, and looks like somebody else's whenever it is listed.
const RESTLESS: &str = "restless.ini";

const YAML: &str = "uwsgi:\n  http-socket: 127.0.0.1:0\n  module: hello\n";
const HELLO: &str = "[uwsgi]\nhttp-socket = 127.0.0.1:0\nmodule = hello\n";

#[tokio::test]
async fn a_refused_file_is_read_again_for_whoever_asks_since_what_was_wrong_may_be_mended_elsewhere() {
    let text = "[uwsgi]\nini = ../common\nmodule = app\n";
    let mut stage = Stage::set("elsewhere", &[("a.ini", text)], Numbers::default());
    let common = stage.directory.with_file_name("common");
    let _ = fs::remove_file(&common);
    let name = VassalName::new("a.ini").unwrap();
    let refused = stage.next().await[&name].clone();
    assert!(refused.plan.is_none() && refused.revision == RevisionId(1));
    stage.looks.ask();
    assert!(matches!(timeout(SOON, stage.heard.recv()).await.unwrap().unwrap(), Scanned::Looked(1)), "nothing is new");
    fs::write(&common, "[uwsgi]\nhttp-socket = 127.0.0.1:0\n").unwrap();
    stage.looks.ask();
    let mended = stage.next().await[&name].clone();
    assert!(mended.plan.is_some(), "{:?}", mended.problems);
    assert_eq!((mended.revision, &mended.sha256), (RevisionId(2), &refused.sha256));
    fs::remove_file(common).unwrap();
}

#[tokio::test]
async fn what_is_there_at_the_start_is_told_at_once_whatever_its_format() {
    let mut stage = Stage::set("start", &[("a.ini", HELLO), ("b.yaml", YAML), ("c.txt", "")], Numbers::default());
    let all = stage.next().await;
    let names: Vec<_> = all.keys().map(VassalName::as_str).collect();
    assert_eq!(names, ["a.ini", "b.yaml"]);
    assert!(all.values().all(|reading| reading.plan.is_some()));
    stage.nothing_more().await;
}

#[tokio::test]
async fn a_dropped_file_is_told_soon_and_a_removed_one_is_gone_soon() {
    let mut stage = Stage::set("drop", &[], Numbers::default());
    assert!(stage.next().await.is_empty());
    let dropped = Instant::now();
    fs::write(stage.directory.join("a.ini"), HELLO).unwrap();
    assert_eq!(stage.revision_of("a.ini").await, Some(RevisionId(1)));
    assert!(dropped.elapsed() < Duration::from_millis(1_000), "{:?}", dropped.elapsed());
    let removed = Instant::now();
    fs::remove_file(stage.directory.join("a.ini")).unwrap();
    assert_eq!(stage.revision_of("a.ini").await, None);
    assert!(removed.elapsed() < Duration::from_millis(1_000), "{:?}", removed.elapsed());
}

#[tokio::test]
async fn c19_what_was_opened_says_whose_a_file_is_and_not_what_was_listed() {
    let mut stage = Stage::set("restless", &[("a.ini", HELLO)], Numbers::default());
    stage.next().await;
    let path = stage.directory.join(RESTLESS);
    fs::write(&path, HELLO).unwrap();
    let name = VassalName::new(RESTLESS).unwrap();
    match timeout(SOON, stage.heard.recv()).await.unwrap().unwrap() {
        Scanned::Files { new, .. } => {
            assert_eq!(new, [(name.clone(), number::mark(&facts_of(&name, &fs::metadata(path).unwrap())))]);
        }
        other @ (Scanned::Lost(_) | Scanned::Looked(_)) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_editor_that_writes_in_four_steps_makes_one_revision() {
    let mut stage = Stage::set("editor", &[("a.ini", HELLO)], Numbers::default());
    stage.next().await;
    let (path, aside) = (stage.directory.join("a.ini"), stage.directory.join("a.ini~"));
    fs::rename(&path, &aside).unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    fs::write(&path, "").unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    fs::write(&path, HELLO).unwrap();
    fs::remove_file(&aside).unwrap();
    assert_eq!(stage.revision_of("a.ini").await, Some(RevisionId(2)));
    stage.nothing_more().await;
}

#[tokio::test]
async fn a_touch_and_an_older_time_are_new_revisions_and_a_new_link_is_none() {
    let mut stage = Stage::set("touch", &[("a.ini", HELLO)], Numbers::default());
    stage.next().await;
    let path = stage.directory.join("a.ini");
    let at = |seconds| std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    File::options().write(true).open(&path).unwrap().set_modified(at(2_000_000_000)).unwrap();
    assert_eq!(stage.revision_of("a.ini").await, Some(RevisionId(2)));
    File::options().write(true).open(&path).unwrap().set_modified(at(1_000_000_000)).unwrap();
    assert_eq!(stage.revision_of("a.ini").await, Some(RevisionId(3)));
    fs::hard_link(&path, stage.directory.join("a.link")).unwrap();
    stage.nothing_more().await;
}

#[tokio::test]
async fn numbers_go_on_when_the_brain_comes_back() {
    let mut numbers = Numbers::default();
    let name = VassalName::new("a.ini").unwrap();
    numbers.recall(name, RevisionId(7), reading::sha256_hex(HELLO.as_bytes()), None);
    let mut stage = Stage::set("again", &[("a.ini", HELLO), ("b.ini", HELLO)], numbers);
    match timeout(SOON, stage.heard.recv()).await.unwrap().unwrap() {
        Scanned::Files { all, new } => {
            assert_eq!(
                all.values().map(|reading| reading.revision).collect::<Vec<_>>(),
                [RevisionId(7), RevisionId(1)]
            );
            let new: Vec<_> = new.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(new, ["b.ini"], "what was known is not recorded again");
        }
        other @ (Scanned::Lost(_) | Scanned::Looked(_)) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_directory_that_vanished_is_told_once_and_so_is_its_return() {
    let mut stage = Stage::set("lost", &[("a.ini", HELLO)], Numbers::default());
    stage.next().await;
    let aside = stage.directory.with_extension("aside");
    fs::rename(&stage.directory, &aside).unwrap();
    let lost = timeout(SOON, stage.heard.recv()).await.unwrap().unwrap();
    assert!(matches!(lost, Scanned::Lost(_)), "{lost:?}");
    fs::rename(&aside, &stage.directory).unwrap();
    assert_eq!(stage.revision_of("a.ini").await, Some(RevisionId(1)));
}

#[tokio::test]
async fn a_look_that_is_asked_for_is_told_after_what_it_brought() {
    let mut stage = Stage::set("asked", &[("a.ini", HELLO)], Numbers::default());
    stage.next().await;
    // Nothing is different: it is told at once. Then an edit in the same instant.
    let first = stage.looks.ask();
    assert!(
        matches!(timeout(SOON, stage.heard.recv()).await.unwrap(), Some(Scanned::Looked(number)) if number == first)
    );
    fs::write(stage.directory.join("a.ini"), format!("{HELLO}# edited\n")).unwrap();
    let second = stage.looks.ask();
    assert_eq!(stage.revision_of("a.ini").await, Some(RevisionId(2)));
    assert!(
        matches!(timeout(SOON, stage.heard.recv()).await.unwrap(), Some(Scanned::Looked(number)) if number == second)
    );
}
