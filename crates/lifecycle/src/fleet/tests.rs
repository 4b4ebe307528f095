//! The walks of the fleet machine, one sentence each. The state space within small bounds is in `exploration`, long
//! histories are in `simulation`.

mod asleep;
mod frozen;
mod removal;

use std::time::Duration;

use super::*;
use crate::ids::{GenerationId, RevisionId};

const ROOT: Identity = Identity { uid: 0, gid: 0 };
const WWW: Identity = Identity { uid: 33, gid: 33 };

fn at(seconds: u64) -> Moment {
    Moment::START.after(Duration::from_secs(seconds))
}

fn name(text: &str) -> VassalName {
    VassalName::new(text).expect("a test's name is good")
}

fn file(text: &str, revision: u64) -> Sighting {
    file_of(text, revision, WWW)
}

fn file_of(text: &str, revision: u64, identity: Identity) -> Sighting {
    let verdict = Verdict::Runs { identity, mercy: Duration::from_secs(60), on_demand: false };
    Sighting { name: name(text), revision: RevisionId(revision), content: ContentDigest(revision), verdict }
}

fn garbage(text: &str, revision: u64) -> Sighting {
    Sighting { verdict: Verdict::Refused, ..file(text, revision) }
}

fn key(text: &str, berth: Berth, serial: u64) -> MasterKey {
    MasterKey { vassal: name(text), berth, serial: MasterSerial(serial) }
}

fn a(serial: u64) -> MasterKey {
    key("a.ini", Berth::A, serial)
}

fn start(master: MasterKey, revision: u64, operation: u64) -> Action {
    Action::Start { master, revision: RevisionId(revision), operation: OperationId(operation), frozen: false }
}

fn deploy(master: MasterKey, revision: u64, operation: u64) -> Action {
    Action::Deploy { master, revision: RevisionId(revision), operation: OperationId(operation) }
}

fn begin(text: &str, operation: u64, verb: Verb, cause: Cause) -> Action {
    Action::Begin { operation: OperationId(operation), name: name(text), verb, cause }
}

fn succeeded(operation: u64) -> Action {
    Action::End { operation: OperationId(operation), end: OperationEnd::Succeeded }
}

fn superseded(operation: u64) -> Action {
    Action::End { operation: OperationId(operation), end: OperationEnd::Superseded }
}

fn failed_end(operation: u64, reason: FailureReason, still_serving: bool) -> Action {
    Action::End { operation: OperationId(operation), end: OperationEnd::Failed { reason, still_serving } }
}

fn broken() -> FailureReason {
    FailureReason::App { sentence: "SyntaxError in app.py, line 3".into(), traceback: None }
}

fn forget(text: &str) -> Action {
    Action::Forget { name: name(text) }
}

/// A fleet under test: actions without the publishing of views, the recording of doubts and what is closed after the first
/// look, which the tests ask for themselves.
struct Stage {
    fleet: Fleet,
}

impl Stage {
    fn new() -> Self {
        Stage { fleet: Fleet::new(Policy::default(), OperationId(1)) }
    }

    /// `a.ini` of revision 1 serves as generation 1 of master 1, brought up by operation 1.
    fn loyal() -> Self {
        let mut stage = Stage::new();
        stage.at(0, Event::Scanned(vec![file("a.ini", 1)]));
        stage.at(0, Event::MasterStarted { master: a(1) });
        stage.serving(0, a(1), 1, 1, 1);
        stage
    }

    fn at(&mut self, seconds: u64, event: Event) -> Vec<Action> {
        let mut actions = self.fleet.handle(event, at(seconds));
        actions.retain(|action| {
            !matches!(action, Action::Changed { .. } | Action::Doubt { .. } | Action::ForgetUnused { .. })
        });
        actions
    }

    fn serving(
        &mut self,
        seconds: u64,
        master: MasterKey,
        generation: u64,
        revision: u64,
        operation: u64,
    ) -> Vec<Action> {
        let operation = Some(OperationId(operation));
        self.at(
            seconds,
            Event::Serving { master, generation: GenerationId(generation), revision: RevisionId(revision), operation },
        )
    }

