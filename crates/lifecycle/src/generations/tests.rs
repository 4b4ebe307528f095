//! The walks of the generation machine, one sentence each. The complete state space is in `exploration`, long
//! histories are in `simulation`.

mod recycling;
mod sizing;

use std::time::Duration;

use super::*;
use crate::ids::{RevisionId, WorkerId};

const PLAN: Plan =
    Plan { workers: 2, first: 2, least: 2, mercy: Duration::from_secs(60), boot_deadline: Duration::from_secs(60) };

fn worker(generation: u64, worker: u32, spawn: u32) -> WorkerRef {
    WorkerRef { generation: GenerationId(generation), worker: WorkerId(worker), spawn }
}

fn at(seconds: u64) -> Moment {
    Moment::START.after(Duration::from_secs(seconds))
}

fn deploy(operation: u64) -> Event {
    Event::Deploy { operation: OperationId(operation), revision: RevisionId(operation), plan: PLAN }
}

fn died(worker: WorkerRef) -> Event {
    Event::WorkerExited { worker, exit: Exit::Died, how: "signal 11 (SIGSEGV)".into() }
}

fn asked(worker: WorkerRef) -> Event {
    Event::RecycleAsked { worker, why: RecycleReason::Requests }
}

/// The machine asks whether the successor of this worker fits beside it.
fn weigh(worker: WorkerRef) -> Action {
    Action::Weigh(Weighing::Successor(worker))
}

fn weighed(worker: WorkerRef, room: Room) -> Event {
    Event::Weighed { what: Weighing::Successor(worker), room }
}

fn workers_weighed(generation: u64, room: Room) -> Event {
    Event::Weighed { what: Weighing::Workers(GenerationId(generation)), room }
}

fn left(worker: WorkerRef) -> Event {
    Event::WorkerExited { worker, exit: Exit::Clean, how: "exit code 0".into() }
}

fn zygote_left(generation: u64) -> Event {
    Event::ZygoteExited { generation: GenerationId(generation), how: "exit code 0".into() }
}

fn loaded(generation: u64) -> Event {
    Event::Loaded { generation: GenerationId(generation) }
}

fn broken(generation: u64) -> Event {
    Event::BootFailed { generation: GenerationId(generation), reason: broken_app() }
}

fn broken_app() -> FailureReason {
    FailureReason::App { sentence: "SyntaxError in app.py, line 3".into(), traceback: None }
}

fn failed(
    operation: Option<u64>,
    generation: u64,
    revision: u64,
    reason: FailureReason,
    still_serving: bool,
) -> Action {
    Action::Report(Report::Failed {
        operation: operation.map(OperationId),
        generation: GenerationId(generation),
        revision: RevisionId(revision),
        reason,
        still_serving,
    })
}

fn boot(operation: Option<u64>, generation: u64, revision: u64) -> [Action; 2] {
    let (generation, revision) = (GenerationId(generation), RevisionId(revision));
    [
        Action::Boot { generation, revision },
        Action::Report(Report::Booting { operation: operation.map(OperationId), generation, revision }),
    ]
}

/// The switch to the generation that this operation asked for, where every operation before it succeeded.
fn serves(operation: u64) -> Action {
    Action::Report(Report::Serving {
        operation: Some(OperationId(operation)),
        generation: GenerationId(operation),
        revision: RevisionId(operation),
    })
}

fn closed(worker: WorkerRef) -> Event {
    Event::GateClosed { worker }
}

fn drained(generation: u64, killed: u32) -> Action {
    Action::Report(Report::Drained { generation: GenerationId(generation), killed })
}

/// Brings the generation that boots into service.
fn prove(machine: &mut Generations, generation: u64, now: Moment) -> Vec<Action> {
    machine.handle(loaded(generation), now);
    machine.handle(workers_weighed(generation, Room::Enough), now);
    machine.handle(Event::Proved { worker: worker(generation, 1, 0) }, now);
    machine.handle(Event::Proved { worker: worker(generation, 2, 0) }, now)
}

/// A vassal whose first generation serves since the start.
fn serving() -> Generations {
    let mut machine = Generations::new(Policy::default());
    machine.handle(deploy(1), at(0));
    prove(&mut machine, 1, at(0));
    machine
}

