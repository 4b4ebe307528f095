//! What is written is read back as it was, over a restart too, and forgotten when its time has come.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod place;

use empery_control::{
    fleet::{OperationView, PhaseTime, ProblemView},
    link::Severity,
};
use empery_lifecycle::{
    fleet::{OperationEnd, Verb},
    generations::FailureReason,
    ids::{GenerationId, OperationId, RevisionId, VassalName, WorkerId, WorkerRef},
};
use empery_store::{Hold, Incident, Revision, Sample, Store, retention};
use place::Place;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

fn name(text: &str) -> VassalName {
    VassalName::new(text).unwrap()
}

fn operation(id: u64, vassal: &str, began_unix_ms: u64) -> OperationView {
    OperationView {
        id: OperationId(id),
        vassal: name(vassal),
        verb: Verb::Reload,
        actor: "api".to_owned(),
        revision: Some(3),
        generation: Some(id * 2),
        phase: "booting".to_owned(),
        end: None,
        began_unix_ms,
        phases: vec![PhaseTime { phase: "booting".to_owned(), after_ms: 4 }],
        ended_unix_ms: None,
        boot_output: None,
    }
}

fn ended(view: OperationView) -> OperationView {
    OperationView { end: Some(OperationEnd::Succeeded), ended_unix_ms: Some(view.began_unix_ms + 900), ..view }
}

fn revision(vassal: &str, number: u64) -> Revision {
    Revision {
        vassal: name(vassal),
        revision: RevisionId(number),
        sha256: format!("{number:064x}"),
        content: b"[uwsgi]\nmodule = \xff\n".to_vec(),
        problems: vec![ProblemView {
            severity: "warning".to_owned(),
            code: "unknown-option".to_owned(),
            file: "shop.ini".to_owned(),
            line: 2,
            column: 1,
            source: Some("modul = x".to_owned()),
            message: "modul is no option".to_owned(),
            hint: None,
        }],
        seen_unix_ms: 7,
        facts: Some(format!("facts of {number}")),
    }
}

fn minute(vassal: &str, minute_unix_s: u64) -> Sample {
    Sample {
        vassal: name(vassal),
        minute_unix_s,
        requests: 600,
        errors_5xx: 2,
        exceptions: 1,
        tx_bytes: 1 << 40,
        busy_us: 59_000_000,
        busy_threads_peak: 3,
        threads: 4,
        workers: 2,
        rss_bytes: 80 << 20,
    }
}

