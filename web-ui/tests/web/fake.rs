//! A fleet that is made up, for the tests of the web and for the preview: a realm with a task in the brain's place that
//! takes requests. Every name and text in it that could come from a file or an app is hostile somewhere.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use empery_control::{
    fleet::{
        FleetEvent, FleetSnapshot, Numbers, OperationView, PhaseTime, ProblemView, UpgradeView, UpgradedVassal,
        VassalSnapshot, WorkerSnapshot,
    },
    link::{WorkerPhase, WorkerView},
    stacks::{Frame, RequestView, Source, ThreadStack, WorkerStacks},
};
use empery_lifecycle::{
    fleet::{OperationEnd, Verb},
    generations::FailureReason,
    ids::{GenerationId, OperationId, VassalName, WorkerId, WorkerRef},
};
use empery_store::Reader;
use empery_web_ui::{Access, Ask, AskError, OperationBoard, Realm};
use tokio::sync::{broadcast, mpsc, watch};

/// 2026-11-22 18:45:00 UTC.
pub(crate) const NOW_UNIX_MS: u64 = 1_795_373_100_000;

/// The name of a vassal whose file's owner would like to run a script in the operator's browser.
pub(crate) const HOSTILE: &str = "<script>alert(1)<%>\"'&.ini";

pub(crate) const TRACEBACK: &str = "Traceback (most recent call last):\n  File \"/srv/blog/blog/wsgi.py\", line 7, in <module>\n    from blog.settigns import DEBUG\nModuleNotFoundError: No module named 'blog.settigns'\n</pre><script>alert(2)</script>";

pub(crate) struct Fake {
    pub(crate) realm: Realm,
    pub(crate) snapshots: watch::Sender<Arc<FleetSnapshot>>,
    asks: Option<mpsc::Receiver<Ask>>,
}

impl Fake {
    /// A realm with nobody at the other end yet. `logs` is where a file per vassal is looked for.
    pub(crate) fn new(access: Access, reader: Option<Reader>, logs: PathBuf) -> Fake {
        let (snapshots, snapshot) = watch::channel(Arc::new(fleet()));
        let (asks_sender, asks) = mpsc::channel(16);
        let realm = Realm {
            snapshot,
            events: broadcast::Sender::new(64),
            asks: asks_sender,
            operations: OperationBoard::default(),
            reader: watch::channel(reader).1,
            access: Arc::new(access),
            now_unix_ms: || NOW_UNIX_MS,
            log_file_of: Arc::new(move |name: &VassalName| Some(logs.join(name.as_str().replace('/', "")))),
            hosts: Arc::from(["panel.example".to_owned()]),
            base_url: Arc::from("http://127.0.0.1:7070"),
        };
        Fake { realm, snapshots, asks: Some(asks) }
    }

    /// Takes requests: a stop ends at once, a reload fails with a traceback when the vassal is `blog.ini`, a start never ends.
    pub(crate) fn take_requests(&mut self) {
        let Some(mut asks) = self.asks.take() else { return };
        let (board, events) = (self.realm.operations.clone(), self.realm.events.clone());
        tokio::spawn(async move {
            let mut id = 100;
            let mut doubted = fleet().removals_doubted;
            while let Some(ask) = asks.recv().await {
                let (vassal, verb, actor, reply) = match ask {
                    Ask::Operation { name, verb, actor, reply } => (name, verb, actor, reply),
                    Ask::Stacks { name, worker, pid, reply } => {
                        let known = fleet().vassals.iter().any(|known| known.name == name);
                        let _ = reply.send(match worker.0 {
                            _ if !known => Err(AskError::UnknownVassal(name)),
                            // One that drains beside the one that serves.
                            1 if pid == Some(4711) => Ok(WorkerStacks { pid: 4711, ..stacks() }),
                            1 => Ok(stacks()),
                            _ => Err(AskError::UnknownWorker(name, worker.0)),
                        });
                        continue;
                    }
                    Ask::Retry { name, actor, reply } => (name, Verb::Start, actor, reply),
                    Ask::Upgrade { actor, reply } => {
                        let _ = reply.send(Ok(upgrade(&actor)));
                        continue;
                    }
                    Ask::ConfirmRemovals { reply, .. } => {
                        let confirmed = std::mem::take(&mut doubted);
                        let _ = reply.send(if confirmed.is_empty() {
                            Err(AskError::NothingToConfirm)
                        } else {
                            Ok(confirmed)
                        });
                        continue;
                    }
                };
                if !fleet().vassals.iter().any(|known| known.name == vassal) {
                    let _ = reply.send(Err(AskError::UnknownVassal(vassal)));
                    continue;
                }
                id += 1;
                let begun = OperationView { actor, ..operation(id, vassal.as_str(), verb, None) };
                board.record(begun.clone());
                let end = match (verb, vassal.as_str()) {
                    (Verb::Start, _) => None,
                    (Verb::Reload, "blog.ini") => Some(failed()),
                    (Verb::Reload | Verb::Stop | Verb::Freeze | Verb::Resume, _) => Some(OperationEnd::Succeeded),
                };
                let _ = reply.send(Ok(begun.clone()));
                if end.is_some() {
                    let ended = OperationView {
                        end,
                        phase: "done".to_owned(),
                        ended_unix_ms: Some(NOW_UNIX_MS + 1_250),
                        ..begun
                    };
                    board.record(ended.clone());
                    let _ = events.send(FleetEvent::Operation(ended));
                }
            }
        });
    }
}