    fn failed(
        &mut self,
        seconds: u64,
        master: MasterKey,
        revision: u64,
        operation: u64,
        still_serving: bool,
    ) -> Vec<Action> {
        let operation = Some(OperationId(operation));
        self.at(
            seconds,
            Event::Failed { master, revision: RevisionId(revision), operation, reason: broken(), still_serving },
        )
    }

    fn exited(&mut self, seconds: u64, master: MasterKey) -> Vec<Action> {
        self.at(seconds, Event::MasterExited { master, how: "signal 9 (SIGKILL)".into() })
    }

    fn command(&mut self, seconds: u64, verb: Verb) -> (u64, Vec<Action>) {
        let operation = self.fleet.next_operation();
        (operation.0, self.at(seconds, Event::Command(Command { operation, name: name("a.ini"), verb })))
    }

    fn view(&self) -> VassalView {
        self.fleet.view(&name("a.ini")).expect("a.ini is known")
    }
}

#[test]
fn what_an_earlier_brain_had_bound_for_vassals_that_are_gone_is_closed_once() {
    let mut fleet = Fleet::new(Policy::default(), OperationId(1));
    let files = vec![file("a.ini", 1), garbage("b.ini", 2)];
    assert!(
        fleet
            .handle(Event::Scanned(files.clone()), at(0))
            .contains(&Action::ForgetUnused { resting: vec![name("b.ini")] })
    );
    assert_eq!(fleet.handle(Event::Scanned(files), at(1)), []);
}

#[test]
fn what_an_earlier_brain_had_bound_for_one_that_comes_to_nothing_before_its_turn_is_closed() {
    let mut stage = Stage { fleet: Fleet::new(Policy { boots_at_once: 1, ..Policy::default() }, OperationId(1)) };
    let first = stage.at(0, Event::Scanned(vec![file("0.ini", 1), file("a.ini", 2)]));
    assert!(!first.contains(&start(a(2), 2, 2)), "it waits for its turn: {first:?}");
    let refused = stage.at(1, Event::Scanned(vec![file("0.ini", 1), garbage("a.ini", 3)]));
    assert!(refused.contains(&forget("a.ini")), "{refused:?}");
}

#[test]
fn a_dropped_file_is_started_and_loyal_when_it_serves() {
    let mut stage = Stage::new();
    assert_eq!(
        stage.at(0, Event::Scanned(vec![file("a.ini", 1)])),
        [begin("a.ini", 1, Verb::Start, Cause::File), start(a(1), 1, 1)]
    );
    assert_eq!(stage.view().state, State::Starting);
    assert_eq!(stage.at(0, Event::MasterStarted { master: a(1) }), []);
    assert_eq!(stage.serving(1, a(1), 1, 1, 1), [succeeded(1)]);
    assert_eq!(stage.view().state, State::Loyal);
    assert_eq!(stage.at(2, Event::Scanned(vec![file("a.ini", 1)])), [], "nothing changed");
    assert_eq!(stage.fleet.deadline(), None, "a loyal fleet waits for nothing");
}

#[test]
fn an_edit_is_deployed_by_the_running_master_and_a_newer_edit_supersedes_it() {
    let mut stage = Stage::loyal();
    assert_eq!(
        stage.at(1, Event::Scanned(vec![file("a.ini", 2)])),
        [begin("a.ini", 2, Verb::Reload, Cause::File), deploy(a(1), 2, 2)]
    );
    assert_eq!(
        stage.at(1, Event::Scanned(vec![file("a.ini", 3)])),
        [begin("a.ini", 3, Verb::Reload, Cause::File), superseded(2), deploy(a(1), 3, 3)]
    );
    assert_eq!(stage.view().state, State::Reloading);
    assert_eq!(stage.serving(2, a(1), 2, 2, 2), [], "the older one just made it, the newer is awaited");
    assert_eq!(stage.serving(2, a(1), 3, 3, 3), [succeeded(3)]);
}