#[test]
fn the_first_generation_serves_when_its_last_worker_has_proved() {
    let mut machine = Generations::new(Policy::default());
    assert_eq!(machine.handle(deploy(1), at(0)), boot(Some(1), 1, 1));
    assert_eq!(
        machine.handle(loaded(1), at(1)),
        [
            Action::Report(Report::Loaded { generation: GenerationId(1) }),
            Action::Spawn(worker(1, 1, 0)),
            Action::Spawn(worker(1, 2, 0))
        ]
    );
    assert_eq!(machine.handle(Event::Proved { worker: worker(1, 2, 0) }, at(1)), []);
    assert_eq!(
        machine.handle(Event::Proved { worker: worker(1, 1, 0) }, at(1)),
        [Action::OpenGate(worker(1, 1, 0)), Action::OpenGate(worker(1, 2, 0)), serves(1),]
    );
    assert_eq!(machine.deadline(), None, "a vassal that serves waits for nothing");
    assert_eq!(machine.serving(), Some((GenerationId(1), RevisionId(1))));
}

#[test]
fn a_reload_drains_the_old_generation_only_after_the_new_one_serves() {
    let mut machine = serving();
    assert_eq!(machine.handle(deploy(2), at(5)), boot(Some(2), 2, 2));
    assert_eq!(
        prove(&mut machine, 2, at(6)),
        [
            Action::OpenGate(worker(2, 1, 0)),
            Action::OpenGate(worker(2, 2, 0)),
            Action::Drain(worker(1, 1, 0)),
            Action::Drain(worker(1, 2, 0)),
            Action::RetireZygote(GenerationId(1)),
        ]
    );
    assert_eq!(machine.handle(closed(worker(1, 2, 0)), at(6)), [], "one of the old ones may still accept");
    assert_eq!(machine.handle(left(worker(1, 1, 0)), at(6)), [serves(2)]);
    assert_eq!(machine.handle(zygote_left(1), at(7)), []);
    assert_eq!(machine.handle(Event::DeadlineReached, at(65)), [], "mercy lasts 60 s");
    assert_eq!(machine.deadline(), Some(at(66)));
    assert_eq!(machine.handle(Event::DeadlineReached, at(66)), [Action::Kill(worker(1, 2, 0))]);
    assert_eq!(machine.handle(died(worker(1, 2, 0)), at(66)), [drained(1, 1)]);
}

#[test]
fn a_switch_is_told_although_a_worker_does_not_say_that_it_accepts_nothing() {
    let mut machine = serving();
    machine.handle(deploy(2), at(5));
    prove(&mut machine, 2, at(6));
    let within = Policy::default().told_within;
    assert_eq!(machine.deadline(), Some(at(6).after(within)));
    assert_eq!(machine.handle(Event::DeadlineReached, at(6).after(within)), [serves(2)]);
    assert_eq!(machine.handle(closed(worker(1, 1, 0)), at(7)), [], "it is told once");
}

#[test]
fn a_switch_is_told_before_what_comes_after_it() {
    let mut machine = serving();
    machine.handle(deploy(2), at(5));
    prove(&mut machine, 2, at(6));
    let [begins, booting] = boot(Some(3), 3, 3);
    assert_eq!(machine.handle(deploy(3), at(6)), [begins, serves(2), booting]);
}

#[test]
fn b5_a_broken_deploy_leaves_the_old_generation_alone_and_keeps_its_reason() {
    let mut machine = serving();
    machine.handle(deploy(2), at(5));
    assert_eq!(
        machine.handle(broken(2), at(6)),
        [Action::KillZygote(GenerationId(2)), failed(Some(2), 2, 2, broken_app(), true)]
    );
    assert_eq!(machine.handle(zygote_left(2), at(6)), []);
    assert_eq!(machine.serving(), Some((GenerationId(1), RevisionId(1))));
}

