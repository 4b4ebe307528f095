//! Words of a master never bring the brain down, whatever numbers and texts are in them and in whatever order they come.

use std::{os::fd::OwnedFd, path::PathBuf, sync::Arc, time::Duration};

use empery_control::{
    fleet::FleetSnapshot,
    framing,
    link::{FromMaster, MasterSnapshot, Severity, WorkerPhase, WorkerView},
    scoreboard::Totals,
    stacks::{Source, WorkerStacks},
};
use empery_lifecycle::{
    fleet::{Berth, Event, Fleet, Identity, MasterKey, Policy},
    generations::{FailureReason, RecycleReason, Report},
    ids::{GenerationId, MasterSerial, OperationId, RevisionId, VassalName, WorkerId, WorkerRef},
};
use empery_sys::{scoreboard::Scoreboard, seqpacket};
use proptest::{prelude::*, sample::Index, test_runner::TestRunner};
use serde_json::Value;
use tokio::sync::Notify;

use super::{FleetTask, Parts, hear::alive};
use crate::{
    brain::{
        around::{Around, AroundOptions},
        history::History,
        inputs::{Inbox, Input},
        keeper_line::KeeperLine,
        log_places::LogPlaces,
        operations::Operations,
        perform::Performer,
        post::Seat,
        publish::Publisher,
        scan::{looks::Looks, reading::Reader},
        turn::Turns,
    },
    sources::Sources,
};

const ROOT: Identity = Identity { uid: 0, gid: 0 };

fn master() -> MasterKey {
    MasterKey { vassal: VassalName::new("shop.ini").unwrap(), berth: Berth::A, serial: MasterSerial(1) }
}

/// A task with one vassal whose master serves; the keeper's end of its line.
fn task() -> (FleetTask, OwnedFd) {
    let nowhere = PathBuf::from("/nonexistent");
    let sources = Arc::new(Sources::of_directory(nowhere.join("vassals")));
    let (inbox, _) = Inbox::new();
    let (keeper, ours) = seqpacket::pair().unwrap();
    let line = KeeperLine::connect(ours, |_| {}).unwrap();
    let history = History::new(nowhere.join("state.db"), inbox.clone());
    let around = Around::new(AroundOptions::default(), Arc::clone(&sources));
    let reader = Reader::new(Arc::clone(&sources), ROOT);
    let mut task = FleetTask::new(Parts {
        fleet: Fleet::new(Policy::default(), OperationId(1)),
        operations: Operations::default(),
        performer: Performer::new(line, inbox.clone(), reader, history.reader(), around),
        history,
        publisher: Publisher::new(FleetSnapshot::default()),
        log_places: LogPlaces::new(&nowhere, sources),
        runtime: nowhere,
        inbox,
        looks: Looks::new(Arc::new(Notify::new())),
    });
    task.publisher.open();
    let seat = Seat::new(-1, ROOT, task.open_link(&master()));
    task.post(&master().vassal).seats.insert(master(), seat);
    task.decide(Event::Found(alive(&master(), &snapshot())));
    (task, keeper)
}

fn worker() -> WorkerRef {
    WorkerRef { generation: GenerationId(1), worker: WorkerId(1), spawn: 1 }
}

fn snapshot() -> MasterSnapshot {
    MasterSnapshot {
        master: master(),
        pid: -1,
        identity: ROOT,
        version: "1".to_owned(),
        serving: Some((GenerationId(1), RevisionId(1))),
        serves_since_unix_ms: Some(1),
        booting: Some((GenerationId(2), RevisionId(2), OperationId(2))),
        listeners: vec!["127.0.0.1:1".to_owned()],
        generations: vec![GenerationId(1)],
        log: false,
        python: Some("3.14.0".to_owned()),
        retired: Totals::default(),
        workers: workers(),
        last_failure: Some(failed()),
        serving_sha256: Some("0123456789abcdef".to_owned()),
        answers_pings: true,
        tells_stacks: true,
        freezes: true,
        frozen: false,
        outdated: false,
    }
}

fn workers() -> Vec<WorkerView> {
    vec![WorkerView { worker: worker(), pid: -1, phase: WorkerPhase::Serving, since_unix_s: 1 }]
}