#[test]
fn an_edit_while_the_master_is_being_started_is_deployed_as_soon_as_it_is_there() {
    let mut stage = Stage::new();
    stage.at(0, Event::Scanned(vec![file("a.ini", 1)]));
    assert_eq!(
        stage.at(0, Event::Scanned(vec![file("a.ini", 2)])),
        [begin("a.ini", 2, Verb::Reload, Cause::File), superseded(1)]
    );
    assert_eq!(stage.at(0, Event::MasterStarted { master: a(1) }), [deploy(a(1), 2, 2)]);
    assert_eq!(stage.serving(1, a(1), 2, 2, 2), [succeeded(2)]);
}

#[test]
fn a_failed_deploy_leaves_the_vassal_loyal_and_is_not_tried_again_by_itself() {
    let mut stage = Stage::loyal();
    stage.at(1, Event::Scanned(vec![file("a.ini", 2)]));
    assert_eq!(stage.failed(2, a(1), 2, 2, true), [failed_end(2, broken(), true)]);
    let view = stage.view();
    assert_eq!((view.state, view.last_failure), (State::Loyal, Some(broken())));
    assert_eq!(stage.at(2, Event::Scanned(vec![file("a.ini", 2)])), []);
    assert_eq!(stage.fleet.deadline(), None);
    let (operation, actions) = stage.command(3, Verb::Reload);
    assert_eq!(actions, [begin("a.ini", operation, Verb::Reload, Cause::Command), deploy(a(1), 2, operation)]);
    stage.serving(4, a(1), 3, 2, operation);
    assert_eq!(stage.view().last_failure, None);
}

#[test]
fn a_file_that_becomes_garbage_leaves_what_runs_and_says_so() {
    let mut stage = Stage::loyal();
    assert_eq!(stage.at(1, Event::Scanned(vec![garbage("a.ini", 2)])), []);
    let view = stage.view();
    assert_eq!((view.state, view.refused, view.revision), (State::Loyal, true, Some(RevisionId(2))));
    assert_eq!(
        stage.exited(2, a(1)),
        [begin("a.ini", 2, Verb::Start, Cause::Recovery), start(a(2), 1, 2)],
        "what served last is what is recovered"
    );
}

#[test]
fn a_refused_file_is_a_row_and_the_fix_starts_it() {
    let mut stage = Stage::new();
    assert_eq!(stage.at(0, Event::Scanned(vec![garbage("a.ini", 1)])), []);
    assert_eq!(stage.view().state, State::Refused);
    let (operation, actions) = stage.command(1, Verb::Reload);
    assert!(
        matches!(&actions[1], Action::End { end: OperationEnd::Failed { reason: FailureReason::Setup { sentence }, .. }, .. }
        if sentence.contains("refused")),
        "{operation} {actions:?}"
    );
    assert_eq!(stage.at(2, Event::Scanned(vec![file("a.ini", 2)])).last(), Some(&start(a(1), 2, operation + 1)));
}

#[test]
fn b37_a_vassal_that_fails_at_first_is_cursed_forgotten_and_retried_with_doubling_waits() {
    let mut stage = Stage::new();
    stage.at(0, Event::Scanned(vec![file("a.ini", 1)]));
    stage.at(0, Event::MasterStarted { master: a(1) });
    assert_eq!(stage.failed(1, a(1), 1, 1, false), [failed_end(1, broken(), false)]);
    assert_eq!(stage.view().state, State::Cursed { retry_at: at(2) });
    assert_eq!(stage.exited(1, a(1)), [forget("a.ini")]);
    assert_eq!(
        stage.at(2, Event::DeadlineReached),
        [begin("a.ini", 2, Verb::Start, Cause::Recovery), start(a(2), 1, 2)]
    );
    let reason = FailureReason::Setup { sentence: "port 80 is in use".into() };
    stage.at(2, Event::StartFailed { master: a(2), reason });
    assert_eq!(stage.view().state, State::Cursed { retry_at: at(4) });
    assert_eq!(stage.view().failures, 2);
    assert_eq!(
        stage.at(3, Event::Scanned(vec![file("a.ini", 2)])),
        [begin("a.ini", 3, Verb::Start, Cause::File), start(a(3), 2, 3)],
        "an edit is tried at once"
    );
}