fn upgrade(actor: &str) -> UpgradeView {
    let vassals = vec![UpgradedVassal {
        name: name("shop.ini"),
        outcome: "waiting".to_owned(),
        operation: Some(OperationId(12)),
        reason: None,
    }];
    UpgradeView { actor: actor.to_owned(), began_unix_ms: NOW_UNIX_MS, phase: "vassals".to_owned(), vassals }
}

pub(crate) fn name(text: &str) -> VassalName {
    VassalName::new(text).expect("a name")
}

/// A worker with one stuck thread, whose app and client are hostile.
pub(crate) fn stacks() -> WorkerStacks {
    let request = RequestView {
        method: "GET".to_owned(),
        uri: "/<script>".to_owned(),
        peer: Some("192.0.2.7".to_owned()),
        age_ms: 1_500,
        core: 0,
        number: 3,
        request_id: None,
    };
    let frame = Frame {
        file: "/srv/<b>.py".to_owned(),
        line: 7,
        function: "view".to_owned(),
        code: Some("time.sleep(60)".to_owned()),
    };
    let thread = ThreadStack {
        name: Some("MainThread".to_owned()),
        ident: 1,
        core: Some(0),
        request: Some(request),
        frames: vec![frame],
        frames_left_out: 0,
        is_current: false,
    };
    let worker = WorkerRef { generation: GenerationId(7), worker: WorkerId(1), spawn: 0 };
    WorkerStacks { worker, pid: 4_711, source: Source::Python, took_ms: 3, note: None, threads: vec![thread] }
}

pub(crate) fn failed() -> OperationEnd {
    let sentence = "The app could not be imported: ModuleNotFoundError: No module named 'blog.settigns'.".to_owned();
    OperationEnd::Failed {
        reason: FailureReason::App { sentence, traceback: Some(TRACEBACK.to_owned()) },
        still_serving: true,
    }
}

pub(crate) fn operation(id: u64, vassal: &str, verb: Verb, end: Option<OperationEnd>) -> OperationView {
    let phase = |phase: &str, after_ms| PhaseTime { phase: phase.to_owned(), after_ms };
    OperationView {
        id: OperationId(id),
        vassal: name(vassal),
        verb,
        actor: "file".to_owned(),
        revision: Some(4),
        generation: Some(7),
        phase: if end.is_some() { "done" } else { "booting" }.to_owned(),
        ended_unix_ms: end.as_ref().map(|_| NOW_UNIX_MS - 180_000 + 1_420),
        phases: match &end {
            Some(OperationEnd::Succeeded) => {
                vec![phase("booting", 2), phase("proving", 810), phase("draining", 930), phase("done", 1_420)]
            }
            Some(_) => vec![phase("booting", 2), phase("done", 1_420)],
            None => vec![phase("booting", 2)],
        },
        end,
        began_unix_ms: NOW_UNIX_MS - 180_000,
        boot_output: Some("importing settings\n<b>not bold</b>\n".to_owned()),
    }
}