fn failed() -> Report {
    Report::Failed {
        operation: Some(OperationId(1)),
        generation: GenerationId(2),
        revision: RevisionId(2),
        reason: FailureReason::Died { how: "x".to_owned() },
        still_serving: false,
    }
}

/// Words to start from.
fn words() -> Vec<FromMaster> {
    let (operation, generation, revision) = (Some(OperationId(1)), GenerationId(2), RevisionId(2));
    let reports = [
        Report::Booting { operation, generation, revision },
        Report::Loaded { generation },
        Report::Serving { operation, generation, revision },
        failed(),
        Report::Drained { generation, killed: 1 },
        Report::WorkerDied { worker: worker(), how: "signal 9".to_owned(), retry_in: Duration::from_secs(1) },
        Report::Recycled { worker: worker(), why: RecycleReason::Requests },
        Report::Stopped,
    ];
    let report = |report| FromMaster::Report {
        report,
        at_unix_ms: 1,
        boot_output: Some("printed".to_owned()),
        evidence: Some("seen".to_owned()),
    };
    let stacks =
        WorkerStacks { worker: worker(), pid: 1, source: Source::Python, took_ms: 1, note: None, threads: Vec::new() };
    let others = [
        FromMaster::Snapshot(Box::new(snapshot())),
        FromMaster::WrongVersion { speaks: 2 },
        FromMaster::Interpreter { generation, python: "3".to_owned() },
        FromMaster::Scoreboard { generation },
        FromMaster::Retired { generation, totals: Totals::default() },
        FromMaster::ListenersReleased { keys: vec!["127.0.0.1:1".to_owned()] },
        FromMaster::Regions { names: vec!["r".to_owned()] },
        FromMaster::TlsFilesAsked { paths: vec!["/x".into()] },
        FromMaster::Notice {
            severity: Severity::Incident,
            code: "c".to_owned(),
            text: "\n".to_owned(),
            worker: Some(worker()),
            at_unix_ms: 1,
        },
        FromMaster::Pong,
        FromMaster::Stacks { token: 1, stacks: Box::new(stacks) },
        FromMaster::Workers { workers: workers(), outdated: true },
    ];
    reports.into_iter().map(report).chain(others).collect()
}

/// Puts extremes in the place of some numbers and texts.
fn distort(value: &mut Value, chances: &mut impl Iterator<Item = u8>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| distort(item, chances)),
        Value::Object(fields) => fields.values_mut().for_each(|field| distort(field, chances)),
        Value::Number(_) => match chances.next() {
            Some(0) => *value = 0.into(),
            Some(1) => *value = u64::MAX.into(),
            Some(2) => *value = u32::MAX.into(),
            Some(3) => *value = i32::MIN.into(),
            Some(4) => *value = (1_u64 << 63).into(),
            Some(_) | None => {}
        },
        Value::String(text) if chances.next() == Some(0) => *text = "\u{0}\n\u{202e}".repeat(40),
        Value::String(_) | Value::Bool(_) | Value::Null => {}
    }
}

#[test]
fn no_word_of_a_master_panics_the_brain_and_what_follows_can_be_shown() {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let word = (any::<Index>(), proptest::collection::vec(0_u8..12, 0..40));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tried = TestRunner::new(config).run(&proptest::collection::vec(word, 1..24), |said| {
        runtime.block_on(async {
            let (mut task, _keeper) = task();
            let turns = Turns::default();
            for (which, chances) in said {
                let mut value = serde_json::to_value(which.get(&words())).unwrap();
                distort(&mut value, &mut chances.into_iter());
                let Ok(word) = framing::decode::<FromMaster>(value.to_string().as_bytes()) else { continue };
                let fds = match &word {
                    FromMaster::Scoreboard { .. } => vec![Scoreboard::create(GenerationId(1), 1, 1, 0).unwrap().1],
                    _ => Vec::new(),
                };
                let input = Input::Master { master: master(), word: Box::new(word), fds, turn: turns.next().await };
                prop_assert!(task.hear(input).is_continue());
                task.sample();
                task.publish();
                serde_json::to_string(&**task.publisher.snapshot().borrow()).unwrap();
            }
            Ok(())
        })
    });
    tried.unwrap();
}