#[test]
fn a_worker_that_dies_before_its_proof_fails_the_boot_and_the_others_are_killed() {
    let mut machine = serving();
    machine.handle(deploy(2), at(5));
    machine.handle(loaded(2), at(5));
    machine.handle(workers_weighed(2, Room::Enough), at(5));
    let how = FailureReason::Died { how: "signal 11 (SIGSEGV)".into() };
    assert_eq!(
        machine.handle(died(worker(2, 1, 0)), at(6)),
        [Action::Kill(worker(2, 2, 0)), Action::KillZygote(GenerationId(2)), failed(Some(2), 2, 2, how, true)]
    );
}

#[test]
fn an_import_that_hangs_is_ended_by_the_boot_deadline() {
    let mut machine = serving();
    machine.handle(deploy(2), at(5));
    assert_eq!(machine.deadline(), Some(at(65)));
    assert_eq!(
        machine.handle(Event::DeadlineReached, at(65)),
        [Action::KillZygote(GenerationId(2)), failed(Some(2), 2, 2, FailureReason::BootDeadline { after_s: 60 }, true)]
    );
}

#[test]
fn a_first_boot_that_fails_leaves_when_its_processes_are_gone() {
    let mut machine = Generations::new(Policy::default());
    machine.handle(deploy(1), at(0));
    assert_eq!(
        machine.handle(broken(1), at(1)),
        [Action::KillZygote(GenerationId(1)), failed(Some(1), 1, 1, broken_app(), false)]
    );
    assert_eq!(machine.handle(zygote_left(1), at(1)), [Action::Leave]);
    assert_eq!(machine.handle(deploy(2), at(2)), [], "it has left");
}

#[test]
fn a_fix_that_arrives_before_a_failed_vassal_has_left_is_booted() {
    let mut machine = Generations::new(Policy::default());
    machine.handle(deploy(1), at(0));
    machine.handle(broken(1), at(1));
    assert_eq!(machine.handle(deploy(2), at(1)), boot(Some(2), 2, 2));
    assert_eq!(machine.handle(zygote_left(1), at(1)), []);
}

#[test]
fn a_newer_deploy_takes_the_place_of_one_that_boots() {
    let mut machine = serving();
    machine.handle(deploy(2), at(5));
    let [first, second] = boot(Some(3), 3, 3);
    assert_eq!(
        machine.handle(deploy(3), at(6)),
        [Action::KillZygote(GenerationId(2)), failed(Some(2), 2, 2, FailureReason::Superseded, true), first, second]
    );
    assert_eq!(machine.handle(loaded(2), at(6)), [], "the superseded one says nothing any more");
}

#[test]
fn a_cancelled_deploy_leaves_what_serves() {
    let mut machine = serving();
    machine.handle(deploy(2), at(5));
    assert_eq!(machine.handle(Event::Cancel { operation: OperationId(1) }, at(5)), []);
    assert_eq!(
        machine.handle(Event::Cancel { operation: OperationId(2) }, at(5)),
        [Action::KillZygote(GenerationId(2)), failed(Some(2), 2, 2, FailureReason::Cancelled, true)]
    );
}

#[test]
fn orphans_serve_until_a_generation_does_and_survive_a_failed_boot() {
    let mut machine = Generations::new(Policy { first_generation: GenerationId(7), ..Policy::default() });
    machine.handle(deploy(1), at(0));
    machine.handle(Event::OrphanFound { orphan: OrphanId(1) }, at(0));
    assert_eq!(
        machine.handle(broken(7), at(1)),
        [Action::KillZygote(GenerationId(7)), failed(Some(1), 7, 1, broken_app(), true)]
    );
    assert_eq!(machine.handle(zygote_left(7), at(1)), []);
    assert_eq!(machine.retrying(), Some(RevisionId(1)));
    machine.handle(deploy(2), at(1));
    assert_eq!(machine.retrying(), None, "the newer one is booted instead");
    assert_eq!(prove(&mut machine, 8, at(3)).last(), Some(&Action::DrainOrphan(OrphanId(1))));
    let report =
        Report::Serving { operation: Some(OperationId(2)), generation: GenerationId(8), revision: RevisionId(2) };
    assert_eq!(machine.handle(Event::OrphanGateClosed { orphan: OrphanId(1) }, at(3)), [Action::Report(report)]);
    assert_eq!(machine.handle(Event::OrphanFound { orphan: OrphanId(2) }, at(4)), [Action::DrainOrphan(OrphanId(2))]);
    assert_eq!(
        machine.handle(Event::DeadlineReached, at(64)),
        [Action::KillOrphan(OrphanId(1)), Action::KillOrphan(OrphanId(2))]
    );
}

