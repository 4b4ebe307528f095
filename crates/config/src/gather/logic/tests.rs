//! Conditions and loops, as uWSGI 2.0.31 takes them.

use super::super::tests::{codes, gathered, keys};

/// What a text of `[uwsgi]` comes to, the lines of the blocks themselves left out.
fn lines(text: &str) -> Vec<String> {
    let shown = keys(&gathered(&format!("[uwsgi]\n{text}"), FILES));
    shown.into_iter().filter(|line| line.starts_with("x-")).collect()
}

const FILES: &[(&str, &str)] = &[
    ("/etc/vassals/conf/a.ini", "[uwsgi]\nx-from = a\n"),
    ("/etc/vassals/conf/b.ini", "[uwsgi]\nx-from = b %(_)\n"),
    ("/etc/vassals/conf/.hidden.ini", "[uwsgi]\nx-from = hidden\n"),
    ("/etc/vassals/names.txt", "one\r\ntwo words\n\nthree"),
];

#[test]
fn b32_a_loop_repeats_line_by_line() {
    assert_eq!(
        lines("for = a  b\nx-1 = %(_)\nx-2 = <%(_)%(_)>\nendfor =\nx-3 = %(_)"),
        ["x-1=a", "x-1=b", "x-2=<aa>", "x-2=<bb>", "x-3=%(_)"]
    );
}

#[test]
fn loops_count_read_lines_and_look_for_files() {
    assert_eq!(lines("for-times = 3\nx-1 = %(_)\nend-for ="), ["x-1=1", "x-1=2", "x-1=3"]);
    assert_eq!(
        lines("for-readline = names.txt\nx-1 = %(_)\nendfor"),
        ["x-1=one", "x-1=two words", "x-1=", "x-1=three"]
    );
    assert_eq!(lines("for-glob = conf/*.ini\nx-1 = %(_)\nend ="), ["x-1=conf/a.ini", "x-1=conf/b.ini"]);
    assert_eq!(lines("for-glob = /etc/vassals/c*\nx-1 = %(_)\nend ="), ["x-1=/etc/vassals/conf/"]);
    assert_eq!(lines("for-glob = none/*.ini\nx-1 = %(_)\nend ="), ["x-1=none/*.ini"]);
    assert_eq!(lines("for-times = 0\nx-1 = %(_)\nendfor ="), Vec::<String>::new());
}

#[test]
fn a_loop_that_reads_no_file_has_no_turns_and_says_so() {
    let found = gathered("[uwsgi]\nfor-readline = none\nx-1 = 1\nendfor =\n", &[]);
    assert_eq!((codes(&found), keys(&found).len()), (vec!["file-not-read"], 2));
}

#[test]
fn a_loop_includes_files_whose_own_lines_it_leaves_alone() {
    assert_eq!(lines("for = conf/a.ini conf/b.ini\nini = %(_)\nendfor ="), ["x-from=a", "x-from=b %(_)"]);
}

#[test]
fn b32_conditions_hold_lines_back() {
    for (condition, holds) in [
        ("if-env = STAGE", true),
        ("ifenv = STAGE", true),
        ("if-env = STAGE=prod", true),
        ("if-env = STAGE=test", false),
        ("if-env = NONE", false),
        ("if-not-env = STAGE", false),
        ("if-not-env = STAGE=test", true),
        ("if-not-env = NONE", true),
        ("if-opt = x-early", true),
        ("if-opt = x-early=1", true),
        ("if-opt = x-early=2", false),
        ("if-opt = x-late", false),
        ("if-not-opt = x-early", false),
        ("if-not-opt = x-late", true),
        ("if-exists = names.txt", true),
        ("ifexists = /etc/vassals/conf", true),
        ("if-not-exists = none", true),
        ("if-file = names.txt", true),
        ("if-file = conf", false),
        ("if-not-file = conf", true),
        ("if-dir = conf", true),
        ("ifdir = names.txt", false),
        ("if-directory = conf", true),
        ("if-not-dir = conf", false),
        ("if-hostname = box", true),
        ("if-not-hostname = box", false),
        ("if-hostname-match = ^b.x$", true),
        ("if-not-hostname-match = ^b.x$", false),
        ("if-plugin = python3", true),
        ("if-plugin = router_redirect", true),
        ("if-plugin = router_http", false),
        ("ifplugin = php", false),
        ("if-not-plugin = php", true),
        ("if-reload = true", false),
        ("if-not-reload =", true),
    ] {
        let found = lines(&format!("x-early = 1\n{condition}\nx-in = 1\nendif =\nx-late = 1"));
        let expected = if holds { vec!["x-early=1", "x-in=1", "x-late=1"] } else { vec!["x-early=1", "x-late=1"] };
        assert_eq!(found, expected, "{condition}");
    }
}