#[test]
fn a_crash_is_recovered_at_once_and_a_second_one_waits() {
    let mut stage = Stage::loyal();
    assert_eq!(stage.exited(5, a(1)), [begin("a.ini", 2, Verb::Start, Cause::Recovery), start(a(2), 1, 2)]);
    stage.at(5, Event::MasterStarted { master: a(2) });
    stage.serving(5, a(2), 2, 1, 2);
    assert_eq!(stage.exited(6, a(2)), [], "its listeners are kept");
    assert_eq!(stage.view().state, State::Cursed { retry_at: at(7) });
    stage.at(7, Event::DeadlineReached);
    stage.at(7, Event::MasterStarted { master: a(3) });
    stage.serving(7, a(3), 3, 1, 3);
    assert_eq!(stage.fleet.deadline(), Some(at(37)), "then its failures are forgotten");
    stage.at(37, Event::DeadlineReached);
    assert_eq!(stage.view().failures, 0);
    assert_eq!(stage.exited(38, a(3)).last(), Some(&start(a(4), 1, 4)));
}

#[test]
fn a_removed_file_is_stopped_forgotten_and_gone() {
    let mut stage = Stage::loyal();
    assert_eq!(
        stage.at(1, Event::Scanned(vec![])),
        [begin("a.ini", 2, Verb::Stop, Cause::File), Action::Stop { master: a(1) }]
    );
    assert_eq!(stage.view().state, State::Stopping);
    assert_eq!(stage.fleet.deadline(), Some(at(66)), "mercy and grace");
    assert_eq!(stage.at(66, Event::DeadlineReached), [Action::Kill { master: a(1) }]);
    assert_eq!(stage.exited(66, a(1)), [forget("a.ini"), succeeded(2)]);
    assert_eq!(stage.fleet.views(), []);
}

#[test]
fn a_name_that_reappears_while_it_stops_starts_when_it_has_stopped() {
    let mut stage = Stage::loyal();
    stage.at(1, Event::Scanned(vec![]));
    assert_eq!(stage.at(2, Event::Scanned(vec![file("a.ini", 2)])), [begin("a.ini", 3, Verb::Start, Cause::File)]);
    assert_eq!(stage.view().state, State::Stopping);
    assert_eq!(stage.exited(3, a(1)), [forget("a.ini"), succeeded(2), start(a(2), 2, 3)]);
}

#[test]
fn a_renamed_file_starts_only_when_the_old_name_has_stopped_and_others_do_not_wait() {
    let mut stage = Stage::loyal();
    let renamed = Sighting { name: name("b.ini"), ..file("a.ini", 1) };
    let actions = stage.at(1, Event::Scanned(vec![renamed, file("c.ini", 9)]));
    assert_eq!(
        actions,
        [
            begin("a.ini", 2, Verb::Stop, Cause::File),
            Action::Stop { master: a(1) },
            begin("b.ini", 3, Verb::Start, Cause::File),
            begin("c.ini", 4, Verb::Start, Cause::File),
            start(key("c.ini", Berth::A, 2), 9, 4),
        ]
    );
    assert_eq!(stage.exited(2, a(1)), [forget("a.ini"), succeeded(2), start(key("b.ini", Berth::A, 3), 1, 3)]);
}

#[test]
fn a_held_vassal_stays_stopped_whatever_its_file_does() {
    let mut stage = Stage::loyal();
    let (stop, actions) = stage.command(1, Verb::Stop);
    let hold = |held| Action::Hold { name: name("a.ini"), held };
    assert_eq!(actions, [begin("a.ini", stop, Verb::Stop, Cause::Command), hold(true), Action::Stop { master: a(1) }]);
    assert_eq!(stage.exited(2, a(1)), [forget("a.ini"), succeeded(stop)]);
    assert_eq!(stage.at(3, Event::Scanned(vec![file("a.ini", 2)])), []);
    assert_eq!((stage.view().state, stage.view().revision), (State::Held, Some(RevisionId(2))));
    let (_, actions) = stage.command(4, Verb::Reload);
    assert!(matches!(actions[1], Action::End { end: OperationEnd::Failed { .. }, .. }));
    let (operation, actions) = stage.command(5, Verb::Start);
    assert_eq!(
        actions,
        [begin("a.ini", operation, Verb::Start, Cause::Command), hold(false), start(a(2), 2, operation)]
    );
}