#[test]
fn while_only_orphans_serve_a_boot_that_failed_is_tried_again_with_a_wait_that_doubles() {
    let mut machine = Generations::new(Policy::default());
    machine.handle(Event::OrphanFound { orphan: OrphanId(1) }, at(0));
    machine.handle(deploy(1), at(0));
    let mut now = at(0);
    for (generation, wait_ms) in [(1, 500), (2, 1000), (3, 2000)] {
        machine.handle(broken(generation), now);
        machine.handle(zygote_left(generation), now);
        now = now.after(Duration::from_millis(wait_ms));
        assert_eq!(machine.deadline(), Some(now));
        assert_eq!(machine.handle(Event::DeadlineReached, now), boot(None, generation + 1, 1));
    }
    assert_eq!(prove(&mut machine, 4, now).last(), Some(&Action::DrainOrphan(OrphanId(1))));
}

#[test]
fn an_orphan_that_is_found_after_the_boot_has_failed_is_replaced_all_the_same() {
    let mut machine = Generations::new(Policy::default());
    machine.handle(deploy(1), at(0));
    machine.handle(broken(1), at(1));
    assert_eq!(machine.deadline(), None, "without any the vassal leaves");
    machine.handle(Event::OrphanFound { orphan: OrphanId(1) }, at(2));
    machine.handle(zygote_left(1), at(2));
    assert_eq!(machine.handle(Event::DeadlineReached, at(2)), boot(None, 2, 1));
}

#[test]
fn a_boot_that_was_cancelled_is_not_tried_again_for_orphans() {
    let mut machine = Generations::new(Policy::default());
    machine.handle(Event::OrphanFound { orphan: OrphanId(1) }, at(0));
    machine.handle(deploy(1), at(0));
    machine.handle(Event::Cancel { operation: OperationId(1) }, at(1));
    machine.handle(zygote_left(1), at(1));
    assert_eq!((machine.retrying(), machine.deadline()), (None, None));
}

#[test]
fn a_vassal_whose_last_orphan_is_gone_after_a_failed_boot_leaves() {
    let mut machine = Generations::new(Policy::default());
    machine.handle(Event::OrphanFound { orphan: OrphanId(1) }, at(0));
    machine.handle(deploy(1), at(0));
    machine.handle(broken(1), at(1));
    machine.handle(zygote_left(1), at(1));
    assert_eq!(machine.handle(Event::OrphanExited { orphan: OrphanId(1) }, at(9)), [Action::Leave]);
}

#[test]
fn a_stop_drains_what_serves_kills_what_boots_and_leaves_at_the_end() {
    let mut machine = serving();
    machine.handle(deploy(2), at(5));
    assert_eq!(
        machine.handle(Event::Stop, at(6)),
        [
            Action::KillZygote(GenerationId(2)),
            failed(Some(2), 2, 2, FailureReason::Cancelled, true),
            Action::Drain(worker(1, 1, 0)),
            Action::Drain(worker(1, 2, 0)),
            Action::RetireZygote(GenerationId(1)),
        ]
    );
    for event in [left(worker(1, 1, 0)), zygote_left(2), zygote_left(1)] {
        assert_eq!(machine.handle(event, at(7)), []);
    }
    assert_eq!(
        machine.handle(left(worker(1, 2, 0)), at(7)),
        [drained(1, 0), Action::Report(Report::Stopped), Action::Leave]
    );
}

#[test]
fn a_second_stop_kills() {
    let mut machine = serving();
    machine.handle(Event::Stop, at(6));
    assert_eq!(
        machine.handle(Event::StopNow, at(7)),
        [Action::KillZygote(GenerationId(1)), Action::Kill(worker(1, 1, 0)), Action::Kill(worker(1, 2, 0))]
    );
}