#[test]
fn a_condition_on_an_option_is_looked_at_again_at_each_line() {
    assert_eq!(lines("if-not-opt = x-a\nx-b = 1\nx-a = 1\nx-c = 1\nendif =\nx-d = 1"), ["x-b=1", "x-a=1", "x-d=1"]);
}

#[test]
fn what_was_tested_can_be_put_in() {
    assert_eq!(lines("if-env = STAGE\nx-1 = <%(_)>\nendif ="), ["x-1=<prod>"]);
    assert_eq!(lines("x-a = 7\nif-opt = x-a=7\nx-1 = <%(_)>\nendif ="), ["x-a=7", "x-1=<7>"]);
    assert_eq!(lines("if-exists = conf\nx-1 = %(_)/z\nendif ="), ["x-1=conf/z"]);
    assert_eq!(lines("if-not-env = NONE\nx-1 = %(_)\nendif ="), ["x-1=%(_)"]);
}

#[test]
fn a_block_within_a_block_is_refused_and_one_that_is_passed_over_is_told() {
    let found = gathered("[uwsgi]\nif-env = STAGE\nif-env = STAGE\nx = 1\nendif =\nendif =\n", &[]);
    assert_eq!((codes(&found), found.problems[0].origin.line), (vec!["nested-logic"], 3));
    let found = gathered("[uwsgi]\nif-env = NONE\nif-env = STAGE\nx = 1\nendif =\ny = 2\nendif =\n", &[]);
    // As in uWSGI: the inner end ends the outer block.
    assert_eq!(
        (codes(&found), keys(&found)[2..].to_vec()),
        (vec!["nested-logic"], vec!["y=2".to_owned(), "endif=".to_owned()])
    );
}

#[test]
fn a_block_without_an_end_holds_to_the_last_line_and_is_told() {
    let found = gathered("[uwsgi]\nif-env = NONE\nx = 1\n", &[]);
    assert_eq!((codes(&found), keys(&found).len()), (vec!["open-block"], 1));
}

#[test]
fn else_is_the_other_case() {
    assert_eq!(lines("if-env = STAGE\nx-1 = 1\nelse =\nx-2 = 2\nendif =\nx-3 = 3"), ["x-1=1", "x-3=3"]);
    assert_eq!(lines("if-env = NONE\nx-1 = 1\nelse =\nx-2 = 2\nendif =\nx-3 = 3"), ["x-2=2", "x-3=3"]);
    assert_eq!(codes(&gathered("[uwsgi]\nif-env = NONE\nelse =\nendif =\n", &[])), ["logic-else"]);
    assert_eq!(codes(&gathered("[uwsgi]\nelse =\n", &[])), ["nested-logic"]);
}

#[test]
fn c4_loops_that_multiply_are_given_up() {
    let text = format!("[uwsgi]\nfor-times = 999999999\n{}endfor =\n", "x = %(_)\n".repeat(10_000));
    let found = gathered(&text, &[]);
    assert!(codes(&found).contains(&"too-many-repetitions"));
    assert!(found.directives.len() < 70_000, "{}", found.directives.len());
    let long = format!("[uwsgi]\nfor = {} {}\nx = {}\nendfor =\n", "y".repeat(60_000), "z", "%(_)".repeat(1000));
    assert!(codes(&gathered(&long, &[])).contains(&"too-many-repetitions"));
}