#[tokio::test]
async fn everything_is_read_back_as_it_was_after_a_restart() {
    let place = Place::new();
    let failed = OperationView {
        end: Some(OperationEnd::Failed {
            reason: FailureReason::App { sentence: "no".to_owned(), traceback: Some("Traceback\n  …".to_owned()) },
            still_serving: true,
        }),
        phase: "done".to_owned(),
        ended_unix_ms: Some(5_000),
        boot_output: Some("booting\n".to_owned()),
        ..operation(41, "shop.ini", 4_000)
    };
    let worker = WorkerRef { generation: GenerationId(8), worker: WorkerId(2), spawn: 5 };
    let incident = Incident {
        vassal: Some(name("shop.ini")),
        at_unix_ms: 9,
        severity: Severity::Incident,
        code: "harakiri".to_owned(),
        text: "Worker 2 was killed.\nevidence".to_owned(),
        worker: Some(worker),
    };
    let of_emperor = Incident { vassal: None, severity: Severity::Warning, worker: None, ..incident.clone() };
    let hold = Hold { vassal: name("shop.ini"), actor: "cli:uid 0".to_owned(), since_unix_ms: 11 };
    {
        let opened = Store::open(&place.file).await.unwrap();
        assert_eq!(opened.alarm, None);
        let store = opened.store;
        let first = operation(41, "shop.ini", 4_000);
        for written in [
            store.record_vassals_seen(vec![name("shop.ini"), name("blog.ini")], 3),
            store.record_revision(revision("shop.ini", 2)),
            store.record_revision(revision("shop.ini", 3)),
            store.record_operation(first),
            store.record_operation(failed.clone()),
            store.record_operation(ended(operation(40, "blog.ini", 3_000))),
            store.record_operation(ended(OperationView { verb: Verb::Resume, ..operation(42, "blog.ini", 5_000) })),
            store.record_incident(incident.clone()),
            // A master says it again to the next brain.
            store.record_incident(incident.clone()),
            store.record_incident(of_emperor.clone()),
            store.set_hold(hold.clone()),
            store.set_hold(Hold { vassal: name("blog.ini"), ..hold.clone() }),
            store.lift_hold(name("blog.ini")),
            store.append_samples(vec![minute("shop.ini", 60), minute("never-seen.ini", 60)]),
            store.append_samples(vec![minute("shop.ini", 120)]),
        ] {
            written.done().await.unwrap();
        }
    }
    let reader = Store::open(&place.file).await.unwrap().reader;
    assert_eq!(reader.last_operation_id().await.unwrap(), OperationId(42));
    assert_eq!(reader.last_generation(&name("shop.ini")).await.unwrap(), Some(GenerationId(82)));
    assert_eq!(reader.last_generation(&name("other.ini")).await.unwrap(), None);
    assert_eq!(reader.operation(OperationId(41)).await.unwrap(), Some(failed.clone()));
    assert_eq!(reader.operations(&name("shop.ini"), 10).await.unwrap(), vec![failed]);
    let deployments: Vec<_> = reader.latest_deployments().await.unwrap().into_iter().map(|view| view.id.0).collect();
    assert_eq!(deployments, [40, 41]);
    assert_eq!(reader.incidents(&name("shop.ini"), 10).await.unwrap(), vec![incident]);
    assert_eq!(reader.incidents_of_emperor(10).await.unwrap(), vec![of_emperor]);
    assert_eq!(reader.holds().await.unwrap(), vec![hold]);
    assert_eq!(reader.samples(&name("shop.ini"), 61).await.unwrap(), vec![minute("shop.ini", 120)]);
    assert_eq!(reader.samples(&name("never-seen.ini"), 0).await.unwrap().len(), 1);
    let latest = reader.latest_revisions().await.unwrap();
    assert_eq!(
        (latest.len(), latest[0].revision, latest[0].sha256.as_str()),
        (1, RevisionId(3), &*format!("{:064x}", 3))
    );
    assert_eq!(reader.revision(&name("shop.ini"), RevisionId(2)).await.unwrap(), Some(revision("shop.ini", 2)));
    assert_eq!(reader.revisions(&name("shop.ini"), 1).await.unwrap()[0].revision, RevisionId(3));
}

#[tokio::test]
async fn operations_that_an_earlier_emperor_left_are_ended_except_those_still_running() {
    let place = Place::new();
    let opened = Store::open(&place.file).await.unwrap();
    for id in [1, 2, 3] {
        let view = operation(id, "shop.ini", 10);
        opened.store.record_operation(if id == 1 { ended(view) } else { view }).done().await.unwrap();
    }
    opened.store.abandon_unfinished(vec![OperationId(3)], 99).done().await.unwrap();
    let view = |id| opened.reader.operation(OperationId(id));
    assert_eq!(view(1).await.unwrap().unwrap().end, Some(OperationEnd::Succeeded));
    let abandoned = view(2).await.unwrap().unwrap();
    assert!(abandoned.failure().is_some() && abandoned.ended_unix_ms == Some(99), "{abandoned:?}");
    assert_eq!(view(3).await.unwrap().unwrap().end, None);
    opened.store.abandon_unfinished(Vec::new(), 100).done().await.unwrap();
    assert!(view(3).await.unwrap().unwrap().failure().is_some());
}