#[test]
fn a_dead_worker_is_replaced_at_once_and_one_that_keeps_dying_waits_longer_each_time() {
    let mut machine = serving();
    let report = |spawn, retry_in| {
        Action::Report(Report::WorkerDied { worker: worker(1, 1, spawn), how: "signal 11 (SIGSEGV)".into(), retry_in })
    };
    let half = Duration::from_millis(500);
    assert_eq!(
        machine.handle(died(worker(1, 1, 0)), at(9)),
        [report(0, Duration::ZERO), Action::Spawn(worker(1, 1, 1))]
    );
    assert_eq!(machine.handle(Event::Proved { worker: worker(1, 1, 1) }, at(9)), [Action::OpenGate(worker(1, 1, 1))]);
    assert_eq!(machine.handle(died(worker(1, 1, 1)), at(9)), [report(1, half)]);
    assert_eq!(machine.deadline(), Some(at(9).after(half)));
    assert_eq!(machine.handle(Event::DeadlineReached, at(9).after(half)), [Action::Spawn(worker(1, 1, 2))]);
    assert_eq!(machine.handle(died(worker(1, 1, 2)), at(10)), [report(2, 2 * half)]);
    assert_eq!(machine.handle(Event::DeadlineReached, at(11)), [Action::Spawn(worker(1, 1, 3))]);
    machine.handle(Event::Proved { worker: worker(1, 1, 3) }, at(11));
    assert_eq!(
        machine.handle(died(worker(1, 1, 3)), at(41)),
        [report(3, Duration::ZERO), Action::Spawn(worker(1, 1, 4))],
        "30 s of service and all is forgotten"
    );
}

#[test]
fn a_respawned_worker_that_hangs_is_killed_and_tried_again() {
    let mut machine = serving();
    machine.handle(died(worker(1, 1, 0)), at(9));
    assert_eq!(machine.deadline(), Some(at(69)));
    assert_eq!(
        machine.handle(Event::DeadlineReached, at(69)),
        [
            Action::Kill(worker(1, 1, 1)),
            Action::Report(Report::WorkerDied {
                worker: worker(1, 1, 1),
                how: "no answer within 60 s of its fork".into(),
                retry_in: Duration::from_millis(500),
            }),
        ]
    );
}

#[test]
fn a_dead_zygote_is_replaced_by_a_generation_of_the_same_revision() {
    let mut machine = serving();
    assert_eq!(machine.handle(zygote_left(1), at(40)), boot(None, 2, 1));
    let actions = machine.handle(died(worker(1, 1, 0)), at(41));
    assert!(!actions.contains(&Action::Spawn(worker(1, 1, 1))), "nothing can fork it");
    assert_eq!(
        machine.handle(broken(2), at(42)),
        [Action::KillZygote(GenerationId(2)), failed(None, 2, 1, broken_app(), true)]
    );
    assert_eq!(machine.handle(Event::DeadlineReached, at(43)), boot(None, 3, 1));
    let actions = prove(&mut machine, 3, at(44));
    assert_eq!(actions.iter().filter(|action| matches!(action, Action::Drain(_))).count(), 1);
    assert!(!actions.contains(&Action::RetireZygote(GenerationId(1))));
}

#[test]
fn a_generation_that_died_while_a_deploy_failed_is_booted_again() {
    let mut machine = serving();
    machine.handle(deploy(2), at(5));
    for event in [zygote_left(1), died(worker(1, 1, 0)), died(worker(1, 2, 0))] {
        machine.handle(event, at(6));
    }
    let [first, second] = boot(None, 3, 1);
    assert_eq!(
        machine.handle(broken(2), at(7)),
        [Action::KillZygote(GenerationId(2)), failed(Some(2), 2, 2, broken_app(), true), first, second],
        "the revision that served, since the newer one is broken"
    );
}

#[test]
fn a_vassal_that_lost_zygote_and_workers_and_cannot_boot_leaves() {
    let mut machine = serving();
    machine.handle(zygote_left(1), at(40));
    machine.handle(died(worker(1, 1, 0)), at(41));
    machine.handle(died(worker(1, 2, 0)), at(41));
    assert_eq!(
        machine.handle(broken(2), at(42)),
        [Action::KillZygote(GenerationId(2)), failed(None, 2, 1, broken_app(), false), drained(1, 0)]
    );
    assert_eq!(machine.handle(zygote_left(2), at(42)), [Action::Leave]);
}