#[test]
fn another_identity_is_started_beside_and_the_old_master_stops_when_it_serves() {
    let mut stage = Stage::loyal();
    let b = key("a.ini", Berth::B, 2);
    assert_eq!(stage.at(1, Event::Scanned(vec![file_of("a.ini", 2, ROOT)])).last(), Some(&start(b.clone(), 2, 2)));
    stage.at(1, Event::MasterStarted { master: b.clone() });
    assert_eq!(stage.view().master, Some(a(1)));
    assert_eq!(stage.serving(2, b.clone(), 2, 2, 2), [Action::Stop { master: a(1) }, succeeded(2)]);
    assert_eq!(stage.view().master, Some(b));
    assert_eq!(stage.exited(3, a(1)), [], "its listeners are those of the new one");
}

#[test]
fn another_identity_that_fails_leaves_the_old_master_serving() {
    let mut stage = Stage::loyal();
    let b = key("a.ini", Berth::B, 2);
    stage.at(1, Event::Scanned(vec![file_of("a.ini", 2, ROOT)]));
    stage.at(1, Event::MasterStarted { master: b.clone() });
    assert_eq!(stage.failed(2, b.clone(), 2, 2, false), [failed_end(2, broken(), true)]);
    assert_eq!((stage.view().state, stage.view().master), (State::Loyal, Some(a(1))));
    assert_eq!(stage.exited(2, b), []);
}

#[test]
fn a_bounded_number_boots_at_once_and_slow_boots_stop_counting() {
    let mut stage = Stage { fleet: Fleet::new(Policy { boots_at_once: 1, ..Policy::default() }, OperationId(1)) };
    stage.at(0, Event::Scanned(vec![file("a.ini", 1), file("b.ini", 2)]));
    assert_eq!(stage.fleet.view(&name("b.ini")).expect("known").state, State::Queued);
    assert_eq!(stage.fleet.deadline(), Some(at(10)));
    assert_eq!(stage.at(10, Event::DeadlineReached), [start(key("b.ini", Berth::A, 2), 2, 2)]);
}

#[test]
fn a_living_master_is_adopted_and_never_doubled() {
    let mut stage = Stage::new();
    let alive = Alive {
        master: a(7),
        identity: WWW,
        serving: Some((GenerationId(4), RevisionId(3))),
        booting: None,
        content: None,
        frozen: false,
    };
    assert_eq!(stage.at(0, Event::Found(alive)), []);
    assert_eq!(stage.at(0, Event::Scanned(vec![file("a.ini", 3)])), [], "it runs what the file says");
    assert_eq!(stage.view().state, State::Loyal);
    assert_eq!(stage.exited(1, a(7)).last(), Some(&start(a(8), 3, 1)), "numbers go on");
}

#[test]
fn an_adopted_master_is_brought_to_the_present_file_or_stopped_without_one() {
    let alive = |text: &str| Alive {
        master: key(text, Berth::A, 1),
        identity: WWW,
        serving: Some((GenerationId(1), RevisionId(1))),
        booting: None,
        content: None,
        frozen: false,
    };
    let mut stage = Stage::new();
    stage.at(0, Event::Found(alive("a.ini")));
    stage.at(0, Event::Found(alive("gone.ini")));
    assert_eq!(stage.at(1, Event::DirectoryLost), []);
    assert_eq!(
        stage.at(2, Event::Scanned(vec![file("a.ini", 2)])),
        [
            begin("gone.ini", 1, Verb::Stop, Cause::File),
            Action::Stop { master: key("gone.ini", Berth::A, 1) },
            begin("a.ini", 2, Verb::Reload, Cause::File),
            deploy(a(1), 2, 2),
        ]
    );
}

