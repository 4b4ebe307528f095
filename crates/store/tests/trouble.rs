//! A database that is missing, damaged, full, locked or newer ends nothing: it is said, in words that tell what to do.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod place;

use std::{
    io::{Seek, SeekFrom, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    time::Duration,
};

use empery_lifecycle::ids::{RevisionId, VassalName};
use empery_store::{Hold, Limits, Mark, Revision, Sample, Store, StoreError};
use place::Place;
use sqlx::{Connection, Executor};

fn hold(vassal: &str) -> Hold {
    Hold { vassal: VassalName::new(vassal).unwrap(), actor: "api".to_owned(), since_unix_ms: 1 }
}

fn big_revision(number: u64) -> Revision {
    Revision {
        vassal: VassalName::new("shop.ini").unwrap(),
        revision: RevisionId(number),
        sha256: String::new(),
        content: vec![b'x'; 64 * 1024],
        problems: Vec::new(),
        seen_unix_ms: 1,
        facts: Some(format!("facts of {number}")),
    }
}

fn minute() -> Sample {
    Sample {
        vassal: VassalName::new("shop.ini").unwrap(),
        minute_unix_s: 60,
        requests: 1,
        errors_5xx: 0,
        exceptions: 0,
        tx_bytes: 12,
        busy_us: 100,
        busy_threads_peak: 1,
        threads: 1,
        workers: 1,
        rss_bytes: 1 << 20,
    }
}

#[tokio::test]
async fn a_missing_database_is_made_and_only_its_owner_may_read_it() {
    let place = Place::new();
    let opened = Store::open(&place.file).await.unwrap();
    opened.store.set_hold(hold("shop.ini")).done().await.unwrap();
    for entry in std::fs::read_dir(&place.directory).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
    }
}

#[tokio::test]
async fn a_directory_that_takes_no_files_is_told_by_its_path() {
    // procfs takes no files, not even from root.
    for path in ["/proc/state.db", "/nowhere/at/all/state.db"] {
        let error = Store::open(Path::new(path)).await.unwrap_err();
        assert!(matches!(error, StoreError::Open { .. }) && error.to_string().contains(path), "{error}");
    }
}

