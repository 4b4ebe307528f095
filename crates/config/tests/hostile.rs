//! Files that attack whoever reads them, by the numbers of the list of faults: an answer with a place, soon, in little
//! memory.

// Tests may read the clock; the crate may not.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::disallowed_types)]

use std::time::{Duration, Instant};

use empery_config::{
    facts::{Facts, FileError, Files, NoFiles},
    problem::Severity,
    read::{Entry, Outcome, read},
    registry::{self, Argument},
};

/// What a pass over bounded work may take on a busy machine with an unoptimised build.
const SOON: Duration = Duration::from_secs(60);

fn facts() -> Facts {
    Facts { working_directory: "/etc/vassals".into(), cpu_cores: 2, uid: 1000, ..Facts::default() }
}

fn named(path: &str, content: impl Into<Vec<u8>>, files: &dyn Files) -> Outcome {
    let began = Instant::now();
    let outcome = read(&Entry::File { path: path.into(), content: content.into() }, &facts(), files);
    assert!(began.elapsed() < SOON, "{path} took {:?}", began.elapsed());
    for problem in &outcome.problems {
        assert!(!problem.origin.file.is_empty(), "{problem:?}");
    }
    outcome
}

fn file(content: impl Into<Vec<u8>>) -> Outcome {
    named("/etc/vassals/app.ini", content, &NoFiles)
}

fn has(outcome: &Outcome, code: &str) -> bool {
    outcome.problems.iter().any(|problem| problem.code == code)
}

/// The first error's line; the file is refused.
fn line_of(outcome: &Outcome, code: &str) -> u32 {
    assert!(outcome.config.is_none(), "{code}");
    let found = outcome.problems.iter().find(|problem| problem.code == code);
    found.unwrap_or_else(|| panic!("no {code} in {:?}", outcome.problems)).origin.line
}

const APP: &str = "[uwsgi]\nmodule = app\nhttp-socket = :8000\n";

#[test]
fn c2_binary_rubbish_nuls_and_other_encodings_are_refused_with_their_line() {
    let with = |bytes: &[u8]| file([APP.as_bytes(), b"x = 1\n", bytes, b"\n"].concat());
    assert_eq!(line_of(&with(b"y = a\0b"), "nul-byte"), 5);
    assert_eq!(line_of(&with(b"y = \xff\xfe"), "not-utf8"), 5);
    let rubbish: Vec<u8> = (0..65_536_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    assert!(file(rubbish.clone()).config.is_none());
    for name in ["a.xml", "a.yaml", "a.json"] {
        assert!(named(&format!("/etc/vassals/{name}"), rubbish.clone(), &NoFiles).config.is_none(), "{name}");
    }
}

#[test]
fn c2_a_byte_order_mark_and_carriage_returns_are_read_as_meant() {
    let marked = file([b"\xef\xbb\xbf".as_slice(), APP.as_bytes()].concat());
    assert!(marked.config.is_some() && has(&marked, "byte-order-mark"));
    assert!(file(APP.replace('\n', "\r\n")).config.is_some());
    // A lone carriage return ends no line, as in uWSGI: all of it is one section line.
    assert!(has(&file(APP.replace('\n', "\r")), "missing-section"));
}

#[test]
fn c3_a_long_line_and_a_mebibyte_of_keys_are_answered_and_the_whole_is_bounded() {
    assert!(file(format!("{APP}x = {}\n", "y".repeat(1 << 20))).config.is_some());
    let keys: String = (0..150_000).map(|n| format!("k{n}\n")).collect();
    let outcome = file(format!("{APP}{keys}"));
    assert!(outcome.problems.len() <= 201, "{}", outcome.problems.len());
    assert!(has(&file(format!("{APP}{}", "x = %p%p%p%p%p%p%p%p\n".repeat(60_000))), "too-long"));
}

/// Each file includes the next.
struct Chain;

impl Files for Chain {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let number = path.trim_start_matches("/etc/vassals/").trim_end_matches(".ini").parse::<u32>();
        let next = number.map_err(|_| FileError::NotFound)? + 1;
        Ok(format!("[uwsgi]\nini = {next}.ini\ninclude = {next}.ini\ninherit = {next}.ini\n").into_bytes())
    }
}

#[test]
fn c4_cycles_and_deep_chains_of_files_end() {
    assert_eq!(line_of(&file("[uwsgi]\nmodule = app\nini = app.ini\n"), "include-cycle"), 3);
    assert_eq!(line_of(&file("[uwsgi]\nini = :a\n[a]\nini = :b\n[b]\nini = :a\n"), "include-cycle"), 6);
    let deep = named("/etc/vassals/app.ini", "[uwsgi]\nini = 1.ini\n", &Chain);
    assert!(has(&deep, "too-many-includes") && deep.config.is_none());
    let inherited = named("/etc/vassals/app.ini", "[uwsgi]\ninherit = 1.ini\n", &Chain);
    assert!(has(&inherited, "too-many-includes") && inherited.config.is_none());
}