#[tokio::test]
async fn each_table_forgets_what_its_retention_no_longer_keeps() {
    let place = Place::new();
    let opened = Store::open(&place.file).await.unwrap();
    let store = &opened.store;
    let now = 400 * DAY_MS;
    let old = now - (retention::HISTORY_DAYS + 1) * DAY_MS;
    let fresh = now - DAY_MS;
    let kept = u64::from(retention::REVISIONS_PER_VASSAL);
    store.record_vassals_seen(vec![name("gone.ini")], old).unattended();
    store.record_vassals_seen(vec![name("shop.ini")], fresh).unattended();
    for number in 1..=kept + 5 {
        store.record_revision(revision("shop.ini", number)).unattended();
    }
    store.record_revision(revision("gone.ini", 1)).unattended();
    store.record_operation(ended(operation(1, "shop.ini", old))).unattended();
    store.record_operation(ended(operation(2, "shop.ini", old))).unattended();
    store.record_operation(ended(operation(3, "shop.ini", fresh))).unattended();
    store.record_operation(ended(operation(4, "gone.ini", old))).unattended();
    store.record_operation(ended(operation(5, "gone.ini", old))).unattended();
    let incident = |at_unix_ms| Incident {
        vassal: Some(name("shop.ini")),
        at_unix_ms,
        severity: Severity::Warning,
        code: "odd".to_owned(),
        text: "odd".to_owned(),
        worker: None,
    };
    store.record_incident(incident(old)).unattended();
    store.record_incident(incident(fresh)).unattended();
    store.set_hold(Hold { vassal: name("gone.ini"), actor: "api".to_owned(), since_unix_ms: old }).unattended();
    let samples_old = (now - (retention::SAMPLES_DAYS + 1) * DAY_MS) / 1_000;
    store.append_samples(vec![minute("shop.ini", samples_old), minute("gone.ini", fresh / 1_000)]).unattended();
    store.append_samples(vec![minute("shop.ini", fresh / 1_000)]).unattended();
    store.prune(now).done().await.unwrap();

    let reader = &opened.reader;
    let revisions: Vec<_> =
        reader.revisions(&name("shop.ini"), 1_000).await.unwrap().iter().map(|entry| entry.revision.0).collect();
    assert_eq!((revisions.len() as u64, revisions.last()), (kept, Some(&6)));
    assert!(reader.revisions(&name("gone.ini"), 9).await.unwrap().is_empty());
    let operations = |text| {
        let vassal = name(text);
        async move { reader.operations(&vassal, 9).await.unwrap().iter().map(|view| view.id.0).collect::<Vec<_>>() }
    };
    assert_eq!(operations("shop.ini").await, [3], "the newest of a vassal stays");
    assert_eq!(operations("gone.ini").await, [5], "the newest of all stays, or numbers would be given twice");
    assert_eq!(reader.incidents(&name("shop.ini"), 9).await.unwrap().len(), 1);
    assert_eq!(reader.holds().await.unwrap().len(), 1, "holds stay until they are lifted");
    assert_eq!(reader.samples(&name("shop.ini"), 0).await.unwrap(), vec![minute("shop.ini", fresh / 1_000)]);
    assert!(reader.samples(&name("gone.ini"), 0).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_minute_of_a_thousand_vassals_is_one_batch() {
    let place = Place::new();
    let opened = Store::open(&place.file).await.unwrap();
    let minutes = (0..1_000).map(|number| minute(&format!("vassal-{number}.ini"), 60)).collect();
    opened.store.append_samples(minutes).done().await.unwrap();
    assert_eq!(opened.reader.samples(&name("vassal-999.ini"), 0).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_bad_write_takes_none_of_its_neighbours_along() {
    let place = Place::new();
    let opened = Store::open(&place.file).await.unwrap();
    place
        .sqlite(
            "CREATE TRIGGER trap BEFORE INSERT ON operations WHEN new.id = 2 BEGIN SELECT raise(ABORT, 'trap'); END",
        )
        .await;
    let writes: Vec<_> =
        (1..=3).map(|id| opened.store.record_operation(ended(operation(id, "shop.ini", 10)))).collect();
    let mut outcomes = Vec::new();
    for write in writes {
        outcomes.push(write.done().await.is_ok());
    }
    assert_eq!(outcomes, [true, false, true]);
    assert_eq!(opened.reader.operations(&name("shop.ini"), 9).await.unwrap().len(), 2);
}