#[test]
fn a_shutdown_stops_everything_and_the_second_kills() {
    let mut stage = Stage::loyal();
    assert_eq!(
        stage.at(1, Event::ShutDown),
        [begin("a.ini", 2, Verb::Stop, Cause::Signal), Action::Stop { master: a(1) }]
    );
    assert_eq!(stage.at(2, Event::Scanned(vec![file("a.ini", 2)])), [], "nothing is started any more");
    assert_eq!(stage.at(2, Event::ShutDown), [Action::Kill { master: a(1) }]);
    assert_eq!(stage.exited(2, a(1)), [forget("a.ini"), succeeded(2), Action::Leave]);
}

#[test]
fn a_signal_reloads_every_vassal_that_runs() {
    let mut stage = Stage::loyal();
    stage.at(1, Event::Scanned(vec![file("a.ini", 1), garbage("b.ini", 2)]));
    assert_eq!(stage.at(1, Event::ReloadAll), [begin("a.ini", 2, Verb::Reload, Cause::Signal), deploy(a(1), 1, 2)]);
}

#[test]
fn a_fix_that_crosses_the_leaving_of_a_failed_master_is_started_at_once() {
    let mut stage = Stage::new();
    stage.at(0, Event::Scanned(vec![file("a.ini", 1)]));
    stage.at(0, Event::MasterStarted { master: a(1) });
    assert_eq!(stage.at(1, Event::Scanned(vec![file("a.ini", 2)])).last(), Some(&deploy(a(1), 2, 2)));
    assert_eq!(stage.failed(1, a(1), 1, 1, false), [], "the older deploy failed, the newer may not have arrived");
    assert_eq!(stage.exited(1, a(1)), [start(a(2), 2, 2)]);
}

#[test]
fn a_start_that_fails_after_an_edit_is_tried_again_at_once_with_the_edit() {
    let mut stage = Stage::new();
    stage.at(0, Event::Scanned(vec![file("a.ini", 1)]));
    stage.at(0, Event::Scanned(vec![file("a.ini", 2)]));
    assert_eq!(stage.at(1, Event::StartFailed { master: a(1), reason: broken() }), [start(a(2), 2, 2)]);
}

/// As `loyal`, after a change of identity: master 2 serves in berth B, master 1 drains in A.
fn moved() -> Stage {
    let mut stage = Stage::loyal();
    let b = key("a.ini", Berth::B, 2);
    stage.at(1, Event::Scanned(vec![file_of("a.ini", 2, ROOT)]));
    stage.at(1, Event::MasterStarted { master: b.clone() });
    stage.serving(2, b, 2, 2, 2);
    stage
}

#[test]
fn a_crash_after_a_move_is_recovered_where_the_orphans_look() {
    let mut stage = moved();
    assert_eq!(stage.exited(3, key("a.ini", Berth::B, 2)).last(), Some(&start(key("a.ini", Berth::B, 3), 2, 3)));
}

#[test]
fn a_start_after_a_stop_waits_for_every_master_and_supersedes_the_stop() {
    let mut stage = moved();
    let (stop, _) = stage.command(3, Verb::Stop);
    let (operation, actions) = stage.command(4, Verb::Start);
    assert!(actions.contains(&superseded(stop)), "{actions:?}");
    assert_eq!(stage.exited(5, key("a.ini", Berth::B, 2)), [], "the other one still drains");
    assert_eq!(stage.exited(6, a(1)), [forget("a.ini"), start(a(3), 2, operation)]);
}

#[test]
fn a_master_that_presents_itself_late_is_stopped_when_nobody_wants_it_and_left_alone_when_it_goes() {
    let mut stage = Stage::loyal();
    let alive = |master: MasterKey| {
        let serving = Some((GenerationId(1), RevisionId(1)));
        Event::Found(Alive { master, identity: WWW, serving, booting: None, content: None, frozen: false })
    };
    let late = key("late.ini", Berth::A, 5);
    assert_eq!(stage.at(1, alive(late.clone())).last(), Some(&Action::Stop { master: late.clone() }));
    assert_eq!(stage.at(2, alive(late)), [], "it was told to stop already");
    assert_eq!(stage.at(2, alive(a(1))), [], "it is known");
}