fn vassal(text: &str, state: &str, summary: &str) -> VassalSnapshot {
    let serves = matches!(state, "loyal" | "reloading" | "stopping");
    let rate = text.len() as f64 * 3.7;
    let worker = |number: u32| WorkerSnapshot {
        view: WorkerView {
            worker: WorkerRef { generation: GenerationId(6), worker: WorkerId(number), spawn: number / 3 },
            pid: 41_200 + i32::try_from(number).unwrap_or(0),
            phase: WorkerPhase::Serving,
            since_unix_s: NOW_UNIX_MS / 1_000 - 7_300,
        },
        requests: 10_240 * u64::from(number),
        busy_threads: number % 3,
        threads: 2,
        rss_bytes: 38 << 20,
    };
    let numbers = Numbers {
        requests_total: 1_284_417,
        requests_per_s: rate,
        errors_5xx_total: if text.starts_with('s') { 12 } else { 0 },
        exceptions_total: 3,
        tx_bytes_total: 9_123_456_789,
        mean_ms: 12.25,
        workers: 4,
        busy_threads: 4,
        threads: 8,
        rss_bytes: 171 << 20,
    };
    VassalSnapshot {
        name: name(text),
        state: state.to_owned(),
        frozen: text == "mail.ini",
        outdated: text == "shop.ini",
        summary: summary.to_owned(),
        generation: serves.then_some(6),
        serving_revision: serves.then_some(3),
        file_revision: Some(if state == "refused" || text == "blog.ini" { 4 } else { 3 }),
        master_pid: serves.then_some(41_199),
        identity: Some("1001:1001".to_owned()),
        listeners: vec!["127.0.0.1:8001".to_owned(), "/run/apps/site.sock".to_owned()],
        python: serves.then(|| "3.11.2".to_owned()),
        loyal_since_unix_ms: serves.then_some(NOW_UNIX_MS - 7_300_000),
        retry_at_unix_ms: (state == "cursed").then_some(NOW_UNIX_MS + 42_000),
        log_file: None,
        workers: if serves { (1..=4).map(worker).collect() } else { Vec::new() },
        numbers: if serves { numbers } else { Numbers::default() },
        last_deployment: Some(operation(7, text, Verb::Reload, Some(OperationEnd::Succeeded))),
        problems: Vec::new(),
    }
}

/// A fleet with a vassal in each state.
pub(crate) fn fleet() -> FleetSnapshot {
    let refused = VassalSnapshot {
        problems: vec![
            ProblemView {
                severity: "error".to_owned(),
                code: "bad-number".to_owned(),
                file: "wiki.ini".to_owned(),
                line: 4,
                column: 13,
                source: Some("processes = fuor <i>".to_owned()),
                message: "processes wants a number, and \"fuor <i>\" is none.".to_owned(),
                hint: Some("write a number such as 4".to_owned()),
            },
            ProblemView {
                severity: "warning".to_owned(),
                code: "unknown-option".to_owned(),
                file: "wiki.ini".to_owned(),
                line: 9,
                column: 1,
                source: Some("treads = 2".to_owned()),
                message: "treads is no option.".to_owned(),
                hint: Some("did you mean threads?".to_owned()),
            },
        ],
        last_deployment: None,
        ..vassal("wiki.ini", "refused", "Its file has 1 error; nothing of it runs.")
    };
    let broken = VassalSnapshot {
        last_deployment: Some(operation(9, "blog.ini", Verb::Reload, Some(failed()))),
        ..vassal("blog.ini", "loyal", "Serves revision 3; revision 4 failed to boot.")
    };
    let mut vassals: BTreeMap<_, _> = [
        refused,
        broken,
        vassal("shop.ini", "loyal", "Serves."),
        vassal("api.ini", "reloading", "Serves revision 3; a new generation boots beside it."),
        vassal("intranet-of-the-accounting-department.ini", "loyal", "Serves."),
        vassal("cron.ini", "held", "Stopped by an operator; it stays stopped."),
        vassal("mail.ini", "cursed", "Ended 4 times in a row: exit code 3."),
        vassal("forum.ini", "starting", "Its first generation boots."),
        vassal(HOSTILE, "queued", "Waits for its turn to boot."),
    ]
    .into_iter()
    .map(|vassal| (vassal.name.clone(), vassal))
    .collect();
    let numbers = Numbers {
        requests_per_s: 312.4,
        requests_total: 5_132_004,
        errors_5xx_total: 12,
        busy_threads: 13,
        threads: 32,
        rss_bytes: 684 << 20,
        ..Numbers::default()
    };
    if let Some(cursed) = vassals.get_mut(&name("mail.ini")) {
        let reason = FailureReason::Died { how: "exit code 3".to_owned() };
        cursed.last_deployment =
            Some(operation(8, "mail.ini", Verb::Start, Some(OperationEnd::Failed { reason, still_serving: false })));
    }
    FleetSnapshot {
        sequence: 17,
        at_unix_ms: NOW_UNIX_MS,
        version: "0.1.0".to_owned(),
        keeper_pid: 4_100,
        brain_pid: 4_101,
        vassals_directory: "/etc/vassals".to_owned(),
        watched: vec!["/etc/vassals".to_owned()],
        alarms: vec![
            "The database is full (recording samples): make room on the disk that holds /var/lib/empery.".to_owned(),
        ],
        removals_doubted: vec![name("cron.ini"), name(HOSTILE)],
        upgrade: None,
        numbers,
        vassals: vassals.into_values().collect(),
    }
}
