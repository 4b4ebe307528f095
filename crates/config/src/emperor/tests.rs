//! What an emperor takes of uWSGI's options, and what is said of the others.

use super::*;
use crate::{
    facts::{Facts, FileError, Files},
    problem::Severity,
    read::{Command, Entry, Outcome, read},
};

/// One file, `/e.ini`.
struct OneFile(&'static str);

impl Files for OneFile {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        if path == "/e.ini" { Ok(self.0.as_bytes().to_vec()) } else { Err(FileError::NotFound) }
    }
}

fn outcome(text: &'static str) -> Outcome {
    read(&Entry::Arguments(vec!["/e.ini".into()]), &Facts::default(), &OneFile(text))
}

fn flags(text: &'static str) -> Vec<String> {
    match outcome(text).command {
        Command::Emperor(Emperor { vassals, flags }) => {
            assert_eq!(vassals, ["/v"], "{text}");
            flags
        }
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn a_tyrant_is_passed_on_however_it_is_said() {
    for (said, flag) in [
        ("emperor-tyrant", "--emperor-tyrant=true"),
        ("emperor-tyrant = true", "--emperor-tyrant=true"),
        ("emperor-tyrant =", "--emperor-tyrant=true"),
        ("emperor-tyrant = maybe", "--emperor-tyrant=true"),
        ("emperor-tyrant = off", "--emperor-tyrant=false"),
        ("emperor-tyrant = true\nemperor-tyrant = 0", "--emperor-tyrant=false"),
        ("emperor-tyrant-nofollow = 1", "--emperor-tyrant-nofollow=true"),
        ("emperor-tyrant-initgroups", "--emperor-tyrant-initgroups=true"),
    ] {
        assert_eq!(flags(Box::leak(format!("[uwsgi]\nemperor = /v\n{said}\n").into_boxed_str())), [flag], "{said}");
    }
    let bare = ["--emperor", "/v", "--emperor-tyrant"].map(str::to_owned).to_vec();
    let Command::Emperor(typed) = read(&Entry::Arguments(bare), &Facts::default(), &OneFile("")).command else {
        panic!()
    };
    assert_eq!(typed.flags, ["--emperor-tyrant=true"]);
}

#[test]
fn what_the_emperor_is_its_vassals_are_before_they_say_otherwise() {
    let text = "[uwsgi]\nemperor = /v\nvassal-set = uid=shop\nuid = nobody\nuid = www-data\ngid = web\n";
    assert_eq!(flags(text), ["--vassal-set=uid=www-data", "--vassal-set=gid=web", "--vassal-set=uid=shop"]);
    let told = outcome(text).problems;
    assert!(told.iter().all(|problem| problem.code == "emperor-identity" && problem.source.is_some()), "{told:?}");
    let tyrant = "[uwsgi]\nemperor = /v\nuid = www-data\nemperor-tyrant = true\n";
    assert_eq!(flags(tyrant), ["--emperor-tyrant=true"]);
    assert!(outcome(tyrant).problems[0].message.contains("counts for nothing"));
}

#[test]
fn an_emperor_s_file_is_read_by_the_rules_of_the_dialect() {
    let text = "[uwsgi]\nroot = /v\nemperor = %(root)\nif-not-env = NO_SUCH\nemperor-stats = 127.0.0.1:1\nendif =\n\
                vassals-set = processes=2\nemperor-on-demand-ext = .socket\nemperor-stats-server = 127.0.0.1:2\n\
                emperor-extra-ext = .conf\n";
    assert_eq!(
        flags(text),
        [
            "--vassal-set=processes=2",
            "--emperor-on-demand-extension=.socket",
            "--emperor-stats=127.0.0.1:2",
            "--emperor-extra-extension=.conf"
        ]
    );
}

#[test]
fn one_pidfile_is_written() {
    assert_eq!(flags("[uwsgi]\nemperor = /v\npidfile = /p\n"), ["--emperor-pidfile=/p"]);
    for both in ["emperor-pidfile = /e\npidfile = /p", "pidfile = /p\nemperor-pidfile = /e"] {
        let text: &str = Box::leak(format!("[uwsgi]\nemperor = /v\n{both}\n").into_boxed_str());
        assert_eq!(flags(text), ["--emperor-pidfile=/e"], "{both}");
        assert_eq!(outcome(text).problems.len(), 1, "{both}");
    }
}

#[test]
fn directories_and_patterns_are_watched_as_they_are_named() {
    let text = "[uwsgi]\nemperor = /a\nemperor = ./vassals/*/*.ini\nemperor = glob:///srv/*.ini\n";
    let Command::Emperor(found) = outcome(text).command else { panic!("{text}") };
    assert_eq!(found.vassals, ["/a", "./vassals/*/*.ini", "glob:///srv/*.ini"]);
}

#[test]
fn what_is_no_source_of_files_is_refused() {
    for text in ["[uwsgi]\nemperor = pg://x\n", "[uwsgi]\nemperor =\n"] {
        let found = outcome(text);
        assert!(found.config.is_none(), "{text}");
        let errors: Vec<&Problem> =
            found.problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
        assert_eq!((errors.len(), errors[0].code.as_str()), (1, "bad-emperor"), "{text}: {errors:?}");
    }
}

#[test]
fn nothing_of_an_emperor_s_file_is_dropped_in_silence() {
    let text =
        "[uwsgi]\nemperor = /v\nmaster = true\ndie-on-term = true\nlogto = /l\nprocesses = 4\nemperor-throttle = 5\n";
    let found = outcome(text);
    let told: Vec<(u32, &str)> = found
        .problems
        .iter()
        .map(|problem| (problem.origin.line, problem.hint.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(told.len(), 3, "{told:?}");
    let told: Vec<_> = told.into_iter().filter(|(line, _)| *line != 7).collect();
    assert!(told[0].0 == 5 && told[0].1.contains("StandardError=append:FILE"), "{told:?}");
    assert!(told[1].0 == 6 && told[1].1.contains("vassal-set = processes=VALUE"), "{told:?}");
    assert!(found.config.is_some());
}

#[test]
fn every_option_that_is_taken_is_one_and_so_is_its_flag() {
    for (name, flag) in TAKEN {
        assert!(registry::lookup(name).is_some() && registry::lookup(flag).is_some(), "{name}, {flag}");
    }
}