#[tokio::test]
async fn r5_a_file_that_is_no_database_is_moved_aside_and_a_new_one_begun() {
    let place = Place::new();
    std::fs::write(&place.file, "not a database, but long enough to have a header of one hundred bytes: ".repeat(4))
        .unwrap();
    let opened = Store::open(&place.file).await.unwrap();
    let alarm = opened.alarm.unwrap();
    let aside = std::fs::read_dir(&place.directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .find(|name| name.starts_with("state.db.corrupt-"))
        .unwrap();
    assert!(alarm.contains(&aside), "{alarm}");
    assert!(std::fs::read_to_string(place.directory.join(aside)).unwrap().starts_with("not a database"));
    opened.store.set_hold(hold("shop.ini")).done().await.unwrap();
}

#[tokio::test]
async fn r5_a_database_with_a_damaged_page_is_moved_aside() {
    let place = Place::new();
    {
        let opened = Store::open(&place.file).await.unwrap();
        for number in 1..=20 {
            opened.store.record_revision(big_revision(number)).done().await.unwrap();
        }
    }
    place.sqlite("PRAGMA wal_checkpoint(TRUNCATE)").await;
    let length = std::fs::metadata(&place.file).unwrap().len();
    let mut file = std::fs::OpenOptions::new().write(true).open(&place.file).unwrap();
    file.seek(SeekFrom::Start(4096)).unwrap();
    file.write_all(&vec![0xa5; usize::try_from(length).unwrap() - 4096]).unwrap();
    let opened = Store::open(&place.file).await.unwrap();
    assert!(opened.alarm.is_some());
    assert!(opened.reader.holds().await.unwrap().is_empty());
}

#[tokio::test]
async fn r5_damage_that_shows_when_numbers_are_written_costs_no_other_write_and_is_mended_at_the_next_start() {
    let place = Place::new();
    {
        let opened = Store::open(&place.file).await.unwrap();
        opened.store.append_samples(vec![minute()]).done().await.unwrap();
        opened.store.set_hold(hold("shop.ini")).done().await.unwrap();
    }
    place.sqlite("PRAGMA wal_checkpoint(TRUNCATE)").await;
    let mut database = place.connection().await;
    let page: i64 = sqlx::query_scalar("SELECT rootpage FROM sqlite_schema WHERE name = 'samples'")
        .fetch_one(&mut database)
        .await
        .unwrap();
    database.close().await.unwrap();
    let mut file = std::fs::OpenOptions::new().write(true).open(&place.file).unwrap();
    file.seek(SeekFrom::Start((u64::try_from(page).unwrap() - 1) * 4096)).unwrap();
    file.write_all(&[0xa5; 4096]).unwrap();
    {
        let opened = Store::open(&place.file).await.unwrap();
        assert_eq!(opened.alarm, None, "numbers are not looked through at the start");
        let (lost, kept) =
            (opened.store.append_samples(vec![minute()]), opened.store.set_mark(Mark::Frozen, hold("shop.ini").vassal));
        assert!(matches!(lost.done().await, Err(StoreError::Corrupt { .. })));
        kept.done().await.unwrap();
    }
    let opened = Store::open(&place.file).await.unwrap();
    let alarm = opened.alarm.unwrap();
    assert!(alarm.contains("stops were taken over"), "{alarm}");
    opened.store.append_samples(vec![minute()]).done().await.unwrap();
    assert_eq!(opened.reader.holds().await.unwrap(), [hold("shop.ini")]);
    assert_eq!(opened.reader.marked(Mark::Frozen).await.unwrap(), [hold("shop.ini").vassal]);
    drop(opened.store);
    assert_eq!(Store::open(&place.file).await.unwrap().alarm, None, "once");
}

#[tokio::test]
async fn r1_a_full_database_says_so_keeps_what_it_has_and_writes_again_when_there_is_room() {
    let place = Place::new();
    let small = Limits { file_max_bytes: 512 * 1024, ..Limits::default() };
    let opened = Store::open_within(&place.file, small).await.unwrap();
    let trouble = opened.store.trouble();
    let mut number = 0;
    let error = loop {
        number += 1;
        assert!(number < 100, "512 KiB hold no hundred revisions of 64 KiB");
        if let Err(error) = opened.store.record_revision(big_revision(number)).done().await {
            break error;
        }
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert_eq!(*trouble.borrow(), Some(error.to_string()));
    let vassal = VassalName::new("shop.ini").unwrap();
    assert_eq!(opened.reader.revisions(&vassal, 100).await.unwrap().len() as u64, number - 1);
    // A row that needs no new page still goes in, and the trouble is over.
    opened.store.set_hold(hold("shop.ini")).done().await.unwrap();
    assert_eq!(*trouble.borrow(), None);
}

#[tokio::test]
async fn r8_a_reader_that_never_ends_is_told_and_the_journal_stops_growing_by_numbers() {
    let place = Place::new();
    let small = Limits { journal_max_bytes: 1 << 20, ..Limits::default() };
    let opened = Store::open_within(&place.file, small).await.unwrap();
    let trouble = opened.store.trouble();
    let journal = || std::fs::metadata(place.directory.join("state.db-wal")).unwrap().len();
    // Somebody begins to read and never ends.
    let mut other = place.connection().await;
    other.execute("BEGIN; SELECT count(*) FROM holds").await.unwrap();
    for number in 1..=32 {
        opened.store.record_revision(big_revision(number)).done().await.unwrap();
    }
    assert!(journal() > 1 << 20);
    let before = journal();
    let error = opened.store.append_samples(vec![minute()]).done().await.unwrap_err();
    assert!(matches!(error, StoreError::Journal { .. }), "{error}");
    assert!(error.to_string().contains("state.db-wal"), "{error}");
    assert_eq!(journal(), before);
    // An order of an operator is kept all the same, and does not hide the trouble.
    opened.store.set_hold(hold("shop.ini")).done().await.unwrap();
    assert_eq!(opened.reader.holds().await.unwrap(), [hold("shop.ini")]);
    assert!(trouble.borrow().as_ref().is_some_and(|told| told.contains("another program reads")));
    other.execute("COMMIT").await.unwrap();
    opened.store.append_samples(vec![minute()]).done().await.unwrap();
    assert_eq!(*trouble.borrow(), None);
    assert!(journal() <= 1 << 20, "the room is given back");
}

#[tokio::test]
async fn r6_a_locked_database_says_so_and_is_written_again_once_it_is_free() {
    let place = Place::new();
    let impatient = Limits { lock_wait: Duration::from_millis(50), ..Limits::default() };
    let opened = Store::open_within(&place.file, impatient).await.unwrap();
    let mut other = place.connection().await;
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let error = opened.store.set_hold(hold("shop.ini")).done().await.unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    assert!(opened.store.trouble().borrow().is_some());
    assert!(opened.reader.holds().await.unwrap().is_empty(), "reading goes on beside it");
    other.execute("COMMIT").await.unwrap();
    opened.store.set_hold(hold("shop.ini")).done().await.unwrap();
    assert!(opened.store.trouble().borrow().is_none());
}

#[tokio::test]
async fn r6_what_operators_said_while_it_was_locked_is_written_once_it_is_free_and_the_newest_word_counts() {
    let place = Place::new();
    let impatient = Limits { lock_wait: Duration::from_millis(50), ..Limits::default() };
    let opened = Store::open_within(&place.file, impatient).await.unwrap();
    let shop = VassalName::new("shop.ini").unwrap();
    opened.store.set_hold(hold("shop.ini")).done().await.unwrap();
    let mut other = place.connection().await;
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    opened.store.lift_hold(shop.clone()).done().await.unwrap_err();
    opened.store.set_mark(Mark::Frozen, shop.clone()).done().await.unwrap_err();
    opened.store.set_hold(hold("blog.ini")).done().await.unwrap_err();
    opened.store.lift_hold(VassalName::new("blog.ini").unwrap()).done().await.unwrap_err();
    other.execute("ROLLBACK").await.unwrap();
    let mut trouble = opened.store.trouble();
    tokio::time::timeout(Duration::from_secs(30), trouble.wait_for(Option::is_none)).await.unwrap().unwrap();
    // All of it is written by then, or about to be: a write behind it is answered after it.
    opened.store.prune(1).done().await.unwrap();
    assert!(opened.reader.holds().await.unwrap().is_empty());
    assert_eq!(opened.reader.marked(Mark::Frozen).await.unwrap(), [shop]);
}

#[tokio::test]
async fn r6_a_database_that_another_program_holds_exclusively_is_told_as_locked() {
    let place = Place::new();
    drop(Store::open(&place.file).await.unwrap());
    let mut other = place.connection().await;
    other.execute("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; DELETE FROM holds; COMMIT").await.unwrap();
    let impatient = Limits { lock_wait: Duration::from_millis(50), ..Limits::default() };
    let error = Store::open_within(&place.file, impatient).await.unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
}

#[tokio::test]
async fn r5_a_database_of_a_newer_version_is_left_alone() {
    let place = Place::new();
    drop(Store::open(&place.file).await.unwrap());
    place
        .sqlite(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (9999, 'later', 1, x'00', 0)",
        )
        .await;
    let error = Store::open(&place.file).await.unwrap_err();
    assert!(matches!(error, StoreError::Newer { migration: 9999, .. }), "{error}");
}

#[tokio::test]
async fn r10_a_migration_that_was_cut_off_is_begun_anew_and_loses_nothing() {
    let place = Place::new();
    let opened = Store::open(&place.file).await.unwrap();
    opened.store.set_hold(hold("shop.ini")).done().await.unwrap();
    drop(opened);
    // As the version before left it.
    place.sqlite("DROP TABLE marks").await;
    place.sqlite("DELETE FROM _sqlx_migrations WHERE version = 3").await;
    // What the disk holds when the process is killed between the first statement and the commit.
    let cut_off = Place::new();
    let mut connection = place.connection().await;
    for statement in ["BEGIN IMMEDIATE", "CREATE TABLE marks (mark TEXT, vassal TEXT)", "DROP VIEW deployments"] {
        connection.execute(statement).await.unwrap();
    }
    for file in std::fs::read_dir(&place.directory).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), cut_off.directory.join(file.file_name())).unwrap();
    }
    let opened = Store::open(&cut_off.file).await.unwrap();
    assert_eq!(opened.reader.holds().await.unwrap(), [hold("shop.ini")]);
    let name = VassalName::new("shop.ini").unwrap();
    opened.store.set_mark(Mark::Frozen, name.clone()).done().await.unwrap();
    assert_eq!(opened.reader.marked(Mark::Frozen).await.unwrap(), std::slice::from_ref(&name));
    assert_eq!(opened.reader.marked(Mark::Doubted).await.unwrap(), []);
    opened.store.lift_mark(Mark::Frozen, name).done().await.unwrap();
    assert_eq!(opened.reader.marked(Mark::Frozen).await.unwrap(), []);
    assert_eq!(opened.reader.latest_deployments().await.unwrap(), []);
}

#[tokio::test]
async fn what_an_operator_has_said_is_written_however_much_waits() {
    let place = Place::new();
    let opened = Store::open(&place.file).await.unwrap();
    // The writer has had no turn since.
    let waiting: Vec<_> = (0..8_192).map(|_| opened.store.append_samples(Vec::new())).collect();
    let one_more = opened.store.append_samples(Vec::new()).done().await;
    assert!(matches!(one_more, Err(StoreError::Behind { .. })), "{one_more:?}");
    opened.store.set_hold(hold("shop.ini")).done().await.unwrap();
    drop(waiting);
    opened.store.append_samples(Vec::new()).done().await.unwrap();
    assert_eq!(opened.reader.holds().await.unwrap(), [hold("shop.ini")]);
}