#[test]
fn c4_placeholders_of_themselves_and_doubling_ones_end() {
    assert_eq!(line_of(&file(format!("{APP}a = %(a)x\n")), "placeholder-loop"), 4);
    assert_eq!(line_of(&file(format!("{APP}a = %(b)\nb = %(a)\n")), "placeholder-loop"), 4);
    let doubling: String = (0..64).map(|n| format!("p{n} = %(p{0})%(p{0})\n", n + 1)).collect();
    assert!(has(&file(format!("{APP}{doubling}p64 = x\n")), "placeholder-loop"));
    let grown: String = (0..64).map(|n| format!("p{0} = %(p{n} p{n})\n", n + 1)).collect();
    let outcome = file(format!("{APP}p0 = xxxxxxxx\n{grown}"));
    assert!(has(&outcome, "placeholder-loop"), "{:?}", outcome.problems.first());
}

#[test]
fn c4_options_of_one_s_own_and_loops_that_multiply_end() {
    let twice = "declare-option = a=b=$1;b=$1;b=$1\ndeclare-option = b=c=$1;c=$1;c=$1\ndeclare-option = c=a=$1;a=$1;a=$1\na = 1\n";
    assert!(has(&file(format!("{APP}{twice}")), "endless-option"));
    assert!(has(&file(format!("{APP}for-times = 100000000\nx = %(_)\nendfor =\n")), "too-many-repetitions"));
}

#[test]
fn c4_formats_that_nest_or_expand_without_end_are_refused() {
    let laughs = "<!DOCTYPE u [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;\">]><uwsgi><x>&b;</x></uwsgi>";
    let anchors: String = (0..40).map(|n| format!("  a{}: &a{} [*a{n}, *a{n}]\n", n + 1, n + 1)).collect();
    for (name, text) in [
        ("a.xml", laughs.to_owned()),
        ("a.xml", "<a>".repeat(200_000)),
        ("a.json", "[".repeat(1_000_000)),
        ("a.json", "{\"uwsgi\":".repeat(100_000)),
        ("a.yaml", "[".repeat(100_000)),
        ("a.yaml", format!("uwsgi:\n  a: {}\n", "{b: ".repeat(10_000))),
        ("a.yaml", format!("uwsgi:\n  a0: &a0 x\n{anchors}")),
    ] {
        assert!(named(&format!("/etc/vassals/{name}"), text, &NoFiles).config.is_none(), "{name}");
    }
}

#[test]
fn c5_a_typo_is_a_warning_with_its_line_and_an_error_in_strict_mode() {
    let outcome = file(format!("{APP}proceses = 4\n"));
    let problem = &outcome.problems[0];
    assert_eq!(
        (problem.code.as_str(), problem.severity, problem.origin.line),
        ("unknown-option", Severity::Warning, 4)
    );
    assert_eq!(problem.hint.as_deref(), Some("did you mean `processes`?"));
    assert!(outcome.config.is_some());
    assert_eq!(line_of(&file(format!("{APP}proceses = 4\nstrict = true\n")), "strict-mode"), 4);
}

/// Words in the names of options that take a path.
const PATHS: [&str; 9] = ["dir", "file", "home", "path", "root", "socket", "static", "touch", "log"];

/// uWSGI's stack overflow by a long path: here every option that takes one gets one of 64 KiB.
#[test]
fn cve_2018_6758_a_path_of_64_kib_in_any_option_is_answered() {
    let long = format!("/{}", "d/".repeat(32 * 1024));
    let mut text = String::from(APP);
    let takes_a_path =
        |entry: &&registry::Entry| entry.argument != Argument::No && PATHS.iter().any(|word| entry.name.contains(word));
    for entry in registry::all().iter().filter(takes_a_path) {
        let outcome = file(format!("{APP}{} = {long}\n", entry.name));
        assert!(outcome.problems.len() < 20, "{}: {}", entry.name, outcome.problems.len());
    }
    text.push_str(&format!("ini = {long}.ini\ninclude = {long}.ini\nx = @({long})\ny = %({long})\nz = $({long})\n"));
    assert!(has(&file(text), "file-not-read"));
    let directory = Facts { working_directory: long.clone(), ..facts() };
    let entry = Entry::File { path: format!("{long}/app.ini"), content: format!("{APP}x = %d%p%v\n").into_bytes() };
    read(&entry, &directory, &NoFiles);
}
